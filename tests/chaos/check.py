"""The truth: the ledger of what was acknowledged, held against every record and every row that stands.

Rules: pure; nothing is merged before it is counted, so what stands twice counts as doubled; a run closed early is one
whose end was sent and that closed by idleness, or whose first revision lacks a step that its sender had not kept back,
though its home's log shows no gap as long as that.
"""

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from schemas import CloseReason, Result
from streams.home import home_partition

from .journal import Entry, Kind
from .load import LATE, Run
from .read import Appended, Cleaned, Revision, Rows, Topics
from .senders import Ledger
from .size import GAP_MS, GRACE_MS, IDLE_MS, PARTITIONS

Outage = tuple[int, int]
"""From when to when the broker was away, in milliseconds since 1970."""
_EXAMPLES = 12
_FORWARD_MS = 1_500
"""So much later than its append time a forwarded event may be seen: when its transaction stands."""


@dataclass(slots=True)
class Tally:
    """What is wrong; everything in the first block has to be 0."""

    lost: int = 0
    doubled: int = 0
    altered: int = 0
    """Steps whose content is not what was sent, or out of order."""
    verdicts_missing: int = 0
    closed_early: int = 0
    not_whole: int = 0
    """Trajectories whose last revision, after the late outcome, is not all of them."""
    unplanned: int = 0
    """Records and rows that nobody sent: dead letters, steps, verdicts without a failed revision."""
    takeovers_wrong: int = 0
    ends_wrong: int = 0
    not_cleaned: int = 0

    closed_behind_forwards: int = 0
    """Closed by a gap that its home's log does show, because its events came by way of another partition."""
    closed_behind_senders: int = 0
    """The same of runs whose sender was itself so late."""
    revisions: int = 0
    verdicts: int = 0
    forwarded: int = 0
    takeovers: int = 0
    reread_most: int = 0
    """The most source records that were read again after a takeover."""
    cleaner_removed: int = 0
    examples: list[str] = field(default_factory=list)

    @property
    def wrong(self) -> int:
        """Everything that has to be 0."""
        return (
            self.lost + self.doubled + self.altered + self.verdicts_missing + self.closed_early + self.not_whole
            + self.unplanned + self.takeovers_wrong + self.ends_wrong + self.not_cleaned + self.closed_behind_forwards
        )  # fmt: skip

    def note(self, name: str, found: Iterable[object]) -> None:
        """Count what was found under a name, and keep some of it to be shown."""
        things, known = list(found), getattr(self, name)
        setattr(self, name, known + len(things))
        self.examples += [f"{name}: {thing}"[:800] for thing in things[: max(0, _EXAMPLES - known)]]


def check(
    ledger: Ledger,
    runs: Mapping[str, Run],
    topics: Topics,
    rows: tuple[Rows, Rows],
    state: Cleaned,
    entries: Sequence[Entry],
    ends: list[str],
    outages: Sequence[Outage] = (),
) -> Tally:
    """Hold everything against the ledger; `rows` are those of the store, and once more with every row in it twice."""
    tally = Tally()
    _published(tally, ledger, topics)
    _outcomes_and_letters(tally, ledger, topics)
    for name, found in zip(("store", "store of doubled rows"), rows, strict=True):
        _stored(tally, name, ledger, topics, found)
    _early(tally, runs, topics, outages)
    _takeovers(tally, entries, topics)
    tally.note("ends_wrong", ends)
    _cleaned(tally, state, entries)
    tally.revisions, tally.verdicts = len(topics.revisions), sum(rows[0].verdicts.values())
    tally.forwarded = sum(one.forwarded for log in topics.source.values() for one in log)
    return tally


def twice(counts: Counter[Any]) -> Iterator[Any]:
    """Return what stands more than once, as often as it is too many."""
    return (one for one, count in counts.items() for _ in range(count - 1))


