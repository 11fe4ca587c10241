from pathlib import Path
from typing import Any

import pytest

from schemas import CloseReason, Outcome, Result, RouteReason
from schemas.errors import SettingsError
from streams.route import (
    HOUR_MS,
    Facts,
    RoutingRules,
    Rule,
    Spent,
    forget_old_hours,
    load_rules,
    reason_to_trace,
    route,
)

IDLE = CloseReason.IDLE
BOTH = {"failure_without_outcome": ("error", "idle")}


def facts(trajectory_id: str = "t1", outcome: Outcome | None = None, **fields: Any) -> Facts:
    one = Facts(trajectory_id, 0, "shop", outcome, CloseReason.COMPLETED, ended_in_error=False)
    return one._replace(**fields)


def scored(result: Result, score: float) -> Outcome:
    return Outcome(result=result, score=score)


TABLE: list[tuple[dict[str, Any], Facts, RouteReason | None]] = [
    # the rule, what happened, why it is traced
    ({}, facts(outcome=Outcome(result=Result.FAILURE)), RouteReason.FAILURE),
    ({}, facts(outcome=Outcome(result=Result.SUCCESS)), None),
    ({}, facts(outcome=Outcome(result=Result.UNKNOWN)), None),
    ({}, facts(), None),
    ({}, facts(ended_in_error=True), RouteReason.ERROR),
    ({}, facts(outcome=Outcome(result=Result.UNKNOWN), ended_in_error=True), RouteReason.ERROR),
    ({}, facts(outcome=Outcome(result=Result.SUCCESS), ended_in_error=True), None),
    ({}, facts(close_reason=IDLE), None),
    (BOTH, facts(close_reason=IDLE), RouteReason.IDLE),
    (BOTH, facts(close_reason=IDLE, ended_in_error=True), RouteReason.ERROR),
    (BOTH, facts(outcome=Outcome(result=Result.UNKNOWN), close_reason=IDLE), RouteReason.IDLE),
    (BOTH, facts(outcome=Outcome(result=Result.SUCCESS), close_reason=IDLE), None),
    (BOTH, facts(close_reason=CloseReason.TOO_OLD), None),
    ({"failure_without_outcome": ("idle",)}, facts(ended_in_error=True), None),
    ({"failure_without_outcome": ()}, facts(close_reason=IDLE, ended_in_error=True), None),
    ({"score_below": 0.5}, facts(outcome=scored(Result.SUCCESS, 0.4)), RouteReason.SCORE),
    ({"score_below": 0.5}, facts(outcome=scored(Result.SUCCESS, 0.5)), None),
    ({"score_below": 0.5}, facts(outcome=scored(Result.UNKNOWN, 0.0)), RouteReason.SCORE),
    ({"score_below": 0.5}, facts(outcome=scored(Result.FAILURE, 0.1)), RouteReason.FAILURE),
    ({"score_below": 0.0}, facts(outcome=scored(Result.SUCCESS, -1.0)), RouteReason.SCORE),
    ({}, facts(outcome=scored(Result.SUCCESS, -9.0)), None),
    ({"score_below": 0.5}, facts(outcome=Outcome(result=Result.SUCCESS)), None),
    ({"sample_successes": 1.0}, facts(outcome=Outcome(result=Result.SUCCESS)), RouteReason.SAMPLED),
    ({"sample_successes": 1.0}, facts(), RouteReason.SAMPLED),
    ({"sample_successes": 1.0}, facts(outcome=Outcome(result=Result.FAILURE)), RouteReason.FAILURE),
    ({"sample_successes": 1.0}, facts(ended_in_error=True), RouteReason.ERROR),
]


@pytest.mark.parametrize(("rule", "what", "reason"), TABLE)
def test_the_routing_table(rule: dict[str, Any], what: Facts, reason: RouteReason | None) -> None:
    assert reason_to_trace(what, Rule(**rule)) == reason


def sampled(share: float, count: int = 20_000) -> set[str]:
    rule = Rule(sample_successes=share)
    return {f"run-{number}" for number in range(count) if reason_to_trace(facts(f"run-{number}"), rule)}


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
def test_the_sampled_share_is_what_was_asked_for(share: float) -> None:
    deviation = (20_000 * share * (1 - share)) ** 0.5
    assert abs(len(sampled(share)) - 20_000 * share) < 4 * deviation


