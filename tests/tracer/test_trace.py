"""One trajectory in work: budget, crashes, errors, time, and what is no trajectory."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from schemas import DeadLetter, RouteReason, Routing, Trajectory, Verdict, VerdictPurpose, VerdictStatus
from tests.factories import step, trajectory
from tracer.protocol import Finding
from tracer.rules import last_step
from tracer.settings import TracerSettings
from tracer.trace import Judge
from tracer.window import Record

pytestmark = pytest.mark.timeout(10)
APPENDED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Ticking:
    """A clock whose seconds pass when the test says so; it starts four seconds after the append."""

    def __init__(self) -> None:
        self.seconds = 4.0

    def now(self) -> datetime:
        return APPENDED + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds


class Acting:
    """A tracer that does what the test gives it."""

    name = "acting"
    version = "3"

    def __init__(self, act: Callable[[Trajectory], Awaitable[Finding]]) -> None:
        self._act = act

    async def trace(self, trajectory: Trajectory) -> Finding:
        return await self._act(trajectory)


class Bed:
    """A judge with its clock, and a counter of attempts."""

    def __init__(self, act: Callable[[Trajectory], Awaitable[Finding]], **settings: Any) -> None:
        self.clock = Ticking()
        self.attempt = 1
        self.judge = Judge(Acting(act), TracerSettings(trace_backoff_s=0, **settings), self.clock)

    async def again(self) -> int:
        self.attempt += 1
        return self.attempt

    async def answer(self, value: bytes | None, attempt: int = 1) -> Verdict | DeadLetter:
        self.attempt = attempt
        record = Record(3, 17, int(APPENDED.timestamp() * 1000), b"key", value)
        return await self.judge.judge(record, attempt, self.again)

    async def verdict(self, of: Trajectory, attempt: int = 1) -> Verdict:
        found = await self.answer(of.model_dump_json().encode(), attempt)
        assert isinstance(found, Verdict)
        return found


async def blame(trajectory: Trajectory) -> Finding:
    return last_step(trajectory)


async def refuse(trajectory: Trajectory) -> Finding:
    raise AssertionError(trajectory.trajectory_id)


async def test_a_trajectory_gets_the_verdict_of_the_tracer_with_its_times() -> None:
    async def slowly(trajectory: Trajectory) -> Finding:
        bed.clock.seconds += 1.5
        return last_step(trajectory)

    bed = Bed(slowly, trace_purpose=VerdictPurpose.SHADOW)
    found = await bed.verdict(trajectory())
    assert (found.status, found.step_index, found.tracer) == (VerdictStatus.ATTRIBUTED, 2, "acting")
    assert (found.tracer_version, found.purpose) == ("3", VerdictPurpose.SHADOW)
    assert (found.queued_ms, found.traced_ms, found.attempts) == (4_000, 1_500, 1)
    assert found.decided_at == APPENDED + timedelta(seconds=5.5)


async def test_over_budget_the_tracer_is_not_asked() -> None:
    of = trajectory(routing=Routing(reason=RouteReason.FAILURE, over_budget=True))
    found = await Bed(refuse).verdict(of)
    assert (found.status, found.reason, found.attempts) == (VerdictStatus.ABSTAINED, "budget", 0)
    assert found.route_reason is RouteReason.FAILURE


async def test_what_has_used_its_attempts_in_crashes_is_not_tried_again() -> None:
    found = await Bed(refuse).verdict(trajectory(), attempt=4)
    assert (found.status, found.reason, found.attempts) == (VerdictStatus.ABSTAINED, "crashed", 3)


@pytest.mark.parametrize("attempt", [5, 6, 30])
async def test_of_what_even_kills_its_worker_when_it_is_opened_only_the_head_is_read(attempt: int) -> None:
    whole = trajectory(task='a "steps":[ in a string, and \\,"steps":[').model_dump_json().encode()
    poison = whole.replace(b'"content"', b'"no such field"')
    assert isinstance(await Bed(refuse).answer(poison, attempt=1), DeadLetter)
    found = await Bed(refuse).answer(poison, attempt=attempt)
    assert isinstance(found, Verdict)
    assert (found.status, found.reason, found.attempts) == (VerdictStatus.ABSTAINED, "crashed", 3)
    assert (found.trajectory_id, found.revision) == (trajectory().trajectory_id, trajectory().revision)


async def test_of_what_has_no_head_either_its_bytes_are_kept() -> None:
    found = await Bed(refuse).answer(b'{"trajectory_id":1,"steps":[', attempt=9)
    assert isinstance(found, DeadLetter)
    assert found.value == b'{"trajectory_id":1,"steps":['


async def test_an_error_is_tried_again_and_each_try_is_counted() -> None:
    async def twice(trajectory: Trajectory) -> Finding:
        if bed.attempt < 3:
            raise ConnectionResetError
        return last_step(trajectory)

    bed = Bed(twice)
    found = await bed.verdict(trajectory())
    assert (found.status, found.attempts) == (VerdictStatus.ATTRIBUTED, 3)


async def test_an_error_that_stays_ends_in_a_verdict_that_names_it() -> None:
    async def always(_: Trajectory) -> Finding:
        raise ZeroDivisionError

    found = await Bed(always, trace_attempts=2).verdict(trajectory())
    assert (found.status, found.reason, found.attempts) == (VerdictStatus.ABSTAINED, "failed: ZeroDivisionError", 2)


async def test_attempts_lost_in_crashes_count_towards_the_limit_on_errors() -> None:
    found = await Bed(refuse).verdict(trajectory(), attempt=3)
    assert (found.reason, found.attempts) == ("failed: AssertionError", 3)


async def test_a_trace_that_takes_too_long_is_overlong_and_not_tried_again() -> None:
    async def hang(_: Trajectory) -> Finding:
        await asyncio.sleep(60)
        raise AssertionError

    found = await Bed(hang, trace_timeout_s=0.02).verdict(trajectory())
    assert (found.status, found.reason, found.attempts) == (VerdictStatus.OVERLONG, "timeout", 1)


async def test_a_timeout_of_the_tracers_own_is_an_error_like_another() -> None:
    async def own(_: Trajectory) -> Finding:
        raise TimeoutError

    assert (await Bed(own).verdict(trajectory())).reason == "failed: TimeoutError"


async def test_a_trace_that_is_cancelled_is_cancelled() -> None:
    started = asyncio.Event()

    async def hang(_: Trajectory) -> Finding:
        started.set()
        await asyncio.sleep(60)
        raise AssertionError

    task = asyncio.create_task(Bed(hang).verdict(trajectory()))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b"[]", b'{"trajectory_id": "secret"}', b"[" * 10_000])
async def test_what_is_no_trajectory_becomes_a_dead_letter_with_its_bytes_and_address(value: bytes | None) -> None:
    found = await Bed(refuse).answer(value)
    assert isinstance(found, DeadLetter)
    assert found.address == "failed-trajectories/3/17/0"
    assert (found.key, found.value, found.stage) == (b"key", value, "tracer")
    assert found.message
    assert "secret" not in found.message


async def test_the_log_of_a_failed_trace_holds_ids_and_no_content(caplog: pytest.LogCaptureFixture) -> None:
    async def leak(trajectory: Trajectory) -> Finding:
        raise ValueError(trajectory.steps[0].content)

    with caplog.at_level(logging.DEBUG):
        found = await Bed(leak).verdict(trajectory([step(content="a secret")]))
    assert "secret" not in "".join(str(record.__dict__) for record in caplog.records)
    assert "secret" not in (found.reason or "")
    assert [record.__dict__["attempt"] for record in caplog.records] == [1, 2, 3]
