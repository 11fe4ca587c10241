"""The double keeps the contract, and tells what it was asked."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from schemas import Tokens
from schemas.errors import EngineError
from tests.tracer.engines.adapters import looks_like_one
from tests.tracer.engines.contract import *  # noqa: F403  the suite
from tests.tracer.engines.contract import COLOURS, Bench, answered, ask
from tests.tracer.engines.script import script
from tracer.engines.protocol import Choice, Completion, Finish, Grammar, Message, Request
from tracer.engines.scripted import BLOCK, ScriptedEngine, tokens_of


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    engine = ScriptedEngine(script, context_tokens=4_096)
    await engine.start()
    yield Bench(engine, looks_like_one(tmp_path / "adapter"))
    await engine.stop()


async def started(engine: ScriptedEngine) -> ScriptedEngine:
    await engine.start()
    return engine


async def test_what_was_asked_is_kept_with_the_version_that_answered(bench: Bench) -> None:
    engine = await started(ScriptedEngine(lambda _: "fine"))
    first, second = ask("one"), ask("two", priority=3)
    await answered(engine, first)
    version = await engine.adopt(bench.adapter)
    await answered(engine, second)
    assert engine.asked == [("scripted", first), (version, second)]


async def test_leases_are_counted_by_version(bench: Bench) -> None:
    engine = await started(ScriptedEngine(lambda _: "fine"))
    async with engine.lease(), engine.lease():
        assert engine.leases == {"scripted": 2}
        async with engine.lease():
            pass
        version = await engine.adopt(bench.adapter)
        async with engine.lease():
            assert engine.leases == {"scripted": 2, version: 1}
    assert engine.leases == {"scripted": 0, version: 0}


async def test_a_scripted_answer_outside_of_a_choice_is_a_mistake_of_the_script() -> None:
    request = ask("a colour", shape=Choice(COLOURS))
    held = await started(ScriptedEngine(lambda _: "purple"))
    with pytest.raises(EngineError, match=r"'purple' is none of .*; correct the script"):
        await answered(held, request)
    loose = await started(ScriptedEngine(lambda _: "purple", is_held=False))
    assert (await answered(loose, request)).text == "purple"


async def test_a_scripted_completion_comes_back_as_it_is() -> None:
    said = Completion("yes", Finish.STOP, Tokens(input=1, output=1), ({"yes": -0.1, "no": -2.4},))
    engine = await started(ScriptedEngine(lambda _: said))
    assert await answered(engine, ask("is it so?", shape=Choice(("yes", "no")))) is said


async def test_a_script_may_wait_and_may_fail() -> None:
    async def late(request: Request) -> str:
        await asyncio.sleep(0.01)
        if "fail" in request.messages[-1].content:
            raise EngineError("the script says so; ask for something else")
        return "late"

    engine = await started(ScriptedEngine(late))
    assert (await answered(engine, ask("hello"))).text == "late"
    with pytest.raises(EngineError, match="the script says so"):
        await answered(engine, ask("fail"))


async def test_another_version_shares_no_prefix(bench: Bench) -> None:
    engine = await started(ScriptedEngine(lambda _: "fine"))
    await answered(engine, ask("hello"))
    assert (await answered(engine, ask("hello"))).tokens.cached > 0
    await engine.adopt(bench.adapter)
    assert (await answered(engine, ask("hello"))).tokens.cached == 0


async def test_prefixes_are_cached_in_whole_blocks_and_never_the_last_token() -> None:
    engine = await started(ScriptedEngine(lambda _: "fine"))
    words = " ".join(["word"] * (2 * BLOCK - 1))  # with the role, exactly two blocks
    request = Request((Message("user", words),), 4, Grammar('root ::= "fine"'))
    assert (await answered(engine, request)).tokens == Tokens(input=2 * BLOCK, output=1, cached=0)
    assert (await answered(engine, request)).tokens == Tokens(input=2 * BLOCK, output=1, cached=BLOCK)


@pytest.mark.parametrize("text", ["", "two words", "a  b\n\nc", "x=1;y", "日本語", "🙂 \x00", "averylongword"])
def test_tokens_joined_are_the_text(text: str) -> None:
    assert "".join(tokens_of(text)) == text
