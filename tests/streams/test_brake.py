"""The brake on rubbish, stretch by stretch, and what a worker with a tripped one writes: nothing."""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import count

import pytest

from schemas import DeadLetter, DeadLetterReason, TopicName
from schemas.errors import LimitError
from streams.assemble import Assembler, Pending, SourceRecord
from streams.brake import RUBBISH, Brake, BrakeLimits, Count
from streams.limits import Limits
from streams.state import Source, read_state, source_record
from tests.factories import raw, step

BAD = DeadLetterReason.NOT_JSON
SMALL = BrakeLimits(consecutive=10, ratio=0.5, window=100)


def letter(offset: int, reason: DeadLetterReason = BAD) -> DeadLetter:
    return DeadLetter(
        topic=TopicName.STEP_EVENTS, partition=3, offset=offset, reason=reason, message="", stage="assemble",
        at=datetime(2026, 3, 1, tzinfo=UTC),
    )  # fmt: skip


class Feed:
    """One partition's lines, in stretches that a checkpoint follows."""

    def __init__(self, limits: BrakeLimits = SMALL, at: Count | None = None) -> None:
        self.brake = Brake(limits, at)
        self._offsets = count()

    def stretch(self, bad: int, good: int = 0, reason: DeadLetterReason = BAD) -> bool:
        """Take a stretch; whether it trips the brake."""
        letters = [letter(next(self._offsets), reason) for _ in range(bad)]
        for _ in range(good):
            next(self._offsets)
        return self.brake.has_tripped(3, Pending(dead_letters=letters, events=good))


def test_a_row_of_rubbish_trips_at_its_count_and_not_one_line_before() -> None:
    feed = Feed()
    assert [feed.stretch(3), feed.stretch(6), feed.stretch(1)] == [False, False, True]


def test_one_good_event_ends_the_row() -> None:
    feed = Feed()
    assert not any(feed.stretch(bad, good) for bad, good in ((9, 0), (0, 1), (9, 0), (3, 1), (9, 0)))
    assert feed.stretch(1)


def test_the_sentence_names_partition_counts_first_offset_reason_and_the_way_out() -> None:
    feed = Feed()
    feed.stretch(0, 5)
    with pytest.raises(LimitError) as raised:
        feed.brake.check(3, Pending(dead_letters=[letter(5), letter(6, DeadLetterReason.EMPTY)] + [letter(7)] * 9))
    assert str(raised.value) == (
        "partition 3 of step-events is full of rubbish: 11 of the last 11 lines are no events, the first at offset 5, "
        "most of them 'not_json'; mend the sender, then let the worker past them with a higher "
        "AGENTRACER_BRAKE__CONSECUTIVE or AGENTRACER_BRAKE__ENABLED=false"
    )
    assert raised.value.exit_code == 6


def test_a_share_trips_only_over_a_whole_window() -> None:
    feed = Feed(BrakeLimits(consecutive=1_000, ratio=0.5, window=100))
    assert not any(feed.stretch(6, 4) for _ in range(9))
    assert feed.stretch(6, 4)
    assert "60 of the last 100 lines" in str(feed.brake._trip)
    assert "AGENTRACER_BRAKE__RATIO" in str(feed.brake._trip)


def test_a_few_bad_senders_among_good_ones_never_trip() -> None:
    feed = Feed()
    assert not any(feed.stretch(bad % 10, 10) for bad in range(5_000))


def test_bad_lines_far_in_the_past_have_lost_their_weight() -> None:
    feed = Feed(BrakeLimits(consecutive=1_000, ratio=0.5, window=100))
    feed.stretch(49, 51)
    for _ in range(10):
        assert not feed.stretch(0, 100)
    assert not feed.stretch(60, 59), "of the window before, half is left, all of it good"


def test_a_sender_that_was_mended_lets_the_worker_go_on_although_the_window_is_still_bad() -> None:
    feed = Feed(at=Count(lines=100, refused=95, refused_since=0))
    assert not any(feed.stretch(1, 9) for _ in range(20))


@pytest.mark.parametrize("reason", sorted(set(DeadLetterReason) - RUBBISH))
def test_what_is_late_double_astray_or_over_a_limit_is_no_rubbish(reason: DeadLetterReason) -> None:
    feed = Feed()
    assert not any(feed.stretch(50, 50, reason) for _ in range(20))


def test_events_of_another_time_are_rubbish_though_they_were_read() -> None:
    feed = Feed()
    letters = [letter(offset, DeadLetterReason.TIMESTAMP) for offset in range(10)]
    assert feed.brake.has_tripped(3, Pending(dead_letters=letters, events=10))


def test_looking_twice_counts_once() -> None:
    brake, pending = Brake(SMALL), Pending(dead_letters=[letter(0)] * 6)
    assert not any(brake.has_tripped(3, pending) for _ in range(5))
    pending.dead_letters += [letter(1)] * 3
    assert not brake.has_tripped(3, pending)
    assert brake.count.row == 9


def test_switched_off_it_counts_and_never_trips() -> None:
    feed = Feed(BrakeLimits(enabled=False, consecutive=10, window=100))
    assert not any(feed.stretch(50) for _ in range(10))
    assert feed.brake.count.row == 500


def test_the_count_is_part_of_the_state_so_that_a_restart_begins_where_it_was() -> None:
    feed = Feed()
    feed.stretch(9)
    source = Source(offset=9, partitions=4, time_ms=0, skipped_ms=0, refusals=feed.brake.count)
    restored = read_state([source_record(source)]).source
    assert restored is not None
    assert restored.refusals == Count(9, 0, 9, 9, 0)
    assert Feed(at=restored.refusals).stretch(1)


def test_a_state_from_before_the_brake_is_read() -> None:
    older = b'{"version":1,"offset":9,"partitions":4,"time_ms":0,"skipped_ms":0,"spent":[]}'
    restored = read_state([(b"source", older)]).source
    assert restored is not None
    assert restored.refusals == Count()


def test_the_assembler_s_own_letters_are_what_is_counted() -> None:
    values: Sequence[bytes | None] = (b"no json", b"\xff", None, b"{}", raw(step()), raw(step(index=1)), b"[]")
    assembler, brake = Assembler(0, 1, Limits()), Brake(SMALL)
    for offset, value in enumerate(values):
        assembler.fold(SourceRecord(offset, 1_772_366_400_000, None, value))
    assert not brake.has_tripped(0, assembler.pending)
    assert brake.count == Count(row=0, row_since=-1, lines=7, refused=5, refused_since=0)
