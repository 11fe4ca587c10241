"""`agentracer run`: whatever the file holds and whatever dies on the way, it ends, and says how."""

import json
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ops.embedded.store import EmbeddedStore
from ops.pipeline import DATABASE, Pipeline, Where
from ops.query import connect, counts, step_ids
from ops.recorded.run import RecordedEvent, RecordedRun, recorded
from ops.roles import Role
from ops.run import FAST, Counts, Sending, report, send_and_follow, standing
from ops.send import Ledger, Outgoing, plan
from schemas.errors import AgentracerError, BrokerUnavailableError, SettingsError
from streams.limits import Limits
from streams.migrate import Client
from tests.factories import outcome, outcome_event, step
from tests.ops.processes import (
    Running,
    Up,
    agentracer,
    agentracer_in,
    assert_one_sentence,
    below,
    invoke,
    json_of,
    soon,
)

KEYS = {"trajectories", "failed", "verdicts", "steps", "dead_letters", "lost", "duplicates", "seconds", "added"}
LIMIT = Limits().max_steps
LONG = LIMIT + 5
ODD_IDS = ("[red]x[/red]", "[/nope]", "c1 \x9b31m", "ünïcödé-日本語-🙂", "it's\\ {id:String} %s", " ", "x" * 256)
ODD_CONTENTS = ("\x1b[2J\x1b]0;t\x07", "[/red]", "\u202egnp.exe", "long " * 50_000, "", "\n\n", '"quoted"\\', "\ufeff")
RUBBISH = [
    "this is no event [/red] \x1b[2J",
    '{"trajectory_id": "bad", "agent": 5}',
    "[1, 2]",
    '{"a": 1, "a": 2}',
    "\x00",
]


class Odd(NamedTuple):
    """A run of a file with everything odd in it, and the store that it left."""

    file: Path
    store: Path
    out: Path
    report: dict[str, Any]
    again: dict[str, Any]
    """What came of the same file and store a second time."""


def odd_lines() -> Iterator[str]:
    for number, one in enumerate(ODD_IDS):
        content = ODD_CONTENTS[number % len(ODD_CONTENTS)]
        yield json.dumps(
            {"trajectory_id": one, "agent": f"agent {one}"[:256], "content": content}, ensure_ascii=number % 2 == 0
        )
        yield json.dumps({"trajectory_id": one, "agent": "other", "content": ODD_CONTENTS[-1 - number]})
        yield json.dumps(
            {"trajectory_id": one, "kind": "outcome", "outcome": {"result": "failure", "reason": "[/x]\x1b[2J"}}
        )
    yield from RUBBISH
    for number in range(LONG):
        yield json.dumps({"trajectory_id": "long", "agent": f"agent-{number % 3}", "content": f"step {number}"})
    yield json.dumps({"trajectory_id": "long", "kind": "outcome", "outcome": {"result": "failure"}})
    yield json.dumps({"trajectory_id": "lone", "kind": "outcome", "outcome": {"result": "failure"}})


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Odd:
    folder = tmp_path_factory.mktemp("odd")
    (folder / "schemas").mkdir()
    (folder / "schemas" / "__init__.py").write_text("raise RuntimeError('not ours')")
    file, store, out = folder / "odd.jsonl", folder / "store", folder / "verdicts.jsonl"
    file.write_text("".join(f"{line}\n" for line in odd_lines()))
    command = ("run", "odd.jsonl", "--json", "--store", "store", "--ndjson", "3")
    done = agentracer_in(folder, *command, "--out", "verdicts.jsonl")
    assert done.returncode == 0, done.stderr
    again = agentracer_in(folder, *command)
    assert again.returncode == 0, again.stderr
    return Odd(file, store, out, json.loads(done.stdout), json.loads(again.stdout))


@pytest.fixture(scope="module")
def left(odd: Odd) -> Iterator[str]:
    with EmbeddedStore(odd.store) as store:
        yield f"{store.url}/{DATABASE}"


