"""Lays several prompts that begin alike out as one row of tokens, so that what they share is computed once.

    prefix prefix prefix | ask ask | ask ask | ask ask

Rules: pure; a token sees the prefix and its own branch up to itself, at the position that it would have if its prompt
stood alone, so every branch comes out as it would by itself; each branch has at least one token of its own.
"""

from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple


class Packed(NamedTuple):
    """One row; `branches` has 0 for the prefix and the prompt's number, from 1, for what is its own."""

    ids: tuple[int, ...]
    positions: tuple[int, ...]
    branches: tuple[int, ...]
    ends: tuple[int, ...]
    """Where each prompt's last token stands."""


def pack(prompts: Sequence[Sequence[int]]) -> Packed:
    """Return the row of some prompts, none of which may be empty."""
    shared = _shared(prompts)
    ids, positions, branches = list(prompts[0][:shared]), list(range(shared)), [0] * shared
    ends = []
    for number, prompt in enumerate(prompts, start=1):
        own = prompt[shared:]
        ids += own
        positions += range(shared, len(prompt))
        branches += [number] * len(own)
        ends.append(len(ids) - 1)
    return Packed(tuple(ids), tuple(positions), tuple(branches), tuple(ends))


def _shared(prompts: Sequence[Sequence[int]]) -> int:
    """Return how many tokens all begin with, their last ones not counted."""
    alike = takewhile(lambda column: len(set(column)) == 1, zip(*(prompt[:-1] for prompt in prompts), strict=False))
    return sum(1 for _ in alike)
