"""The sender's ledger held against rows as the sink writes them."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from ops.progress import Progress, done_before, lettered_before, look
from ops.query import IDS_A_QUERY
from ops.send import Ledger
from schemas import DeadLetterReason, RouteReason, Routing, StepEvent, Trajectory, VerdictPurpose
from streams import tables
from streams.rows import dead_letter_row, milliseconds, outcome_row
from streams.sink import Store
from tests.factories import START, outcome, outcome_event, raw, step
from tests.factories import trajectory as a_trajectory
from tests.factories import verdict as a_verdict
from tests.stores import PLACE, emptied, own_store, put, put_trajectory, put_verdict
from tests.streams.test_rows import letter

FAILURE = Routing(reason=RouteReason.FAILURE)
LATER = START + timedelta(hours=2)


@pytest.fixture(scope="module")
def shared(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        yield store


@pytest.fixture
def store(shared: Store) -> Store:
    return emptied(shared)


def ledger(*steps: StepEvent) -> Ledger:
    return Ledger(steps={(one.trajectory_id, one.event_id): 0 for one in steps})


def steps(count: int, trajectory_id: str = "t1") -> list[StepEvent]:
    return [step(trajectory_id, index) for index in range(count)]


def traced(own: list[StepEvent], **fields: object) -> Trajectory:
    return a_trajectory(own, **{"routing": FAILURE} | fields)


def put_letter(store: Store, value: bytes, line: int = 0, key: bytes | None = b"t1") -> str:
    of = letter(line=line, value=value, key=key)
    put(store, tables.DEAD_LETTERS, dead_letter_row(of, PLACE))
    return of.address


def counts(progress: Progress) -> tuple[int, int, int, int]:
    return progress.stored, progress.refused, len(progress.missing), progress.duplicates


def test_nothing_sent_is_done(store: Store) -> None:
    progress = look(store.client, Ledger())
    assert progress.is_done
    assert counts(progress) == (0, 0, 0, 0)


def test_a_step_that_is_nowhere_is_missing_and_named(store: Store) -> None:
    put_trajectory(store, a_trajectory(steps(2)))
    progress = look(store.client, ledger(*steps(3)))
    assert progress.missing == {("t1", "t1-2")}
    assert counts(progress) == (2, 0, 1, 0)
    assert not progress.is_done


def test_what_was_inserted_twice_is_no_duplicate(store: Store) -> None:
    of = traced(steps(3))
    put_trajectory(store, of, times=2)
    put_verdict(store, a_verdict(of), 0, times=2)
    progress = look(store.client, ledger(*steps(3)))
    assert counts(progress) == (3, 0, 0, 0)
    assert (len(progress.runs), progress.traced, progress.verdicts, progress.is_done) == (1, 1, 1, True)


def test_a_step_that_stands_in_two_runs_of_its_id_is_a_duplicate(store: Store) -> None:
    put_trajectory(store, a_trajectory(steps(3)))
    put_trajectory(store, a_trajectory(steps(2), opened_at=LATER))
    progress = look(store.client, ledger(*steps(3)))
    assert counts(progress) == (3, 0, 0, 2)
    assert len(progress.runs) == 2


def test_other_trajectories_count_for_nothing(store: Store) -> None:
    of = traced(steps(2, "other"))
    put_trajectory(store, of)
    put_letter(store, b"other rubbish", key=b"other")
    put_trajectory(store, a_trajectory(steps(1)))
    progress = look(store.client, ledger(*steps(1)))
    assert counts(progress) == (1, 0, 0, 0)
    assert (progress.traced, progress.failed, progress.is_done) == (0, 0, True)


def test_a_traced_run_is_done_with_the_verdict_on_its_latest_revision(store: Store) -> None:
    first, second = traced(steps(2), revision=1), traced(steps(3), revision=2)
    put_trajectory(store, first)
    put_verdict(store, a_verdict(first), 0)
    assert look(store.client, ledger(*steps(2))).is_done
    put_trajectory(store, second)
    waiting = look(store.client, ledger(*steps(3)))
    assert (waiting.missing, waiting.traced, waiting.verdicts) == (frozenset(), 1, 0)
    assert not waiting.is_done
    put_verdict(store, a_verdict(second), 1)
    assert look(store.client, ledger(*steps(3))).is_done


def test_a_shadows_verdict_is_not_waited_for_and_does_not_count(store: Store) -> None:
    of = traced(steps(2))
    put_trajectory(store, of)
    put_verdict(store, a_verdict(of, purpose=VerdictPurpose.SHADOW), 0)
    assert not look(store.client, ledger(*steps(2))).is_done


def test_a_run_that_is_not_traced_needs_no_verdict(store: Store) -> None:
    put_trajectory(store, a_trajectory(steps(2), routing=None))
    assert look(store.client, ledger(*steps(2))).is_done


def test_a_sampled_success_is_traced_and_no_failure(store: Store) -> None:
    of = a_trajectory(steps(2), routing=Routing(reason=RouteReason.SAMPLED))
    put_trajectory(store, of)
    put_verdict(store, a_verdict(of), 0)
    progress = look(store.client, ledger(*steps(2)))
    assert (progress.traced, progress.failed, progress.verdicts) == (1, 0, 1)


def test_two_runs_of_an_id_each_need_their_own_verdict(store: Store) -> None:
    first, second = traced(steps(2)), traced([step(index=7)], opened_at=LATER)
    put_trajectory(store, first)
    put_trajectory(store, second)
    put_verdict(store, a_verdict(second), 0)
    progress = look(store.client, ledger(*steps(2), step(index=7)))
    assert (progress.traced, progress.verdicts, progress.is_done) == (2, 1, False)


# ---- dead letters ----


def test_a_step_among_the_dead_letters_is_not_missing(store: Store) -> None:
    put_trajectory(store, a_trajectory(steps(1)))
    put_letter(store, raw(step(index=1)))
    progress = look(store.client, ledger(*steps(2)))
    assert counts(progress) == (1, 1, 0, 0)
    assert progress.is_done


def test_rubbish_is_missing_until_a_letter_lies_at_its_address(store: Store) -> None:
    sent = Ledger(unreadable=["step-events/1/7/0", "step-events/1/7/1"])
    assert put_letter(store, b"\xff rubbish", key=None) == "step-events/1/7/0"
    progress = look(store.client, sent)
    assert progress.missing == {("", "step-events/1/7/1")}
    assert progress.refused == 1
    put_letter(store, b"more", line=1, key=None)
    assert look(store.client, sent).is_done


def test_a_letter_is_counted_once_though_it_has_both_a_key_and_an_address(store: Store) -> None:
    sent = ledger(*steps(1))
    sent.unreadable.append(put_letter(store, b"rubbish"))
    put_trajectory(store, a_trajectory(steps(1)))
    assert look(store.client, sent).refused == 1


def test_letters_are_found_by_their_bytes(store: Store) -> None:
    put_letter(store, b"\xff\0", line=0, key=None)
    put_letter(store, b"\xff\0", line=1, key=None)
    put(
        store,
        tables.DEAD_LETTERS,
        dead_letter_row(letter(line=2, value=None, reason=DeadLetterReason.EMPTY), PLACE),
    )
    found = lettered_before(store.client)
    assert set(found) == {b"\xff\0", b""}
    assert sorted(found[b"\xff\0"]) == ["step-events/1/7/0", "step-events/1/7/1"]


# ---- outcomes that come by themselves ----


def with_outcome(*own: StepEvent) -> tuple[Ledger, dict[tuple[str, str], int]]:
    """Return a ledger of these steps and an outcome of t1 two hours after START, and when that was decided."""
    sent = ledger(*own)
    sent.outcomes.add(("t1", "t1-outcome"))
    return sent, {("t1", "t1-outcome"): milliseconds(LATER)}


def test_an_outcome_is_missing_until_one_as_late_stands(store: Store) -> None:
    sent, decided = with_outcome(*steps(2))
    put_trajectory(store, a_trajectory(steps(2), outcome=None, outcome_at=None))
    assert look(store.client, sent, decided).missing == {("t1", "t1-outcome")}
    put_trajectory(store, a_trajectory(steps(2), revision=2, outcome_at=LATER - timedelta(seconds=1)))
    assert look(store.client, sent, decided).missing == {("t1", "t1-outcome")}
    put_trajectory(store, a_trajectory(steps(2), revision=3, outcome_at=LATER))
    assert look(store.client, sent, decided).is_done


def test_an_outcome_that_a_later_one_outranks_is_not_waited_for(store: Store) -> None:
    sent, decided = with_outcome(*steps(2))
    put_trajectory(store, a_trajectory(steps(2), outcome_at=LATER + timedelta(hours=1)))
    assert look(store.client, sent, decided).is_done


def test_an_outcome_stored_by_itself_does_not_stand_for_its_run(store: Store) -> None:
    sent, decided = with_outcome(*steps(2))
    put_trajectory(store, a_trajectory(steps(2), outcome=None, outcome_at=None))
    put(store, tables.OUTCOMES, outcome_row(outcome_event(at=LATER), PLACE))
    assert not look(store.client, sent, decided).is_done


def test_an_outcome_without_steps_is_done_when_it_is_stored(store: Store) -> None:
    sent, decided = with_outcome()
    assert not look(store.client, sent, decided).is_done
    put(store, tables.OUTCOMES, outcome_row(outcome_event(at=LATER), PLACE))
    assert look(store.client, sent, decided).is_done


def test_an_outcome_whose_steps_were_all_refused_is_done_when_it_is_stored(store: Store) -> None:
    sent, decided = with_outcome(*steps(1))
    put_letter(store, raw(step(index=0)))
    put(store, tables.OUTCOMES, outcome_row(outcome_event(at=LATER), PLACE))
    assert look(store.client, sent, decided).is_done


def test_an_outcome_among_the_dead_letters_is_not_missing(store: Store) -> None:
    sent, decided = with_outcome(*steps(1))
    put_trajectory(store, a_trajectory(steps(1), outcome=None, outcome_at=None))
    put_letter(store, raw(outcome_event(at=LATER)))
    assert look(store.client, sent, decided).is_done


def test_an_outcome_that_came_with_a_step_needs_no_following(store: Store) -> None:
    last = step(index=1, outcome=outcome(), final=True)
    put_trajectory(store, a_trajectory([step(), last]))
    assert look(store.client, ledger(step(), last), {}).is_done


# ---- what need not be sent again ----


def test_only_what_is_whole_and_judged_was_done_before(store: Store) -> None:
    whole, unjudged = traced(steps(2, "whole")), traced(steps(2, "unjudged"))
    put_trajectory(store, whole)
    put_verdict(store, a_verdict(whole), 0)
    put_trajectory(store, unjudged)
    put_trajectory(store, a_trajectory(steps(2, "untraced")))
    put_trajectory(store, a_trajectory(steps(1, "cut")))
    names = ("whole", "unjudged", "untraced", "cut", "absent")
    asked = [(name, one.event_id) for name in names for one in steps(2, name)]
    assert done_before(store.client, asked) == {"whole", "untraced"}


def test_more_ids_than_one_query_takes_are_asked_for_in_parts(store: Store) -> None:
    put_trajectory(store, a_trajectory(steps(1)))
    many = [step(f"absent-{number:0200d}") for number in range(2 * IDS_A_QUERY)]
    progress = look(store.client, ledger(step(), *many))
    assert (progress.stored, len(progress.missing)) == (1, 2 * IDS_A_QUERY)
