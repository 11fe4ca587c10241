"""What a streams worker tells of itself, from real assemblers, by numbers worked out by hand."""

import asyncio
from contextlib import suppress

import pytest

from ops.client import apply_topics
from ops.metrics import PrometheusMetrics
from ops.roles import Role
from schemas import CloseReason, Result
from schemas.errors import TopicError
from schemas.health import Health
from schemas.metrics import Metric
from streams.assemble import Assembler, SourceRecord
from streams.cache import ClosedCache
from streams.checkpoint import collect, due
from streams.delivery import Answer
from streams.home import home_partition
from streams.kafka import PartitionWriter, partition_count
from streams.limits import Limits
from streams.measure import late_events, measure_checkpoint, measure_read_back
from streams.partitions import Held, Partitions
from streams.route import RoutingRules
from streams.settings import StreamsSettings
from tests.conftest import Broker
from tests.factories import outcome, outcome_event, raw, step
from tests.ops.test_metrics import value

APPENDED_MS = 1_772_366_400_000
AT_0 = {"partition": 0}


class Bed:
    """Partitions that hold partition 0 of one, watched."""

    def __init__(self) -> None:
        self.metrics, self.health = PrometheusMetrics(Role.STREAMS), Health()
        self.fatal: list[BaseException] = []
        settings = StreamsSettings()
        self.partitions = Partitions(
            settings, RoutingRules(), 1, on_fatal=self.fatal.append, metrics=self.metrics, health=self.health
        )
        self.held = Held(Assembler(0, 1, Limits()), PartitionWriter(settings, 0), 1, ClosedCache(0))
        self.partitions.held[0] = self.held

    def fold(self, offset: int) -> None:
        self.held.assembler.fold(SourceRecord(offset, APPENDED_MS, None, raw(step("t", offset))))

    def lag_after(self, answer: Answer) -> float | None:
        self.partitions.answered(0, answer)
        return value(self.metrics, Metric.STREAMS_LAG, AT_0)


async def test_lag_is_what_is_not_folded_yet_read_or_not() -> None:
    bed = Bed()
    assert bed.lag_after(Answer(1, is_empty=False, position=5, end=12)) == 7  # nothing folded: it begins at 5
    bed.fold(5)
    assert bed.lag_after(Answer(1, is_empty=False, position=12, end=12)) == 6  # the same answer, one more folded
    bed.fold(6)
    assert bed.lag_after(Answer(2, is_empty=False, position=12, end=20)) == 13


async def test_a_transactions_marker_behind_the_last_record_is_no_lag() -> None:
    bed = Bed()
    bed.fold(0)
    assert bed.lag_after(Answer(1, is_empty=True, position=2, end=2)) == 0


async def test_a_broker_that_gives_no_answer_for_long_is_told_of_until_it_does() -> None:
    bed = Bed()
    bed.partitions.answered(0, Answer(1, is_empty=True, position=0, end=0))
    await bed.partitions.tick()
    assert "broker" not in str(bed.health.not_ready())
    bed.held.moved_at -= 20
    bed.partitions.answered(0, Answer(1, is_empty=True, position=0, end=0))
    await bed.partitions.tick()
    assert "no answer from the broker for 20 s" in str(bed.health.not_ready())
    bed.partitions.answered(0, Answer(2, is_empty=True, position=0, end=0))
    await bed.partitions.tick()
    assert "broker" not in str(bed.health.not_ready())


async def test_a_broker_that_holds_a_checkpoint_up_is_told_of_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.partitions.LOOK_S", 0.01)
    bed = Bed()
    bed.held.written_at -= bed.partitions.settings.checkpoint_ms
    async with bed.held.lock:  # as while a transaction waits for its broker
        ticking = asyncio.create_task(bed.partitions.tick())
        await asyncio.sleep(0.05)
        assert "broker" not in str(bed.health.not_ready())
        bed.held.moved_at -= 20
        await asyncio.sleep(0.05)
        assert "no answer from the broker for 20 s" in str(bed.health.not_ready())
        ticking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ticking


async def test_a_backlog_that_is_being_folded_is_no_silence() -> None:
    bed = Bed()
    bed.partitions.answered(0, Answer(1, is_empty=False, position=9, end=9))
    bed.held.moved_at -= 20
    bed.fold(0)
    bed.partitions.answered(0, Answer(1, is_empty=False, position=9, end=9))
    bed.partitions._look_at_broker(bed.held.moved_at)
    assert "broker" not in str(bed.health.not_ready())


async def test_a_partition_that_is_given_up_takes_its_gauges_along() -> None:
    bed = Bed()
    bed.lag_after(Answer(1, is_empty=True, position=0, end=0))
    await bed.partitions.tick()
    gauges = (Metric.STREAMS_LAG, Metric.STREAMS_OPEN, Metric.STREAMS_MARKER_BYTES, Metric.STREAMS_CHECKPOINT_AT)
    assert None not in [value(bed.metrics, name, AT_0) for name in gauges]
    await bed.partitions.release()
    assert {value(bed.metrics, name, AT_0) for name in gauges} == {None}
    assert bed.health.not_ready() == "no partitions assigned"
    assert not bed.fatal