def latest_of(revisions: Iterable[Revision]) -> dict[str, Revision]:
    """Return the last revision of each run."""
    return {one.identity[0]: one for one in sorted(revisions, key=lambda one: one.identity[1:])}


def _published(tally: Tally, ledger: Ledger, topics: Topics) -> None:
    """`trajectories` and `failed-trajectories` against the ledger."""
    tally.note("doubled", twice(Counter(one.identity for one in topics.revisions)))
    tally.note("doubled", twice(topics.failed))
    tally.note("doubled", twice(Counter(run for run, _ in {one.identity[:2] for one in topics.revisions})))
    for one in topics.revisions:
        tally.note("doubled", ((one.identity, event) for event in twice(Counter(event for event, _ in one.steps))))
        tally.note("altered", [one.identity] if not one.in_order else [])
        sent = ((event, content, ledger.steps.get((one.identity[0], event))) for event, content in one.steps)
        wrong = [(event, known) for event, content, known in sent if known != content]
        tally.note("altered", ((one.identity, event) for event, known in wrong if known is not None))
        tally.note("unplanned", ((one.identity, event) for event, known in wrong if known is None))
    tally.note("unplanned", _gaps(topics.revisions))
    latest = latest_of(topics.revisions)
    standing = {(one, event) for one, revision in latest.items() for event, _ in revision.steps}
    tally.note("lost", ledger.steps.keys() - standing)
    tally.note("not_whole", _not_whole(ledger, latest))
    routed = {one.identity for one in topics.revisions if one.outcome and one.outcome.result is Result.FAILURE}
    tally.note("lost", (f"not routed {one}" for one in routed - topics.failed.keys()))
    tally.note("unplanned", (f"routed {one}" for one in topics.failed.keys() - routed))


def _gaps(revisions: Iterable[Revision]) -> Iterator[str]:
    """Name the runs whose revisions do not count from 1 without a gap."""
    numbers: defaultdict[tuple[str, int], set[int]] = defaultdict(set)
    for one in revisions:
        numbers[one.identity[:2]].add(one.identity[2])
    return (f"{run}: {sorted(found)}" for run, found in numbers.items() if found != set(range(1, len(found) + 1)))


def _not_whole(ledger: Ledger, latest: Mapping[str, Revision]) -> Iterator[str]:
    """Name the runs whose last revision lacks a step, or the late outcome."""
    sent = Counter(one for one, _ in ledger.steps)
    for one, count in sent.items():
        last = latest.get(one)
        if last is None or len(last.steps) != count or not last.outcome or last.outcome.evaluator != LATE:
            yield f"{one}: {'nothing' if last is None else (last.identity, len(last.steps), count, last.outcome)}"


def _outcomes_and_letters(tally: Tally, ledger: Ledger, topics: Topics) -> None:
    """`outcomes` and `dead-letters` against the ledger; an outcome that was sent twice may stand twice."""
    tally.note("lost", ledger.outcomes.keys() - topics.outcomes.keys())
    tally.note("unplanned", topics.outcomes.keys() - ledger.outcomes.keys())
    tally.note("doubled", (one for one in twice(topics.outcomes) if one not in ledger.often))
    tally.note("lost", (f"letter {one!r}" for one in ledger.letters - topics.letters.keys()))
    tally.note("unplanned", (f"letter {topics.reasons}" for _ in topics.letters.keys() - ledger.letters))
    tally.note("doubled", (f"letter {one!r}" for one in twice(topics.letters)))
    tally.note("doubled", (f"report {one}" for one in twice(topics.reports)))