def test_one_object_tells_what_came_of_it(odd: Odd) -> None:
    assert set(odd.report) == KEYS
    runs = len(ODD_IDS) + 1
    assert (odd.report["trajectories"], odd.report["failed"], odd.report["verdicts"]) == (runs, runs, runs)
    assert odd.report["steps"] == 2 * len(ODD_IDS) + LIMIT
    assert odd.report["added"] == 2 * len(ODD_IDS) + LONG, "what was sent now, dead letters included"
    assert odd.report["dead_letters"] == len(RUBBISH) + LONG - LIMIT
    assert (odd.report["lost"], odd.report["duplicates"]) == (0, 0)


def test_it_may_be_called_in_a_folder_with_modules_of_our_names(odd: Odd) -> None:
    assert (odd.file.parent / "schemas").is_dir(), "this is where it was called"
    assert {one.name for one in odd.file.parent.iterdir()} <= {"schemas", "odd.jsonl", "store", "verdicts.jsonl"}


def test_the_out_file_has_each_verdict_as_a_line_of_json(odd: Odd) -> None:
    lines = [json.loads(line) for line in odd.out.read_text().splitlines()]
    assert sorted(line["trajectory_id"] for line in lines) == sorted([*ODD_IDS, "long"])
    assert {line["status"] for line in lines} == {"attributed"}


def test_every_content_is_in_the_store_as_it_was_sent(odd: Odd, left: str) -> None:
    for number, one in enumerate(ODD_IDS):
        found = json_of("show", one, "--clickhouse", left)
        contents = [step["content"] for step in found["steps"]]
        assert contents == [ODD_CONTENTS[number % len(ODD_CONTENTS)], ODD_CONTENTS[-1 - number]]
        assert found["outcome_reason"] == "[/x]\x1b[2J"


@pytest.mark.parametrize("trajectory_id", ODD_IDS)
def test_whatever_an_id_is_its_run_can_be_shown(trajectory_id: str, left: str) -> None:
    for options in ((), ("--whole",)):
        done = invoke("show", trajectory_id, *options, "--clickhouse", left)
        assert done.exit_code == 0, done.exception
        assert not {"\x1b", "\x9b", "\x07", "\u202e"} & set(done.stdout)


def test_a_trajectory_of_ten_thousand_steps_is_whole_and_what_is_beyond_the_limit_a_letter(left: str) -> None:
    with connect(left) as client:
        rows = client.query(
            "SELECT position, content FROM steps WHERE trajectory_id = 'long' ORDER BY position"
        ).result_rows
        over = client.query("SELECT count() FROM dead_letters WHERE reason = 'over_limit'").result_rows[0][0]
    assert [position for position, _ in rows] == list(range(LIMIT))
    assert len({content for _, content in rows}) == LIMIT
    assert over == LONG - LIMIT


def test_rubbish_lies_among_the_dead_letters_byte_for_byte(left: str) -> None:
    with connect(left) as client:
        rows = client.query(
            "SELECT value FROM dead_letters WHERE reason != 'over_limit'", column_formats={"value": "bytes"}
        ).result_rows
    assert sorted(value for (value,) in rows) == sorted(line.encode() for line in RUBBISH)


def test_an_outcome_without_steps_is_kept_by_itself(left: str) -> None:
    with connect(left) as client:
        lone = client.query("SELECT result FROM outcomes WHERE trajectory_id = 'lone'").result_rows
    assert lone == [("failure",)]
    assert isinstance(invoke("show", "lone", "--clickhouse", left).exception, AgentracerError)


def test_a_store_that_another_process_has_is_one_sentence_and_it_goes_on(odd: Odd, left: str) -> None:
    done = agentracer("run", str(odd.file), "--store", str(odd.store))
    assert_one_sentence(done, 3, str(odd.store), "is open in another process")
    with connect(left) as client:
        assert len(step_ids(client, ["long"])) == LIMIT


def test_the_same_file_into_the_same_store_adds_nothing(odd: Odd, left: str) -> None:
    assert (odd.report["added"], odd.again["added"]) == (2 * len(ODD_IDS) + LONG, 0)
    same = KEYS - {"added", "seconds"}
    assert {name: odd.again[name] for name in same} == {name: odd.report[name] for name in same}
    with connect(left) as client:
        assert {view: count.duplicates for view, count in counts(client).items() if count.duplicates} == {}


# ---- files and arguments that can't be meant ----


