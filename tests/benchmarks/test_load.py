"""What the benchmarks send is what they say that they send."""

from collections import defaultdict
from itertools import islice

import pytest

from benchmarks.load import Late, Sent, fails, interleaved, up_to
from schemas import OutcomeEvent, StepEvent
from schemas.wire import Line, read_record


def _events(records: list[Sent]) -> list[StepEvent | OutcomeEvent]:
    found = []
    for record in records:
        lines = read_record(record.value, ndjson=record.events > 1)
        assert all(isinstance(line, Line) for line in lines), "everything sent is an event"
        found += [line.event for line in lines if isinstance(line, Line)]
    return found


def test_every_run_is_whole_and_in_order_and_has_one_outcome() -> None:
    by_run = defaultdict(list)
    for event in _events(list(interleaved(10, 8, runs=30))):
        by_run[event.trajectory_id].append(event)
    assert len(by_run) == 30
    for trajectory_id, events in by_run.items():
        steps = [event for event in events if isinstance(event, StepEvent)]
        assert [step.step_index for step in steps] == list(range(8))
        assert [step.final for step in steps] == [False] * 7 + [True]
        results = [event.outcome.result for event in events if event.outcome is not None]
        assert results == ["failure" if fails(trajectory_id) else "success"]


def test_as_many_runs_are_open_at_any_time_as_were_asked_for() -> None:
    opened: set[str] = set()
    counts = []
    for event in _events(list(islice(interleaved(10, 8), 400))):
        assert isinstance(event, StepEvent)
        opened.add(event.trajectory_id)
        if event.final:
            opened.discard(event.trajectory_id)
        counts.append(len(opened))
    assert set(counts[100:]) <= {9, 10}


def test_a_record_of_many_holds_consecutive_steps_of_one_run() -> None:
    records = list(interleaved(6, 20, 5, runs=12))
    assert {record.events for record in records} == {5}
    for record in records:
        steps = _events([record])
        assert len({step.trajectory_id for step in steps}) == 1
        indices = [step.step_index for step in steps if isinstance(step, StepEvent)]
        assert indices == list(range(indices[0] or 0, (indices[0] or 0) + 5))


def test_a_late_outcome_comes_alone_and_long_after_the_end_of_its_run() -> None:
    ended: dict[str, int] = {}
    gaps = []
    for at, event in enumerate(_events(list(up_to(interleaved(10, 8, late=Late(40, 20)), 2_000)))):
        if isinstance(event, OutcomeEvent):
            gaps.append(at - ended[event.trajectory_id])
        elif event.final and event.outcome is None:
            ended[event.trajectory_id] = at
    assert len(gaps) > 50
    assert min(gaps) >= 40
    assert max(gaps) <= 65, "a few come at once where several are due"


def test_half_of_the_outcomes_are_late_and_none_is_left_out() -> None:
    records = list(interleaved(10, 8, late=Late(40, 20), runs=40))
    alone = sum(record.is_outcome for record in records)
    assert alone == sum(record.owes_outcome for record in records) == 20


def test_a_number_of_events_that_ends_inside_a_record_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple"):
        list(up_to(interleaved(6, 20, 5), 12))
