"""How a streams worker lets go at its end."""

import asyncio

import pytest

from streams.worker import _within


async def test_what_cancels_itself_is_done() -> None:
    async def cancelled() -> None:
        raise asyncio.CancelledError

    assert await _within(1.0, cancelled())


async def test_what_takes_too_long_is_not_done() -> None:
    assert not await _within(0.01, asyncio.sleep(10))


async def test_what_fails_raises() -> None:
    async def failing() -> None:
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        await _within(1.0, failing())
