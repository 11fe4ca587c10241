"""The benchmarks of the tracer without engine and broker: what they count and make is held, what they time is not."""

import asyncio
from types import SimpleNamespace

import pytest

from benchmarks import gpu
from benchmarks.burst import Mixed, p95
from benchmarks.consuming import Watch
from benchmarks.engines import Counters, Done, Recorder
from benchmarks.failures import failures
from benchmarks.gpu import Card, roofline_s
from benchmarks.shapes import TINY, Shape
from schemas import Trajectory
from schemas.metrics import Metric
from tests.trainer.evaluate.cases import Told, blaming
from tracer.engines.protocol import Message, Request
from tracer.engines.scripted import ScriptedEngine
from tracer.methods.table import by_name
from tracer.model import ModelTracer


def test_runs_of_another_prefix_are_the_same_work() -> None:
    one, other = (failures(prefix, 20, (3, 6)) for prefix in ("a", "b"))
    assert [texts(run) for run in one] == [texts(run) for run in other]
    assert not {run.trajectory_id for run in one} & {run.trajectory_id for run in other}
    assert {len(run.steps) for run in one} == {3, 4, 5, 6}
    assert len({run.task for run in one}) == 20


def texts(run: Trajectory) -> list[str | None]:
    return [run.task, *(step.content for step in run.steps)]


def test_runs_of_another_seed_are_other_runs() -> None:
    one, other = (failures("a", 3, (3, 3), seed=seed) for seed in (0, 1))
    assert not {run.task for run in one} & {run.task for run in other}


async def test_what_an_engine_is_asked_is_noted_in_order_and_answered_as_before() -> None:
    recorder = Recorder(ScriptedEngine(lambda request: request.messages[0].content))
    await recorder.start()
    asked = [Request((Message("user", text),), 5) for text in ("one", "two")]
    async with recorder.lease() as serving:
        answers = [(await serving.generate(one)).text for one in asked]
    await recorder.stop()
    assert (recorder.asked, answers) == (asked, ["one", "two"])


async def test_a_tracer_over_a_recorder_is_the_tracer_over_its_engine() -> None:
    engine = ScriptedEngine(lambda request: "yes" if "Is step 2," in request.messages[-1].content else "no")
    recorder = Recorder(engine)
    await recorder.start()
    (run,) = failures("a", 1, (4, 4))
    found = [await ModelTracer(one, by_name("step_scores")).trace(run) for one in (recorder, engine)]
    await recorder.stop()
    assert found[0].step_index == found[1].step_index == 2
    assert found[0].version == found[1].version
    assert len(recorder.asked) == 4


async def test_runs_go_to_their_own_method() -> None:
    long, short = Told(lambda _: blaming("planner", 0)), Told(lambda _: blaming("buyer", 1))
    both = Mixed(long, short, lambda run: run.system == "short")
    runs = [*failures("long", 2, (3, 3)), *failures("short", 1, (3, 3))]
    named = [(await both.trace(run)).agent for run in runs]
    assert (named, both.begun) == (["planner", "planner", "buyer"], 3)
    assert [len(one.shown) for one in (long, short)] == [2, 1]


def test_the_cores_counts_add_up_over_its_steps_until_they_are_zeroed() -> None:
    counters = Counters()
    prompts = SimpleNamespace(computed=10, total=30)
    requests = SimpleNamespace(prompt_token_stats=prompts, num_preempted_reqs=1)
    again = SimpleNamespace(prefix_cache_stats=SimpleNamespace(preempted_queries=9, preempted_hits=4))
    for scheduler, iteration in ((again, requests), (None, requests), (again, None)):
        counters.record(scheduler, iteration, mm_cache_stats=None, engine_idx=0)
    assert (counters.computed, counters.prompt, counters.preempted, counters.recomputed) == (20, 60, 2, 10)
    counters.zero()
    assert counters.computed == counters.recomputed == 0


def test_the_95th_percentile_is_a_value_that_95_percent_are_not_above() -> None:
    assert p95([float(value) for value in range(1, 101)]) == 95.0
    assert p95([3.0]) == 3.0
    assert p95([1.0, 2.0]) == 2.0


async def test_a_watch_ends_at_the_last_verdict_and_begins_at_the_first_attempt() -> None:
    watch = Watch(2)
    watch.count(Metric.TRACER_ATTEMPTS)
    began = watch.began
    watch.count(Metric.TRACER_ATTEMPTS)
    watch.count(Metric.TRACER_VERDICTS, status="attributed")
    assert not watch.stop.is_set()
    with pytest.raises(RuntimeError, match="1 verdicts did not come"):
        watch.seconds  # noqa: B018
    await asyncio.sleep(0.01)
    watch.count(Metric.TRACER_VERDICTS, status="abstained")
    assert watch.stop.is_set()
    assert (watch.began, watch.statuses) == (began, {"attributed": 1, "abstained": 1})
    assert watch.seconds > 0.005


def test_a_dead_letter_ends_a_watch_without_a_time() -> None:
    watch = Watch(1)
    watch.count(Metric.TRACER_ATTEMPTS)
    watch.count(Metric.TRACER_DEAD_LETTERS, reason="untraceable")
    assert watch.stop.is_set()
    with pytest.raises(RuntimeError, match="did not come"):
        watch.seconds  # noqa: B018


def test_a_shape_counts_its_matrices() -> None:
    assert Shape(4, 8, 1, 2, 1, 2).matrix_parameters == 4 * 2 * 2 * 3 + 3 * 4 * 8
    assert gpu.SHAPES["8b"].matrix_parameters == pytest.approx(6.95e9, rel=0.01)
    assert TINY.matrix_parameters < 100_000


def test_the_roofline_is_the_longer_of_computing_and_reading() -> None:
    shape = Shape(4, 8, 1, 2, 1, 2)
    parameters = shape.matrix_parameters
    reads = Done(seconds=1.0, requests=1, input=100, cached=50, output=50)
    assert roofline_s(shape, Card(1e9, 1e30), reads) == pytest.approx(2 * parameters * 100 / 1e9)
    assert roofline_s(shape, Card(1e30, 1e9), reads, batch=10) == pytest.approx(2 * parameters * 5 / 1e9)


def test_without_a_gpu_nothing_is_measured_and_that_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpu.main([]) == 1
    printed, told = capsys.readouterr()
    assert (printed, told) == ("", f"NOT MEASURED: {gpu.MISSING}\n")
