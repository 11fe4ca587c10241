"""What tests ask of runs: their bytes, and every mistake that an agent may make at a turn.

Rules: mistakes are found as `faulty` finds them, by forcing the turn's luck, but over a grid of draws that is finer
than any mistake's share, so that none is left out.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from tests.factories import START
from trainer.fleet import play
from trainer.fleet.chance import Voice, chance, stream
from trainer.fleet.system import Action, Move, Said, System
from trainer.simulator import Run, events, simulate

DRAWS = 120
"""The rarest mistake takes more than one in sixty."""


def wire(run: Run, started_at: datetime = START) -> bytes:
    """Return a run's events as bytes."""
    return b"\n".join(event.model_dump_json().encode() for event in events(run, started_at=started_at))


@cache
def faultless(system: str, seed: int) -> Run:
    """Return the run of a seed in which nobody errs."""
    return simulate(system, seed, mistake_rate=0.0)


@cache
def natural(system: str, seed: int) -> Run:
    """Return the run of a seed at the usual rate."""
    return simulate(system, seed)


def right(system: System[Any], state: Any, key: Sequence[object] = ("by hand",)) -> Move[Any]:
    """Return what a faultless agent does in a state."""
    return system.decide(state, chance(key, 0.0))


def wrongs(system: System[Any], state: Any, key: Sequence[object] = ("by hand",)) -> list[Move[Any]]:
    """Return every mistake that the agent whose turn it is may make in a state."""
    found: dict[Move[Any], None] = {}
    for number in range(DRAWS):
        luck = chance(key, 0.0, fault=0)._replace(draw=(number + 0.5) / DRAWS)
        found[system.decide(state, luck)] = None
    found.pop(right(system, state, key), None)
    return list(found)


def mistakes(run: Run, step_index: int) -> list[Action]:
    """Return every mistake that may be made at a step of a run."""
    turn = play.turn_at(run, step_index)
    found = wrongs(play.system_of(run.system), turn.state, play._key(run.conditions, turn))
    return [play.perform(run, step_index, move) for move in found]


def said(state: Any, move: Move[Any], seed: int = 0) -> Said:
    """Carry a move out, in one of its phrasings."""
    return move.said(state, Voice(stream("voice", seed)))


def phrasings(options: Sequence[str], content: str) -> set[int]:
    """Return which of some phrasings a text is put in, whatever its blanks are filled with."""
    patterns = [re.sub(r"\\\{\w*\\\}", ".+?", re.escape(option)) for option in options]
    return {number for number, pattern in enumerate(patterns) if re.search(pattern, content)}
