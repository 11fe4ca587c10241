"""The moves of the table desk: what each agent may decide, how it says it, and what it changes on the sheet."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from schemas import StepKind, ToolUse
from schemas.fields import Attributes

from . import desk_phrases as say
from .calculator import calculate, calculated
from .chance import Voice
from .sheet import Act, Sheet, Todo, counting, lookups
from .system import Said
from .tables import FOUND, WORKED, Calc, Calcs, Quantities, Quantity


@dataclass(frozen=True)
class Plan:
    """The planner's reading of the question."""

    quantities: Quantities
    calcs: Calcs

    def said(self, state: Sheet, voice: Voice) -> Said:
        """List what to look up and what to work out."""
        del state
        style, phrasing = voice.one_of(say.LISTS), voice.one_of(range(3))
        found = [style.format(slot, one.words(phrasing)) for slot, one in zip(FOUND, self.quantities, strict=False)]
        worked = [style.format(slot, calc.formula) for slot, calc in zip(WORKED, self.calcs, strict=False)]
        return Said(StepKind.PLAN, "\n".join([voice.say(say.PLAN), *found, *worked]))

    def applied(self, state: Sheet) -> Sheet:
        """Queue the work."""
        slots = dict(zip(FOUND, self.quantities, strict=False))
        calcs = dict(zip(WORKED, self.calcs, strict=False))
        audit = [Todo(Act.AUDIT)] if state.question.audited else []
        verify = [Todo(Act.VERIFY)] if state.question.verified else []
        todo = state.rest(*lookups(slots), *audit, *counting(calcs), *verify, Todo(Act.ANSWER))
        return replace(state, slots=slots, calcs=calcs, todo=todo)


@dataclass(frozen=True)
class Query:
    """A finder asks the table tool for a row or a region."""

    of: str

    def said(self, state: Sheet, voice: Voice) -> Said:
        """Call the tool."""
        table = state.question.table
        tool = ToolUse(
            name="table",
            arguments={"table": table.title, "of": self.of},
            result={**table.figures(self.of)},
        )
        return Said(StepKind.TOOL_CALL, voice.say(say.QUERY).format(slot=state.slot, of=self.of), tool)

    def applied(self, state: Sheet) -> Sheet:
        """Keep what the tool showed."""
        shown = {**state.shown, state.slot: state.question.table.figures(self.of)}
        return replace(state, shown=shown, todo=state.rest())


@dataclass(frozen=True)
class Refetch:
    """A finder looks one figure up again, and it is taken over as the tool shows it."""

    quantity: Quantity

    def said(self, state: Sheet, voice: Voice) -> Said:
        """Call the tool."""
        table, one = state.question.table, self.quantity
        tool = ToolUse(
            name="table",
            arguments={"table": table.title, "of": one.of, "column": one.column},
            result=table.figures(one.of)[one.column],
        )
        words = one.words(voice.one_of(range(3)))
        return Said(StepKind.TOOL_CALL, voice.say(say.REFETCH).format(slot=state.slot, words=words), tool)

    def applied(self, state: Sheet) -> Sheet:
        """Fill the slot."""
        figure = state.question.table.figures(self.quantity.of)[self.quantity.column]
        return replace(state, values={**state.values, state.slot: figure}, todo=state.rest())


@dataclass(frozen=True)
class Report:
    """A finder reports the figure of its slot."""

    value: int

    def said(self, state: Sheet, voice: Voice) -> Said:
        """Name the figure."""
        words = state.slots[state.slot].words(voice.one_of(range(3)))
        text = voice.say(say.REPORT).format(slot=state.slot, value=self.value, words=words)
        return Said(StepKind.MESSAGE, text)

    def applied(self, state: Sheet) -> Sheet:
        """Fill the slot."""
        return replace(state, values={**state.values, state.slot: self.value}, todo=state.rest())


