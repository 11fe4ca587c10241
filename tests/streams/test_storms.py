"""Revision storms: what they cost is counted in revisions, in content read back, and in trajectories to trace.

One burst makes one revision; what is further apart than the grace makes one each at most; what says nothing new makes
none. Content comes from the cache while it is there, else it is read back once a revision.
"""

import random
from datetime import timedelta

import pytest

from schemas import CloseReason, DeadLetterReason, OutcomeEvent, Result, Trajectory
from streams.marker import id_hash
from tests.factories import START, outcome, step
from tests.streams.storms import GRACE_MS, Storm, thumb, thumbs

COUNT = 50
RISING = range(1, COUNT + 1)
CACHES = pytest.mark.parametrize(("cache_bytes", "each"), [(32_000_000, 0), (0, 1)], ids=["cached", "uncached"])


async def _closed(storm: Storm, *, steps: int = 2, at_s: int = 0) -> Trajectory:
    """Send a failed run to its end; return its first revision."""
    await storm.send(thumb(0, at_s), *(step(index=index, final=index == steps - 1) for index in range(steps)))
    await storm.checkpoint()
    assert (storm.revisions, storm.traced, storm.read_backs) == (1, 1, 0)
    return _last(storm)


def _last(storm: Storm) -> Trajectory:
    return Trajectory.model_validate_json(storm.topics.trajectories[-1])


def _all(storm: Storm) -> list[Trajectory]:
    return [Trajectory.model_validate_json(value) for value in storm.topics.trajectories]


@CACHES
async def test_fifty_thumbs_in_one_burst_make_one_further_revision(cache_bytes: int, each: int) -> None:
    storm = Storm(cache_bytes=cache_bytes)
    first = await _closed(storm)
    await storm.send(*thumbs(*RISING))
    await storm.quiet(GRACE_MS - 500)
    assert storm.revisions == 1
    await storm.quiet(10 * GRACE_MS)
    assert (storm.revisions, storm.traced, storm.read_backs) == (2, 2, each)
    last = _last(storm)
    assert (last.revision, last.steps, last.outcome_at) == (2, first.steps, thumb(0, COUNT).at)


@CACHES
async def test_fifty_thumbs_closer_together_than_the_grace_make_one_further_revision(
    cache_bytes: int, each: int
) -> None:
    storm = Storm(cache_bytes=cache_bytes)
    await _closed(storm)
    await storm.spread(thumbs(*RISING), GRACE_MS - 500)
    assert storm.revisions == 1
    await storm.quiet(GRACE_MS)
    assert (storm.revisions, storm.traced, storm.read_backs) == (2, 2, each)


@CACHES
async def test_fifty_thumbs_further_apart_than_the_grace_make_one_revision_each(cache_bytes: int, each: int) -> None:
    storm = Storm(cache_bytes=cache_bytes)
    first = await _closed(storm)
    await storm.spread(thumbs(*RISING), GRACE_MS + 500)
    assert (storm.revisions, storm.traced, storm.read_backs) == (1 + COUNT, 1 + COUNT, COUNT * each)
    assert [one.revision for one in _all(storm)] == list(range(1, COUNT + 2))
    assert all(one.steps == first.steps for one in _all(storm))


