from collections.abc import Iterator
from datetime import timedelta

import pytest

from ops.query import Count, connect, counts, dead_letter, dead_letters, step_ids, trajectory, verdicts
from schemas import DeadLetterReason, VerdictPurpose
from schemas.errors import StoreUnavailableError
from streams import tables
from streams.rows import dead_letter_row, label_row, outcome_row, pipeline_event_row
from streams.sink import Store
from tests.factories import START, outcome_event, step
from tests.factories import trajectory as a_trajectory
from tests.factories import verdict as a_verdict
from tests.stores import PLACE, emptied, own_store, put, put_trajectory, put_verdict
from tests.streams.test_rows import label, letter, report

MINUTE = timedelta(minutes=1)
INJECTION = "' OR 1 = 1 --"


@pytest.fixture(scope="module")
def shared(store_url: str) -> Iterator[Store]:
    with own_store(store_url) as store:
        yield store


@pytest.fixture
def store(shared: Store) -> Store:
    return emptied(shared)


def put_runs(store: Store, count: int) -> None:
    """Put runs of different agents and ages, each row twice."""
    for number in range(count):
        of = a_trajectory([step(f"run-{number}", index, agent=f"agent-{number % 2}") for index in range(3)])
        put_trajectory(store, of, times=2)
        put_verdict(store, a_verdict(of, decided_at=START + number * MINUTE), number, times=2)


def test_verdicts_come_newest_first_and_once_each_though_stored_twice(store: Store) -> None:
    put_runs(store, 3)
    assert [one.trajectory_id for one in verdicts(store.client)] == ["run-2", "run-1", "run-0"]
    (newest,) = verdicts(store.client, limit=1)
    assert (newest.status, newest.agent, newest.step_index) == ("attributed", "agent-0", 2)
    assert (newest.opened_at, newest.decided_at) == (START, START + 2 * MINUTE)


def test_verdicts_are_chosen_by_time_system_and_agent(store: Store) -> None:
    put_runs(store, 4)
    other = a_trajectory([step("other", system="bank")], system="bank")
    put_verdict(store, a_verdict(other), 9)

    def ids(**chosen: object) -> set[str]:
        return {one.trajectory_id for one in verdicts(store.client, **chosen)}  # type: ignore[arg-type]

    assert ids(since=START + 2 * MINUTE) == {"run-2", "run-3", "other"}
    assert ids(agent="agent-1") == {"run-1", "run-3"}
    assert ids(system="bank") == {"other"}
    assert ids(system="bank", agent="agent-1") == set()
    assert ids(system="shop", agent="agent-0", since=START + MINUTE) == {"run-2"}


def test_values_are_bound_and_never_part_of_the_query(store: Store) -> None:
    put_runs(store, 2)
    assert verdicts(store.client, system=INJECTION, agent=INJECTION) == []
    assert trajectory(store.client, INJECTION) is None
    assert step_ids(store.client, [INJECTION]) == set()
    assert dead_letter(store.client, INJECTION, 0, 0) is None
    odd = a_trajectory([step("it's\\ {id:String} \n%".replace("\n", "é"))])
    put_trajectory(store, odd)
    found = trajectory(store.client, odd.trajectory_id)
    assert found is not None
    assert found.trajectory.trajectory_id == odd.trajectory_id


def test_a_run_has_its_steps_in_order_and_the_verdict_that_stands(store: Store) -> None:
    of = a_trajectory([step(index=index) for index in (3, 0, 7, 1)])
    put_trajectory(store, of, times=2)
    put_verdict(store, a_verdict(of, agent="first"), 3, times=2)
    put_verdict(store, a_verdict(of, agent="second", tracer_version="2"), 4)
    put_verdict(store, a_verdict(of, agent="shadow", purpose=VerdictPurpose.SHADOW), 1)
    run = trajectory(store.client, "t1")
    assert run is not None
    assert [(one.position, one.event_id) for one in run.steps] == [(0, "t1-3"), (1, "t1-0"), (2, "t1-7"), (3, "t1-1")]
    assert run.steps[0].started_at == of.steps[0].started_at
    assert (run.trajectory.step_count, run.trajectory.result) == (4, "failure")
    assert run.verdict is not None
    assert run.verdict.agent == "first"


def test_a_verdict_on_an_earlier_revision_is_not_the_runs(store: Store) -> None:
    first, second = a_trajectory(revision=1), a_trajectory(revision=2)
    put_trajectory(store, first)
    put_verdict(store, a_verdict(first, agent="early"), 0)
    put_trajectory(store, second)
    run = trajectory(store.client, "t1")
    assert run is not None
    assert (run.trajectory.revision, run.verdict) == (2, None)
    put_verdict(store, a_verdict(second, agent="late"), 1)
    run = trajectory(store.client, "t1")
    assert run is not None
    assert run.verdict is not None
    assert run.verdict.agent == "late"


