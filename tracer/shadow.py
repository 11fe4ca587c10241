"""A candidate beside the tracer that serves: it traces a share of the failures too, and its verdicts count nowhere.

Rules: no Kafka in here; a failure is shadowed after its verdict was sent and committed, while another has no turn to
wait for, and one at a time; what needed a second attempt is left alone; which are drawn is a hash of trajectory and
revision, so a redelivery draws the same; whatever goes wrong is logged and counted, is never tried again and touches
neither the worker nor a commit. Nothing of a shadow is written down before its verdict: after a kill one may be
missing, and where a verdict was made twice, so may its shadow be.
"""

import asyncio
import hashlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple

from schemas import Trajectory, Verdict, VerdictPurpose, VerdictStatus
from schemas.metrics import UNMETERED, Metric, Metrics

from .protocol import Tracer
from .settings import TracerSettings
from .trace import Clock
from .verdict import to_verdict
from .window import Record

log = logging.getLogger(__name__)
WAITING = 100
"""So many drawn ones wait, without their content; the oldest give way."""
LOOK_S = 0.1
DRAW_BYTES = 6

Candidate = Callable[[], AbstractAsyncContextManager[Tracer]]
"""Starts the tracer that shadows; it is up inside the block, and gone after."""


class Way(NamedTuple):
    """What a shadow needs of its worker."""

    settle: Callable[[], Awaitable[None]]
    """Returns when the broker knows what was finished."""
    is_free: Callable[[], bool]
    """Whether no failure waits, and there is a place for one more."""
    read: Callable[[Record], Awaitable[Record]]
    """Reads a record again; without a value where the broker no longer has it."""
    send: Callable[[int, Verdict], Awaitable[None]]
    """Sends a verdict to a partition, and returns when the broker has it."""


class Drawn(NamedTuple):
    """A failure that is to be traced a second time."""

    record: Record
    """Without its content."""
    trajectory_id: str
    revision: int
    version: str
    """Of the tracer that served."""


def is_drawn(trajectory_id: str, revision: int, share: float) -> bool:
    """Judge whether a revision is one of the share."""
    digest = hashlib.sha256(f"shadow\x1f{trajectory_id}\x1f{revision}".encode()).digest()
    return int.from_bytes(digest[:DRAW_BYTES]) < share * (1 << 8 * DRAW_BYTES)


class Shadows:
    """The shadows of one worker."""

    def __init__(
        self, candidate: Candidate, settings: TracerSettings, clock: Clock, way: Way, metrics: Metrics = UNMETERED
    ) -> None:
        self._candidate = candidate
        self._settings = settings
        self._clock = clock
        self._way = way
        self._metrics = metrics
        self._waiting: deque[Drawn] = deque()
        self._is_off = False

    def offer(self, record: Record, verdict: Verdict) -> None:
        """Take note of a verdict that was sent; a budget's or a crash's is none of a tracer's, and not shadowed."""
        drawn = is_drawn(verdict.trajectory_id, verdict.revision, self._settings.tracer_shadow_share)
        if self._is_off or not drawn or verdict.attempts != 1 or verdict.status is VerdictStatus.SHED:
            return
        if len(self._waiting) >= WAITING:
            self._end(self._waiting.popleft(), "dropped")
        bare = record._replace(key=None, value=None)
        self._waiting.append(Drawn(bare, verdict.trajectory_id, verdict.revision, verdict.tracer_version))

    async def run(self) -> None:
        """Shadow what was drawn, for ever; where the candidate can't be started there is no shadow."""
        try:
            async with self._candidate() as tracer:
                log.info("shadow started", extra={"tracer": tracer.name, "version": tracer.version})
                while True:
                    await self._shadow(tracer, await self._next())
        except Exception as error:  # noqa: BLE001  it must not take the worker with it
            log.warning("no shadow until the worker starts again", extra={"why": str(error)})
        self._is_off = True
        while self._waiting:
            self._end(self._waiting.popleft(), "dropped")

    async def _next(self) -> Drawn:
        while not self._waiting or not self._way.is_free():
            await asyncio.sleep(LOOK_S)
        return self._waiting.popleft()

    async def _shadow(self, tracer: Tracer, drawn: Drawn) -> None:
        if drawn.version == tracer.version:  # the candidate was promoted
            return
        try:
            await self._way.settle()
            record = await self._way.read(drawn.record)
            if record.value is None:
                self._end(drawn, "dropped")
                return
            await self._way.send(record.partition, await self._trace(tracer, record, record.value))
        except Exception as error:  # noqa: BLE001  whatever a candidate raises is its own affair
            self._end(drawn, "failed", type(error).__name__)
        else:
            self._end(drawn, "sent")

    async def _trace(self, tracer: Tracer, record: Record, value: bytes) -> Verdict:
        started_at, started = self._clock.now(), self._clock.monotonic()
        trajectory, version = Trajectory.model_validate_json(value), tracer.version
        async with asyncio.timeout(self._settings.trace_timeout_s):
            finding = await tracer.trace(trajectory)
        return to_verdict(
            trajectory,
            finding,
            tracer=tracer.name,
            version=version,
            attempts=1,
            queued_ms=int(started_at.timestamp() * 1000) - record.timestamp_ms,
            traced_ms=int((self._clock.monotonic() - started) * 1000),
            decided_at=self._clock.now(),
            purpose=VerdictPurpose.SHADOW,
        )

    def _end(self, drawn: Drawn, status: str, error: str | None = None) -> None:
        self._metrics.count(Metric.TRACER_SHADOWS, status=status)
        if error is not None:
            fields = {"trajectory_id": drawn.trajectory_id, "revision": drawn.revision, "error": error}
            log.warning("shadow failed", extra=fields)
