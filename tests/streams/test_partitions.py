"""What this worker holds, batch by batch, before anything is written."""

from typing import NamedTuple

from schemas.errors import StateError
from streams.assemble import Assembler, SourceRecord
from streams.cache import ClosedCache
from streams.delivery import Batch
from streams.kafka import PartitionWriter
from streams.limits import Limits
from streams.partitions import Held, Partitions
from streams.route import RoutingRules
from streams.settings import StreamsSettings
from tests.factories import raw, step

EPOCH = 3
APPENDED_MS = 1_772_366_400_000


class Said(NamedTuple):
    at: int
    is_empty: bool
    position: int = 0
    end: int = 0


class Bed:
    """Partitions that hold partition 0, and what stopped them."""

    def __init__(self) -> None:
        self.fatal: list[BaseException] = []
        settings = StreamsSettings()
        self.partitions = Partitions(settings, RoutingRules(), 1, on_fatal=self.fatal.append)
        self.held = Held(Assembler(0, 1, Limits()), PartitionWriter(settings, 0), EPOCH, ClosedCache(0))
        self.partitions.held[0] = self.held

    async def fold(self, number: int, *indices: int, epoch: int = EPOCH) -> None:
        records = [SourceRecord(index, APPENDED_MS, None, raw(step("t", index))) for index in indices]
        await self.partitions.fold(Batch(0, epoch, number, records, 0))

    @property
    def steps(self) -> int:
        found = self.held.assembler.open.get("t")
        return len(found.steps) if found else 0


async def test_batches_are_folded_in_their_order() -> None:
    bed = Bed()
    await bed.fold(0, 0, 1)
    await bed.fold(1, 2)
    assert bed.steps == 3
    assert not bed.fatal


async def test_a_batch_that_went_missing_stops_the_worker_before_anything_is_folded() -> None:
    bed = Bed()
    await bed.fold(0, 0)
    await bed.fold(2, 5)
    assert bed.steps == 1
    assert isinstance(bed.fatal[0], StateError)
    assert "batch 1 of partition 0" in str(bed.fatal[0])


async def test_a_batch_of_an_assignment_that_has_ended_changes_nothing() -> None:
    bed = Bed()
    await bed.fold(0, 0, epoch=EPOCH - 1)
    await bed.fold(0, 1)
    assert bed.steps == 1
    assert not bed.fatal


async def test_a_batch_of_a_partition_that_is_not_held_changes_nothing() -> None:
    bed = Bed()
    await bed.partitions.fold(Batch(7, EPOCH, 0, [SourceRecord(0, APPENDED_MS, None, raw(step()))], 0))
    assert not bed.steps
    assert not bed.fatal


async def test_time_passes_only_between_two_empty_answers() -> None:
    bed = Bed()
    await bed.fold(0, 0)
    clock = bed.held.assembler.clock
    start = clock.time_ms
    for said in (None, Said(1, is_empty=True), Said(1, is_empty=True), Said(2, is_empty=False), Said(3, is_empty=True)):
        bed.partitions.answered(0, said)
    assert clock.time_ms == start
    bed.held.answered_at -= 0.5
    bed.partitions.answered(0, Said(4, is_empty=True))
    assert 500 <= clock.time_ms - start <= Limits().max_gap_ms


async def test_a_long_silence_of_the_broker_counts_as_one_gap() -> None:
    bed = Bed()
    await bed.fold(0, 0)
    start = bed.held.assembler.clock.time_ms
    bed.partitions.answered(0, Said(1, is_empty=True))
    bed.held.answered_at -= 3_600
    bed.partitions.answered(0, Said(2, is_empty=True))
    assert bed.held.assembler.clock.time_ms - start == Limits().max_gap_ms
