"""`agentracer retrace`: what is traced again, what it is said to cost, and that none of it counts."""

import asyncio
import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ops.client import apply_topics, read_tails
from ops.embedded.broker import EmbeddedBroker
from ops.query import connect, trajectory
from ops.query_runs import Failure
from ops.retrace import FAILURES_IN_A_ROW, Again, Report, Retracing
from ops.retrace_cost import Estimate
from ops.trace_now import trajectory_of
from schemas import (
    Outcome,
    Result,
    RouteReason,
    Routing,
    TopicName,
    Trajectory,
    Verdict,
    VerdictPurpose,
    VerdictStatus,
)
from schemas.errors import AgentracerError, BrokerUnavailableError, EngineError, SettingsError
from streams import tables
from streams.home import home_partition
from streams.rows import step_rows, trajectory_row
from streams.sink import Store
from tests.conftest import Broker
from tests.factories import START, outcome, step
from tests.factories import trajectory as a_trajectory
from tests.factories import verdict as a_verdict
from tests.ops.processes import COMMAND, ROOT, Up, agentracer, assert_one_sentence, environment, invoke, json_of
from tests.stores import PLACE, emptied, own_store, put, put_trajectory, put_verdict
from tests.tracer.engines.endpoint import Endpoint, listening
from tracer.engines.protocol import Request
from tracer.engines.scripted import ScriptedEngine
from tracer.protocol import Finding
from tracer.rules import by_name, last_step

FAILURE = Routing(reason=RouteReason.FAILURE)
PARTITIONS = 4
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
NOTHING = Estimate(0, 0, None, None, None, None, 0)
RANGE = ("--since", "2026-03-01", "--until", "2026-03-02T00:00Z")


def failed(name: str, steps: int = 3, **fields: Any) -> Trajectory:
    """Return a failed run, as the store gets it."""
    of = [step(name, index, error_type="KeyError" if index == 1 else None) for index in range(steps)]
    return a_trajectory(of, **{"routing": FAILURE} | fields)


# ---- runs in work ----


def again(of: Trajectory, **standing: Any) -> Again:
    return Again(of, a_verdict(of, **standing) if standing else None)  # type: ignore[arg-type]  # it has what is compared


class Bench:
    """Runs that are traced again without a store and a broker: what was sent is in `sent`."""

    def __init__(self, *runs: Again | None) -> None:
        self.runs = list(runs)
        self.sent: list[Verdict] = []
        self.notes: list[str] = []
        self.report = Report(NOTHING)

    async def read(self, failure: Failure) -> Again | None:
        return self.runs[int(failure.trajectory_id)]

    async def send(self, verdict: Verdict) -> None:
        self.sent.append(verdict)

    async def trace(self, tracer: Any, concurrency: int = 1, timeout_s: float = 60.0) -> Report:
        work = Retracing(tracer, self.read, self.send, self.report, timeout_s, self.notes.append)
        ids = [Failure(str(number), START, 3, is_retraced=False) for number in range(len(self.runs))]
        await work.run(ids, concurrency)
        return self.report


class Told:
    """A tracer that does what a run's task says: `fail`, `sleep`, or anything else."""

    name, version = "told", "1"

    def __init__(self) -> None:
        self.at_once = self.most = 0

    async def trace(self, of: Trajectory) -> Finding:
        self.at_once += 1
        self.most = max(self.most, self.at_once)
        try:
            await asyncio.sleep(10 if of.task == "sleep" else 0.001)
            if of.task == "fail":
                raise EngineError(f"{of.trajectory_id} is too much; take less")
            return last_step(of)
        finally:
            self.at_once -= 1


async def test_every_run_gets_a_verdict_that_is_marked_and_is_of_its_latest_revision() -> None:
    bench = Bench(again(failed("a", revision=3, system_version="7")), again(failed("b")))
    report = await bench.trace(by_name("last_error"))
    assert [(one.trajectory_id, one.revision) for one in bench.sent] == [("a", 3), ("b", 1)]
    assert {one.purpose for one in bench.sent} == {VerdictPurpose.RETRACE}
    assert (bench.sent[0].system_version, bench.sent[0].route_reason) == ("7", RouteReason.FAILURE)
    assert (report.sent, report.statuses) == (2, {"attributed": 2})


