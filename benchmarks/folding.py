"""The pure assembler as the worker drives it, without Kafka: records in, a checkpoint every so many events.

A checkpoint here makes every byte that a transaction would hold and hands it to nobody.
"""

from collections.abc import Iterable

from benchmarks.load import Sent
from streams.assemble import Assembler, SourceRecord
from streams.checkpoint import Checkpoint, collect, committed, due
from streams.limits import Limits
from streams.route import RoutingRules
from streams.state import Record, read_state

CHECKPOINT = 10_000
START_MS = 1_767_225_600_000
A_MILLISECOND = 100
"""Records that are appended in one."""


class Folding:
    """One partition's assembler and its topic's next offset."""

    def __init__(
        self, limits: Limits | None = None, checkpoint_events: int = CHECKPOINT, *, weighs_steps: bool = False
    ) -> None:
        self.assembler = Assembler(0, 1, limits or Limits())
        self._rules = RoutingRules()
        self._checkpoint_events = checkpoint_events
        self._weighs_steps = weighs_steps
        self._offset = 0
        self.state_bytes = 0
        """Keys and values of all that was written to the state, uncompressed."""
        self.outlived_bytes = 0
        """Of the steps that are in it, since their runs were open across a checkpoint."""

    def records(self, sent: Iterable[Sent]) -> list[SourceRecord]:
        """Return records as they would be fetched, ready to be folded."""
        return [self._record(one.key, one.value) for one in sent]

    def _record(self, key: bytes, value: bytes) -> SourceRecord:
        offset, self._offset = self._offset, self._offset + 1
        return SourceRecord(offset, START_MS + offset // A_MILLISECOND, key, value)

    def fold(self, records: Iterable[SourceRecord]) -> None:
        """Fold records, with a checkpoint whenever enough events are pending."""
        assembler, most = self.assembler, self._checkpoint_events
        for record in records:
            assembler.fold(record)
            if assembler.pending.events >= most:
                self.checkpoint()

    def checkpoint(self) -> Checkpoint:
        """Write one checkpoint."""
        checkpoint = collect(self.assembler, due(self.assembler), {}, self._rules)
        places = list(range(len(checkpoint.closed)))
        self._weigh([*checkpoint.state, *checkpoint.last(places)])
        for one, _ in checkpoint.closed:
            one.value()
        committed(self.assembler, checkpoint, places)
        return checkpoint

    def _weigh(self, state: list[Record]) -> None:
        self.state_bytes += sum(len(key) + len(value or b"") for key, value in state)
        if self._weighs_steps:
            self.outlived_bytes += sum(len(raw) for one in read_state(state).segments for raw in one.events)
