"""Sizes that a partition meets: what is held is right, and nothing is done once for every pair."""

import sys
from collections.abc import Callable
from datetime import timedelta
from random import Random

from schemas import CloseReason, DeadLetterReason, StepEvent
from schemas.topics import MB
from streams.checkpoint import due
from streams.held import hold
from streams.limits import Limits
from streams.order import in_order, missing_indices
from tests.factories import START, outcome_event, raw, step
from tests.streams.broker import Worker

MANY = 100_000
CALLS_A_STEP = 25


def calls(work: Callable[[], object]) -> int:
    """Count the function calls that some work takes: the same on every machine."""
    count = 0

    def called(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(called)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def values(trajectory_id: str, index: int, *, final: bool = False) -> bytes:
    """Return a step's bytes without building the model."""
    template = raw(step("TRAJECTORY", 7, event_id="EVENT", final=final))
    return (
        template.replace(b"TRAJECTORY", trajectory_id.encode())
        .replace(b"EVENT", b"%d" % index)
        .replace(b'"step_index":7', b'"step_index":%d' % index)
    )


def test_a_hundred_thousand_interleaved_trajectories_are_held_restored_and_closed() -> None:
    first, last = values("ID", 0), values("ID", 1, final=True)
    ids = [f"t{number}" for number in range(MANY)]
    work = Worker()
    work.send(*(first.replace(b"ID", one.encode()) for one in ids))
    assert work.checkpoint() == []
    assert len(work.assembler.open) == MANY
    work.kill()
    assert len(work.assembler.open) == MANY
    Random(7).shuffle(ids)
    work.send(*(last.replace(b"ID", one.encode()) for one in ids[: MANY // 10]))
    checkpoint = work.collect()
    assert [len(one.marker.entries) for one, _ in checkpoint.closed] == [24] * (MANY // 10)
    assert len(work.assembler.open) == len(work.assembler.by_age) == MANY - MANY // 10
    assert work.assembler.soon == {}


def test_quiet_checkpoints_of_a_hundred_thousand_open_trajectories_do_not_look_at_all_of_them() -> None:
    first = values("ID", 0)
    work = Worker()
    work.send(*(first.replace(b"ID", b"t%d" % number) for number in range(MANY)))
    work.checkpoint()
    assert calls(lambda: due(work.assembler)) < 100
    assert calls(work.collect) < 1_000


def test_a_partition_that_is_overfull_closes_the_longest_quiet_by_one_checkpoint() -> None:
    first = values("ID", 0)
    work = Worker(limits=Limits(max_open=1_000))
    work.send(*(first.replace(b"ID", b"t%d" % number) for number in range(20_000)))
    closing = due(work.assembler)
    assert [one.trajectory.trajectory_id for one in closing] == [f"t{number}" for number in range(19_000)]
    assert {one.reason for one in closing} == {CloseReason.MEMORY}


def test_a_trajectory_of_ten_thousand_steps_is_published_whole_and_revised() -> None:
    indices = list(range(10_000))
    Random(7).shuffle(indices)
    work = Worker()
    for start in range(0, 10_000, 100):
        work.send(*(values("t1", index, final=index == 9_999) for index in indices[start : start + 100]))
        if start < 9_900:
            work.checkpoint()
    work.kill()
    work.read()
    (one,) = work.checkpoint()
    assert [event.step_index for event in one.steps] == list(range(10_000))
    assert (one.close_reason, one.gap_count) == (CloseReason.COMPLETED, 0)
    work.send(outcome_event())
    (second,) = work.closed(2_000)
    assert (second.steps, second.revision) == (one.steps, 2)
    assert len(work.broker.state_keys()) == 2


def test_ten_thousand_late_duplicates_of_a_trajectory_of_ten_thousand_steps_change_nothing() -> None:
    work = Worker()
    sent = [values("t1", index, final=index == 9_999) for index in range(10_000)]
    work.send(*sent)
    assert len(work.checkpoint()) == 1
    work.send(*sent, values("t1", 10_000))
    assert work.closed(2_000) == []
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 20_000, 0)]


def test_a_trajectory_of_sixteen_megabytes_is_published_and_the_step_beyond_is_a_dead_letter() -> None:
    big = [step(index=index, content="x" * MB) for index in range(16)]
    work = Worker()
    work.send(*big)
    (one,) = work.checkpoint()
    assert (one.close_reason, one.steps) == (CloseReason.TOO_LONG, tuple(big[:15]))
    assert work.letters() == [(DeadLetterReason.OVER_LIMIT, 15, 0)]
    assert work.topics.dead_letters[0].value == raw(big[15])
    work.send(outcome_event())
    (second,) = work.closed(2_000)
    assert (second.close_reason, second.steps, second.outcome) == (
        CloseReason.TOO_LONG,
        one.steps,
        outcome_event().outcome,
    )
    assert work.broker.state_bytes() < 1_000


def test_segments_of_a_large_trajectory_add_up_to_its_size() -> None:
    work, sent = Worker(), 0
    for index in range(150):
        one = step(index=index, content="x" * 100_000)
        sent += len(raw(one))
        work.send(one, after_ms=1_000)
        work.checkpoint()
    assert sent <= work.broker.state_bytes() <= 1.01 * sent
    work.kill()
    assert work.assembler.open_bytes == sent


def steps(count: int, **parents: str) -> list[StepEvent]:
    base = step(index=None)
    return [
        base.model_copy(
            update={
                "event_id": f"e{number}",
                "started_at": START + timedelta(milliseconds=count - number),
                "parent_id": parents.get(f"e{number}"),
            }
        )
        for number in range(count)
    ]


def test_ten_thousand_steps_without_any_sequence_go_by_their_start() -> None:
    held = [hold(one, b"") for one in steps(10_000)]
    ordered = in_order(held)
    assert calls(lambda: in_order(held)) < CALLS_A_STEP * len(held)
    assert [one.event_id for one in ordered] == [f"e{number}" for number in reversed(range(10_000))]


def test_a_chain_of_ten_thousand_parents_is_followed_against_the_clocks() -> None:
    chain = {f"e{number}": f"e{number - 1}" for number in range(1, 10_000)}
    held = [hold(one, b"") for one in steps(10_000, **chain)]
    ordered = in_order(held)
    assert calls(lambda: in_order(held)) < CALLS_A_STEP * len(held)
    assert [one.event_id for one in ordered] == [f"e{number}" for number in range(10_000)]


def test_five_thousand_circles_of_parents_are_cut_one_by_one() -> None:
    pairs = {f"e{number}": f"e{number ^ 1}" for number in range(10_000)}
    held = [hold(one, b"") for one in steps(10_000, **pairs)]
    ordered = in_order(held)
    assert calls(lambda: in_order(held)) < CALLS_A_STEP * len(held)
    assert [one.event_id for one in ordered] == [f"e{number}" for number in reversed(range(10_000))]


def test_one_circle_of_ten_thousand_parents_starts_with_the_earliest() -> None:
    circle = {f"e{number}": f"e{(number + 1) % 10_000}" for number in range(10_000)}
    held = [hold(one, b"") for one in steps(10_000, **circle)]
    ordered = in_order(held)
    assert calls(lambda: in_order(held)) < CALLS_A_STEP * len(held)
    assert [one.event_id for one in ordered] == [f"e{number}" for number in reversed(range(10_000))]


def test_two_thousand_million_missing_indices_are_not_gone_through() -> None:
    held = [hold(step(index=index, event_id=f"e{index}"), b"") for index in (0, 2**31 - 1)]
    named, count = missing_indices(held, 100)
    assert calls(lambda: missing_indices(held, 100)) < 1_000
    assert (named, count) == (tuple(range(1, 101)), 2**31 - 2)
