"""The table desk: a planner splits a question, finders and a counter work with tools, an auditor may look over it.

Rules: planner and auditor read the question; finders and counter work from the plan, the writer from what the counter
stated; the table and the calculator are really used.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from schemas import Outcome, Result

from . import desk_moves as moves
from .chance import Chance, Slip, one_wrong, spread
from .digits import misread
from .sheet import Act, Sheet
from .system import Move, Task
from .tables import Calc, Quantity, question, wrong_factors

FINDERS = {"A": "finder-1", "B": "finder-2", "C": "finder-1", "D": "finder-2"}


class Desk:
    """The system; it holds nothing."""

    name = "table-desk"
    agents: Mapping[str, str] = MappingProxyType(
        {
            "planner": "splits the question into figures and calculations",
            "finder-1": "looks figures up",
            "finder-2": "looks figures up",
            "auditor": "compares the figures with the question and the table",
            "counter": "does the calculations",
            "writer": "gives the answer in the unit asked for",
        }
    )

    def open(self, seed: int) -> tuple[Task, Sheet]:
        """Return the task of a seed and an empty sheet."""
        found, text = question(seed)
        return Task(f"{self.name}-{seed}", text), Sheet(found)

    def next_agent(self, state: Sheet) -> str | None:
        """Whose work is next on the list."""
        if not state.todo:
            return None
        agent, _ = TURNS[state.todo[0].act]
        return agent or FINDERS[state.slot]

    def decide(self, state: Sheet, chance: Chance) -> Move[Sheet]:
        """Return what the agent does about it."""
        return TURNS[state.todo[0].act][1](state, chance)

    def check(self, state: Sheet) -> Outcome:
        """Compare the answer with the question's."""
        expected = state.question.answer()
        right = state.answer == expected
        return Outcome(
            result=Result.SUCCESS if right else Result.FAILURE,
            score=1.0 if right else 0.0,
            evaluator="environment",
            reason=f"the answer {state.answer} is {'right' if right else 'wrong'}",
            ground_truth=str(expected),
        )


def _plan(state: Sheet, chance: Chance) -> moves.Plan:
    asked = state.question
    right = moves.Plan(asked.quantities, asked.calcs)
    quantities = one_wrong(asked.quantities, lambda one: one.slips(asked.table))
    other = [moves.Plan(wrong, asked.calcs) for wrong in quantities]
    worked = [moves.Plan(asked.quantities, wrong) for wrong in one_wrong(asked.calcs, Calc.slips)]
    return chance.choose(right, [*spread(1.0, other), *spread(0.3, worked)])


def _query(state: Sheet, chance: Chance) -> moves.Query:
    wanted = state.slots[state.slot]
    others = {one.of for one in wanted.slips(state.question.table)} - {wanted.of}
    return moves.Query(chance.choose(wanted.of, spread(0.1, sorted(others))))


def _report(state: Sheet, chance: Chance) -> moves.Report:
    shown = state.shown[state.slot]
    column = state.slots[state.slot].column
    slips: list[Slip[int]] = [
        *spread(0.1, misread(shown[column])),
        *spread(0.1, [figure for name, figure in shown.items() if name != column]),
    ]
    return moves.Report(chance.choose(shown[column], slips))


def _audit(state: Sheet, chance: Chance) -> moves.Audit:
    table, asked = state.question.table, state.question.slots
    flags = tuple((slot, one) for slot, one in asked.items() if state.values[slot] != table.figures(one.of)[one.column])
    if flags:
        return moves.Audit(chance.choose(flags, [(1.9, ())]))
    wrong: list[tuple[tuple[str, Quantity], ...]] = [
        ((slot, other),) for slot, one in asked.items() for other in one.slips(table)
    ]
    return moves.Audit(chance.choose((), spread(0.2, wrong)))


def _compute(state: Sheet, chance: Chance) -> moves.Compute:
    return moves.Compute(_expression(state, chance))


def _recount(state: Sheet, chance: Chance) -> moves.Recount:
    return moves.Recount(_expression(state, chance))


def _refetch(state: Sheet, chance: Chance) -> moves.Refetch:
    right = state.slots[state.slot]
    return moves.Refetch(chance.choose(right, spread(0.3, right.slips(state.question.table))))


def _state(state: Sheet, chance: Chance) -> moves.State:
    shown = state.computed[state.slot]
    return moves.State(chance.choose(shown, spread(0.12, misread(shown))))


def _expression(state: Sheet, chance: Chance) -> str:
    calc, values = state.calcs[state.slot], state.values
    slips = [other.expression(values) for other in calc.slips()] + _other_operands(calc, values)
    return chance.choose(calc.expression(values), spread(0.2, slips))


def _other_operands(calc: Calc, values: Mapping[str, int]) -> list[str]:
    others = [slot for slot in values if slot not in {calc.left, calc.right}]
    return [Calc(calc.op, other, calc.right).expression(values) for other in others]


def _verify(state: Sheet, chance: Chance) -> moves.Verify:
    asked = state.question
    worked = asked.worked({slot: state.values[slot] for slot in asked.slots})
    calcs = dict(zip(state.calcs, asked.calcs, strict=True))
    wrong = next((slot for slot in calcs if worked[slot] != state.values[slot]), None)
    if wrong is not None:
        return moves.Verify(chance.choose((wrong, calcs[wrong]), [(1.7, None)]))
    others: list[tuple[str, Calc] | None] = [(slot, one) for slot, calc in calcs.items() for one in calc.slips()]
    return moves.Verify(chance.choose(None, spread(0.15, others)))


def _answer(state: Sheet, chance: Chance) -> moves.Answer:
    asked = state.question
    stated = state.values[asked.last]
    right = stated * asked.factor
    slips: list[Slip[int]] = [
        *spread(0.15, [stated * factor for factor in wrong_factors(asked)]),
        *spread(0.1, [value * asked.factor for slot, value in state.values.items() if slot != asked.last]),
        *spread(0.05, misread(right)),
    ]
    return moves.Answer(chance.choose(right, slips))


TURNS: Mapping[Act, tuple[str | None, Callable[[Sheet, Chance], Move[Sheet]]]] = MappingProxyType(
    {
        Act.PLAN: ("planner", _plan),
        Act.QUERY: (None, _query),
        Act.REPORT: (None, _report),
        Act.REFETCH: (None, _refetch),
        Act.AUDIT: ("auditor", _audit),
        Act.COMPUTE: ("counter", _compute),
        Act.STATE: ("counter", _state),
        Act.RECOUNT: ("counter", _recount),
        Act.VERIFY: ("auditor", _verify),
        Act.ANSWER: ("writer", _answer),
    }
)
"""Who does a thing (None: the slot's finder), and how that agent decides."""
