"""What must hold of the real assembler: it holds what the model holds, and of what was sent nothing is lost."""

from collections import Counter
from datetime import datetime
from functools import cache

from schemas import Trajectory
from schemas.wire import BadLine, Line, is_ndjson, read_line, read_record
from streams.assemble import Assembler
from streams.home import home_partition
from streams.relay import FORWARDED, told
from streams.state import SOURCE_KEY
from tests.streams.broker import Headers, ListBroker, Worker
from tests.streams.model import Model, Run, right_order


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
    lines = [(record, line) for record in worker.topics.steps for line in lines_of(record.value, record.headers)]
    letters = {(one.offset, one.line): one.value for one in worker.topics.dead_letters}
    assert len(letters) == len(worker.topics.dead_letters)
    outcomes = {_says(value) for _, value in worker.topics.outcomes}
    sent: Counter[str] = Counter()
    for record, line in lines:
        if (record.offset, line.number) in letters:
            assert letters[record.offset, line.number] == line.raw
            continue
        assert isinstance(line, Line)
        if home_partition(line.event.trajectory_id, len(worker.broker.topics)) != worker.partition:
            continue
        text = line.event.model_dump_json()
        sent[text] += 1
        assert text in steps or text in outcomes
    assert all(count <= sent[text] for text, count in steps.items())


def check_forwards(broker: ListBroker) -> None:
    """What was sent to another partition than its home came home once, whatever was killed."""
    strayed: Counter[bytes] = Counter()
    forwarded: Counter[bytes] = Counter()
    for partition, topics in enumerate(broker.topics):
        letters = {(one.offset, one.line) for one in topics.dead_letters}
        for record in topics.steps:
            for line in lines_of(record.value, record.headers):
                if any(name == FORWARDED for name, _ in record.headers):
                    forwarded[line.raw or b""] += 1
                elif (record.offset, line.number) not in letters and isinstance(line, Line):
                    home = home_partition(line.event.trajectory_id, len(broker.topics))
                    strayed[line.raw] += home != partition
    assert +strayed == +forwarded


def _says(value: bytes) -> str:
    line = read_line(value)
    assert isinstance(line, Line)
    return line.event.model_dump_json()


@cache
def lines_of(value: bytes | None, headers: Headers) -> list[Line | BadLine]:
    if told(headers) is not None and not value:
        return []
    return read_record(value, ndjson=is_ndjson(headers))