@pytest.mark.parametrize(
    ("content", "words"),
    [(b"", "is empty"), (b"\n \n", "no line of it names"), (b"rubbish\n\x00\n[1]\n", "no line of it names")],
    ids=["empty", "blank", "rubbish"],
)
def test_a_file_without_runs_is_one_sentence(content: bytes, words: str, tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_bytes(content)
    assert_one_sentence(agentracer("run", str(file), "--json"), 2, "runs.jsonl", words)


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--tracer", "oracle"), "oracle"),
        (("--rules", "/nowhere/rules.toml"), "/nowhere/rules.toml"),
        (("--out", "/nowhere/out"), "/nowhere/out"),
        (("--kind", "tau-bench"), "runs.jsonl"),
    ],
)
def test_what_is_wrong_is_said_before_anything_starts(options: tuple[str, ...], word: str, tmp_path: Path) -> None:
    file = tmp_path / "runs.jsonl"
    file.write_text('{"trajectory_id": "t", "agent": "a"}\n')
    started = time.monotonic()
    error = invoke("run", str(file), *options).exception
    assert isinstance(error, SettingsError)
    assert word in str(error)
    assert time.monotonic() - started < 2


# ---- on a pipeline of these tests' own ----


@pytest.fixture(scope="module")
def pipeline() -> Iterator[Pipeline]:
    """One pipeline, its workers at work; the last of these tests takes its broker away."""
    with Pipeline(Where(), settings=FAST) as pipeline:
        send_and_follow(pipeline, events(failed("first")), Sending(), Ledger(), lambda _: None)
        yield pipeline


@pytest.fixture
def client(pipeline: Pipeline) -> Iterator[Client]:
    with connect(pipeline.clickhouse) as client:
        yield client


def events(*runs: RecordedRun) -> Iterator[Outgoing]:
    return plan(runs, rng=random.Random(1))


def failed(trajectory_id: str, steps: int = 2) -> RecordedRun:
    own = [step(trajectory_id, index) for index in range(steps - 1)]
    own.append(step(trajectory_id, steps - 1, final=True, outcome=outcome()))
    return RecordedRun(trajectory_id, tuple(map(recorded, own)))


def test_an_outcome_that_comes_after_its_run_was_published_is_waited_for(pipeline: Pipeline, client: Client) -> None:
    run = RecordedRun("late", (recorded(step("late", final=True)), recorded(outcome_event("late"))))
    ledger, seen = Ledger(), list[Counts]()
    pause = Sending(rate=0.3)  # longer than the grace in which an outcome is waited for
    progress = send_and_follow(pipeline, events(run), pause, ledger, seen.append)
    assert any(one.trajectories == 1 and one.traced == 0 for one in seen), "it was published without"
    (state,) = progress.runs
    assert (state.revision, state.result, state.status) == (2, "failure", "attributed")
    total = report(ledger, progress, 1.0)
    assert (total.failed, total.verdicts, total.lost) == (1, 1, 0)
    (verdict,) = standing(client, progress)
    assert (verdict.trajectory_id, verdict.revision) == ("late", 2)


def test_sending_slowly_is_not_standing_still(pipeline: Pipeline) -> None:
    progress = send_and_follow(
        pipeline, events(failed("slow", 3)), Sending(rate=1.5), Ledger(), lambda _: None, stalled_s=0.5
    )
    assert progress.is_done


def test_when_nothing_moves_it_says_what_is_missing_and_what_each_role_said_last(pipeline: Pipeline) -> None:
    tracer = pipeline.workers[Role.TRACER].process
    tracer.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(AgentracerError) as error:
            send_and_follow(pipeline, events(failed("stuck")), Sending(), Ledger(), lambda _: None, stalled_s=1.5)
    finally:
        tracer.send_signal(signal.SIGCONT)
    assert "nothing moved for 2 s: 0 events are missing (none) and 1 verdicts" in str(error.value)
    for role in Role:
        assert f"{role}: {{" in str(error.value)


def test_a_run_that_was_stuck_can_be_followed_to_its_end(pipeline: Pipeline) -> None:
    ledger = Ledger(steps=dict.fromkeys((("stuck", "stuck-0"), ("stuck", "stuck-1")), 0))
    assert send_and_follow(pipeline, iter(()), Sending(), ledger, lambda _: None).verdicts == 1