def _stored(tally: Tally, name: str, ledger: Ledger, topics: Topics, rows: Rows) -> None:
    """The views against ledger and topics, row by row."""
    latest = {one: revision.identity for one, revision in latest_of(topics.revisions).items()}
    parts: tuple[tuple[str, Counter[Any], AbstractSet[Any]], ...] = (
        ("steps", rows.steps, set(ledger.steps)),
        ("outcomes", rows.outcomes, set(ledger.outcomes)),
        ("letters", rows.letters, ledger.letters),
        ("reports", rows.reports, set(topics.reports)),
        ("trajectories", rows.trajectories, set(latest)),
        ("verdicts", rows.verdicts, set(topics.failed)),
    )
    for what, found, expected in parts:
        missing = "verdicts_missing" if what == "verdicts" else "lost"
        tally.note(missing, (f"{name}: {what} {one!r}" for one in expected - found.keys()))
        tally.note("unplanned", (f"{name}: {what} {one!r}" for one in found.keys() - expected))
        tally.note("doubled", (f"{name}: {what} {one!r}" for one in twice(found)))
    older = (one for one, identity in latest.items() if rows.latest.get(one, (0, 0, ""))[:2] != identity[1:])
    tally.note("lost", (f"{name}: the last revision of {one}" for one in older))


class _Waits(NamedTuple):
    """How long a run's home went on without it, in its log's watched time, until the last that was sent in time."""

    longest: int = 0
    after_end: int = 0
    forwarded: bool = False
    events: tuple[tuple[int, int, str], ...] = ()
    """Offset, append time (ms), event id."""

    def explains(self, was_idle: bool, slack: int) -> bool:  # noqa: FBT001 - two cases
        """Whether the run was quiet for long enough to be closed by idleness, or by the grace after its end."""
        return self.longest >= IDLE_MS - slack or (not was_idle and self.after_end >= GRACE_MS - slack)


def _early(tally: Tally, runs: Mapping[str, Run], topics: Topics, outages: Sequence[Outage]) -> None:
    """Find the runs that were closed though their events were there."""
    firsts = {one.identity[0]: one for one in topics.revisions if one.identity[2] == 1}
    idle = {
        one.identity[0]
        for one in topics.revisions
        if one.close_reason is CloseReason.IDLE and runs[one.identity[0]].has_end
    }
    sent = _steps_sent(runs, topics)
    short = {run for run, one in firsts.items() if len(one.steps) < sent[run]}
    waits, as_sent = _waits(topics.source, runs, outages), _waits(topics.source, runs, outages, as_sent=True)
    for run in sorted(idle | short):
        wait = waits[run]
        slack = _FORWARD_MS if wait.forwarded else 0
        if not wait.explains(run in idle, slack):
            name = "closed_early"
        elif wait.forwarded and not as_sent[run].explains(run in idle, slack):
            name = "closed_behind_forwards"
        else:
            name = "closed_behind_senders"
        tally.note(name, [f"{run} {_story(firsts.get(run), sent[run], wait)}"])


def _story(first: Revision | None, sent: int, wait: _Waits) -> str:
    if first is None:
        return "without a first revision"
    opened = first.identity[1]
    events = ", ".join(f"{event_id.rsplit('-', 1)[-1]} {at - opened}" for _, at, event_id in wait.events)
    return (
        f"{first.close_reason} {first.closed_ms - opened} ms after it was opened at {opened}, with {len(first.steps)} "
        f"of {sent} steps; without it {wait.longest} ms, {wait.after_end} after its end; its home's log: {events}"
    )


def _steps_sent(runs: Mapping[str, Run], topics: Topics) -> Mapping[str, int]:
    """Count the steps that were there before any planned to be late; a crowd that memory closes has one."""
    counts: Counter[str] = Counter()
    for one in latest_of(topics.revisions).values():
        run = one.identity[0]
        counts[run] = sum(event not in runs[run].late_steps for event, _ in one.steps)
    return counts


