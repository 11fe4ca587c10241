"""The check of the chaos finds what it is there to find: each fault planted in observations that were clean."""

from collections import Counter
from collections.abc import Callable

import pytest

from schemas import CloseReason, Result
from streams.home import home_partition
from tests.chaos.check import Outage, Tally, check
from tests.chaos.journal import Entry, Kind
from tests.chaos.load import LATE, Nature, Run, Sender, digest
from tests.chaos.read import Appended, Cleaned, Revision, Rows, Topics
from tests.chaos.senders import Ledger
from tests.chaos.size import IDLE_MS, PARTITIONS
from tests.factories import outcome, outcome_event, step

ID = "run-1"
HOME = home_partition(ID, PARTITIONS)
OPENED = 1_000
STEPS = tuple((event.event_id, digest(event)) for event in (step(ID, 0), step(ID, 1, final=True)))
LATE_FAILURE = outcome(Result.FAILURE, evaluator=LATE)
ENTRIES = (
    Entry(1.0, "a", Kind.RESTORED, HOME, 0),
    Entry(2.0, "a", Kind.FOLDED, HOME, 2),
    *(Entry(3.0 + number / 10, "a", Kind.COMMITTED, HOME, 2) for number in range(4)),
    Entry(4.0, "b", Kind.RESTORED, HOME, 2),
)


class Seen:
    """A clean run of one trajectory with two revisions, before anything is done to it."""

    def __init__(self) -> None:
        self.ledger = Ledger(steps={(ID, event): content for event, content in STEPS})
        self.ledger.outcomes = {(ID, f"{ID}-outcome"): outcome_event(ID)}
        self.runs = {ID: Run(ID, Nature.ENDED, Sender.PRODUCT)}
        self.outages: list[Outage] = []
        first = Revision((ID, OPENED, 1), CloseReason.COMPLETED, OPENED + 900, None, None, STEPS, in_order=True)
        second = first._replace(identity=(ID, OPENED, 2), outcome=LATE_FAILURE)
        self.topics = Topics(
            source={
                HOME: [
                    Appended(0, OPENED, ID, f"{ID}-0", is_end=False, forwarded=False),
                    Appended(1, OPENED + 500, ID, f"{ID}-1", is_end=True, forwarded=False),
                ]
            },
            revisions=[first, second],
            failed=Counter({second.identity: 1}),
            outcomes=Counter({(ID, f"{ID}-outcome"): 1}),
        )
        self.rows = Rows(
            steps=Counter({(ID, event): 1 for event, _ in STEPS}),
            contents={},
            trajectories=Counter({ID: 1}),
            latest={ID: (OPENED, 2, "failure")},
            verdicts=Counter({second.identity: 1}),
            outcomes=Counter({(ID, f"{ID}-outcome"): 1}),
            letters=Counter(),
            reports=Counter(),
        )
        self.state = Cleaned(records=1, offsets=10, sources=1)
        self.entries = list(ENTRIES)

    def tally(self) -> Tally:
        """Check it."""
        rows = (self.rows, self.rows)
        return check(self.ledger, self.runs, self.topics, rows, self.state, sorted(self.entries), [], self.outages)


def _lose_a_step(seen: Seen) -> None:
    seen.topics.revisions[1] = seen.topics.revisions[1]._replace(steps=STEPS[:1])


def _lose_a_row(seen: Seen) -> None:
    del seen.rows.steps[ID, STEPS[0][0]]


def _show_a_row_twice(seen: Seen) -> None:
    seen.rows.steps[ID, STEPS[0][0]] += 1


def _publish_twice(seen: Seen) -> None:
    seen.topics.revisions.append(seen.topics.revisions[0])


def _open_twice(seen: Seen) -> None:
    seen.topics.revisions.append(seen.topics.revisions[0]._replace(identity=(ID, OPENED + 9, 1)))


def _put_a_step_in_twice(seen: Seen) -> None:
    seen.topics.revisions[1] = seen.topics.revisions[1]._replace(steps=(*STEPS, STEPS[0]))


def _alter_a_step(seen: Seen) -> None:
    seen.topics.revisions[1] = seen.topics.revisions[1]._replace(steps=(STEPS[0], (STEPS[1][0], b"other")))


def _leave_a_verdict_out(seen: Seen) -> None:
    seen.rows.verdicts.clear()


def _close_by_idleness(seen: Seen) -> None:
    seen.topics.revisions[0] = seen.topics.revisions[0]._replace(close_reason=CloseReason.IDLE)


def _close_before_the_last_step(seen: Seen) -> None:
    seen.topics.revisions[0] = seen.topics.revisions[0]._replace(steps=STEPS[:1])


