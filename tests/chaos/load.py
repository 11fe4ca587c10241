"""What is sent in one run, and when: trajectories of every kind, late, doubled, shuffled. Pure, from the seed.

Rules: a run has one sender, so its events keep their order but where the plan turns it; the wire's bytes are made
here, and a step's digest from them, so that what comes out can be held against what went in; every dead letter that
there will be is planned here.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from hashlib import blake2b
from typing import NamedTuple

from schemas import OutcomeEvent, Result, StepEvent
from streams.home import home_partition
from tests.factories import START, outcome, outcome_event, step

from .size import CROWD, CROWD_HOME, PARTITIONS, Size

LATE = "late"
"""The evaluator of the outcomes that are sent for every trajectory at the end."""
_WORDS = ("order", "looked", "up", "and", "the", "answer", "is", "on", "its", "way", "to", "whoever", "asked", "today")
_RESULTS = (Result.FAILURE, Result.FAILURE, Result.SUCCESS, Result.SUCCESS, None)


class Sender(StrEnum):
    """Who sends a run."""

    PRODUCT = "publish"
    """The product's own client: every event at its home."""
    LIBRDKAFKA = "librdkafka"
    """confluent-kafka with its default partitioner: most events far from home."""


class Nature(StrEnum):
    """What kind of run it is."""

    ENDED = "ended"
    ENDLESS = "endless"
    """Its end is never sent: it closes by idleness."""
    CROWD = "crowd"
    """One of so many at once that the partition closes them by memory."""
    MIXED = "mixed"
    """All of it in one NDJSON record, beside others."""
    LONG = "long"
    """Open all along."""


class Line(NamedTuple):
    """One event on the wire, or bytes that are none."""

    trajectory_id: str
    event_id: str
    kind: str
    """`step`, `outcome` or `letter`: what is to become a dead letter."""
    raw: bytes


class Sent(NamedTuple):
    """One record."""

    at_s: float
    sender: Sender
    key: bytes | None
    lines: tuple[Line, ...]


@dataclass(slots=True)
class Run:
    """One trajectory as planned."""

    trajectory_id: str
    nature: Nature
    sender: Sender
    late_steps: set[str] = field(default_factory=set)
    """Planned behind its end."""
    has_end: bool = True


class Load(NamedTuple):
    """Everything that is sent, in the order of its time."""

    runs: dict[str, Run]
    records: list[Sent]
    steps: int

    def of(self, sender: Sender) -> list[Sent]:
        """Return one sender's part."""
        return [one for one in self.records if one.sender is sender]


def digest(event: StepEvent | OutcomeEvent) -> bytes:
    """Return what tells an event's content from any other."""
    return digest_of(event.model_dump_json().encode())


def digest_of(raw: bytes) -> bytes:
    """Return what tells bytes from any others."""
    return blake2b(raw, digest_size=12).digest()


def build(seed: int, size: Size) -> Load:
    """Plan a run."""
    planner = _Planner(seed, size)
    planner.long_one()
    for number in range(size.crowds):
        planner.crowd((number + 0.7) * size.load_s / size.crowds)
    for number in range(size.mixed):
        planner.mixed((number + 0.5) * size.load_s / size.mixed)
    while planner.steps < size.steps:
        planner.plain()
    return Load(planner.runs, sorted(planner.records, key=lambda one: one.at_s), planner.steps)


def late_outcomes(load: Load) -> list[Sent]:
    """Return an outcome for every trajectory that is newer than all it had."""
    at = START + timedelta(days=2)
    events = (
        outcome_event(one, event_id=f"{one}-last", outcome=outcome(Result.FAILURE, evaluator=LATE), at=at)
        for one in load.runs
    )
    return [Sent(0.0, Sender.PRODUCT, event.trajectory_id.encode(), (_line(event),)) for event in events]


