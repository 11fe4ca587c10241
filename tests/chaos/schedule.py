"""Which blows fall, in which order, and what else happens meanwhile. Pure, from the seed.

Rules: a lane arms one blow after the other, the next as soon as the struck worker is back; in a full run every point
comes once with each blow before any comes twice; what happens to broker, store and group has its time.
"""

import random
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple, TypeVar

from ops.roles import Role

from .points import Blow, Point
from .size import Size


class Strike(NamedTuple):
    """A blow at a point."""

    point: Point
    blow: Blow


class Disturbance(StrEnum):
    """What happens beside the blows."""

    BROKER_RESTART = "broker killed and restarted"
    BROKER_AWAY = "broker away for longer than idleness"
    STORE_AWAY = "store away"
    LEAVE_AND_JOIN = "a worker leaves and joins"
    DRAIN = "SIGTERM to one worker of each role"
    CORE = "kill -9 of the core of a tracer's engine"
    BACKLOG = "no streams worker for a minute and more"


_D = Disturbance
T = TypeVar("T")
_FULL = (_D.BROKER_RESTART, _D.BROKER_AWAY, _D.STORE_AWAY, _D.LEAVE_AND_JOIN, _D.DRAIN, _D.BACKLOG, _D.LEAVE_AND_JOIN)


class Schedule(NamedTuple):
    """Lanes run beside each other."""

    lanes: tuple[tuple[Strike, ...], ...]
    disturbances: tuple[Disturbance, ...]
    is_static: bool
    """Static membership."""


def schedule(seed: int, size: Size) -> Schedule:
    """Plan the strikes of a run."""
    rng = random.Random(f"strikes {seed}")
    disturbances = list(_FULL) if size.is_full else [rng.choice((_D.BROKER_RESTART, _D.DRAIN, _D.LEAVE_AND_JOIN))]
    disturbances += [_D.CORE] * size.core_kills
    rng.shuffle(disturbances)
    lanes = _full_lanes(rng) if size.is_full else _short_lanes(rng)
    return Schedule(tuple(map(tuple, lanes)), tuple(disturbances), seed % 2 == 1)


def points_of(role: Role) -> list[Point]:
    """Return a role's points."""
    return [point for point in Point if point.role is role]


def _full_lanes(rng: random.Random) -> Iterator[list[Strike]]:
    """Kills and stops of streams workers side by side, and a lane each for sinks and tracers."""
    for blow in Blow:
        yield _shuffled(rng, [Strike(point, blow) for point in points_of(Role.STREAMS)])
    for role in (Role.SINK, Role.TRACER):
        yield _shuffled(rng, [Strike(point, blow) for point in points_of(role) for blow in Blow])


def _short_lanes(rng: random.Random) -> Iterator[list[Strike]]:
    """One lane a role; only streams have a second worker to take over from a stopped one."""
    streams = _shuffled(rng, points_of(Role.STREAMS))
    yield [Strike(point, Blow.STOP if place == 1 else Blow.KILL) for place, point in enumerate(streams)]
    for role in (Role.SINK, Role.TRACER):
        yield _shuffled(rng, [Strike(point, Blow.KILL) for point in points_of(role)])


def _shuffled(rng: random.Random, things: list[T]) -> list[T]:
    rng.shuffle(things)
    return things
