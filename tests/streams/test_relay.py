"""Events that were read elsewhere: they are late only when the partition that forwards them says so."""

from hypothesis import given
from hypothesis import strategies as st

from schemas import CloseReason, DeadLetterReason
from streams.checkpoint import to_be_told
from streams.home import home_partition
from streams.limits import Limits
from streams.relay import FORWARDED, TIME, Relay, Told, after, due, time_header, told
from tests.factories import outcome_event, raw, step
from tests.streams.broker import MINUTE, ListBroker, Worker, summary
from tests.streams.test_forward import ELSEWHERE, HERE, two

LIMITS = Limits()
IDLE_MS, GRACE_MS = LIMITS.idle_ms, LIMITS.grace_ms


def pump(here: Worker, there: Worker, elapsed_ms: int) -> list[tuple[str, int, CloseReason, int]]:
    """Let time pass for both, with a checkpoint a second; return what `there` published."""
    found = []
    for _ in range(elapsed_ms // 1_000):
        here.closed(1_000)
        there.read()
        found += there.closed(1_000)
    return summary(found)


def forwarded() -> tuple[Worker, Worker]:
    """Return a partition that has forwarded one step, and its home."""
    here, there = two()
    there.send(step("native"))
    here.send(step(ELSEWHERE))
    here.checkpoint()
    there.read()
    return here, there


def test_what_is_forwarded_does_not_fall_idle_while_its_forwarder_is_away() -> None:
    here, there = forwarded()
    assert summary(there.closed(10 * IDLE_MS)) == [("native", 1, CloseReason.IDLE, 1)]
    here.send(step(ELSEWHERE, 1, final=True))
    here.checkpoint()
    there.read()
    assert summary(there.checkpoint()) == [(ELSEWHERE, 1, CloseReason.COMPLETED, 2)]


def test_it_falls_idle_when_its_forwarder_has_seen_the_same_time_pass() -> None:
    here, there = forwarded()
    assert ELSEWHERE not in {one for one, *_ in pump(here, there, IDLE_MS - 2_000)}
    assert (ELSEWHERE, 1, CloseReason.IDLE, 1) in pump(here, there, 4_000)


def test_the_grace_of_an_end_waits_for_the_forwarder_too() -> None:
    here, there = two()
    here.send(step(ELSEWHERE, 1, final=True))
    here.checkpoint()
    there.read()
    assert there.closed(100 * GRACE_MS) == []
    here.send(step(ELSEWHERE))
    here.checkpoint()
    there.read()
    assert summary(there.checkpoint()) == [(ELSEWHERE, 1, CloseReason.COMPLETED, 2)]


def test_a_late_outcome_that_is_forwarded_makes_its_revision_when_the_forwarders_grace_is_over() -> None:
    here, there = two()
    here.send(step(ELSEWHERE, final=True))
    here.checkpoint()
    there.read()
    there.checkpoint()
    here.send(outcome_event(ELSEWHERE))
    here.checkpoint()
    there.read()
    assert there.closed(10 * GRACE_MS) == []
    assert pump(here, there, 3 * GRACE_MS) == [(ELSEWHERE, 2, CloseReason.COMPLETED, 1)]


def test_a_kill_of_either_side_changes_nothing() -> None:
    here, there = forwarded()
    there.checkpoint()
    there.kill()
    there.read()
    assert summary(there.closed(2 * IDLE_MS)) == [("native", 1, CloseReason.IDLE, 1)]
    here.kill()
    here.read()
    there.kill()
    there.read()
    assert pump(here, there, IDLE_MS + 2_000) == [(ELSEWHERE, 1, CloseReason.IDLE, 1)]


def test_the_time_is_told_until_all_has_fallen_idle_and_no_longer() -> None:
    here, there = forwarded()
    pump(here, there, IDLE_MS + 5_000)
    ticks = [one for one in there.topics.steps if not one.value]
    assert 0 < len(ticks) <= IDLE_MS // GRACE_MS + 2
    assert here.assembler.relays == {}
    assert there.topics.dead_letters == []
    pump(here, there, 10_000)
    assert len([one for one in there.topics.steps if not one.value]) == len(ticks)


def test_whoever_forwards_nothing_tells_nothing() -> None:
    here, _ = two()
    here.send(step(HERE))
    here.wait(2 * MINUTE)
    assert to_be_told(here.assembler) == []


def test_a_time_that_nobody_could_have_told_counts_for_nothing() -> None:
    here, there = forwarded()
    for value in (b"0", b"x:1", b"0:-5", b"7:99", b"1:99999999999999", b":", b"", b"0:" + "\u00b2".encode()):
        there.send(b"", headers=((TIME, value),))
    assert [reason for reason, *_ in there.letters()] == []
    there.checkpoint()
    assert {reason for reason, *_ in there.letters()} == {DeadLetterReason.EMPTY}
    assert summary(there.closed(2 * IDLE_MS)) == [("native", 1, CloseReason.IDLE, 1)]
    assert here.assembler.elsewhere == {}


@given(st.integers(0, 1_000), st.integers(0, 10**15 - 1))
def test_a_time_is_read_as_it_was_written(partition: int, watched_ms: int) -> None:
    assert told([("other", b"1:2"), time_header(partition, watched_ms)]) == Told(partition, watched_ms)


@given(st.binary(max_size=12))
def test_any_bytes_are_a_time_or_none(value: bytes) -> None:
    found = told([(TIME, value)])
    assert found is None or (found.partition >= 0 and found.watched_ms >= 0)


def test_a_forged_time_that_no_state_could_hold_is_none_and_many_partitions_fit() -> None:
    assert told([(TIME, b"1:" + b"9" * 16)]) is None
    assert told([(TIME, b"1:" + b"9" * 5_000)]) is None
    there = Worker(ListBroker(400), home_partition("t1", 400))
    for partition in range(400):
        there.send(step("t1", partition), headers=((TIME, b"%d:%s" % (partition, b"9" * 15)),))
    there.checkpoint()
    there.kill()
    assert len(there.assembler.open["t1"].via or {}) == 399


def test_a_home_is_told_in_steps_and_at_the_end() -> None:
    relays = {1: Relay(forwarded_ms=100, told_ms=100)}
    assert due(relays, 599, 1_000, 500) == []
    assert due(relays, 600, 1_000, 500) == [1]
    relays = after(relays, 600, 1_000, (), [1])
    assert due(relays, 1_099, 1_000, 500) == []
    assert due(relays, 1_100, 1_000, 500) == [1]
    assert after(relays, 1_100, 1_000, (), [1]) == {}
    assert after(relays, 1_100, 1_000, [2], []) == relays | {2: Relay(forwarded_ms=1_100, told_ms=1_100)}


def test_a_forwarded_event_still_goes_no_further() -> None:
    broker = ListBroker(2)
    here = Worker(broker, 0)
    here.send(raw(step(ELSEWHERE)), headers=((FORWARDED, b"1"), time_header(1, 5)))
    here.checkpoint()
    assert [reason for reason, *_ in here.letters()] == [DeadLetterReason.MISROUTED]