def _waits(
    source: Mapping[int, list[Appended]],
    runs: Mapping[str, Run],
    outages: Sequence[Outage],
    *,
    as_sent: bool = False,
) -> dict[str, _Waits]:
    """Measure, for every run, how long its home's log went on without it while the broker was there.

    With `as_sent` it is the log of the partitions to which its sender wrote.
    """
    found: dict[str, _Waits] = {}
    for partition, log in source.items():
        time_ms = watched = 0
        last: dict[str, int] = {}
        seen: set[tuple[str, str]] = set()
        ended: set[str] = set()
        for one in log:
            if one.append_ms > time_ms:
                watched += _gap(time_ms, one.append_ms, outages) if time_ms else 0
                time_ms = one.append_ms
            run, key = one.trajectory_id, (one.trajectory_id, one.event_id)
            counts = bool(run) and (not one.forwarded if as_sent else home_partition(run, PARTITIONS) == partition)
            if not counts or key in seen or not _is_in_time(one, runs[run]):
                continue
            seen.add(key)
            wait, before = watched - last.get(run, watched), found.get(run, _Waits())
            found[run] = _Waits(
                max(before.longest, wait),
                max(before.after_end, wait) if run in ended else before.after_end,
                before.forwarded or one.forwarded,
                (*before.events, (one.offset, one.append_ms, one.event_id)),
            )
            last[run] = watched
            ended |= {run} if one.is_end else set()
    return found


def _gap(since: int, until: int, outages: Sequence[Outage]) -> int:
    """Return how much of a gap in a log counts: all, since a broker that is there answers; little of an outage."""
    is_outage = any(begun < until and since < ended for begun, ended in outages)
    return min(until - since, GAP_MS) if is_outage else until - since


def _is_in_time(one: Appended, run: Run) -> bool:
    """Whether it is a step that was not planned to be late, or an end."""
    return one.event_id not in run.late_steps and (one.is_end or one.event_id.rsplit("-", 1)[-1].isdigit())


def _takeovers(tally: Tally, entries: Sequence[Entry], topics: Topics) -> None:
    """Hold what each takeover restored against what was committed before, and by whom after."""
    visible = {partition: sorted({one.offset for one in log}) for partition, log in topics.source.items()}
    owner: dict[int, Entry] = {}
    committed: Counter[int] = Counter()
    folded: Counter[int] = Counter()
    awaited: dict[tuple[str, int], int] = {}
    for entry in entries:
        partition, offset = entry.partition, entry.offset
        if entry.kind is Kind.RESTORED:
            tally.takeovers += partition in owner
            tally.note("takeovers_wrong", _behind(entry, committed[partition]))
            again = _between(visible.get(partition, []), offset, folded[partition])
            tally.reread_most = max(tally.reread_most, again)
            owner[partition], awaited[entry.worker, partition] = entry, offset
        elif entry.kind is Kind.FIRST:
            restored = awaited.pop((entry.worker, partition), offset)
            skipped = _between(visible.get(partition, []), restored, offset)
            tally.note("takeovers_wrong", [f"{entry} skips {skipped} after {restored}"] if skipped else [])
            tally.note("takeovers_wrong", [f"{entry} is before {restored}"] if offset < restored else [])
        elif entry.kind is Kind.FOLDED:
            folded[partition] = max(folded[partition], offset)
        elif entry.kind is Kind.COMMITTED:
            holds = owner.get(partition)
            if holds is not None and holds.worker != entry.worker and offset > holds.offset:
                tally.note("takeovers_wrong", [f"{entry} though {holds}"])
            committed[partition] = max(committed[partition], offset)


def _behind(entry: Entry, committed: int) -> list[str]:
    return [f"{entry} restored less than {committed}"] if entry.offset < committed else []


def _between(visible: Sequence[int], start: int, end: int) -> int:
    """Count the records from one offset to before another."""
    return max(0, bisect_left(visible, end) - bisect_left(visible, start))


def _cleaned(tally: Tally, state: Cleaned, entries: Sequence[Entry]) -> None:
    """Every checkpoint wrote the same key once: what is left of those says what the cleaner removed."""
    written = sum(entry.kind is Kind.COMMITTED for entry in entries)
    tally.cleaner_removed = written - state.sources
    is_clean = state.sources < written / 2 and state.records < state.offsets
    tally.note("not_cleaned", [] if is_clean else [f"{state} of {written} checkpoints"])