async def test_a_verdict_is_held_against_the_one_that_stands_where_that_names_a_step() -> None:
    same = {"agent": "agent-1", "step_index": 1}
    nobody = {"agent": None, "step_index": None, "event_id": None, "status": VerdictStatus.ABSTAINED}
    others: list[dict[str, Any]] = [same, same | {"step_index": 2}, {"agent": "agent-2", "step_index": 2}, nobody]
    bench = Bench(*(again(failed(f"t{number}"), **of) for number, of in enumerate(others)), again(failed("alone")))
    report = await bench.trace(by_name("last_error"))
    assert (report.compared, report.same_agent, report.same_step) == (3, 2, 1)


async def test_at_most_so_many_are_traced_at_a_time() -> None:
    tracer, bench = Told(), Bench(*(again(failed(f"t{number}")) for number in range(20)))
    await bench.trace(tracer, concurrency=3)
    assert tracer.most == 3
    assert len({one.trajectory_id for one in bench.sent}) == 20


async def test_what_fails_is_told_and_not_sent() -> None:
    bench = Bench(again(failed("good")), again(failed("bad", task="fail")), again(failed("well")))
    report = await bench.trace(Told())
    assert [one.trajectory_id for one in bench.sent] == ["good", "well"]
    assert report.failed == [("bad", "bad is too much; take less")]
    assert [one for one in bench.notes if one] == ["bad: bad is too much; take less"]


async def test_a_tracer_that_fails_several_times_in_a_row_ends_it() -> None:
    bad = [again(failed(f"bad-{number}", task="fail")) for number in range(FAILURES_IN_A_ROW)]
    bench = Bench(*bad[1:], again(failed("good")), *bad, again(failed("never")))
    with pytest.raises(EngineError, match=f"bad-{FAILURES_IN_A_ROW - 1} is too much"):
        await bench.trace(Told())
    assert [one.trajectory_id for one in bench.sent] == ["good"]


async def test_a_trace_that_takes_too_long_is_an_overlong_verdict() -> None:
    bench = Bench(again(failed("slow", task="sleep")))
    report = await bench.trace(Told(), timeout_s=0.05)
    assert report.statuses == {"overlong": 1}
    assert (bench.sent[0].agent, bench.sent[0].reason) == (None, "timeout")


async def test_a_run_whose_steps_went_meanwhile_is_counted() -> None:
    bench = Bench(again(failed("a")), None)
    report = await bench.trace(Told(), concurrency=2)
    assert (report.sent, report.gone, len(bench.notes)) == (1, 1, 2)


async def test_a_broker_that_is_away_ends_it() -> None:
    bench = Bench(*(again(failed(f"t{number}")) for number in range(9)))

    async def refuse(_: Verdict) -> None:
        raise BrokerUnavailableError("gone; try later")

    work = Retracing(Told(), bench.read, refuse, bench.report, 60.0)
    with pytest.raises(BrokerUnavailableError):
        await work.run([Failure(str(number), START, 3, is_retraced=False) for number in range(9)], 4)
    assert bench.report.sent == 0


# ---- the command, on a store and a broker ----


class Place(NamedTuple):
    """A store with runs of its own, and a broker with the topics."""

    store: Store
    broker: str

    @property
    def settings(self) -> dict[str, str]:
        url = f"http://{self.store.address}/{self.store.database}"
        return {"AGENTRACER_BOOTSTRAP": self.broker, "AGENTRACER_CLICKHOUSE_URL": url}

    def retrace(self, *arguments: str, **settings: str) -> Any:
        """Retrace, and return what it printed as JSON."""
        return json_of("retrace", *RANGE, "--yes", *arguments, **self.settings | settings)

    def sent(self) -> list[Verdict]:
        """Return all that stands on `verdicts`."""
        tails = asyncio.run(read_tails(self.broker, TopicName.VERDICTS, range(PARTITIONS), 10_000))
        values = [value for tail in tails.values() for _, value in tail.records]
        return [Verdict.model_validate_json(value or b"") for value in values]

    def sink(self, verdicts: Sequence[Verdict]) -> None:
        """Bring verdicts into the store, as the sink does."""
        for offset, one in enumerate(verdicts):
            put_verdict(self.store, one, 1_000 + offset)