@pytest.mark.kafka
async def test_a_fenced_partition_is_counted_and_its_worker_waits_for_the_next_assignment(kafka: Broker) -> None:
    with suppress(TopicError):  # another number of partitions is as good
        await apply_topics(kafka.bootstrap, partitions=4, replicas=1)
    settings = StreamsSettings(bootstrap=kafka.bootstrap)
    fatal: list[BaseException] = []
    metrics, health, count = PrometheusMetrics(Role.STREAMS), Health(), await partition_count(settings)
    frozen = Partitions(settings, RoutingRules(), count, on_fatal=fatal.append, metrics=metrics, health=health)
    successor = Partitions(settings, RoutingRules(), count, on_fatal=fatal.append)
    for one in (frozen, successor):
        await one.reader.start()
    try:
        await frozen.take_over([0], 1)
        assert health.not_ready() is None
        await successor.take_over([0], 1)
        assembler = frozen.held[0].assembler
        assembler.fold(SourceRecord(assembler.next_offset or 0, APPENDED_MS, None, raw(step("t", 0))))
        await frozen.checkpoint(0)
        assert value(metrics, Metric.STREAMS_FENCED) == 1
        assert value(metrics, Metric.STREAMS_FOLDED) == 0
        assert value(metrics, Metric.STREAMS_OPEN, AT_0) is None
        assert health.not_ready() == "partition 0 was taken over by another worker"
        assert not fatal
    finally:
        for one in (frozen, successor):
            await one.release()
            await one.reader.stop()


def test_a_checkpoint_is_told_of_by_what_it_holds() -> None:
    astray = next(f"a{number}" for number in range(99) if home_partition(f"a{number}", 2) == 1)
    failed, open_ = (next(f"{x}{n}" for n in range(99) if home_partition(f"{x}{n}", 2) == 0) for x in "fo")
    assembler = Assembler(0, 2, Limits())
    values = [
        raw(step(failed, 0)),
        raw(step(failed, 1, final=True, outcome=outcome(Result.FAILURE))),
        raw(step(open_, 0)),
        raw(step(astray, 0)),
        b"{no json",
        b"",
    ]
    for offset, one in enumerate(values):
        assembler.fold(SourceRecord(offset, APPENDED_MS, None, one))
    metrics = PrometheusMetrics(Role.STREAMS)
    closing = due(assembler)
    late = late_events(closing)
    checkpoint = collect(assembler, closing, {}, RoutingRules())
    measure_checkpoint(metrics, checkpoint, late, 0.03)

    assert value(metrics, Metric.STREAMS_FOLDED) == 4
    assert value(metrics, Metric.STREAMS_FORWARDED) == 1
    assert value(metrics, Metric.STREAMS_LATE) == value(metrics, Metric.STREAMS_REOPENED) == 0
    assert value(metrics, Metric.STREAMS_CLOSED, {"reason": CloseReason.COMPLETED}) == 1
    assert value(metrics, Metric.STREAMS_ROUTED, {"reason": "failure"}) == 1
    assert value(metrics, Metric.STREAMS_DEAD_LETTERS, {"reason": "not_json"}) == 1
    assert value(metrics, Metric.STREAMS_DEAD_LETTERS, {"reason": "empty"}) == 1
    # the trajectory on two topics and its marker, two dead letters, one forwarded, an open one's segment, the source
    assert value(metrics, f"{Metric.STREAMS_CHECKPOINT_RECORDS}_sum") == 3 + 2 + 1 + 1 + 1
    size = value(metrics, f"{Metric.STREAMS_CHECKPOINT_BYTES}_sum") or 0
    assert size > sum(map(len, values))
    assert value(metrics, f"{Metric.STREAMS_CHECKPOINT_TIME}_sum") == pytest.approx(0.03)


def test_what_reopens_a_trajectory_is_late_and_its_next_revision_counts_as_reopened() -> None:
    assembler = Assembler(0, 1, Limits(grace_ms=0))
    assembler.fold(SourceRecord(0, APPENDED_MS, None, raw(step("t", 0, final=True))))
    assert late_events(due(assembler)) == 0
    first = collect(assembler, due(assembler), {}, RoutingRules())
    assembler.fold(SourceRecord(1, APPENDED_MS, None, raw(outcome_event("t"))))
    assembler.fold(SourceRecord(2, APPENDED_MS, None, raw(step("t", 1))))
    assembler.passed(5_000)
    closing = due(assembler)
    assert late_events(closing) == 2
    second = collect(assembler, closing, {}, RoutingRules())
    metrics = PrometheusMetrics(Role.STREAMS)
    for checkpoint in (first, second):
        measure_checkpoint(metrics, checkpoint, 0, 0.0)
    assert value(metrics, Metric.STREAMS_REOPENED) == 1
    assert value(metrics, Metric.STREAMS_CLOSED, {"reason": "completed"}) == 2


def test_what_is_needed_again_is_in_the_cache_or_on_the_topic_or_nowhere() -> None:
    metrics = PrometheusMetrics(Role.STREAMS)
    measure_read_back(metrics, [b"hit", None, None, None], [b"there", None])
    found = {source: value(metrics, Metric.STREAMS_READ_BACK, {"source": source}) for source in ("cache", "topic")}
    assert found == {"cache": 1, "topic": 1}
    assert value(metrics, Metric.STREAMS_READ_BACK, {"source": "nowhere"}) == 2
