"""Which trajectories are traced, and within which budget: plain functions of the trajectory and the rules.

Rules: a failure outcome is always routed; then a score under the system's threshold; where no outcome came, what
the system's rule counts as failure (an error on the last step, an idle end); then a sampled share of the others,
by a hash of the trajectory id, so that every replica draws the same ones. The budget counts traces of a system in
the hour its trajectory was opened, by the broker's clock; beyond it a trajectory is routed all the same, marked.
"""

import tomllib
from hashlib import blake2b
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from schemas import CloseReason, Outcome, Result, RouteReason, Routing
from schemas.errors import SettingsError

HOUR_MS = 3_600_000


class Rule(BaseModel):
    """How one system's trajectories are routed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    failure_without_outcome: tuple[Literal["error", "idle"], ...] = ("error",)
    """What counts as failure when no outcome is sent: an error on the last step, an idle end."""
    score_below: float | None = None
    """A score under this is a failure, whatever the result says."""
    sample_successes: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The share of trajectories that did not fail which is traced all the same."""
    budget_per_hour: Annotated[int, Field(ge=0)] | None = None
    """At most so many traces of the system per hour; None is no limit."""


class RoutingRules(BaseModel):
    """The settings file: `[default]` and `[systems.NAME]`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    default: Rule = Rule()
    systems: dict[str, Rule] = Field(default_factory=dict)

    def of(self, system: str) -> Rule:
        """Return the rule of a system."""
        return self.systems.get(system, self.default)


class Facts(NamedTuple):
    """What routing asks of a closed trajectory."""

    trajectory_id: str
    opened_ms: int
    system: str
    outcome: Outcome | None
    close_reason: CloseReason
    ended_in_error: bool


Spent = dict[tuple[str, int], int]
"""Traces of (system, hour since the epoch)."""


def load_rules(path: Path | None) -> RoutingRules:
    """Read the TOML file; without one every failure is routed."""
    if path is None:
        return RoutingRules()
    try:
        return RoutingRules.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (OSError, ValueError) as error:
        raise SettingsError(f"the routing rules {str(path)!r} can't be used: {error}") from error


def reason_to_trace(facts: Facts, rule: Rule) -> RouteReason | None:
    """Return why a trajectory is traced, None if it is not."""
    outcome = facts.outcome
    if outcome is not None and outcome.result is Result.FAILURE:
        return RouteReason.FAILURE
    score = None if outcome is None else outcome.score
    if score is not None and rule.score_below is not None and score < rule.score_below:
        return RouteReason.SCORE
    if outcome is None or outcome.result is Result.UNKNOWN:
        if facts.ended_in_error and "error" in rule.failure_without_outcome:
            return RouteReason.ERROR
        if facts.close_reason is CloseReason.IDLE and "idle" in rule.failure_without_outcome:
            return RouteReason.IDLE
    return _sampled(facts, rule)


def _sampled(facts: Facts, rule: Rule) -> RouteReason | None:
    drawn = int.from_bytes(blake2b(facts.trajectory_id.encode(), digest_size=8).digest(), "big") / 2**64
    return RouteReason.SAMPLED if drawn < rule.sample_successes else None


def route(facts: Facts, rules: RoutingRules, spent: Spent, partitions: int) -> Routing | None:
    """Decide on one trajectory and count it in `spent`; each partition has its share of a system's budget."""
    rule = rules.of(facts.system)
    reason = reason_to_trace(facts, rule)
    if reason is None:
        return None
    if rule.budget_per_hour is None:
        return Routing(reason=reason)
    key = (facts.system, facts.opened_ms // HOUR_MS)
    over = spent.get(key, 0) >= -(-rule.budget_per_hour // partitions)
    if not over:
        spent[key] = spent.get(key, 0) + 1
    return Routing(reason=reason, over_budget=over)


def forget_old_hours(spent: Spent, now_ms: int, hours: int = 48) -> None:
    """Drop the counts of hours long gone."""
    for key in [key for key in spent if key[1] < now_ms // HOUR_MS - hours]:
        del spent[key]