@pytest.fixture(scope="module")
def shared(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        yield store


@pytest.fixture
def place(shared: Store, broker: EmbeddedBroker) -> Place:
    asyncio.run(apply_topics(broker.bootstrap, partitions=PARTITIONS, replicas=1))
    return Place(emptied(shared), broker.bootstrap)


def mine(place: Place, prefix: str) -> list[Verdict]:
    return [one for one in place.sent() if one.trajectory_id.startswith(prefix)]


def test_the_failed_runs_of_a_range_are_traced_again(place: Place) -> None:
    put_trajectory(place.store, failed("r1-in"))
    put_trajectory(place.store, failed("r1-later", closed_at=START + timedelta(days=1)))
    put_trajectory(place.store, failed("r1-bank", system="bank"))
    put_trajectory(place.store, failed("r1-fine", routing=Routing(reason=RouteReason.SAMPLED)))
    put_trajectory(place.store, a_trajectory([step("r1-untraced")], outcome=outcome(Result.SUCCESS)))
    report = place.retrace("--system", "shop", "--method", "last_error")
    assert (report["sent"], report["is_whole"], report["statuses"]) == (1, True, {"attributed": 1})
    assert report["estimate"]["trajectories"] == 1
    (sent,) = mine(place, "r1-")
    assert (sent.trajectory_id, sent.purpose, sent.tracer) == ("r1-in", VerdictPurpose.RETRACE, "last_error")
    assert (sent.agent, sent.step_index) == ("agent-1", 1)


def test_the_latest_revision_is_traced_and_each_run_of_an_id(place: Place) -> None:
    put_trajectory(place.store, failed("r2", 2))
    put_trajectory(place.store, failed("r2", 3, revision=2))
    put_trajectory(place.store, failed("r2", 1, opened_at=START + timedelta(hours=1)))
    assert place.retrace("--tracer", "last_step")["sent"] == 2
    assert sorted((one.opened_at, one.revision, one.step_index) for one in mine(place, "r2")) == [
        (START, 2, 2),
        (START + timedelta(hours=1), 1, 0),
    ]


def test_what_this_version_traced_again_before_is_left_out_unless_asked_for(place: Place) -> None:
    for name in ("r3-a", "r3-b"):
        put_trajectory(place.store, failed(name))
    assert place.retrace("--method", "last_step", "--limit", "1")["sent"] == 1
    place.sink(mine(place, "r3-"))
    assert place.retrace("--method", "last_step")["sent"] == 1
    assert {one.trajectory_id for one in mine(place, "r3-")} == {"r3-a", "r3-b"}
    place.sink(mine(place, "r3-"))
    assert place.retrace("--method", "last_step")["sent"] == 0
    assert place.retrace("--method", "last_error")["sent"] == 2, "another tracer's do not count for this one"
    assert place.retrace("--method", "last_step", "--again")["sent"] == 2
    put_trajectory(place.store, failed("r3-a", 4, revision=2))
    assert place.retrace("--method", "last_step")["sent"] == 1, "nor do those of an earlier revision"


def test_the_standing_verdict_is_what_it_was_whatever_is_traced_again(place: Place) -> None:
    judged, unjudged = failed("r4-judged"), failed("r4-unjudged")
    for of in (judged, unjudged):
        put_trajectory(place.store, of)
    put_verdict(place.store, a_verdict(judged, agent="first"), 5_000)
    before = json_of("verdicts", **place.settings)
    report = place.retrace("--method", "last_error")
    assert (report["compared"], report["same_agent"], report["same_step"]) == (1, 0, 0)
    place.sink(mine(place, "r4-"))
    assert json_of("verdicts", **place.settings) == before
    with connect(place.settings["AGENTRACER_CLICKHOUSE_URL"]) as client:
        found = client.query("SELECT trajectory_id, purpose, standing FROM verdicts_all ORDER BY 1, 2").result_rows
        assert [tuple(row) for row in found] == [
            ("r4-judged", "retrace", 0),
            ("r4-judged", "serve", 1),
            ("r4-unjudged", "retrace", 0),
        ]
        run = trajectory(client, "r4-unjudged")
    assert run is not None
    assert run.verdict is None


def test_runs_whose_steps_are_not_kept_any_more_are_left_out_and_told(place: Place) -> None:
    gone = failed("r5-gone")
    put(place.store, tables.TRAJECTORIES, trajectory_row(gone, PLACE))
    put_trajectory(place.store, failed("r5-there"))
    done = invoke("retrace", *RANGE, "--yes", "--method", "last_step", **place.settings)
    assert done.exit_code == 0, done.exception
    assert "1 whose steps the store does not keep any more" in " ".join(done.stderr.split())
    assert [one.trajectory_id for one in mine(place, "r5-")] == ["r5-there"]


def test_the_steps_of_a_run_that_come_while_it_is_read_do_not_hide_it(place: Place) -> None:
    put_trajectory(place.store, failed("r6", 2))
    put(place.store, tables.STEPS, *step_rows(failed("r6", 3, revision=2)))
    assert place.retrace("--method", "last_step")["sent"] == 1


def test_nothing_to_trace_is_told_and_nobody_is_asked(place: Place) -> None:
    done = invoke("retrace", *RANGE, **place.settings)
    assert done.exit_code == 0
    assert "0 failed runs" in done.stderr
    assert json_of("retrace", *RANGE, **place.settings)["sent"] == 0


def test_the_estimate_comes_first_and_says_what_it_rests_on(place: Place) -> None:
    put_trajectory(place.store, failed("r7", 4))
    model = {
        "AGENTRACER_TRACER": "all_at_once",
        "AGENTRACER_ENGINE": "openai",
        "AGENTRACER_OPENAI__MODEL": "m",
        "AGENTRACER_OPENAI__INPUT_PRICE": "1000",
        "AGENTRACER_OPENAI__COST_LIMIT": "0.001",
    }
    text = sum(len(one.content) for one in failed("r7", 4).steps)
    done = invoke("retrace", *RANGE, **place.settings | model)
    assert isinstance(done.exception, SettingsError)
    assert "--yes" in str(done.exception)
    said = " ".join(done.stderr.split())
    assert f"about {round(text / 4)} to be read, of one reading" in said
    assert "unknown: the store has no verdict of this tracer yet" in said
    assert "the cost limit of 0.00 will end it before" in said
    past = a_verdict(
        failed("r7", 4), tracer="all_at_once", traced_ms=4_000, tokens={"input": 2 * text, "output": 5, "cached": 0}
    )
    put_verdict(place.store, past, 1)
    said = " ".join(invoke("retrace", *RANGE, **place.settings | model).stderr.split())
    assert f"about {2 * text} to be read, 5 to be written" in said
    assert "about 0:00:04 with 8 at a time, as 1 past verdicts of this tracer took" in said
    assert mine(place, "r7") == []


def test_where_nobody_can_be_asked_yes_has_to_be_said(place: Place) -> None:
    put_trajectory(place.store, failed("r8"))
    for arguments in ((), ("--json",)):
        done = agentracer("retrace", *RANGE, "--method", "last_step", *arguments, **place.settings)
        assert_one_sentence(done, SettingsError.exit_code, "1 failed runs", "--yes")
    assert mine(place, "r8") == []


def all_of(terminal: int) -> bytes:
    """Read what a terminal shows whose other end is closed."""
    found = b""
    with suppress(OSError):  # what Linux says at its end
        while piece := os.read(terminal, 65_536):
            found += piece
    os.close(terminal)
    return found


@pytest.mark.parametrize(("answer", "count"), [("n", 0), ("", 0), ("y", 1)])
def test_a_person_is_asked_after_the_estimate(place: Place, answer: str, count: int) -> None:
    name = f"r9{answer}-asked"
    put_trajectory(place.store, failed(name))
    ours, theirs = os.openpty()
    os.write(ours, f"{answer}\n".encode())
    started = subprocess.Popen(
        [*COMMAND, "retrace", *RANGE, "--method", "last_step"],
        stdin=theirs,
        stdout=subprocess.PIPE,
        stderr=theirs,
        cwd=ROOT,
        env=environment(**place.settings),
    )
    os.close(theirs)
    printed, _ = started.communicate(timeout=60)
    told = " ".join(ESCAPES.sub("", all_of(ours).decode()).split())
    assert started.returncode == 0, told
    assert told.index("failed runs to be traced again") < told.index("trace them? [y/N]")
    assert ("nothing was traced" in told) == (count == 0)
    assert (b"verdicts sent" in printed) == (count == 1)
    assert len(mine(place, name)) == count


def test_a_person_sees_how_many_agree_with_what_stands(place: Place) -> None:
    of = failed("r10")
    put_trajectory(place.store, of)
    put_verdict(place.store, a_verdict(of, agent="agent-1", step_index=2), 1)
    done = invoke("retrace", *RANGE, "--yes", "--method", "last_error", **place.settings)
    assert done.exit_code == 0, done.exception
    said = " ".join(done.stdout.split())
    assert "same agent as the standing verdict 1 of 1" in said
    assert "same step as the standing verdict 0 of 1" in said


def test_a_stored_run_is_traced_with_what_it_came_with(place: Place) -> None:
    said = Outcome(result=Result.FAILURE, score=0.5, reason="late", ground_truth="42")
    put_trajectory(place.store, failed("r11", system_version="7", outcome=said))
    run = trajectory(place.store.client, "r11")
    assert run is not None
    found = trajectory_of(run)
    assert (found.outcome, found.system_version, found.routing) == (said, "7", FAILURE)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--since", "yesterday"), ("'yesterday' is no time",)),
        (("--since", "-1"), ("'-1' hours",)),
        (("--since", "0"), ("nothing lies from", "--since")),
        (("--since", "2026-03-02", "--until", "2026-03-01"), ("nothing lies from 2026-03-02 00:00 UTC",)),
        (("--since", "1", "--method", "guess"), ("'guess'", "step_scores", "last_error")),
        (("--since", "1", "--method", "spectrum"), ("'spectrum'",)),
    ],
)
def test_what_can_not_be_meant_is_refused_before_anything(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    error = invoke("retrace", *arguments, "--clickhouse", "http://127.0.0.1:1/x").exception
    assert isinstance(error, SettingsError)
    for word in words:
        assert word in str(error)


def test_without_a_store_or_a_broker_it_is_one_sentence(place: Place) -> None:
    assert_one_sentence(agentracer("retrace", "--since", "1", "--clickhouse", "http://127.0.0.1:1/x"), 3, "127.0.0.1:1")
    put_trajectory(place.store, failed("r12"))
    nowhere = place.settings | {"AGENTRACER_BOOTSTRAP": "127.0.0.1:1"}
    done = agentracer("retrace", *RANGE, "--yes", "--method", "last_step", **nowhere)
    assert_one_sentence(done, 3, "0 of 1 verdicts were sent", "127.0.0.1:1")


# ---- a model behind an endpoint ----


def endpoint_of(place: Place, endpoint: Endpoint, **more: str) -> dict[str, str]:
    return {
        "AGENTRACER_TRACER": "all_at_once",
        "AGENTRACER_ENGINE": "openai",
        "AGENTRACER_OPENAI__MODEL": "m",
        "AGENTRACER_OPENAI__BASE_URL": endpoint.url,
        "AGENTRACER_OPENAI__ATTEMPTS": "1",
        "AGENTRACER_ASK__ASKS_CLASS": "false",
        **place.settings,
        **more,
    }


async def test_ctrl_c_ends_it_and_says_what_is_done(place: Place) -> None:
    asked = asyncio.Event()

    async def first_alone(_: Request) -> str:
        if len(engine.asked) > 1:
            asked.set()
            await asyncio.sleep(60)
        return "<answer>A1 | 0</answer>"

    for name in ("r13-a", "r13-b"):
        put_trajectory(place.store, failed(name))
    engine = ScriptedEngine(first_alone, is_held=False)
    async with listening(Endpoint(engine, [{"id": "m", "max_model_len": 8_192}])) as endpoint:
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, "retrace", *RANGE, "--yes", "--json", "--concurrency", "1"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=environment(**endpoint_of(place, endpoint)),
        )
        async with asyncio.timeout(60):
            await asked.wait()
            process.send_signal(signal.SIGINT)
            printed, told = await process.communicate()
    assert process.returncode == 130, told
    assert b"interrupted; 1 of 2 verdicts were sent" in told
    assert b"Traceback" not in told
    report = json.loads(printed)
    assert (report["sent"], report["is_whole"], report["statuses"]) == (1, False, {"attributed": 1})
    assert len(await asyncio.to_thread(mine, place, "r13-")) == 1


