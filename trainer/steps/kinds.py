"""What kind of mistake an agent made at a step, which kinds are held out, and how much one must see to notice one.

    table-desk Plan.quantities.column       the planner took another column than the question asks for
    table-desk State.value.misread          the counter swapped two digits of what the calculator gave
    order-chat Close.to.missed              triage should have sent the order back and did not

Rules: a kind is read off two moves, the one made and the one that a faultless agent would have made there, by the
fields in which they differ, never by a fault that was planted; a held-out kind is in no run that is trained on, not
even beside the decisive mistake, while the same move mistaken in another way is; a mistake shows alone where its own
step contradicts the task's text, and needs several steps where it contradicts only what was said or shown before.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from trainer.fleet.digits import misread
from trainer.simulator import Run, correct

HELD_OUT_SYSTEM = "coding-pipeline"
"""Nothing is trained on its runs."""

HELD_OUT: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "table-desk": frozenset({"Plan.quantities.of", "Report.value.other", "Verify.flag.invented"}),
        "order-chat": frozenset({"Label.carrier", "Open.ticket.zone", "Record.lines.item", "Reserve.lines.item"}),
    }
)
"""Of the systems that are trained on, the mistakes that are not; each has a sister that is."""

SHOWS_ALONE: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "table-desk": ("Plan.",),
        "order-chat": ("Open.", "Record.", "Label.fee", "Invoice.off"),
        "coding-pipeline": ("Plan.", "Write.", "Assemble.", "WriteTests.", "Repair.", "Publish.scale"),
    }
)
"""How the kinds begin whose step contradicts the task's text: what was asked for is read, and said otherwise."""


class Sight(StrEnum):
    """How much of a run shows its decisive mistake."""

    ALONE = "alone"
    """The step itself, beside the task."""
    STEPS = "steps"
    """Several steps: a wrong number carried on, a change that was forgotten, a check that missed what was there."""


def kind_of(run: Run, step_index: int) -> str | None:
    """Return the kind of the mistake at a step; None where a faultless agent would have done the same."""
    made, right = run.actions[step_index].move, correct(run, step_index).move
    if made == right:
        return None
    if type(made) is not type(right):
        return f"{type(made).__name__} for {type(right).__name__}"
    return f"{type(made).__name__}.{'+'.join(sorted(_differences(made, right)))}"


def is_held_out(system: str, kind: str) -> bool:
    """Tell whether no run with a mistake of this kind may be trained on."""
    move, _, paths = kind.partition(".")
    return system == HELD_OUT_SYSTEM or any(f"{move}.{path}" in HELD_OUT[system] for path in paths.split("+"))


def sight_of(run: Run, step_index: int, kind: str) -> Sight:
    """Return how much of the run one must see to notice the mistake at a step."""
    if kind.startswith("Record.") and _customer_changed(run, step_index):
        return Sight.STEPS
    return Sight.ALONE if kind.startswith(SHOWS_ALONE[run.system]) else Sight.STEPS


def _customer_changed(run: Run, step_index: int) -> bool:
    return any(action.agent == "customer" for action in run.actions[:step_index])


def _differences(made: Any, right: Any) -> set[str]:
    """Return the paths of the fields in which two moves, or parts of them, differ."""
    if made == right:
        return set()
    if is_dataclass(made) and type(made) is type(right):
        names = [field.name for field in fields(made)]
        return {_path(name, rest) for name in names for rest in _differences(getattr(made, name), getattr(right, name))}
    if made in {None, ()} or right in {None, ()}:
        return {"missed" if made in {None, ()} else "invented"}
    if isinstance(made, tuple) and isinstance(right, tuple):
        return _in_tuples(made, right)
    if isinstance(made, int) and isinstance(right, int):
        return {"misread" if made in misread(right) else "other"}
    return {""}


def _in_tuples(made: tuple[Any, ...], right: tuple[Any, ...]) -> set[str]:
    if len(made) != len(right):
        return {"count"}
    return {path for pair in zip(made, right, strict=True) for path in _differences(*pair)}


def _path(name: str, rest: str) -> str:
    return f"{name}.{rest}" if rest else name
