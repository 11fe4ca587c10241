"""From `failed-trajectories` to `verdicts`: the shell around the window.

Rules: polling never waits for a verdict, so a worker never leaves its group over a slow one: a full window pauses
the partitions and the polls go on; an attempt is committed before its work starts, and its answer is on
`verdicts` (same partition number) or `dead-letters` before it is committed as finished; in a rebalance the work
goes on, but nothing is written until the partition is ours again, with a commit that nobody has touched; what
can't be read becomes a dead letter; only ids are logged; what shadows comes after all that, and ends before the drain.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, ConsumerRecord, TopicPartition
from aiokafka.errors import CommitFailedError, KafkaError, KafkaTimeoutError

from schemas import DeadLetter, TopicName, Verdict
from schemas.dead_letter import to_headers
from schemas.errors import UnavailableError
from schemas.health import Health, Part
from schemas.metrics import UNMETERED, Metric, Metrics

from .commits import Commits
from .kafka import SOURCE, clients, committed_progress, end_of, is_closed_transport, silence_of
from .measure import measure_answer, measure_window
from .progress import Commit, Progress
from .protocol import Tracer
from .reread import RecordReader
from .settings import TracerSettings
from .shadow import Candidate, Shadows, Way
from .trace import Clock, Judge, SystemClock
from .window import Record, Waits, Window, Work
from .work import Works

log = logging.getLogger(__name__)
SEND_AGAIN_S = 1.0
LEAST_READ = 16


async def consume(
    settings: TracerSettings,
    tracer: Tracer,
    stop: asyncio.Event,
    clock: Clock | None = None,
    metrics: Metrics = UNMETERED,
    health: Health | None = None,
    shadow: Candidate | None = None,
) -> None:
    """Trace whatever fails until `stop` is set, then finish what is in work and leave."""
    async with (
        clients(settings) as (consumer, producer),
        RecordReader(settings.bootstrap) as reader,
        RecordReader(settings.bootstrap) as shadow_reader,
    ):
        worker = TracerWorker(
            settings, tracer, clock or SystemClock(), consumer, producer, reader, metrics, health or Health()
        )
        if shadow is not None:
            worker.shadow_with(shadow, shadow_reader)
        try:
            await worker.run(stop)
        except ExceptionGroup as errors:
            first = errors.exceptions[0]
            if isinstance(first, KafkaError) or is_closed_transport(first):
                raise UnavailableError(f"the broker {settings.bootstrap!r} ended the work: {first!r}") from errors
            raise first from errors


class TracerWorker:
    """One member of the group, with its partitions, its window and its tasks."""

    def __init__(
        self,
        settings: TracerSettings,
        tracer: Tracer,
        clock: Clock,
        consumer: AIOKafkaConsumer,
        producer: AIOKafkaProducer,
        reader: RecordReader,
        metrics: Metrics,
        health: Health,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._metrics = metrics
        self._health = health
        self._consumer = consumer
        self._producer = producer
        self._window = Window(
            concurrency=settings.tracer_concurrency,
            records=settings.tracer_window,
            size=settings.tracer_window_bytes,
            attempts=settings.trace_attempts,
            waits=Waits(round(settings.tracer_wait_s * 1000), settings.tracer_overdue == "shed"),
        )
        self._commits = Commits(
            self._window.partitions, self._send_commit, clock.monotonic, settings.session_timeout_ms / 2000
        )
        judge = Judge(tracer, settings, clock)
        self._works = Works(
            self._window, self._commits, judge, self._send_answer, reader.read, self._advance, self._now_ms, metrics
        )
        self._read_to: dict[TopicPartition, int] = {}
        """The time of the last record read of each partition, in milliseconds."""
        self._shadows: Shadows | None = None
        self._draining = False

    def shadow_with(self, candidate: Candidate, reader: RecordReader) -> None:
        """Let a candidate trace a share of the failures too, once it is up; `reader` is its own."""
        way = Way(self._commits.settle, self._is_free, reader.read, self._send_verdict)
        self._shadows = Shadows(candidate, self._settings, self._clock, way, self._metrics)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set or something breaks; then drain."""
        async with self._works.group as group:
            self._consumer.subscribe([SOURCE.value], listener=_Rebalance(self))
            endless = [group.create_task(self._poll()), group.create_task(self._commits.run())]
            shadowing = group.create_task(self._shadows.run()) if self._shadows is not None else None
            await stop.wait()
            if shadowing is not None:
                shadowing.cancel()
            await self._drain()
            for task in endless:
                task.cancel()

    # From the broker to the window

    async def _poll(self) -> None:
        while True:
            self._health.beat()
            await self._look()
            for records in (await self._read()).values():
                if vanished := self._window.take(map(_record, records)):
                    log.warning("the broker deleted work that was in hand", extra={"records": vanished})
            self._advance()

    async def _read(self) -> dict[TopicPartition, list[ConsumerRecord]]:
        """Read a part of what there is room for, of the partition that is furthest behind: else one waits for all."""
        found: dict[TopicPartition, list[ConsumerRecord]]
        room, partitions = self._window.room, self._consumer.assignment()
        part = min(room, max(LEAST_READ, room // (2 * max(1, len(partitions)))))
        for partition in sorted(partitions, key=lambda one: self._read_to.get(one, 0)):
            found = await self._consumer.getmany(partition, timeout_ms=0, max_records=part)
            if found:
                break
        else:
            found = await self._consumer.getmany(timeout_ms=self._settings.poll_ms, max_records=part)
        self._read_to |= {partition: records[-1].timestamp for partition, records in found.items()}
        return found

    async def _look(self) -> None:
        """Tell what is in hand, what is left to read, and whether the broker answers."""
        measure_window(self._metrics, self._window, self._clock.now())
        if not self._commits.owned:  # then a position may not be known, and would be waited for
            return
        for number, progress in list(self._window.partitions.items()):
            partition = TopicPartition(SOURCE.value, number)
            end = end_of(self._consumer, partition)
            if progress.position is not None and end is not None:
                unread = max(0, end - await self._consumer.position(partition))
                self._metrics.set(Metric.TRACER_LAG, unread + progress.in_hand, partition=number)
        self._health.ready(Part.BROKER, silence_of(self._consumer, self._clock))

    def _advance(self) -> None:
        """Start what may start, and read on or pause."""
        if not self._commits.owned:
            return
        if not self._draining:
            self._works.start()
        partitions = self._consumer.assignment()
        if self._draining or self._window.is_full():
            self._consumer.pause(*partitions)
        else:
            self._consumer.resume(*partitions)

    def _is_free(self) -> bool:
        """Whether no failure waits for its turn, and one more trace has a place."""
        return not self._window.waiting and self._window.in_work < self._settings.tracer_concurrency

    def _now_ms(self) -> int:
        return round(self._clock.now().timestamp() * 1000)

    # From the answer to the broker

    async def _send_answer(self, work: Work, answer: Verdict | DeadLetter) -> None:
        if isinstance(answer, Verdict):
            await self._send_verdict(work.record.partition, answer)
            if self._shadows is not None:
                self._shadows.offer(work.record, answer)
        else:
            await self._send_letter(answer)
        measure_answer(self._metrics, answer)

    async def _send_verdict(self, partition: int, verdict: Verdict) -> None:
        key, value = verdict.trajectory_id.encode(), verdict.model_dump_json().encode()
        await self._send(topic=TopicName.VERDICTS.value, partition=partition, key=key, value=value)
        fields = {
            "trajectory_id": verdict.trajectory_id,
            "revision": verdict.revision,
            "purpose": verdict.purpose.value,
            "status": verdict.status.value,
            "attempts": verdict.attempts,
            "queued_ms": verdict.queued_ms,
            "traced_ms": verdict.traced_ms,
        }
        log.info("verdict sent", extra=fields)

    async def _send_letter(self, letter: DeadLetter) -> None:
        key = letter.key if letter.key is not None or letter.value is not None else b""  # one of them has to be
        await self._send(topic=TopicName.DEAD_LETTERS.value, key=key, value=letter.value, headers=to_headers(letter))
        fields = {"address": letter.address, "reason": letter.reason.value}
        log.warning("dead letter sent", extra=fields)

    async def _send(self, **record: object) -> None:
        """Send one record, for as long as it takes the broker to be there."""
        while True:
            try:
                await self._producer.send_and_wait(**record)
            except KafkaError as error:
                if not error.retriable and not isinstance(error, KafkaTimeoutError):
                    raise
                log.warning("send failed, trying again", extra={"error": type(error).__name__})
                await asyncio.sleep(SEND_AGAIN_S)
            else:
                return

    async def _send_commit(self, commits: Mapping[int, Commit]) -> bool:
        offsets = {TopicPartition(SOURCE.value, number): tuple(commit) for number, commit in commits.items()}
        try:
            await self._consumer.commit(offsets)
        except CommitFailedError:
            self._metrics.count(Metric.TRACER_COMMITS_REFUSED)
            log.warning("commit refused, the group has moved on", extra={"partitions": sorted(commits)})
            return False
        return True

    # Partitions come and go

    async def revoked(self) -> None:
        """Put what is finished on the broker; the work in hand goes on, and waits with its answers."""
        was_owned = self._commits.disown()
        self._health.ready(Part.PARTITIONS, "no partitions assigned")
        await self._works.answered(self._settings.session_timeout_ms / 2000)
        if was_owned:
            await self._commits.hand_back()

    async def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Go on with what nobody has touched since; start anew from the broker's progress with the rest."""
        self._consumer.pause(*partitions)  # records may not come before their progress does
        committed = await committed_progress(self._consumer, partitions)
        for number in set(self._window.partitions) - {partition.partition for partition in partitions}:
            self._drop(number)
        for partition in partitions:
            self._hold(partition, committed.get(partition))
        self._commits.own()
        self._health.ready(Part.PARTITIONS)
        self._advance()

    def _hold(self, partition: TopicPartition, commit: Commit | None) -> None:
        number = partition.partition
        progress = self._window.partitions.get(number)
        if progress is None or commit != self._commits.standing.get(number):
            progress = self._load(number, commit)
        if progress.position is not None:
            self._consumer.seek(partition, progress.position)

    def _load(self, number: int, commit: Commit | None) -> Progress:
        self._drop(number)
        progress = Progress(commit)
        if not progress.readable:
            log.warning("the commit's metadata is not ours", extra={"partition": number})
        if commit is not None:
            self._commits.standing[number] = commit
        self._window.assign(number, progress)
        return progress

    def _drop(self, number: int) -> None:
        self._commits.standing.pop(number, None)
        self._metrics.forget(Metric.TRACER_LAG, partition=number)
        self._works.cancel(self._window.drop(number))

    def fail(self, error: Exception) -> None:
        """End the worker with an error that came up in a callback."""
        self._works.group.create_task(_raise(error))

    # The end

    async def _drain(self) -> None:
        self._draining = True
        self._advance()
        log.info("draining", extra={"in_work": len(self._works)})
        await self._works.drain(self._settings.drain_timeout_s)
        try:
            async with asyncio.timeout(self._settings.session_timeout_ms / 1000):
                await self.revoked()
        except TimeoutError:
            log.warning("left without a last commit, the broker does not answer")
        self._works.abandon()


class _Rebalance(ConsumerRebalanceListener):  # type: ignore[misc]  # the library is untyped
    """Hands aiokafka's callbacks to the worker; it only logs what they raise, so the worker is told itself."""

    def __init__(self, worker: TracerWorker) -> None:
        self._worker = worker

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Tell the worker that the group shares out anew; `revoked` is everything it had."""
        log.info("partitions revoked", extra={"partitions": _numbers(revoked)})
        try:
            await self._worker.revoked()
        except Exception as error:  # noqa: BLE001  it ends the worker
            self._worker.fail(error)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Tell the worker what it has now; `assigned` is all of it."""
        log.info("partitions assigned", extra={"partitions": _numbers(assigned)})
        try:
            await self._worker.assigned(assigned)
        except Exception as error:  # noqa: BLE001  it ends the worker
            self._worker.fail(error)


def _record(found: ConsumerRecord) -> Record:
    return Record(found.partition, found.offset, found.timestamp, found.key, found.value)


def _numbers(partitions: Iterable[TopicPartition]) -> list[int]:
    return sorted(partition.partition for partition in partitions)


async def _raise(error: Exception) -> None:
    raise error