async def test_only_what_stands_failed_after_a_thumb_is_traced_again() -> None:
    storm = Storm()
    await _closed(storm)
    results = (Result.SUCCESS, Result.FAILURE)
    await storm.spread([thumb(number, number, results[number % 2]) for number in RISING], GRACE_MS + 500)
    assert (storm.revisions, storm.traced) == (1 + COUNT, 1 + COUNT // 2)


@CACHES
async def test_a_storm_across_restarts_is_read_back_once_a_revision(cache_bytes: int, each: int) -> None:
    """A new owner has nothing in its cache."""
    storm = Storm(cache_bytes=cache_bytes)
    await _closed(storm)
    await storm.send(*thumbs(*RISING[:25]))
    await storm.checkpoint()
    storm.restart()
    await storm.send(*thumbs(*RISING))
    await storm.quiet(10 * GRACE_MS)
    assert (storm.revisions, storm.traced, storm.read_backs) == (2, 2, 1)
    storm.restart()
    await storm.send(*thumbs(*RISING))
    await storm.quiet(10 * GRACE_MS)
    assert (storm.revisions, storm.traced, storm.read_backs) == (2, 2, 1)


@pytest.mark.parametrize("apart_ms", [0, GRACE_MS + 500], ids=["burst", "spread"])
async def test_fifty_older_thumbs_make_no_revision_and_cost_nothing(apart_ms: int) -> None:
    storm = Storm(cache_bytes=0)
    await _closed(storm, at_s=COUNT + 1)
    state = storm.open_and_markers()
    await storm.spread(thumbs(*RISING), apart_ms)
    await storm.quiet(10 * GRACE_MS)
    assert (storm.revisions, storm.traced, storm.read_backs) == (1, 1, 0)
    assert storm.open_and_markers() == state
    assert len(storm.topics.outcomes) == 1 + COUNT, "they are kept, by themselves"


@pytest.mark.parametrize("apart_ms", [0, GRACE_MS + 500], ids=["burst", "spread"])
async def test_one_thumb_sent_fifty_times_makes_one_revision(apart_ms: int) -> None:
    storm = Storm()
    await _closed(storm)
    await storm.spread([thumb(1, 1)] * COUNT, apart_ms)
    await storm.quiet(10 * GRACE_MS)
    assert (storm.revisions, storm.traced) == (2, 2)
    assert storm.topics.dead_letters == []


@pytest.mark.parametrize("apart_ms", [0, GRACE_MS + 500], ids=["burst", "spread"])
async def test_of_fifty_thumbs_of_one_time_those_that_rank_lower_make_no_revision(apart_ms: int) -> None:
    storm = Storm()
    *lower, highest = sorted(thumbs(*[0] * (COUNT + 1)), key=_tie)
    await storm.send(step(final=True), highest)
    await storm.quiet(GRACE_MS)
    await storm.spread(lower, apart_ms)
    await storm.quiet(10 * GRACE_MS)
    assert (storm.revisions, storm.traced, storm.read_backs) == (1, 1, 0)


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_thumbs_of_one_time_end_with_the_same_whatever_their_order(seed: int) -> None:
    storm = Storm()
    await _closed(storm, at_s=0)
    equal = [thumb(number, 0, random.Random(number).choice(list(Result))) for number in RISING]
    standing = max([*equal, thumb(0, 0)], key=_tie)
    random.Random(seed).shuffle(equal)
    await storm.spread(equal, GRACE_MS + 500)
    rising = sum(_tie(one) == max(map(_tie, [thumb(0, 0), *equal[: at + 1]])) for at, one in enumerate(equal))
    assert storm.revisions == 1 + rising
    assert _last(storm).outcome == standing.outcome


def _tie(event: OutcomeEvent) -> bytes:
    return id_hash(event.event_id)


async def test_a_storm_on_the_first_revision_before_it_closes_makes_no_further_one() -> None:
    storm = Storm()
    await storm.send(step(), *thumbs(*RISING), step(index=1, final=True))
    await storm.quiet(10 * GRACE_MS)
    assert (storm.revisions, storm.traced, storm.read_backs) == (1, 1, 0)
    assert _last(storm).outcome_at == thumb(0, COUNT).at


async def test_a_storm_adds_to_the_state_by_the_event_and_never_the_run_again() -> None:
    storm = Storm()
    await storm.send(*(step(index=index, content="x" * 5_000, final=index == COUNT) for index in range(COUNT + 1)))
    await storm.checkpoint()
    written = sum(storm.writer.state_bytes)
    await storm.spread(thumbs(*RISING), GRACE_MS + 500)
    assert storm.revisions == 1 + COUNT
    assert sum(storm.writer.state_bytes) - written < COUNT * 10_000, "no step's content is in it"


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_an_end_that_comes_before_its_steps_makes_one_revision(seed: int) -> None:
    storm = Storm()
    before = [step(index=index) for index in range(COUNT)]
    random.Random(seed).shuffle(before)
    await storm.send(step(index=COUNT, final=True, outcome=outcome()))
    await storm.spread(before[:-1], GRACE_MS - 500)
    assert storm.revisions == 0
    await storm.send(before[-1])
    await storm.checkpoint()
    assert (storm.revisions, storm.traced, storm.read_backs) == (1, 1, 0)
    assert [one.step_index for one in _last(storm).steps] == list(range(COUNT + 1))


@CACHES
async def test_steps_that_come_long_after_their_end_make_one_revision_a_quiet_time(cache_bytes: int, each: int) -> None:
    storm = Storm(cache_bytes=cache_bytes)
    await storm.send(step(index=COUNT, final=True, outcome=outcome()))
    await storm.quiet(GRACE_MS)
    assert (storm.revisions, _last(storm).gap_count) == (1, COUNT)
    for start in range(0, COUNT, 10):
        await storm.send(*(step(index=index) for index in range(start, start + 10)))
        await storm.quiet(GRACE_MS + 500)
    assert (storm.revisions, storm.traced, storm.read_backs) == (6, 6, 5 * each)
    assert [one.step_index for one in _last(storm).steps] == list(range(COUNT + 1))
    assert [one.gap_count for one in _all(storm)] == [50, 40, 30, 20, 10, 0]


@CACHES
async def test_a_run_that_goes_on_after_its_limit_makes_dead_letters_and_no_revision(
    cache_bytes: int, each: int
) -> None:
    storm = Storm(cache_bytes=cache_bytes, max_steps=10)
    await storm.send(*(step(index=index) for index in range(11)))
    await storm.checkpoint()
    await storm.spread([step(index=index) for index in range(11, 10 + COUNT)], 1_000)
    await storm.quiet(10 * GRACE_MS)
    assert (storm.revisions, storm.traced, storm.read_backs) == (1, 0, 0)
    assert [one.reason for one in storm.topics.dead_letters] == [DeadLetterReason.OVER_LIMIT] * COUNT
    await storm.send(*thumbs(*RISING))
    await storm.quiet(10 * GRACE_MS)
    assert (storm.revisions, storm.traced, storm.read_backs) == (2, 1, each)
    last = _last(storm)
    assert (last.revision, last.close_reason, len(last.steps)) == (2, CloseReason.TOO_LONG, 10)
    assert last.outcome_at == thumb(0, COUNT).at


async def test_a_storm_on_one_run_is_bounded_by_its_limit_and_the_rest_are_dead_letters() -> None:
    storm = Storm(max_steps=2)
    await _closed(storm)
    await storm.send(*thumbs(*range(1, 1_200)))
    await storm.quiet(10 * GRACE_MS)
    assert (storm.revisions, storm.traced) == (2, 2)
    assert {one.reason for one in storm.topics.dead_letters} == {DeadLetterReason.OVER_LIMIT}
    assert len(storm.topics.dead_letters) == 1_199 - 1_000 + 1


async def test_an_id_that_comes_back_the_next_day_is_another_run_and_replaces_nothing() -> None:
    storm = Storm(late_window_ms=60_000)
    first = await _closed(storm)
    await storm.quiet(61_000)
    await storm.send(*(step(index=index, content="another day", final=index == 2) for index in range(3)))
    await storm.checkpoint()
    other = _last(storm)
    assert (other.revision, len(other.steps), storm.read_backs) == (1, 3, 0)
    assert other.opened_at >= first.opened_at + timedelta(minutes=1)
    await storm.send(*thumbs(*RISING))
    await storm.quiet(GRACE_MS)
    assert [(one.opened_at, one.revision) for one in _all(storm)] == [
        (START, 1),
        (other.opened_at, 1),
        (other.opened_at, 2),
    ]
    assert _last(storm).steps == other.steps
    assert storm.topics.dead_letters == [], "its event ids stood in the first run, which is over"


async def test_thumbs_after_the_late_window_open_no_run_and_make_no_revision() -> None:
    storm = Storm(late_window_ms=60_000, idle_ms=10_000)
    await _closed(storm)
    await storm.quiet(61_000)
    await storm.spread(thumbs(*RISING), GRACE_MS + 500)
    await storm.quiet(20_000)
    assert (storm.revisions, storm.traced, storm.read_backs) == (1, 1, 0)
    assert (storm.held.assembler.open, storm.held.assembler.markers) == ({}, {})
    assert len(storm.topics.outcomes) == 1 + COUNT
