"""One partition in the worker's own hands, on the broker made of lists, so that what a storm costs can be counted.

Everything between a fetched batch and a committed checkpoint is the product's; only its two Kafka clients are lists.
"""

from collections.abc import Iterable
from datetime import timedelta

from schemas import Event, OutcomeEvent, Result
from schemas.topics import MB
from streams.assemble import Assembler
from streams.cache import ClosedCache
from streams.checkpoint import Checkpoint, restore
from streams.delivery import Batch
from streams.kafka import PartitionWriter
from streams.limits import Limits
from streams.partitions import Held, Partitions
from streams.reader import PartitionReader
from streams.route import RoutingRules
from streams.settings import StreamsSettings
from streams.state import read_state
from tests.factories import outcome_event, raw
from tests.streams.broker import ListBroker, Topics

EPOCH = 1
GRACE_MS = 2_000


class ListWriter(PartitionWriter):
    """Writes checkpoints into lists."""

    def __init__(self, broker: ListBroker) -> None:
        self.partition = 0
        self._broker = broker
        self.state_bytes: list[int] = []
        """What each checkpoint added to the state."""

    async def write(self, checkpoint: Checkpoint) -> list[int]:
        before = self._broker.state_bytes()
        places = self._broker.commit(0, checkpoint)
        self.state_bytes.append(self._broker.state_bytes() - before)
        return places


class ListReader(PartitionReader):
    """Reads single records of `trajectories` back, and remembers which."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics
        self.places_read: list[int] = []

    async def places(self, topic: str, partition: int, offsets: Iterable[int]) -> dict[int, bytes | None]:
        assert (topic, partition) == ("trajectories", 0)
        wanted = sorted(set(offsets))
        self.places_read += wanted
        return {offset: self._topics.trajectories[offset] for offset in wanted}


class Storm:
    """A worker that holds one partition; time passes when a test says so."""

    def __init__(self, *, cache_bytes: int = 32 * MB, rules: RoutingRules | None = None, **limits: int) -> None:
        settings = StreamsSettings(limits=Limits(grace_ms=GRACE_MS, cache_bytes=cache_bytes, **limits))
        self.fatal: list[BaseException] = []
        self._broker = ListBroker()
        self._partitions = Partitions(settings, rules or RoutingRules(), 1, on_fatal=self.fatal.append)
        self._reader = ListReader(self.topics)
        self._partitions.reader = self._reader
        self.writer = ListWriter(self._broker)
        self._limits = settings.limits
        self.held = self.restart()

    def restart(self) -> Held:
        """Forget everything, and go on from the state as a new owner does."""
        assembler = Assembler(0, 1, self._limits)
        restore(assembler, read_state(self.topics.state))
        self.held = Held(assembler, self.writer, EPOCH, ClosedCache(self._limits.cache_bytes))
        self._partitions.held[0] = self.held
        return self.held

    @property
    def topics(self) -> Topics:
        """What the topics hold."""
        return self._broker.topics[0]

    async def send(self, *events: Event) -> None:
        """Append events and fold them as one fetched batch."""
        first = len(self.topics.steps)
        for event in events:
            self._broker.append(0, raw(event))
        records = self.topics.steps[first:]
        await self._partitions.fold(Batch(0, EPOCH, self.held.batches, records, 0))
        assert not self.fatal

    async def quiet(self, elapsed_ms: int) -> None:
        """Let time pass, with a checkpoint every half a second as a worker writes them."""
        for _ in range(elapsed_ms // 500):
            self._broker.now_ms += 500
            self.held.assembler.passed(500)
            await self.checkpoint()

    async def checkpoint(self) -> None:
        """Write what is due."""
        await self._partitions.checkpoint(0)
        assert not self.fatal

    async def spread(self, events: Iterable[Event], apart_ms: int) -> None:
        """Send events one by one, so far apart."""
        for event in events:
            await self.send(event)
            await self.quiet(apart_ms)

    def open_and_markers(self) -> tuple[int, int]:
        """Return the bytes that open trajectories and markers are counted with."""
        return self.held.assembler.open_bytes, self.held.assembler.marker_bytes

    @property
    def revisions(self) -> int:
        """How many revisions were published, of all runs."""
        return len(self.topics.trajectories)

    @property
    def read_backs(self) -> int:
        """How many published revisions were fetched from the topic again."""
        return len(self._reader.places_read)

    @property
    def traced(self) -> int:
        """How many revisions the tracer gets: as many verdicts come of them."""
        return len(self.topics.failed)


def thumb(number: int, at_s: int, result: Result = Result.FAILURE) -> OutcomeEvent:
    """Return an outcome with an id of its own, decided so many seconds after an hour after START."""
    at = outcome_event().at + timedelta(seconds=at_s)
    return outcome_event(event_id=f"thumb-{number}", result=result, at=at)


def thumbs(*at_s: int, result: Result = Result.FAILURE) -> list[OutcomeEvent]:
    """Return an outcome for each of these times."""
    return [thumb(number, seconds, result) for number, seconds in enumerate(at_s, 1)]