async def test_what_an_endpoint_refuses_is_told_at_the_end(place: Place) -> None:
    def script(request: Request) -> str:
        if "r14-bad" in request.messages[-1].content:
            raise EngineError("no; ask another")
        return "<answer>A1 | 0</answer>"

    for name in ("r14-bad", "r14-good"):
        put_trajectory(place.store, failed(name))
    engine = ScriptedEngine(script, is_held=False)
    async with listening(Endpoint(engine, [{"id": "m", "max_model_len": 8_192}])) as endpoint:
        done = await asyncio.to_thread(agentracer, "retrace", *RANGE, "--yes", **endpoint_of(place, endpoint))
    assert done.returncode == AgentracerError.exit_code, done.stderr
    said = " ".join(done.stderr.split())
    assert "1 runs could not be traced, 'r14-bad' first" in said
    assert "Traceback" not in said
    assert "not traced" in done.stdout
    sent = await asyncio.to_thread(mine, place, "r14-")
    assert [(one.trajectory_id, one.tracer) for one in sent] == [("r14-good", "all_at_once")]
    assert sent[0].tokens.input > 0


# ---- a real Kafka, and a whole pipeline ----


@pytest.mark.kafka
def test_on_kafka_a_verdict_lands_where_those_of_its_run_are(shared: Store, kafka: Broker) -> None:
    asyncio.run(apply_topics(kafka.bootstrap, partitions=PARTITIONS, replicas=1))
    place = Place(emptied(shared), kafka.bootstrap)
    names = [f"r15-{number}" for number in range(12)]
    for name in names:
        put_trajectory(place.store, failed(name))
    assert place.retrace("--method", "last_step")["sent"] == 12
    tails = asyncio.run(read_tails(kafka.bootstrap, TopicName.VERDICTS, range(PARTITIONS), 10_000))
    found = {
        (key or b"").decode(): number
        for number, tail in tails.items()
        for key, _ in tail.records
        if (key or b"").startswith(b"r15-")
    }
    assert found == {name: home_partition(name, PARTITIONS) for name in names}


