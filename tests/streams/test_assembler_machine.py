"""The real assembler against the plain model, through any order of events, time, checkpoints and kills.

`AGENTRACER_DEEP=1` makes the search long.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from random import Random

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from schemas import CloseReason, Event, OutcomeEvent, PipelineEventKind, Result, StepEvent, Trajectory
from schemas.wire import BadLine, Line, is_ndjson, read_line, read_record
from streams.assemble import FORWARDED, Assembler
from streams.checkpoint import Checkpoint, collect, committed, due, restore
from streams.home import home_partition
from streams.limits import Limits
from streams.state import SOURCE_KEY, read_state
from tests.factories import START, outcome, outcome_event, raw, step
from tests.streams.broker import BATCH, Headers, ListBroker, Worker
from tests.streams.model import Letter, Model, Revision, Run, Written, right_order

PARTITIONS = 2
IDS = ("alpha", "epsilon", "beta", "zeta")
DEEP = bool(os.environ.get("AGENTRACER_DEEP"))


def _steps(trajectory_id: str, number: int) -> Iterator[StepEvent]:
    """Yield a step, and another that claims its id."""
    random = Random(f"{trajectory_id}/{number}")
    how = IDS.index(trajectory_id)
    indexed = how == 0 or (how > 1 and random.random() < 0.5)
    for content in ("as it was", "as it was not"):
        yield step(
            trajectory_id,
            number if indexed else None,
            event_id=f"e{number}",
            agent=f"agent-{number % 2}",
            content=content * random.choice((1, 1, 1, 30)),
            parent_id=None if random.random() < 0.4 else f"e{random.randrange(7)}",
            started_at=START + timedelta(seconds=random.randrange(4)),
            final=number == 3 and how < 3,
            error_type="timeout" if number % 3 == 2 else None,
            outcome=outcome(Result.UNKNOWN, score=0.5) if number == 4 else None,
            task="mend the shop" if number == 5 else None,
        )


def _outcomes(trajectory_id: str, number: int) -> Iterator[OutcomeEvent]:
    for result in (Result.FAILURE, Result.SUCCESS):
        yield outcome_event(
            trajectory_id,
            result,
            event_id=f"o{number}",
            at=START + timedelta(seconds=(0, 2, 2, 3600)[number]),
            final=number > 1,
            step_count=(None, None, None, 3)[number],
            task="sell the shop" if number == 1 else None,
        )


def _named() -> Iterator[tuple[str, bytes]]:
    """Yield every event that is sent, by a name: its trajectory, its id, and whether it is another or written anew."""
    for trajectory_id in IDS:
        for number in range(7):
            yield from _ways(f"{trajectory_id}/e{number}", _steps(trajectory_id, number))
        for number in range(4):
            yield from _ways(f"{trajectory_id}/o{number}", _outcomes(trajectory_id, number))
    yield "not json", b"{not json"
    yield "invalid", b'{"kind":"outcome"}'
    yield "not utf-8", b"\xff"
    yield "1970", raw(step("alpha", 1, event_id="old", started_at=datetime(1970, 1, 1, tzinfo=UTC)))
    yield "2099", raw(step("beta", 1, event_id="new", ended_at=datetime(2099, 1, 1, tzinfo=UTC)))


def _ways(name: str, events: Iterable[Event]) -> Iterator[tuple[str, bytes]]:
    for which, event in zip(("", " other"), events, strict=True):
        yield name + which, raw(event)
        yield f"{name}{which} anew", json.dumps(json.loads(raw(event)), sort_keys=True).encode()


SENT = dict(_named())
PLAIN = [name for name in SENT if "/" in name and " " not in name]
NAMES = st.sampled_from(PLAIN) | st.sampled_from(PLAIN) | st.sampled_from(list(SENT))
WHILES = st.sampled_from((0, 1, 400, 1_000, 2_500, 11_000, 70_000))
WHERE = st.integers(0, PARTITIONS - 1)
FEW = st.integers(0, 3)
LAST = st.sampled_from((None, "o0", "o2", "o3"))
USUAL = Limits(idle_ms=10_000, grace_ms=2_000, late_window_ms=60_000, max_age_ms=1_000_000)
LIMITS = st.sampled_from(
    [
        USUAL,
        USUAL.model_copy(update={"max_gap_ms": 5_000, "late_window_ms": 3_000}),
        USUAL.model_copy(update={"grace_ms": 0, "late_window_ms": 0, "max_age_ms": 15_000}),
        USUAL.model_copy(update={"max_steps": 4, "max_marker_bytes": 700}),
        USUAL.model_copy(update={"max_bytes": 900, "max_marker_bytes": 0}),
        USUAL.model_copy(update={"max_open": 1}),
        USUAL.model_copy(update={"max_open_bytes": 1_300}),
    ]
)


class AssemblerMachine(RuleBasedStateMachine):
    """Two partitions, each with a worker, the model of it, and the model at the checkpoint that stands."""

    def __init__(self) -> None:
        super().__init__()
        self.broker = ListBroker(PARTITIONS)
        self.limits = Limits()
        self.workers: list[Worker] = []
        self.models: list[Model] = []
        self.stands: list[Model] = []

    @initialize(limits=LIMITS)
    def start(self, limits: Limits) -> None:
        self.limits = limits
        self.workers = [Worker(self.broker, one, limits=limits) for one in range(PARTITIONS)]
        self.models = [Model(one, PARTITIONS, limits) for one in range(PARTITIONS)]
        self.stands = [model.restored() for model in self.models]

    # what happens

    @rule(names=st.lists(NAMES, min_size=1, max_size=4), elapsed_ms=WHILES)
    def send(self, names: list[str], elapsed_ms: int) -> None:
        self.broker.now_ms += elapsed_ms
        for name in names:
            value = SENT[name]
            line = read_line(value)
            home = home_partition(line.event.trajectory_id, PARTITIONS) if isinstance(line, Line) else 0
            self.broker.append(home, value)

    @rule(partition=WHERE, names=st.lists(NAMES, min_size=1, max_size=5), batched=st.booleans())
    def send_anywhere(self, partition: int, names: list[str], *, batched: bool) -> None:
        if batched:
            self.broker.append(partition, b"\n".join(SENT[name] for name in names), BATCH)
        else:
            for name in names:
                self.broker.append(partition, SENT[name])

    @rule(trajectory_id=st.sampled_from(IDS), numbers=st.permutations(range(4)), most=st.integers(1, 4), then=LAST)
    def send_a_run(self, trajectory_id: str, numbers: list[int], most: int, then: str | None) -> None:
        names = [f"{trajectory_id}/e{number}" for number in numbers[:most]]
        self.send([*names, f"{trajectory_id}/{then}"] if then else names, 0)

    @rule(which=st.integers(0, 3), late=st.sampled_from(("e4", "e5", "e6", "o0", "o1", "o2", "o3")), elapsed_ms=WHILES)
    def send_late(self, which: int, late: str, elapsed_ms: int) -> None:
        """Send something of one that is closed, if one is."""
        closed = [run.trajectory_id for model in self.models for run in model.closed]
        if closed:
            self.send([f"{closed[which % len(closed)]}/{late}"], elapsed_ms)

    @rule(partition=WHERE, elapsed_ms=WHILES)
    def nothing_comes(self, partition: int, elapsed_ms: int) -> None:
        self.read(partition)
        self.broker.now_ms += elapsed_ms
        for _ in range(1 + elapsed_ms // 500):
            passed = min(500, elapsed_ms)
            self.workers[partition].assembler.passed(passed)
            self.models[partition].passed(passed)

    @rule(partition=WHERE, most=st.integers(1, 6))
    def read(self, partition: int, most: int = 1_000_000) -> None:
        worker = self.workers[partition]
        for record in worker.topics.steps[worker.position :][:most]:
            self.models[partition].fold(record)
        worker.read(most)

    @rule(partition=WHERE, before=FEW, meanwhile=FEW, stands=st.sampled_from((True, True, True, False)))
    def checkpoint(self, partition: int, before: int = 0, meanwhile: int = 0, *, stands: bool = True) -> None:
        """Fold on while content is read back, and while the transaction is under way; lose it, or have it stand."""
        worker, model = self.workers[partition], self.models[partition]
        if worker.assembler.next_offset is None:
            return
        closing, decided = due(worker.assembler), model.decide()
        assert {(one.trajectory.trajectory_id, one.reason) for one in closing} == {
            (run.trajectory_id, reason) for run, reason in decided
        }
        self.check_nothing_is_cut_off(partition, decided)
        bases = worker.bases(closing)
        self.read(partition, before)
        checkpoint, written = collect(worker.assembler, closing, bases, worker.rules), model.take(decided)
        after = model.restored()
        self.read(partition, meanwhile)
        if stands:
            self.commit(partition, checkpoint, written, after)
        else:
            self.kill(partition)

    def commit(self, partition: int, checkpoint: Checkpoint, written: Written, after: Model) -> None:
        worker = self.workers[partition]
        self.check_outputs(checkpoint, written)
        places = self.broker.commit(partition, checkpoint)
        for (one, _), place in zip(checkpoint.closed, places, strict=True):
            for model in (after, self.models[partition]):
                model.placed({(one.trajectory_id, one.facts.opened_ms): place})
        self.stands[partition] = after
        again = Assembler(partition, PARTITIONS, self.limits)
        restore(again, read_state(worker.topics.state))
        check_same(again, after)
        committed(worker.assembler, checkpoint, places)

    @rule(partition=WHERE, elapsed_ms=st.sampled_from((3_000, 3_000, 12_000, 70_000)), meanwhile=FEW)
    def settle(self, partition: int, elapsed_ms: int, meanwhile: int) -> None:
        self.nothing_comes(partition, elapsed_ms)
        self.checkpoint(partition, meanwhile, meanwhile)

    @rule(partition=WHERE, redelivered=FEW, cleaned=st.sampled_from(("no", "yes", "but for tombstones")))
    def kill(self, partition: int, redelivered: int = 0, cleaned: str = "no") -> None:
        if cleaned != "no":
            self.broker.compact(partition, tombstones=cleaned != "yes")
        self.workers[partition].kill(redelivered)
        self.models[partition] = self.stands[partition].restored()

    # what holds

    @invariant()
    def both_hold_the_same(self) -> None:
        for worker, model in zip(self.workers, self.models, strict=True):
            check_same(worker.assembler, model)

    def check_outputs(self, checkpoint: Checkpoint, written: Written) -> None:
        assert sorted(_plain(one.value()) for one, _ in checkpoint.closed) == sorted(
            _of_model(one) for one in written.revisions
        )
        letters: list[Letter] = [(one.reason, one.offset, one.line, one.value) for one in checkpoint.dead_letters]
        assert letters == written.letters
        assert [(one.partition, one.raw) for one in checkpoint.forwards] == written.forwards
        assert [value for _, value in checkpoint.outcomes] == written.outcomes
        reported = {one.kind: one.count for one in checkpoint.reports}
        expected = {
            PipelineEventKind.MARKERS_EVICTED: written.evicted,
            PipelineEventKind.MEMORY_CLOSED: written.memory_closed,
        }
        assert reported == {kind: count for kind, count in expected.items() if count}

    def check_nothing_is_cut_off(self, partition: int, decided: list[tuple[Run, CloseReason]]) -> None:
        """What falls idle is not gone on with in the unread log, but after an idle gap."""
        worker = self.workers[partition]
        for run, reason in decided:
            for record in worker.topics.steps[worker.position :] if reason is CloseReason.IDLE else ():
                if any(_goes_on(run, line) for line in _lines(record.value, record.headers)):
                    assert record.append_ms - run.last_append_ms >= self.limits.idle_ms
                    break

    def teardown(self) -> None:
        """Let everything close, and every late window end; then look at what is there."""
        if not self.workers or sys.exc_info()[0] is not None:
            return
        for elapsed_ms in (0, 0, 3_000, 12_000, 12_000, 70_000):
            for partition in range(PARTITIONS):
                self.nothing_comes(partition, elapsed_ms)
                self.checkpoint(partition)
        for partition in range(PARTITIONS):
            self.checkpoint(partition)
            check_everything_left(self.workers[partition], self.broker)
            check_nothing_was_lost(self.workers[partition])
        check_forwards(self.broker)


def _plain(value: bytes) -> str:
    """Return a published revision as text that can be compared."""
    one = Trajectory.model_validate_json(value)
    steps = [step.model_dump_json() for step in one.steps]
    outcome = (one.outcome.model_dump_json(), one.outcome_at) if one.outcome is not None else None
    opened_ms, closed_ms = (round(time.timestamp() * 1000) for time in (one.opened_at, one.closed_at))
    first = one.steps[0]
    assert (one.system, one.tenant, one.key_source) == (first.system, first.tenant, first.key_source)
    assert one.gap_count == len(one.gaps)
    identity = (one.trajectory_id, opened_ms, one.revision)
    return repr((identity, one.close_reason, closed_ms, one.gaps, outcome, one.task, steps))


def _of_model(one: Revision) -> str:
    steps = [step.model_dump_json() for step in one.steps]
    event = one.outcome
    outcome = (event.outcome.model_dump_json(), event.time) if event is not None and event.outcome is not None else None
    missing = tuple(one.missing)
    identity = (one.trajectory_id, one.opened_ms, one.revision)
    return repr((identity, one.reason, one.closed_ms, missing, outcome, one.task, steps))


def check_same(assembler: Assembler, model: Model) -> None:
    """The assembler holds what the model holds, and its sums are the sums of what it holds."""
    runs = {run.trajectory_id: run for run in model.open}
    assert set(assembler.open) == set(runs)
    assert [assembler.open[one].last_ms for one in assembler.open] == sorted(run.quiet_since for run in model.open)
    for trajectory_id, run in runs.items():
        _check_same_run(assembler, trajectory_id, run)
    assert [
        (one.trajectory_id, one.opened_ms, one.closed_ms, one.revision, one.close_reason, one.events, one.size)
        for one in assembler.markers.values()
    ] == [
        (run.trajectory_id, run.opened_ms, run.closed_ms, run.revision, run.reason, run.taken, run.size)
        for run in model.closed
    ]
    assert (assembler.clock.time_ms, assembler.clock.watched_ms) == (model.time_ms, model.watched_ms)
    assert (assembler.next_offset or 0) == model.next_offset
    assert assembler.open_bytes == sum(run.room for run in model.open)
    assert assembler.marker_bytes == sum(run.marker_room for run in model.closed)


def _check_same_run(assembler: Assembler, trajectory_id: str, run: Run) -> None:
    one = assembler.open[trajectory_id]
    assert (one.opened_ms, one.last_ms) == (run.opened_ms, run.quiet_since)
    assert sorted([*(held.raw for held in one.steps.values()), *one.outcomes.values()]) == sorted(
        line.raw for line in run.new
    )
    assert (one.marker.revision if one.marker else 0) == run.revision
    assert one.ended == run.is_ended
    assert one.limit == run.limit
    assert (trajectory_id in assembler.by_age) == (run.revision == 0)


def check_everything_left(worker: Worker, broker: ListBroker) -> None:
    """When all is closed and no late event can come, the state holds the offset and nothing else."""
    assembler = worker.assembler
    assert not any((assembler.open, assembler.markers, assembler.dirty, assembler.soon, assembler.by_age))
    assert (assembler.open_bytes, assembler.marker_bytes) == (0, 0)
    assert worker.topics.state == [] or broker.state_keys(worker.partition) == {SOURCE_KEY}


def check_nothing_was_lost(worker: Worker) -> None:
    """Every event of the log is in a last revision, on `outcomes`, in the dead letters or under way, once."""
    last: dict[tuple[str, datetime], Trajectory] = {}
    for one in worker.published():
        before = last.get((one.trajectory_id, one.opened_at))
        assert one.revision == (1 if before is None else before.revision + 1)
        assert before is None or {repr(step) for step in before.steps} <= {repr(step) for step in one.steps}
        assert list(one.steps) == right_order(one.steps)
        last[one.trajectory_id, one.opened_at] = one
    steps = Counter(step.model_dump_json() for one in last.values() for step in one.steps)
    lines = [(record, line) for record in worker.topics.steps for line in _lines(record.value, record.headers)]
    letters = {(one.offset, one.line): one.value for one in worker.topics.dead_letters}
    assert len(letters) == len(worker.topics.dead_letters)
    outcomes = {value for _, value in worker.topics.outcomes}
    sent: Counter[str] = Counter()
    for record, line in lines:
        if (record.offset, line.number) in letters:
            assert letters[record.offset, line.number] == line.raw
            continue
        assert isinstance(line, Line)
        if home_partition(line.event.trajectory_id, PARTITIONS) != worker.partition:
            continue
        text = line.event.model_dump_json()
        sent[text] += 1
        assert text in steps or any(_says(value) == text for value in outcomes)
    assert all(count <= sent[text] for text, count in steps.items())


def check_forwards(broker: ListBroker) -> None:
    """What was sent to another partition than its home came home once, whatever was killed."""
    strayed: Counter[bytes] = Counter()
    forwarded: Counter[bytes] = Counter()
    for partition, topics in enumerate(broker.topics):
        letters = {(one.offset, one.line) for one in topics.dead_letters}
        for record in topics.steps:
            for line in _lines(record.value, record.headers):
                if any(name == FORWARDED for name, _ in record.headers):
                    forwarded[line.raw or b""] += 1
                elif (record.offset, line.number) not in letters and isinstance(line, Line):
                    home = home_partition(line.event.trajectory_id, PARTITIONS)
                    strayed[line.raw] += home != partition
    assert +strayed == +forwarded


def _says(value: bytes) -> str:
    line = read_line(value)
    assert isinstance(line, Line)
    return line.event.model_dump_json()


@cache
def _lines(value: bytes | None, headers: Headers) -> list[Line | BadLine]:
    return read_record(value, ndjson=is_ndjson(headers))


def _goes_on(run: Run, line: Line | BadLine) -> bool:
    if isinstance(line, BadLine) or line.event.trajectory_id != run.trajectory_id:
        return False
    return line.event.event_id not in {"old", "new", *(held.event.event_id for held in run.lines)}


@pytest.mark.timeout(3_600 if DEEP else 300)
class TestAssembler(AssemblerMachine.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis
    settings = settings(
        max_examples=5_000 if DEEP else 150,
        stateful_step_count=60 if DEEP else 40,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
