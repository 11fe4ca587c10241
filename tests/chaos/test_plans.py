"""A seed fixes a run: its load and its blows; and a full run comes by every point with each blow."""

from ops.roles import Role
from streams.home import home_partition
from tests.chaos.load import Nature, Sender, build, late_outcomes
from tests.chaos.points import Blow, Point
from tests.chaos.schedule import Disturbance, schedule
from tests.chaos.size import CROWD_HOME, FULL, MAX_OPEN, MODEL, PARTITIONS, SHORT, SHORT_MODEL, size_of


def test_a_seed_fixes_what_is_sent_and_another_sends_something_else() -> None:
    assert build(3, SHORT) == build(3, SHORT)
    assert build(3, SHORT).records != build(4, SHORT).records


def test_a_seed_fixes_the_blows() -> None:
    assert schedule(3, FULL) == schedule(3, FULL)
    assert schedule(3, FULL) != schedule(4, FULL)


def test_a_full_run_plans_every_point_with_each_blow_and_half_of_the_runs_are_static() -> None:
    strikes = {(one.point, one.blow) for lane in schedule(1, FULL).lanes for one in lane}
    assert strikes == {(point, blow) for point in Point for blow in Blow}
    assert [schedule(seed, FULL).is_static for seed in range(1, 5)] == [True, False, True, False]


def test_with_a_model_every_point_is_planned_too_and_the_engines_core_is_killed_and_never_without_one() -> None:
    planned = schedule(1, MODEL)
    assert {(one.point, one.blow) for lane in planned.lanes for one in lane} == {
        (point, blow) for point in Point for blow in Blow
    }
    kills = [schedule(2, size).disturbances.count(Disturbance.CORE) for size in (FULL, SHORT, MODEL, SHORT_MODEL)]
    assert kills == [0, 0, 3, 1]


def test_a_model_gets_so_much_less_that_it_can_trace_all_of_it_twice_while_the_store_is_waited_for() -> None:
    runs = build(5, MODEL).runs
    assert len(runs) < MODEL.settle_s, "a trace a second, and a late outcome for every run"
    assert size_of(short=False, model=True) is MODEL
    assert size_of(short=True, model=False) is SHORT


def test_every_point_names_its_role() -> None:
    assert {point.role for point in Point} == set(Role)


def test_a_load_has_everything_that_is_attacked() -> None:
    load = build(5, SHORT)
    assert {run.nature for run in load.runs.values()} == set(Nature)
    assert {run.sender for run in load.runs.values()} == set(Sender)
    assert any(run.late_steps for run in load.runs.values())
    assert {line.kind for record in load.records for line in record.lines} == {"step", "outcome", "letter"}
    raws = [line.raw for record in load.records for line in record.lines]
    assert len(raws) > len(set(raws)), "nothing is doubled"
    assert load.steps >= SHORT.steps


def test_the_crowd_alone_is_more_than_its_partition_may_have_open_and_no_other_run_lives_there() -> None:
    load = build(5, SHORT)
    crowd = [run for run in load.runs.values() if home_partition(run.trajectory_id, PARTITIONS) == CROWD_HOME]
    assert {run.nature for run in crowd} == {Nature.CROWD}
    assert len(crowd) > SHORT.crowds * MAX_OPEN


def test_every_trajectory_gets_an_outcome_that_is_newer_than_all_it_had() -> None:
    load = build(5, SHORT)
    late = late_outcomes(load)
    assert {record.lines[0].trajectory_id for record in late} == load.runs.keys()