class _Planner:
    """Draws one run after the other."""

    def __init__(self, seed: int, size: Size) -> None:
        self._rng = random.Random(seed)
        self._size = size
        self._prefix = f"s{seed}"
        self.runs: dict[str, Run] = {}
        self.records: list[Sent] = []
        self.steps = 0

    def plain(self) -> None:
        """Plan an ordinary run."""
        rng, size = self._rng, self._size
        gaps = [rng.uniform(*size.step_gap_s) for _ in range(rng.randint(*size.run_steps))]
        sender = Sender.LIBRDKAFKA if rng.random() < 0.3 else Sender.PRODUCT
        nature = Nature.ENDLESS if rng.random() < 0.1 else Nature.ENDED
        run = self._run(nature, sender)
        at, times = rng.uniform(0, size.load_s - sum(gaps)), []
        for gap in gaps:
            at += gap
            times.append(at)
        result = rng.choice(_RESULTS)
        ends_by_outcome = nature is Nature.ENDED and result is not None and rng.random() < 0.25
        final_step = nature is Nature.ENDED and not ends_by_outcome
        inside = final_step and result is not None and rng.random() < 0.5
        steps = list(self._events(run, len(times), final=final_step, result=result if inside else None))
        shaken = run.sender is Sender.PRODUCT and rng.random() < 0.15
        late = rng.randrange(len(times) - 1) if nature is Nature.ENDED and rng.random() < 0.05 else None
        for index, (event, planned) in enumerate(zip(steps, times, strict=True)):
            when = planned + (rng.uniform(-0.4, 0.4) if shaken else 0.0)
            if index == late:
                when = times[-1] + rng.uniform(*size.late_s)
                run.late_steps.add(event.event_id)
            self._send(when, run, event)
        if result is not None and not inside:
            self._outcome(run, times[-1], result, len(steps), final=ends_by_outcome)
        if rng.random() < 0.1:
            self._second_opinion(run, times[-1])
        if late is None and rng.random() < 0.03:
            self._conflict(run, steps[0], times[0])
        if rng.random() < 0.02:
            self._garbage(run, times[0])

    def long_one(self) -> None:
        """Plan a run that is open all along, a step a second."""
        run = self._run(Nature.LONG, Sender.PRODUCT)
        for second, event in enumerate(self._events(run, round(self._size.load_s), final=True, result=Result.FAILURE)):
            self._put(float(second), run, event)

    def crowd(self, at_s: float) -> None:
        """Plan more runs at once than a partition may have open."""
        for _ in range(CROWD):
            run = self._run(Nature.CROWD, Sender.PRODUCT)
            self._put(at_s, run, next(self._events(run, 1, final=False)))

    def mixed(self, at_s: float) -> None:
        """Plan three whole runs in one record of NDJSON, a line of rubbish between them now and then."""
        lines = []
        for _ in range(3):
            run = self._run(Nature.MIXED, Sender.LIBRDKAFKA)
            lines += [_line(event) for event in self._events(run, 4, final=True, result=self._rng.choice(_RESULTS))]
        self._rng.shuffle(lines)
        if self._rng.random() < 0.3:
            lines.append(Line("", "", "letter", b'{"rubbish": %d}' % len(self.records)))
        self.records.append(Sent(at_s, Sender.LIBRDKAFKA, None, tuple(lines)))

    def _run(self, nature: Nature, sender: Sender) -> Run:
        homes = {CROWD_HOME} if nature is Nature.CROWD else set(range(PARTITIONS)) - {CROWD_HOME}
        trajectory_id = self._id(nature)
        while home_partition(trajectory_id, PARTITIONS) not in homes:
            trajectory_id = self._id(nature)
        run = Run(trajectory_id, nature, sender, has_end=nature not in (Nature.ENDLESS, Nature.CROWD))
        self.runs[trajectory_id] = run
        return run

    def _id(self, nature: Nature) -> str:
        return f"{self._prefix}-{nature}-{len(self.runs)}-{self._rng.randrange(16**4):04x}"

    def _events(self, run: Run, count: int, *, final: bool, result: Result | None = None) -> Iterator[StepEvent]:
        for index in range(count):
            is_last = index == count - 1
            self.steps += 1
            yield step(
                run.trajectory_id,
                index,
                content=f"{run.trajectory_id} {index}: {' '.join(self._rng.choices(_WORDS, k=30))}",
                final=final and is_last,
                outcome=outcome(result) if is_last and result is not None else None,
            )

    def _outcome(self, run: Run, end_s: float, result: Result, steps: int, *, final: bool) -> None:
        """Plan the outcome right after the last step, or after the close."""
        delay = 0.2 if final else self._rng.choice((0.2, 0.5, self._rng.uniform(*self._size.late_s)))
        event = outcome_event(run.trajectory_id, result, final=final, step_count=steps if final else None)
        self._send(end_s + delay, run, event)

    def _second_opinion(self, run: Run, end_s: float) -> None:
        """Plan another outcome after the close; some are older than the first and change nothing."""
        hours = self._rng.choice((0.5, 2, 3))
        event = outcome_event(
            run.trajectory_id,
            self._rng.choice((Result.FAILURE, Result.SUCCESS)),
            event_id=f"{run.trajectory_id}-opinion",
            at=START + timedelta(hours=hours),
        )
        self._send(end_s + self._rng.uniform(*self._size.late_s), run, event)

    def _conflict(self, run: Run, first: StepEvent, at_s: float) -> None:
        other = first.model_copy(update={"content": f"{first.content} no longer"})
        self._letter(run, at_s + self._rng.uniform(1, 10), first.event_id, _raw(other))

    def _garbage(self, run: Run, at_s: float) -> None:
        self._letter(run, at_s + self._rng.uniform(0, 5), "", b"rubbish beside %s" % run.trajectory_id.encode())

    def _letter(self, run: Run, at_s: float, event_id: str, raw: bytes) -> None:
        line = Line(run.trajectory_id, event_id, "letter", raw)
        self.records.append(Sent(at_s, run.sender, run.trajectory_id.encode(), (line,)))

    def _send(self, at_s: float, run: Run, event: StepEvent | OutcomeEvent) -> None:
        """Plan an event, and some twice: soon, or after the close."""
        self._put(at_s, run, event)
        if self._rng.random() < 0.03:
            self._put(at_s + self._rng.uniform(0.05, self._size.late_s[1]), run, event)

    def _put(self, at_s: float, run: Run, event: StepEvent | OutcomeEvent) -> None:
        self.records.append(Sent(at_s, run.sender, run.trajectory_id.encode(), (_line(event),)))


def _line(event: StepEvent | OutcomeEvent) -> Line:
    return Line(event.trajectory_id, event.event_id, "step" if isinstance(event, StepEvent) else "outcome", _raw(event))


def _raw(event: StepEvent | OutcomeEvent) -> bytes:
    return event.model_dump_json(exclude_none=True).encode()