def test_every_replica_draws_the_same_and_a_larger_share_keeps_them() -> None:
    assert sampled(0.1) == sampled(0.1) < sampled(0.2)


def test_a_share_of_nothing_draws_nobody() -> None:
    assert sampled(0.0, 1_000) == set()


def test_a_share_of_all_draws_everybody() -> None:
    assert len(sampled(1.0, 1_000)) == 1_000


def routed(
    count: int, partitions: int, spent: Spent | None = None, budget: int = 4, **fields: Any
) -> list[bool | None]:
    rules = RoutingRules(default=Rule(budget_per_hour=budget))
    spent = {} if spent is None else spent
    decisions = [
        route(facts(outcome=Outcome(result=Result.FAILURE), **fields), rules, spent, partitions) for _ in range(count)
    ]
    return [None if one is None else one.over_budget for one in decisions]


def test_beyond_the_budget_a_failure_is_routed_and_marked() -> None:
    assert routed(6, 1) == [False] * 4 + [True] * 2


def test_each_partition_has_its_share_of_the_budget_rounded_up() -> None:
    assert routed(5, 2) == [False] * 2 + [True] * 3
    assert routed(5, 3) == [False] * 2 + [True] * 3
    assert routed(3, 100) == [False] + [True] * 2


def test_without_a_budget_every_trace_is_over_it() -> None:
    assert routed(2, 1, budget=0) == [True, True]


def test_the_budget_is_of_the_hour_in_which_a_trajectory_was_opened() -> None:
    spent: Spent = {}
    assert routed(5, 1, spent, opened_ms=HOUR_MS - 1) == [False] * 4 + [True]
    assert routed(5, 1, spent, opened_ms=HOUR_MS) == [False] * 4 + [True]
    assert routed(1, 1, spent, opened_ms=0) == [True]


def test_each_system_has_a_budget_of_its_own() -> None:
    spent: Spent = {}
    assert routed(5, 1, spent, system="shop") == [False] * 4 + [True]
    assert routed(1, 1, spent, system="bank") == [False]


def test_what_is_not_traced_costs_nothing() -> None:
    spent: Spent = {}
    rules = RoutingRules(default=Rule(budget_per_hour=4))
    assert route(facts(outcome=Outcome(result=Result.SUCCESS)), rules, spent, 1) is None
    assert spent == {}


def test_what_has_no_limit_is_not_counted() -> None:
    spent: Spent = {}
    decision = route(facts(outcome=Outcome(result=Result.FAILURE)), RoutingRules(), spent, 1)
    assert decision is not None
    assert (decision.reason, decision.over_budget, spent) == (RouteReason.FAILURE, False, {})


def test_counts_of_hours_long_gone_are_dropped() -> None:
    spent: Spent = {("shop", hour): 1 for hour in (1, 51, 52, 100)}
    forget_old_hours(spent, 100 * HOUR_MS)
    assert spent == {("shop", 52): 1, ("shop", 100): 1}


def test_a_system_of_its_own_rule_and_all_others_by_the_default() -> None:
    own = Rule(score_below=0.5)
    rules = RoutingRules(systems={"shop": own})
    assert (rules.of("shop"), rules.of("bank")) == (own, Rule())


def test_without_a_file_every_failure_is_routed() -> None:
    assert load_rules(None) == RoutingRules()


def test_a_rules_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('[default]\nsample_successes = 0.1\n[systems."my shop"]\nbudget_per_hour = 7\n')
    rules = load_rules(path)
    assert (rules.default.sample_successes, rules.of("my shop").budget_per_hour) == (0.1, 7)


@pytest.mark.parametrize(
    "text",
    [
        "[default",
        "[defaults]\n",
        "[default]\nsample = 0.1\n",
        "[default]\nsample_successes = 1.5\n",
        "[default]\nbudget_per_hour = -1\n",
        '[default]\nfailure_without_outcome = ["late"]\n',
        "[systems]\nshop = 3\n",
    ],
)
def test_a_wrong_rules_file_is_refused_by_its_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "rules.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"rules\.toml"):
        load_rules(path)


def test_a_missing_rules_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml"):
        load_rules(tmp_path / "nowhere.toml")


def test_a_rules_file_that_is_no_text_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SettingsError, match=r"rules\.toml"):
        load_rules(path)
