"""The simulated fleet: three small multi-agent systems that really execute their tasks, and can be played again.

    run = simulate("table-desk", seed=7)         one run; `run.outcome` is what its environment found
    events(run, started_at=now)                  what the fleet would send
    decisive_step(run)                           where it broke, by counterfactual replay
    resume(run, 4, correct(run, 4))              the same run with step 4 done right

Rules: nothing here is drawn from a clock or a shared stream: the same seeds give the same runs, byte for byte; a
correction is what a faultless agent would do there after what really came before, so it repairs one step and reveals
nothing else; natural mistakes and forced ones (`faulty`) come from the same tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from schemas import StepEvent
from schemas.errors import SettingsError

from .fleet import play
from .fleet.chance import stream
from .fleet.emit import step_events
from .fleet.play import MISTAKE_RATE, Conditions, Run, correct, decisive_step, faulty, perform, resume
from .fleet.system import Action, Task

__all__ = [
    "ALL",
    "MISTAKE_RATE",
    "Action",
    "Run",
    "Task",
    "agents",
    "correct",
    "decisive_step",
    "events",
    "faulty",
    "fleet",
    "perform",
    "resume",
    "simulate",
]

ALL: tuple[str, ...] = tuple(play.SYSTEMS)
"""The systems by name."""

SEEDS = 2**31


def simulate(
    system: str,
    seed: int,
    *,
    mistake_rate: float = MISTAKE_RATE,
    attempt: int = 0,
    faults: Mapping[str, float] | None = None,
) -> Run:
    """Run a system on the task of a seed; another `attempt` is the same task with other luck.

    At a rate of 0 nobody errs; `faults` gives single agents another rate, as a bad deployment or good advice would.
    """
    known, rates = agents(system), {agent: float(rate) for agent, rate in (faults or {}).items()}
    if unknown := sorted(set(rates) - set(known)):
        raise SettingsError(f"{system!r} has no agent {unknown[0]!r}; its agents are {', '.join(known)}")
    if not all(rate >= 0 for rate in (mistake_rate, *rates.values())):
        raise SettingsError(f"mistake rates {mistake_rate!r} and {faults!r} must not be negative; 0 is no mistakes")
    return play.start(Conditions(system, seed, float(mistake_rate), attempt, tuple(sorted(rates.items()))))


def fleet(
    count: int,
    seed: int,
    *,
    systems: Sequence[str] = ALL,
    mistake_rate: float = MISTAKE_RATE,
    faults: Mapping[str, Mapping[str, float]] | None = None,
) -> Iterator[Run]:
    """Run a mix of systems on tasks of their own; a larger count goes on where a smaller one ends."""
    for name in (*systems, *(faults or ())):
        agents(name)
    if not systems:
        raise SettingsError(f"a fleet of no systems has no runs; name some of {', '.join(ALL)}")
    for number in range(count):
        rng = stream("fleet", seed, number)
        system, task_seed = rng.choice(systems), rng.randrange(SEEDS)
        yield simulate(system, task_seed, mistake_rate=mistake_rate, faults=(faults or {}).get(system))


def events(
    run: Run,
    *,
    started_at: datetime,
    system_version: str = "1",
    agent_versions: Mapping[str, str] | None = None,
    tenant: str = "default",
) -> list[StepEvent]:
    """Return the run as step events, in order, the first one with the task and the last one with the outcome."""
    return step_events(run, started_at, system_version, agent_versions or {}, tenant)


def agents(system: str) -> Mapping[str, str]:
    """Return a system's agents with their roles; raise SettingsError where there is no such system."""
    return play.system_of(system).agents
