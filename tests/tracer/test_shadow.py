"""The candidate beside the tracer that serves: what it traces, when, and that nothing of it touches what serves."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ops.metrics import PrometheusMetrics
from ops.roles import Role
from schemas import Verdict, VerdictPurpose, VerdictStatus
from schemas.errors import EngineError, SettingsError
from tests.factories import START, trajectory, verdict
from tests.tracer.engines.adapters import looks_like_one
from tests.tracer.engines.endpoint import Endpoint, listening
from tracer.choose import SHADOW_PRIORITY, _engine, candidate_of
from tracer.engines.protocol import Request
from tracer.engines.scripted import Script, ScriptedEngine
from tracer.engines.vllm import VllmEngine
from tracer.methods.table import METHODS
from tracer.model import ModelOptions, ModelTracer
from tracer.protocol import Tracer
from tracer.settings import TracerSettings
from tracer.shadow import WAITING, Shadows, Way, is_drawn
from tracer.trace import SystemClock
from tracer.window import Record

pytestmark = pytest.mark.timeout(10)
APPENDED_MS = int(START.timestamp() * 1000)


def blames(step_index: int) -> Script:
    return lambda request: "J" if request.max_tokens == 1 else f"<think>t</think><answer>A1 | {step_index}</answer>"


class Bed:
    """A worker of which the shadow sees what it needs; what it does is noted in order."""

    def __init__(self, script: Script | None = None, *, share: float = 1.0, **settings: Any) -> None:
        self.engine = ScriptedEngine(script or blames(0), is_held=False)
        self.done: list[str] = []
        self.sent: list[tuple[int, Verdict]] = []
        self.is_free = True
        self.gone: set[int] = set()
        self.metrics = PrometheusMetrics(Role.TRACER)
        chosen = TracerSettings(tracer_shadow_share=share, **settings)
        way = Way(self.settle, lambda: self.is_free, self.read, self.send)
        self.shadows = Shadows(self.candidate, chosen, SystemClock(), way, self.metrics)

    @contextlib.asynccontextmanager
    async def candidate(self) -> AsyncIterator[Tracer]:
        await self.engine.start()
        yield ModelTracer(self.engine, METHODS["agentracer"], ModelOptions(asks_class=False))
        await self.engine.stop()

    async def settle(self) -> None:
        self.done.append("settled")

    async def read(self, record: Record) -> Record:
        assert (record.key, record.value) == (None, None)
        self.done.append("read")
        if record.offset in self.gone:
            return record
        return record._replace(value=trajectory(trajectory_id=f"t{record.offset}").model_dump_json().encode())

    async def send(self, partition: int, found: Verdict) -> None:
        self.done.append("sent")
        self.sent.append((partition, found))

    def offer(self, *numbers: int, **fields: Any) -> None:
        for number in numbers:
            of = trajectory(trajectory_id=f"t{number}")
            record = Record(3, number, APPENDED_MS, b"key", of.model_dump_json().encode())
            self.shadows.offer(record, verdict(of, attempts=1, **fields))

    def ended(self) -> dict[str, float]:
        families = text_string_to_metric_families(self.metrics.exposition().decode())
        samples = (one for family in families for one in family.samples if one.name == "tracer_shadows_ended_total")
        return {one.labels["status"]: one.value for one in samples}

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.shadows.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.wait({task})

    async def until(self, **ended: float) -> None:
        while self.ended() != ended:
            await asyncio.sleep(0.01)


def test_a_revision_is_drawn_or_not_whenever_it_is_asked_about_and_about_a_share_of_them_is() -> None:
    ids = [f"t{number}" for number in range(4_000)]
    drawn = [is_drawn(one, 1, 0.25) for one in ids]
    assert drawn == [is_drawn(one, 1, 0.25) for one in ids]
    assert 900 < sum(drawn) < 1_100
    assert drawn != [is_drawn(one, 2, 0.25) for one in ids]
    assert all(is_drawn(one, 1, 0.5) for one, was in zip(ids, drawn, strict=True) if was), "a larger share has them too"


def test_of_none_none_is_drawn_and_of_all_all_are() -> None:
    assert [share for share in (0.0, 1.0) for number in range(500) if is_drawn(f"t{number}", 1, share)] == [1.0] * 500


async def test_a_shadow_is_traced_after_the_commit_and_marked_with_the_candidates_name_and_version() -> None:
    bed = Bed(blames(2))
    bed.offer(7)
    async with bed.running():
        await bed.until(sent=1)
    ((partition, found),) = bed.sent
    assert bed.done == ["settled", "read", "sent"]
    assert (partition, found.trajectory_id, found.purpose) == (3, "t7", VerdictPurpose.SHADOW)
    assert (found.status, found.step_index, found.attempts) == (VerdictStatus.ATTRIBUTED, 2, 1)
    assert (found.tracer, found.tracer_version.partition("+")[0]) == ("agentracer", "scripted")


async def test_a_shadow_waits_while_a_failure_has_no_turn_yet() -> None:
    bed = Bed()
    bed.is_free = False
    bed.offer(1)
    async with bed.running():
        await asyncio.sleep(0.3)
        assert (bed.done, bed.engine.asked) == ([], [])
        bed.is_free = True
        await bed.until(sent=1)


async def test_one_is_traced_at_a_time() -> None:
    open_now: list[int] = []

    async def slowly(_: Request) -> str:
        open_now.append(sum(bed.engine.leases.values()))
        await asyncio.sleep(0.02)
        return "<think>t</think><answer>A1 | 0</answer>"

    bed = Bed(slowly)
    bed.offer(1, 2, 3)
    async with bed.running():
        await bed.until(sent=3)
    assert open_now == [1, 1, 1]


@pytest.mark.parametrize(
    "fields",
    [{"attempts": 0}, {"attempts": 2}, {"status": VerdictStatus.SHED}, {"revision": 2}],
    ids=["over budget", "tried twice, maybe a poison", "shed", "not drawn"],
)
async def test_what_is_no_tracers_verdict_or_not_drawn_has_no_shadow(fields: dict[str, Any]) -> None:
    bed = Bed(share=0.5)
    number = next(n for n in range(99) if is_drawn(f"t{n}", 1, 0.5) and not is_drawn(f"t{n}", 2, 0.5))
    of = trajectory(trajectory_id=f"t{number}")
    record = Record(3, number, APPENDED_MS, None, b"")
    bed.shadows.offer(record, verdict(of, **{"attempts": 1} | fields))
    async with bed.running():
        await asyncio.sleep(0.25)
        assert (bed.done, bed.ended()) == ([], {})
        bed.shadows.offer(record, verdict(of, attempts=1))
        await bed.until(sent=1)


async def test_a_failed_shadow_is_logged_without_content_and_counted_and_the_next_one_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def second_time(_: Request) -> str:
        if len(bed.engine.asked) == 1:
            raise EngineError("a secret of the step")
        return "<think>t</think><answer>A1 | 0</answer>"

    bed = Bed(second_time)
    bed.offer(1, 2)
    async with bed.running():
        await bed.until(failed=1, sent=1)
    assert [found.trajectory_id for _, found in bed.sent] == ["t2"]
    (failed,) = [record for record in caplog.records if record.message == "shadow failed"]
    assert (failed.__dict__["trajectory_id"], failed.__dict__["error"]) == ("t1", "EngineError")
    assert "secret" not in str(failed.__dict__)


async def test_a_shadow_that_takes_too_long_fails_and_frees_what_it_held() -> None:
    async def hangs(_: Request) -> str:
        await asyncio.sleep(60)
        raise AssertionError

    bed = Bed(hangs, trace_timeout_s=0.05)
    bed.offer(1)
    async with bed.running():
        await bed.until(failed=1)
        assert bed.engine.leases == {"scripted": 0}
    assert bed.sent == []


async def test_a_candidate_that_can_not_be_started_is_told_of_once_and_the_drawn_are_dropped(
    caplog: pytest.LogCaptureFixture,
) -> None:
    bed = Bed()

    async def refuses() -> None:
        raise EngineError("out of memory: model 'scripted' does not fit")

    bed.engine.start = refuses  # type: ignore[method-assign]  # an engine that can't be had
    bed.offer(1, 2)
    async with asyncio.timeout(5):
        await bed.shadows.run()
    bed.offer(3)
    assert (bed.ended(), bed.done) == ({"dropped": 2}, [])
    (said,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert said.__dict__["why"] == "out of memory: model 'scripted' does not fit"


async def test_a_candidate_that_serves_by_now_is_not_its_own_shadow() -> None:
    bed = Bed()
    served = ModelTracer(bed.engine, METHODS["agentracer"], ModelOptions(asks_class=False)).version
    bed.offer(1, tracer_version=served)
    bed.offer(2)
    async with bed.running():
        await bed.until(sent=1)
    assert [found.trajectory_id for _, found in bed.sent] == ["t2"]


async def test_what_the_broker_no_longer_has_is_dropped() -> None:
    bed = Bed()
    bed.gone = {1}
    bed.offer(1, 2)
    async with bed.running():
        await bed.until(dropped=1, sent=1)


async def test_of_more_than_may_wait_the_oldest_are_dropped() -> None:
    bed = Bed()
    bed.is_free = False
    bed.offer(*range(WAITING + 5))
    assert bed.ended() == {"dropped": 5}
    bed.is_free = True
    async with bed.running():
        await bed.until(dropped=5, sent=WAITING)
    assert bed.sent[0][1].trajectory_id == "t5"


async def test_the_end_of_a_worker_does_not_wait_for_its_shadow() -> None:
    async def hangs(_: Request) -> str:
        await asyncio.sleep(60)
        raise AssertionError

    bed = Bed(hangs)
    bed.offer(1)
    async with bed.running():
        while not bed.engine.asked:
            await asyncio.sleep(0.01)
    assert (bed.sent, bed.ended()) == ([], {})


def test_without_an_adapter_there_is_no_candidate_and_a_rule_has_none() -> None:
    assert candidate_of(TracerSettings(tracer="agentracer")) is None
    with pytest.raises(SettingsError, match="'last_step' asks no model, so no adapter can shadow it; unset"):
        candidate_of(TracerSettings(tracer="last_step", tracer_shadow_adapter=Path("candidate")))


def test_two_engines_share_a_gpu_by_halves_and_each_has_its_adapter() -> None:
    alone = TracerSettings(tracer="agentracer")
    both = TracerSettings(tracer="agentracer", tracer_shadow_adapter=Path("candidate"))
    assert _settings(_engine(alone, None)) == (0.9, None)
    assert _settings(_engine(both, None)) == (0.45, None)
    assert _settings(_engine(both, Path("candidate"))) == (0.45, Path("candidate"))


def _settings(engine: object) -> tuple[float, Path | None]:
    assert isinstance(engine, VllmEngine)
    return engine._settings.gpu_memory_share, engine._settings.adapter


async def test_an_endpoint_loads_the_candidate_beside_what_serves_and_asks_it_behind_all_others(tmp_path: Path) -> None:
    adapter = looks_like_one(tmp_path / "candidate")
    models = [{"id": "m", "object": "model", "created": 1, "owned_by": "us", "max_model_len": 8_192}]
    async with listening(Endpoint(ScriptedEngine(blames(1), is_held=False), models)) as endpoint:
        own = {"model": "m", "base_url": endpoint.url, "loads_adapters": True, "has_priority": True}
        settings = TracerSettings.model_validate(
            {"engine": "openai", "openai": own, "tracer": "agentracer", "tracer_shadow_adapter": adapter}
        )
        candidate = candidate_of(settings)
        assert candidate is not None
        async with candidate() as tracer:
            found = await tracer.trace(trajectory())
            assert list(endpoint.loaded.values()) == [str(adapter)]
    assert found.step_index == 1
    assert {(body["model"], body["priority"]) for body in endpoint.bodies} == {
        (next(iter(endpoint.loaded)), SHADOW_PRIORITY)
    }
