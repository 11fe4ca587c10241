"""The plan of what is sent: nothing lost, nothing invented, order and bounds held."""

import random
from collections import Counter
from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ops.recorded.run import RecordedEvent, RecordedRun, recorded
from ops.send import DUPLICATE_SPREAD, EVENTS_HELD, Ledger, Outgoing, plan, records
from schemas.errors import SettingsError
from schemas.wire import Line, is_ndjson, read_record
from tests.factories import outcome_event, step


def run(number: int, length: int, *, bad: bool = False) -> RecordedRun:
    name = f"t{number}"
    events = [recorded(step(name, index)) for index in range(length)]
    unreadable = [RecordedEvent(b"what is this", None)] if bad else []
    return RecordedRun(name, (*events, *unreadable, recorded(outcome_event(name))))


def runs(lengths: list[int]) -> list[RecordedRun]:
    return [run(number, length, bad=length % 3 == 0) for number, length in enumerate(lengths)]


def sent_bytes(found: list[RecordedRun]) -> Counter[bytes]:
    return Counter(own.raw for one in found for own in one.events)


LENGTHS = st.lists(st.integers(0, 12), max_size=12)
SEEDS = st.integers(0, 2**32)


@given(LENGTHS, st.integers(1, 5), st.booleans(), st.floats(0, 1), SEEDS)
def test_everything_is_sent_once_or_twice(
    lengths: list[int],
    concurrency: int,
    shuffle: bool,  # noqa: FBT001 - drawn
    share: float,
    seed: int,
) -> None:
    found = runs(lengths)
    rng = random.Random(seed)
    planned = Counter(
        event.value for event in plan(found, concurrency=concurrency, shuffle=shuffle, duplicate=share, rng=rng)
    )
    once = sent_bytes(found)
    assert planned.keys() == once.keys()
    assert all(once[value] <= planned[value] <= 2 * once[value] for value in once)


@given(LENGTHS, st.integers(1, 5), st.booleans(), SEEDS)
def test_without_duplicates_it_is_the_input_and_with_all_of_them_twice_that(
    lengths: list[int],
    concurrency: int,
    shuffle: bool,  # noqa: FBT001 - drawn
    seed: int,
) -> None:
    found = runs(lengths)
    for share, times in ((0.0, 1), (1.0, 2)):
        rng = random.Random(seed)
        sent = plan(found, concurrency=concurrency, shuffle=shuffle, duplicate=share, rng=rng)
        assert Counter(event.value for event in sent) == Counter(dict.fromkeys(sent_bytes(found), 0)) + Counter(
            {value: count * times for value, count in sent_bytes(found).items()}
        )


@given(LENGTHS, st.integers(1, 5), SEEDS)
def test_without_shuffling_a_run_keeps_its_order(lengths: list[int], concurrency: int, seed: int) -> None:
    found = runs(lengths)
    sent = list(plan(found, concurrency=concurrency, rng=random.Random(seed)))
    for one in found:
        assert [event.value for event in sent if event.trajectory_id == one.trajectory_id] == [
            own.raw for own in one.events
        ]


@given(LENGTHS, st.integers(1, 5), st.booleans(), SEEDS)
def test_no_more_runs_are_under_way_than_asked_for(
    lengths: list[int],
    concurrency: int,
    shuffle: bool,  # noqa: FBT001 - drawn
    seed: int,
) -> None:
    found = runs(lengths)
    left = {one.trajectory_id: len(one.events) for one in found}
    started: set[str | None] = set()
    for event in plan(found, concurrency=concurrency, shuffle=shuffle, rng=random.Random(seed)):
        started.add(event.trajectory_id)
        assert sum(left[name] > 0 for name in started) <= concurrency
        left[event.trajectory_id] -= 1


def test_a_shuffled_run_comes_in_another_order_and_several_interleave() -> None:
    found = runs([200, 200])
    sent = list(plan(found, concurrency=2, shuffle=True, rng=random.Random(1)))
    names = [event.trajectory_id for event in sent]
    assert sum(one != other for one, other in pairwise(names)) > 100
    first = [event.value for event in sent if event.trajectory_id == "t0"]
    assert first != [own.raw for own in found[0].events]


def test_the_runs_are_read_as_they_are_needed() -> None:
    read: list[int] = []

    def endless() -> object:
        number = 0
        while True:
            read.append(number)
            yield run(number, 3)
            number += 1

    sent = islice(plan(endless(), concurrency=4, shuffle=True, rng=random.Random(1)), 400)  # type: ignore[arg-type]
    assert len(list(sent)) == 400
    assert len(read) <= 400 // 4 + 4 + 1


def test_about_the_share_asked_for_is_sent_twice_and_the_copy_comes_later_but_not_for_ever() -> None:
    found = runs([20] * 200)
    sent = [event.value for event in plan(found, concurrency=3, duplicate=0.3, rng=random.Random(1))]
    places: dict[bytes, list[int]] = {}
    for place, value in enumerate(sent):
        places.setdefault(value, []).append(place)
    twice = [found for found in places.values() if len(found) == 2]
    assert 0.27 < len(twice) / len(places) < 0.33
    delays = [last - first for first, last in twice]
    assert min(delays) >= 1
    assert DUPLICATE_SPREAD / 4 < sum(delays) / len(delays) < DUPLICATE_SPREAD


