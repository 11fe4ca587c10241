"""A trajectory: the ordered steps of one task run, as the assembler publishes it, revision by revision.

Rules: it is identified by `trajectory_id` and `opened_at` (the broker's time of its first event), so an id that
comes back later is another run; a step's index is its 0-based position in `steps`; `gaps` are producer indices
that never came, `truncations` the event ids whose content the sender shortened.
"""

from typing import Literal

from .fields import Contract, Id, Index, Name, UtcTime
from .kinds import CloseReason, KeySource, RouteReason
from .step import Outcome, StepEvent

GAPS_NAMED = 100
"""At most so many missing indices are named; `gap_count` counts them all."""


class Routing(Contract):
    """Why a trajectory is traced, and whether the tracing budget had room for it."""

    reason: RouteReason
    over_budget: bool = False


class Trajectory(Contract):
    """One revision of one task run; revisions count from 1."""

    schema_version: Literal[1] = 1
    trajectory_id: Id
    opened_at: UtcTime
    revision: Index
    key_source: KeySource
    tenant: Id
    system: Id
    system_version: Name | None = None
    task_id: Id | None = None
    task: str | None = None
    outcome: Outcome | None = None
    outcome_at: UtcTime | None = None
    close_reason: CloseReason
    closed_at: UtcTime
    """Partition time, not ours."""
    gaps: tuple[Index, ...] = ()
    gap_count: Index = 0
    truncations: tuple[Id, ...] = ()
    routing: Routing | None = None
    """Null for what is not traced."""
    steps: tuple[StepEvent, ...]
