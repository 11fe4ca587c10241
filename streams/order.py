"""The order of a trajectory's steps, and the producer indices that never came.

Rules: the producer's sequence where there is one; else a step comes after its causal parent; among what is then
free, the earlier start, then the smaller event id. Arrival never counts, so a shuffled topic gives the same order.
"""

import itertools
from collections.abc import Iterable, Sequence
from datetime import datetime
from heapq import heapify, heappop, heappush
from operator import lt

from .held import Held

Key = tuple[datetime, str]


def in_order(steps: Sequence[Held]) -> list[Held]:
    """Return the steps in their order, O(n log n)."""
    sequences = [held.sequence for held in steps if held.sequence is not None]
    if len(sequences) == len(steps):
        if all(map(lt, sequences, sequences[1:])):  # as most senders have it
            return list(steps)
        return sorted(steps, key=lambda held: (held.sequence, held.started_at, held.event_id))
    return _by_cause(steps)


def _by_cause(steps: Sequence[Held]) -> list[Held]:
    by_id = {held.event_id: held for held in steps}
    after: dict[str, list[str]] = {event_id: [] for event_id in by_id}
    waits = dict.fromkeys(by_id, 0)
    for earlier, later in _constraints(steps, by_id):
        after[earlier].append(later)
        waits[later] += 1
    ready = [(by_id[one].started_at, one) for one, count in waits.items() if count == 0]
    heapify(ready)
    everyone = iter(sorted((held.started_at, held.event_id) for held in by_id.values()))
    ordered: list[Held] = []
    while len(ordered) < len(by_id):
        if not ready:  # a circle of parents: the earliest of what is left goes first
            ready = [next(key for key in everyone if waits[key[1]] > 0)]
        _, event_id = heappop(ready)
        waits[event_id] = -1
        ordered.append(by_id[event_id])
        for later in after[event_id]:
            waits[later] -= 1
            if waits[later] == 0:
                heappush(ready, (by_id[later].started_at, later))
    return ordered


def _constraints(steps: Iterable[Held], by_id: dict[str, Held]) -> Iterable[tuple[str, str]]:
    """Yield (earlier, later): consecutive producer indices, and parents of steps that have no index."""
    indexed = sorted(
        (held for held in by_id.values() if held.sequence is not None),
        key=lambda held: (held.sequence, held.started_at, held.event_id),
    )
    for earlier, later in itertools.pairwise(indexed):
        yield earlier.event_id, later.event_id
    for held in steps:
        if held.sequence is None and held.parent_id in by_id and held.parent_id != held.event_id:
            yield held.parent_id, held.event_id


def missing_indices(steps: Iterable[Held], most: int) -> tuple[tuple[int, ...], int]:
    """Return the first `most` producer indices that are missing below the highest, and how many there are."""
    found = {held.sequence for held in steps if held.sequence is not None}
    if not found:
        return (), 0
    count = max(found) + 1 - len(found)
    named: list[int] = []
    candidate = 0
    while len(named) < min(most, count):
        if candidate not in found:
            named.append(candidate)
        candidate += 1
    return tuple(named), count