def test_retraced_verdicts_come_into_the_store_by_the_sink_and_none_of_them_stands(up: Up, tmp_path: Path) -> None:
    events = [
        json.dumps(event)
        for name in ("again-1", "again-2")
        for event in (
            {"trajectory_id": name, "system": "retraced", "agent": "a", "content": "x", "error_type": "KeyError"},
            {"trajectory_id": name, "system": "retraced", "agent": "b", "content": "y"},
            {"trajectory_id": name, "kind": "outcome", "outcome": {"result": "failure"}},
        )
    ]
    up.send(tmp_path / "runs.jsonl", *events)
    up.running.wait_until(lambda: len(up.json_of("verdicts", "--system", "retraced")) == 2)
    before = up.json_of("verdicts", "--system", "retraced")
    command = ("retrace", "--since", "1", "--system", "retraced", "--method", "last_error", "--yes")
    assert up.json_of(*command)["sent"] == 2
    query = "SELECT tracer, standing FROM verdicts_all WHERE system = 'retraced' AND purpose = 'retrace'"

    def stored() -> list[tuple[Any, ...]]:
        with connect(up.clickhouse) as client:
            return [tuple(row) for row in client.query(query).result_rows]

    up.running.wait_until(lambda: len(stored()) == 2)
    assert stored() == [("last_error", 0)] * 2
    assert up.json_of("verdicts", "--system", "retraced") == before
    assert up.json_of(*command)["sent"] == 0
