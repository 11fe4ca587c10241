"""Tracers without a model: what a simple rule says is what a trained tracer has to beat.

Rules: each is a pure function of the trajectory behind the tracer's protocol; names agents by what stands before
` (` (one agent speaks as `Orchestrator (thought)` and `Orchestrator (plan)`); quotes word for word; gives no
confidence, since none is calibrated; abstains where it has nothing to say.
"""

import hashlib
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from schemas import StepEvent, Trajectory, VerdictStatus
from schemas.errors import SettingsError

from .protocol import Finding, Quote, Suspect, Tracer, abstained
from .verdict import CANDIDATES, texts

UNCOUNTED = frozenset({"Computer_terminal", "ComputerTerminal"})
"""Speakers that are no agents: they only run what an agent wrote."""
VERSION = "1"
QUOTE_CHARACTERS = 300

Rule = Callable[[Trajectory, frozenset[str]], Finding]


class RuleTracer:
    """One rule as a tracer."""

    def __init__(self, name: str, rule: Rule, uncounted: frozenset[str]) -> None:
        self.name = name
        self.version = _version(name, uncounted)
        self._rule = rule
        self._uncounted = uncounted

    async def trace(self, trajectory: Trajectory) -> Finding:
        """Apply the rule."""
        if not trajectory.steps:
            return abstained("the trajectory has no steps")
        return self._rule(trajectory, self._uncounted)


def agent_of(step: StepEvent) -> str:
    """Return the agent's name without the voice it speaks in."""
    return step.agent.partition(" (")[0] or step.agent


def last_error(trajectory: Trajectory, _: frozenset[str] = UNCOUNTED) -> Finding:
    """Blame the last step that ended in an error; the earlier errors are the alternatives, the latest first."""
    errors = [index for index, step in enumerate(trajectory.steps) if error_of(step) is not None]
    if not errors:
        return abstained("no step ended in an error")
    last = errors.pop()
    step = trajectory.steps[last]
    reason = f"step {last} of {agent_of(step)} is the last one that ended in an error ({error_of(step)})"
    return _blame(trajectory, last, reason, others=reversed(errors))


def last_step(trajectory: Trajectory, _: frozenset[str] = UNCOUNTED) -> Finding:
    """Blame the last step."""
    last = len(trajectory.steps) - 1
    agent = agent_of(trajectory.steps[last])
    return _blame(trajectory, last, f"step {last} of {agent} is the last before the failure showed")


def commonest_agent(trajectory: Trajectory, uncounted: frozenset[str] = UNCOUNTED) -> Finding:
    """Blame the commonest speaker, ties to whoever spoke first, at its first step.

    Its first step, because the decisive step is the earliest whose correction would have turned the run. The
    other speakers are the alternatives, in the same order, each at its first step.
    """
    firsts = _first_steps(trajectory.steps, uncounted)
    if not firsts:
        return abstained("nobody spoke but " + ", ".join(sorted(uncounted)))
    counts = Counter(agent_of(step) for step in trajectory.steps)
    ranked = sorted(firsts, key=lambda agent: -counts[agent])
    agent, *others = ranked
    reason = f"{agent} took {counts[agent]} of {len(trajectory.steps)} steps, more than any other agent"
    return _blame(trajectory, firsts[agent], reason, others=(firsts[other] for other in others))


def at_random(trajectory: Trajectory, _: frozenset[str] = UNCOUNTED) -> Finding:
    """Blame one of the speakers, each as likely, at one of its steps; the same for the same revision."""
    seed = _seed(trajectory)
    drawn = random.Random(seed)  # noqa: S311  a baseline, not a secret
    agent = drawn.choice(list(_first_steps(trajectory.steps, frozenset())))
    index = drawn.choice([index for index, step in enumerate(trajectory.steps) if agent_of(step) == agent])
    found = _blame(trajectory, index, f"{agent} and step {index} were drawn by lot")
    return found.model_copy(update={"seeds": (seed,)})


RULES: dict[str, Rule] = {
    "last_error": last_error,
    "last_step": last_step,
    "commonest_agent": commonest_agent,
    "random": at_random,
}


def by_name(name: str, uncounted: frozenset[str] = UNCOUNTED) -> Tracer:
    """Return the tracer of that name; `uncounted` are the speakers that `commonest_agent` leaves out."""
    if name not in RULES:
        raise SettingsError(f"there is no tracer {name!r}; choose one of {', '.join(RULES)}")
    return RuleTracer(name, RULES[name], uncounted)


def error_of(step: StepEvent) -> str | None:
    """Return what kind of error a step ended in, or None; never the error's text."""
    if step.error_type:
        return step.error_type
    return f"{step.tool.name} failed" if step.tool is not None and step.tool.error is not None else None


def _version(name: str, uncounted: frozenset[str]) -> str:
    if name != "commonest_agent" or uncounted == UNCOUNTED:
        return VERSION
    return f"{VERSION}-{hashlib.sha256(chr(31).join(sorted(uncounted)).encode()).hexdigest()[:8]}"


def _first_steps(steps: Sequence[StepEvent], uncounted: frozenset[str]) -> dict[str, int]:
    firsts: dict[str, int] = {}
    for index, step in enumerate(steps):
        if agent_of(step) not in uncounted:
            firsts.setdefault(agent_of(step), index)
    return firsts


def _seed(trajectory: Trajectory) -> int:
    named = f"{trajectory.trajectory_id}\x1f{trajectory.revision}"
    return int.from_bytes(hashlib.sha256(named.encode()).digest()[:4], "big")


def _blame(trajectory: Trajectory, index: int, reason: str, *, others: Iterable[int] = ()) -> Finding:
    steps = trajectory.steps
    alternatives = [Suspect(agent=agent_of(steps[other]), step_index=other) for other in others]
    return Finding(
        status=VerdictStatus.ATTRIBUTED,
        agent=agent_of(steps[index]),
        step_index=index,
        reason=reason,
        reason_source="template",
        evidence=_quotes(steps[index], index),
        alternatives=tuple(alternatives[:CANDIDATES]),
        failure_path=tuple(range(index, len(steps))),
    )


def _quotes(step: StepEvent, index: int) -> tuple[Quote, ...]:
    text = next((text for text in texts(step) if text.strip()), "")
    return (Quote(step_index=index, quote=text[:QUOTE_CHARACTERS]),) if text else ()
