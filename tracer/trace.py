"""One trajectory in work: from its bytes to its verdict, or to its dead letter.

Rules: no Kafka in here; an attempt is counted, and the count is safe, before it starts; what a tracer raises is
tried again, and ends as a verdict, never as an error of the worker; nothing of a trajectory's content is logged.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Protocol

from pydantic import ValidationError

from schemas import DeadLetter, DeadLetterReason, TopicName, Trajectory, Verdict, VerdictStatus

from .protocol import Finding, Tracer, abstained
from .rules import by_name
from .settings import TracerSettings
from .verdict import to_verdict
from .window import STEPS, Record

log = logging.getLogger(__name__)
STAGE = "tracer"
CHEAP = "commonest_agent"
"""What gives the verdict on a failure that waited too long."""
Again = Callable[[], Awaitable[int]]
"""Counts one more attempt, makes the count safe and returns it."""


class Clock(Protocol):
    """What time it is, and how long something took."""

    def now(self) -> datetime:
        """Return the time, in UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that only ever go up."""
        ...


class Judge:
    """Gives every record its answer."""

    def __init__(self, tracer: Tracer, settings: TracerSettings, clock: Clock) -> None:
        self._tracer = tracer
        self._settings = settings
        self._clock = clock

    async def judge(self, record: Record, attempt: int, again: Again, *, is_shed: bool = False) -> Verdict | DeadLetter:
        """Answer one record; `attempt` is counted already, `again` counts the next ones."""
        started_at, started = self._clock.now(), self._clock.monotonic()
        trajectory = self._read(record, attempt)
        if isinstance(trajectory, DeadLetter):
            return trajectory
        version = self._tracer.version
        finding, attempts = await (_shed(trajectory, attempt) if is_shed else self._find(trajectory, attempt, again))
        return to_verdict(
            trajectory,
            finding,
            tracer=self._tracer.name,
            version=version,
            attempts=attempts,
            queued_ms=int(started_at.timestamp() * 1000) - record.timestamp_ms,
            traced_ms=int((self._clock.monotonic() - started) * 1000),
            decided_at=self._clock.now(),
            purpose=self._settings.trace_purpose,
        )

    async def _find(self, trajectory: Trajectory, attempt: int, again: Again) -> tuple[Finding, int]:
        """Return the finding and how many attempts it took."""
        limit = self._settings.trace_attempts
        if attempt > limit:
            return abstained("crashed"), limit
        if trajectory.routing is not None and trajectory.routing.over_budget:
            return abstained("budget"), 0
        while True:
            found = await self._try(trajectory)
            if isinstance(found, Finding):
                return found, attempt
            _log_failure(trajectory, attempt, found)
            if attempt >= limit:
                return abstained(f"failed: {type(found).__name__}"), attempt
            await asyncio.sleep(self._settings.trace_backoff_s * 2 ** (attempt - 1))
            attempt = await again()

    async def _try(self, trajectory: Trajectory) -> Finding | Exception:
        timeout = asyncio.timeout(self._settings.trace_timeout_s)
        try:
            async with timeout:
                return await self._tracer.trace(trajectory)
        except Exception as error:  # noqa: BLE001  whatever a tracer raises becomes a verdict
            return abstained("timeout", VerdictStatus.OVERLONG) if timeout.expired() else error

    def _read(self, record: Record, attempt: int) -> Trajectory | DeadLetter:
        if not record.value:
            return self._letter(record, "the record has no value")
        value = record.value
        if attempt > self._settings.trace_attempts + 1:  # even opening it may have killed the worker
            value = value.partition(STEPS)[0] + STEPS + b"]}"
        try:
            return Trajectory.model_validate_json(value)
        except ValidationError as error:
            return self._letter(record, _first_errors(error))

    def _letter(self, record: Record, message: str) -> DeadLetter:
        return DeadLetter(
            topic=TopicName.FAILED_TRAJECTORIES,
            partition=record.partition,
            offset=record.offset,
            reason=DeadLetterReason.UNTRACEABLE,
            message=message,
            stage=STAGE,
            key=record.key,
            value=record.value,
            at=self._clock.now(),
        )


async def _shed(trajectory: Trajectory, attempt: int) -> tuple[Finding, int]:
    """Return what a rule says of a failure that nobody had the time to trace."""
    cheap = by_name(CHEAP)
    found = await cheap.trace(trajectory)
    version = f"{cheap.name}-{cheap.version}"
    return found.model_copy(update={"status": VerdictStatus.SHED, "version": version}), attempt


class SystemClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Return the time, in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return the event loop's seconds."""
        return asyncio.get_running_loop().time()


def _log_failure(trajectory: Trajectory, attempt: int, error: Exception) -> None:
    fields = {
        "trajectory_id": trajectory.trajectory_id,
        "revision": trajectory.revision,
        "attempt": attempt,
        "error": type(error).__name__,
    }
    log.warning("trace failed", extra=fields)


def _first_errors(error: ValidationError, most: int = 3) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'trajectory'}: {one['msg']}" for one in found[:most])
