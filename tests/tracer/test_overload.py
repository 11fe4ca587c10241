"""What the overload's report calls wrong."""

from schemas import VerdictStatus
from tests.factories import trajectory, verdict
from tests.tracer.overload import Judged, Plan, Report, hold

PLAN = Plan(10.0, wait_s=60.0)
IDS = ("t1", "t2", "t3")


def judged(*ids: str, **fields: object) -> Judged:
    found: dict[str, list[tuple[int, object]]] = {}
    for one in ids:
        found.setdefault(one, []).append((0, verdict(trajectory(trajectory_id=one), **fields)))
    return found  # type: ignore[return-value]  # a list of verdicts


def held(answers: Judged, begun: tuple[str, ...] = IDS, in_flight: tuple[str, ...] = (), plan: Plan = PLAN) -> Report:
    return hold(plan, IDS, answers, begun, set(in_flight))


def test_one_verdict_each_is_clean() -> None:
    report = held(judged(*IDS))
    assert report.is_clean
    assert (report.failures, report.verdicts, report.missing, report.in_flight) == (3, 3, 0, 0)


def test_a_failure_without_a_verdict_is_missing() -> None:
    report = held(judged("t1", "t2"))
    assert (report.missing, report.is_clean) == (1, False)


def test_what_was_in_flight_at_the_kill_may_be_traced_and_judged_again_and_nothing_else_may() -> None:
    begun, answers = (*IDS, "t2"), judged(*IDS, "t2")
    report = held(answers, begun, in_flight=("t2", "t3"))
    assert (report.is_clean, report.in_flight, report.again) == (True, 2, 1)
    report = held(answers, begun, in_flight=("t3",))
    assert (report.is_clean, report.traced_twice, report.judged_twice) == (False, 1, 1)


def test_who_waits_longer_than_the_limit_and_some_is_late_where_the_others_are_shed() -> None:
    report = held(judged(*IDS, status=VerdictStatus.SHED, queued_ms=71_000))
    assert (report.shed, report.oldest_s, report.is_late, report.is_clean) == (3, 71.0, True, False)
    assert held(judged(*IDS, queued_ms=69_000)).is_clean
    assert held(judged(*IDS, queued_ms=71_000), plan=PLAN._replace(overdue="next")).is_clean