@dataclass(frozen=True)
class Audit:
    """The auditor's findings: the slots to look up again, and what belongs in them."""

    flags: tuple[tuple[str, Quantity], ...]

    def said(self, state: Sheet, voice: Voice) -> Said:
        """Accept the figures, or send some back."""
        listed = ", ".join(f"{slot} = {value}" for slot, value in state.values.items())
        if not self.flags:
            return Said(StepKind.GUARDRAIL, voice.say(say.ACCEPT).format(values=listed))
        again = "; ".join(f"{slot} should be {one.words(voice.one_of(range(3)))}" for slot, one in self.flags)
        return Said(StepKind.GUARDRAIL, voice.say(say.AGAIN).format(values=listed, again=again))

    def applied(self, state: Sheet) -> Sheet:
        """Queue what has to be looked up again."""
        again = [Todo(Act.REFETCH, slot) for slot, _ in self.flags]
        return replace(state, slots={**state.slots, **dict(self.flags)}, todo=state.rest(*again))


@dataclass(frozen=True)
class Compute:
    """The counter calls the calculator."""

    expression: str

    def said(self, state: Sheet, voice: Voice) -> Said:
        """Call the tool."""
        text = voice.say(say.COMPUTE).format(slot=state.slot, expression=self.expression)
        return Said(StepKind.TOOL_CALL, text, _calculator(self.expression))

    def applied(self, state: Sheet) -> Sheet:
        """Keep what the tool showed."""
        computed = {**state.computed, state.slot: calculated(self.expression)}
        return replace(state, computed=computed, todo=state.rest())


@dataclass(frozen=True)
class Recount:
    """The counter works one slot out again, and the result is taken over as the tool shows it."""

    expression: str

    def said(self, state: Sheet, voice: Voice) -> Said:
        """Call the tool."""
        text = voice.say(say.RECOUNT).format(slot=state.slot, expression=self.expression)
        return Said(StepKind.TOOL_CALL, text, _calculator(self.expression))

    def applied(self, state: Sheet) -> Sheet:
        """Fill the slot."""
        values = {**state.values, state.slot: calculated(self.expression)}
        return replace(state, values=values, todo=state.rest())


def _calculator(expression: str) -> ToolUse:
    arguments: Attributes = {"expression": expression}
    try:
        return ToolUse(name="calculator", arguments=arguments, result=calculate(expression))
    except ValueError as error:
        return ToolUse(name="calculator", arguments=arguments, error=str(error))


@dataclass(frozen=True)
class State:
    """The counter states the result of a calculation."""

    value: int

    def said(self, state: Sheet, voice: Voice) -> Said:
        """Name the result."""
        formula = state.calcs[state.slot].formula
        text = voice.say(say.STATE).format(slot=state.slot, formula=formula, value=self.value)
        return Said(StepKind.MESSAGE, text)

    def applied(self, state: Sheet) -> Sheet:
        """Fill the slot."""
        return replace(state, values={**state.values, state.slot: self.value}, todo=state.rest())


@dataclass(frozen=True)
class Verify:
    """The auditor's finding about the calculations: the first slot to work out again, and how."""

    flag: tuple[str, Calc] | None

    def said(self, state: Sheet, voice: Voice) -> Said:
        """Accept the results, or send one back."""
        listed = ", ".join(f"{slot} = {state.values[slot]}" for slot in state.calcs)
        if self.flag is None:
            return Said(StepKind.GUARDRAIL, voice.say(say.ACCEPT).format(values=listed))
        again = f"{self.flag[0]} should be {self.flag[1].formula}"
        return Said(StepKind.GUARDRAIL, voice.say(say.AGAIN).format(values=listed, again=again))

    def applied(self, state: Sheet) -> Sheet:
        """Queue that calculation and those that build on it."""
        if self.flag is None:
            return replace(state, todo=state.rest())
        slot, calc = self.flag
        calcs = {**state.calcs, slot: calc}
        again = [Todo(Act.RECOUNT, one) for one in building_on(slot, calcs)]
        return replace(state, calcs=calcs, todo=state.rest(*again))


def building_on(slot: str, calcs: Mapping[str, Calc]) -> list[str]:
    """Return the slot and those worked out from it, in order."""
    found = [slot]
    for name, calc in calcs.items():
        if calc.left in found or calc.right in found:
            found.append(name)
    return found


@dataclass(frozen=True)
class Answer:
    """The writer's answer, in the unit that was asked for."""

    value: int

    def said(self, state: Sheet, voice: Voice) -> Said:
        """Give the answer."""
        del state
        return Said(StepKind.MESSAGE, voice.say(say.ANSWER).format(value=self.value))

    def applied(self, state: Sheet) -> Sheet:
        """End the run."""
        return replace(state, answer=self.value, todo=state.rest())