def test_of_an_id_that_came_twice_the_later_run_is_shown_unless_asked_otherwise(store: Store) -> None:
    later = START + timedelta(days=3)
    put_trajectory(store, a_trajectory([step(index=0)]))
    put_trajectory(store, a_trajectory([step(index=0), step(index=1)], opened_at=later))
    latest, earlier = trajectory(store.client, "t1"), trajectory(store.client, "t1", START)
    assert latest is not None
    assert earlier is not None
    assert (latest.trajectory.opened_at, len(latest.steps)) == (later, 2)
    assert (earlier.trajectory.opened_at, len(earlier.steps)) == (START, 1)
    assert trajectory(store.client, "t1", START + MINUTE) is None


def test_counts_tell_shown_rows_from_stored_ones_and_find_no_duplicates(store: Store) -> None:
    put_runs(store, 2)
    for table, row in (
        (tables.OUTCOMES, outcome_row(outcome_event(), PLACE)),
        (tables.LABELS, label_row(label(), PLACE)),
        (tables.DEAD_LETTERS, dead_letter_row(letter(), PLACE)),
        (tables.PIPELINE_EVENTS, pipeline_event_row(report(), PLACE)),
    ):
        put(store, table, row, times=2)
    one = Count(rows=1, stored=2, duplicates=0)
    two = Count(rows=2, stored=4, duplicates=0)
    assert counts(store.client) == {
        "trajectories": two,
        "steps": Count(rows=6, stored=12, duplicates=0),
        "outcomes": one,
        "verdicts": two,
        "verdicts_all": two,
        "labels": one,
        "dead_letters": one,
        "pipeline_events": one,
    }


def test_an_empty_store_counts_nothing(store: Store) -> None:
    assert set(counts(store.client).values()) == {Count(0, 0, 0)}
    assert verdicts(store.client) == []
    assert step_ids(store.client) == set()


def test_a_view_that_showed_rows_twice_would_be_found_out(store: Store) -> None:
    put_runs(store, 1)
    view = store.client.command(
        "SELECT as_select FROM system.tables WHERE database = currentDatabase() AND name = 'steps'"
    )
    store.client.command("CREATE OR REPLACE VIEW steps AS SELECT * EXCEPT (version) FROM steps_raw")
    try:
        assert counts(store.client)["steps"] == Count(rows=6, stored=6, duplicates=3)
    finally:
        store.client.command("CREATE OR REPLACE VIEW steps AS SELECT * EXCEPT (version) FROM steps_raw FINAL")
    assert "FINAL" in str(view)


def test_step_ids_are_all_or_those_of_some_trajectories(store: Store) -> None:
    put_runs(store, 3)
    assert step_ids(store.client) == {
        (f"run-{number}", f"run-{number}-{index}") for number in range(3) for index in range(3)
    }
    assert step_ids(store.client, ["run-1", "run-1", "nobody"]) == {("run-1", f"run-1-{index}") for index in range(3)}
    assert step_ids(store.client, []) == set()


def test_thousands_of_ids_are_asked_for(store: Store) -> None:
    put_runs(store, 1)
    ids = [f"a-rather-long-trajectory-id-{number:0100d}" for number in range(3000)]
    assert step_ids(store.client, [*ids, "run-0"]) == {("run-0", f"run-0-{index}") for index in range(3)}


def test_dead_letters_are_listed_without_their_bytes_and_given_with_them(store: Store) -> None:
    for line in range(3):
        of = letter(line=line, at=START + line * MINUTE, value=b"\xff\0" * line)
        put(store, tables.DEAD_LETTERS, dead_letter_row(of, PLACE), times=2)
    put(
        store,
        tables.DEAD_LETTERS,
        dead_letter_row(letter(topic="labels", reason=DeadLetterReason.EMPTY, value=None), PLACE),
    )
    listed = dead_letters(store.client, topic="step-events")
    assert [(one.address, one.length) for one in listed] == [
        (f"step-events/1/7/{line}", 2 * line) for line in (2, 1, 0)
    ]
    assert [one.topic for one in dead_letters(store.client, reason=DeadLetterReason.EMPTY)] == ["labels"]
    assert len(dead_letters(store.client, since=START + MINUTE)) == 2
    assert len(dead_letters(store.client, limit=1)) == 1
    assert dead_letter(store.client, "step-events", 1, 7, 2) == letter(
        line=2, at=START + 2 * MINUTE, value=b"\xff\0" * 2
    )
    assert dead_letter(store.client, "labels", 1, 7, 2) == letter(
        topic="labels", reason=DeadLetterReason.EMPTY, value=None
    )
    assert dead_letter(store.client, "step-events", 1, 7, 9) is None


def test_connecting_needs_no_database_yet_but_a_store(store_url: str) -> None:
    with connect(f"{store_url}/not_there_yet") as client:
        client.database = None
        assert client.query("SELECT 1").result_rows == [(1,)]
    with pytest.raises(StoreUnavailableError), connect("http://127.0.0.1:9/agentracer", within_s=0.1):
        pass