def _keep_the_old_outcome(seen: Seen) -> None:
    seen.topics.revisions[1] = seen.topics.revisions[1]._replace(outcome=outcome(Result.FAILURE))


def _make_a_letter(seen: Seen) -> None:
    seen.topics.letters[b"x"] = seen.rows.letters[b"x"] = 1


def _restore_too_little(seen: Seen) -> None:
    seen.entries[-1] = seen.entries[-1]._replace(offset=1)


def _write_though_fenced(seen: Seen) -> None:
    seen.entries.append(Entry(5.0, "a", Kind.COMMITTED, HOME, 3))


def _skip_a_record(seen: Seen) -> None:
    seen.entries += [Entry(5.0, "c", Kind.RESTORED, HOME, 0), Entry(6.0, "c", Kind.FIRST, HOME, 1)]
    seen.entries = [one for one in seen.entries if one.kind is not Kind.COMMITTED]


def _clean_nothing(seen: Seen) -> None:
    seen.state = Cleaned(records=10, offsets=10, sources=4)


FAULTS: dict[str, tuple[Callable[[Seen], None], ...]] = {
    "lost": (_lose_a_step, _lose_a_row),
    "doubled": (_show_a_row_twice, _publish_twice, _open_twice, _put_a_step_in_twice),
    "altered": (_alter_a_step,),
    "verdicts_missing": (_leave_a_verdict_out,),
    "closed_early": (_close_by_idleness, _close_before_the_last_step),
    "not_whole": (_lose_a_step, _keep_the_old_outcome),
    "unplanned": (_make_a_letter,),
    "takeovers_wrong": (_restore_too_little, _write_though_fenced, _skip_a_record),
    "not_cleaned": (_clean_nothing,),
}


def test_what_is_clean_is_found_clean() -> None:
    tally = Seen().tally()
    assert tally.wrong == 0, tally.examples
    assert (tally.takeovers, tally.reread_most) == (1, 0)


@pytest.mark.parametrize(("name", "plant"), [(name, plant) for name, plants in FAULTS.items() for plant in plants])
def test_a_planted_fault_is_found(name: str, plant: Callable[[Seen], None]) -> None:
    seen = Seen()
    plant(seen)
    assert getattr(seen.tally(), name) > 0


def test_a_gap_in_the_home_s_own_log_is_not_the_worker_s_lateness() -> None:
    seen = Seen()
    _close_by_idleness(seen)
    busy = [
        Appended(number, OPENED + number * 900, "", "", is_end=False, forwarded=False)
        for number in range(1, IDLE_MS // 900 + 3)
    ]
    log = seen.topics.source[HOME]
    end = log[1]._replace(offset=99, append_ms=busy[-1].append_ms, forwarded=True)
    seen.topics.source[HOME] = [log[0], *busy, end]
    tally = seen.tally()
    assert (tally.closed_early, tally.closed_behind_forwards) == (0, 1)
    elsewhere = [one._replace(forwarded=False) for one in (log[0], *busy, end)]
    seen.topics.source[HOME + 1] = elsewhere
    tally = seen.tally()
    assert (tally.closed_early, tally.closed_behind_forwards, tally.closed_behind_senders) == (0, 0, 1)


def test_what_comes_late_as_planned_hides_no_early_close() -> None:
    seen = Seen()
    _close_by_idleness(seen)
    end = seen.topics.source[HOME][1]
    busy = [
        Appended(number, end.append_ms + number * 900, "", "", is_end=False, forwarded=False) for number in range(2, 50)
    ]
    late = Appended(99, busy[-1].append_ms, ID, f"{ID}-last", is_end=False, forwarded=False)
    seen.topics.source[HOME] += [*busy, late]
    assert seen.tally().closed_early == 1


def test_a_gap_is_one_with_the_broker_there_and_none_in_an_outage() -> None:
    seen = Seen()
    _close_by_idleness(seen)
    log = seen.topics.source[HOME]
    seen.topics.source[HOME] = [log[0], log[1]._replace(append_ms=OPENED + 2 * IDLE_MS)]
    assert seen.tally().closed_early == 0
    seen.outages = [(OPENED + 10, OPENED + IDLE_MS)]
    assert seen.tally().closed_early == 1


def test_a_step_read_again_is_counted_once() -> None:
    seen = Seen()
    seen.entries[2:-1] = [Entry(3.0, "a", Kind.COMMITTED, HOME, 1)] * 4
    seen.entries[-1] = seen.entries[-1]._replace(offset=1)
    tally = seen.tally()
    assert (tally.takeovers_wrong, tally.reread_most) == (0, 1)
