"""The real assembler against the plain model, through any order of events, time, checkpoints and kills.

`AGENTRACER_DEEP=1` makes the search long.
"""

import os
import sys

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from schemas import CloseReason, PipelineEventKind, Trajectory
from schemas.wire import BadLine, Line, read_line
from streams.assemble import Assembler
from streams.checkpoint import Checkpoint, collect, committed, due, restore
from streams.home import home_partition
from streams.limits import Limits
from streams.state import read_state
from tests.streams.audit import check_everything_left, check_forwards, check_nothing_was_lost, check_same, lines_of
from tests.streams.broker import BATCH, ListBroker, Worker
from tests.streams.model import Letter, Model, Revision, Run, Written
from tests.streams.sent import IDS, PLAIN, SENT

PARTITIONS = 2
DEEP = bool(os.environ.get("AGENTRACER_DEEP"))


NAMES = st.sampled_from(PLAIN) | st.sampled_from(PLAIN) | st.sampled_from(list(SENT))
WHILES = st.sampled_from((0, 1, 400, 1_000, 2_500, 11_000, 70_000))
WHERE = st.integers(0, PARTITIONS - 1)
LATE = st.sampled_from((None, None, "e4", "e6", "o1", "o3"))
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

    @rule(partition=WHERE, before=FEW, meanwhile=FEW, straggler=LATE, stands=st.sampled_from((True, True, True, False)))
    def checkpoint(
        self, partition: int, before: int = 0, meanwhile: int = 0, straggler: str | None = None, *, stands: bool = True
    ) -> None:
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
        for one, _ in checkpoint.closed[:1] if straggler else ():
            self.send([f"{one.trajectory_id}/{straggler}"], 0)
            meanwhile = 1_000
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

    @rule(partition=WHERE, elapsed_ms=st.sampled_from((3_000, 3_000, 12_000, 70_000)), straggler=LATE)
    def settle(self, partition: int, elapsed_ms: int, straggler: str | None) -> None:
        self.nothing_comes(partition, elapsed_ms)
        self.checkpoint(partition, straggler=straggler)

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
        idle = [
            run for run, reason in decided if reason is CloseReason.IDLE and (run.steps(run.new) or not run.revision)
        ]
        for run in idle:
            for record in worker.topics.steps[worker.position :]:
                if any(_goes_on(run, line) for line in lines_of(record.value, record.headers)):
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


def _goes_on(run: Run, line: Line | BadLine) -> bool:
    if isinstance(line, BadLine) or line.event.trajectory_id != run.trajectory_id:
        return False
    return line.event.event_id not in {"old", "new", *(held.event.event_id for held in run.lines)}


@pytest.mark.timeout(3_600 if DEEP else 300)
class TestAssembler(AssemblerMachine.TestCase):  # type: ignore[misc,valid-type]  # made by Hypothesis
    settings = settings(
        max_examples=10_000 if DEEP else 400,
        stateful_step_count=60 if DEEP else 40,
        deadline=None,
        phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
        report_multiple_bugs=False,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