def test_a_loop_sends_whole_laps_under_new_ids() -> None:
    found = runs([2, 3])
    size = sum(len(one.events) for one in found)
    sent = list(islice(plan(found, loop=True, rng=random.Random(1)), 3 * size))
    assert Counter(event.value for event in sent[:size]) == sent_bytes(found)
    assert Counter(event.event_id for event in sent[:size]) == Counter(event.event_id for event in sent[-size:])
    names = {event.trajectory_id for event in sent if event.kind != "unreadable"}
    assert names == {"t0", "t1", "t0#2", "t1#2", "t0#3", "t1#3"}
    for event in sent:
        (line,) = read_record(event.value)
        assert isinstance(line, Line) != (event.kind == "unreadable")
        if isinstance(line, Line):
            assert (line.event.trajectory_id, line.event.event_id) == (event.trajectory_id, event.event_id)
            assert event.key == line.event.trajectory_id.encode()


def test_a_lap_keeps_the_longest_id_within_its_limit() -> None:
    name = "x" * 256
    found = [RecordedRun(name, (recorded(step(name, 0, event_id="e")),))]
    _, second = islice(plan(found, loop=True, rng=random.Random(1)), 2)
    assert second.trajectory_id == "x" * 254 + "#2"
    (line,) = read_record(second.value)
    assert isinstance(line, Line)


def test_a_loop_over_nothing_ends() -> None:
    assert list(plan([], loop=True, rng=random.Random(1))) == []


def test_settings_that_make_no_sense_are_named() -> None:
    rng = random.Random(1)
    with pytest.raises(SettingsError, match="concurrency is 0"):
        plan([], concurrency=0, rng=rng)
    with pytest.raises(SettingsError, match=r"duplicate is 1\.5"):
        plan([], duplicate=1.5, rng=rng)
    with pytest.raises(SettingsError, match="read only once"):
        plan(iter([run(0, 1)]), loop=True, rng=rng)
    with pytest.raises(SettingsError, match="0 events a record"):
        records([], 0)


def test_what_is_no_event_goes_under_its_trajectory_if_it_names_one() -> None:
    bad = (RecordedEvent(b"?", None),)
    first, second = plan([RecordedRun("t", bad), RecordedRun(None, bad)], rng=random.Random(1))
    assert (first.key, first.event_id, second.key) == (b"t", None, None)


# ---- records of several events -------------------------------------------------------------------------------------


def outgoing(found: list[RecordedRun], concurrency: int = 3) -> list[Outgoing]:
    return list(plan(found, concurrency=concurrency, rng=random.Random(1)))


@given(LENGTHS, st.integers(1, 7))
def test_records_hold_every_event_of_one_key_in_order(lengths: list[int], most: int) -> None:
    events = outgoing(runs(lengths))
    made = list(records(events, most))
    assert Counter(event for record in made for event in record.events) == Counter(events)
    for record in made:
        assert 1 <= len(record.events) <= most
        assert {event.key for event in record.events} == {record.key}
        assert is_ndjson(record.headers) == (most > 1)
        lines = read_record(record.value, ndjson=most > 1)
        assert [line.raw for line in lines] == [event.value for event in record.events]
    for key in {event.key for event in events}:
        in_order = [event for record in made if record.key == key for event in record.events]
        assert in_order == [event for event in events if event.key == key]


def test_a_record_stays_within_its_bytes_unless_one_event_alone_passes_them() -> None:
    events = outgoing(runs([20, 20]))
    single = max(len(event.value) for event in events)
    made = list(records(events, 1000, max_bytes=3 * single + 2))
    assert all(len(record.value) <= 3 * single + 2 for record in made)
    assert max(len(record.events) for record in made) >= 3
    assert all(len(record.events) == 1 for record in records(events, 1000, max_bytes=10))


def test_what_is_held_back_is_bounded() -> None:
    events = (event for number in range(EVENTS_HELD + 500) for event in plan([run(number, 0)], rng=random.Random(1)))
    taken = 0

    def counted() -> object:
        nonlocal taken
        for event in events:
            taken += 1
            yield event

    next(records(counted(), 100))  # type: ignore[arg-type]
    assert taken == EVENTS_HELD + 1


# ---- the ledger ----------------------------------------------------------------------------------------------------


def test_the_ledger_knows_each_step_by_the_checksum_of_its_content() -> None:
    ledger = Ledger()
    (record,) = records(outgoing([RecordedRun("t0", (recorded(step("t0", 0, content="123456789")),))]))
    ledger.accept(record, "step-events", 0, 7)
    ledger.accept(record, "step-events", 0, 8)
    assert ledger.steps == {("t0", "t0-0"): 0xCBF43926}  # the check value of CRC-32
    assert ledger.acknowledged == 2


def test_the_ledger_keeps_outcomes_apart_and_what_is_no_event_by_its_address() -> None:
    ledger = Ledger()
    (record,) = records(outgoing([run(0, 1, bad=True)]), 100)
    ledger.accept(record, "step-events", 2, 9)
    assert set(ledger.steps) == {("t0", "t0-0")}
    assert ledger.outcomes == {("t0", "t0-outcome")}
    assert ledger.unreadable == ["step-events/2/9/1"]


def test_a_ledger_that_only_counts_keeps_nothing_but_what_was_refused() -> None:
    ledger = Ledger(keep_ids=False)
    for record in records(outgoing([run(0, 1)])):
        ledger.accept(record, "step-events", 0, 0)
        ledger.refuse(record, "too large")
    assert (ledger.acknowledged, ledger.steps, ledger.outcomes) == (2, {}, set())
    assert [one.event_id for one in ledger.refused] == ["t0-0", "t0-outcome"]