def test_what_the_broker_will_not_take_is_in_the_ledger_and_the_rest_arrives(pipeline: Pipeline) -> None:
    huge = recorded(step("huge", 0, content="x" * 25_000_000))
    ledger = Ledger()
    runs = (RecordedRun("huge", (huge,)), failed("beside"))
    progress = send_and_follow(pipeline, events(*runs), Sending(), ledger, lambda _: None)
    assert [one.event_id for one in ledger.refused] == ["huge-0"]
    assert (progress.stored, progress.verdicts, progress.is_done) == (2, 1, True)


def test_an_error_in_the_block_ends_the_sending_at_once(pipeline: Pipeline) -> None:
    def give_up(seen: Counts) -> None:
        if seen.sent:
            raise KeyboardInterrupt

    started, ledger = time.monotonic(), Ledger()
    with pytest.raises(KeyboardInterrupt):
        send_and_follow(pipeline, events(failed("cut", 100)), Sending(rate=1), ledger, give_up)
    assert time.monotonic() - started < 10
    assert 0 < ledger.acknowledged < 20


def test_what_can_not_be_sent_is_raised(pipeline: Pipeline) -> None:
    def broken() -> Iterator[Outgoing]:
        yield from events(RecordedRun("broken", (RecordedEvent(b"", None),)))
        raise SettingsError("the file changed while it was read")

    with pytest.raises(SettingsError, match="the file changed"):
        send_and_follow(pipeline, broken(), Sending(), Ledger(), lambda _: None)


def test_a_worker_that_dies_is_named_though_there_is_still_something_to_send(pipeline: Pipeline) -> None:
    sink = pipeline.workers[Role.SINK]

    def kill(seen: Counts) -> None:
        if seen.sent:
            sink.process.kill()

    with pytest.raises(AgentracerError, match=r"the sink worker ended with -9; it said: \{"):
        send_and_follow(pipeline, events(failed("cut-again", 100)), Sending(rate=2), Ledger(), kill)
    sink.restart()
    pipeline.check()


def test_a_broker_that_dies_is_named_though_there_is_still_something_to_send(pipeline: Pipeline) -> None:
    (broker,) = (one for one in below(os.getpid()) if f"tcp://{pipeline.bootstrap}" in one.command)

    def kill(seen: Counts) -> None:
        if seen.sent and broker.is_running:
            os.kill(broker.pid, signal.SIGKILL)

    started = time.monotonic()
    with pytest.raises(BrokerUnavailableError, match="the embedded broker ended by itself"):
        send_and_follow(pipeline, events(failed("cut-short", 100)), Sending(rate=2), Ledger(), kill)
    assert time.monotonic() - started < 20


# ---- as a process ----


@pytest.fixture
def many(tmp_path: Path) -> str:
    """A file that takes long at the rate at which it is sent."""
    lines = (
        {"trajectory_id": f"run-{number // 2}", "agent": "a", "content": f"step {number}"} for number in range(5_000)
    )
    file = tmp_path / "many.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(file)


def test_ctrl_c_in_the_middle_ends_everything_soon(many: str, tmp_path: Path) -> None:
    with Running("run", many, "--json", "--rate", "100", folder=tmp_path, TMPDIR=str(tmp_path)) as running:
        running.wait_until_sent(20)
        children = running.children()
        assert running.end(signal.SIGINT, within_s=20) == 130
        assert soon(lambda: not any(one.is_running for one in children))
    assert running.printed == ""
    assert "Traceback" not in running.said
    assert list(tmp_path.glob("store-*")) == []


def test_a_store_that_dies_in_the_middle_is_named_with_what_it_said(many: str, tmp_path: Path) -> None:
    with Running("run", many, "--json", "--rate", "100", folder=tmp_path) as running:
        running.wait_until_sent(20)
        children = running.children()
        os.kill(running.child("ops.embedded.endpoint").pid, signal.SIGKILL)
        assert running.process.wait(30) == 3
        assert soon(lambda: not any(one.is_running for one in children))
    assert running.said.startswith("agentracer: the embedded store ended by itself; it said: listening on")
    assert running.printed == ""


def test_where_up_works_already_it_says_what_to_use(up: Up, many: str, store_url: str) -> None:
    done = agentracer("run", many, "--broker", up.broker, "--clickhouse", f"{store_url}/beside_up", "--json")
    assert_one_sentence(done, 2, up.broker, "`agentracer send` is what to use")
