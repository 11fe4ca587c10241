"""What agents say: the numbers in a text are those of the move and of its tool, and phrasings vary with luck alone."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from types import ModuleType
from typing import Any

import pytest

from tests.trainer.turns import faultless, mistakes, natural, phrasings, said
from trainer.fleet import (
    chat_moves,
    chat_phrases,
    desk_moves,
    desk_phrases,
    pipeline_moves,
    pipeline_phrases,
    play,
)
from trainer.fleet.chance import CLOSINGS, OPENINGS
from trainer.fleet.orders import Lines, money
from trainer.fleet.system import Action
from trainer.fleet.tables import Calc
from trainer.simulator import ALL

SEEDS = {"coding-pipeline": range(30), "table-desk": range(60), "order-chat": range(60)}


def numbers(text: str) -> list[str]:
    """Return the numbers in a text, outside of code, without their signs."""
    plain = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return sorted(re.findall(r"\d+(?:\.\d+)?", plain))


def calculations(calcs: Sequence[Calc]) -> list[object]:
    return [calc.right for calc in calcs if isinstance(calc.right, int)]


def pieces(lines: Lines) -> list[object]:
    return [line.quantity for line in lines]


def years(*columns: str) -> list[object]:
    return [column.rsplit(" ", 1)[1] for column in columns]


def flagged(move: desk_moves.Audit, state: Any) -> list[object]:
    return [*state.values.values(), *years(*(one.column for _, one in move.flags))]


def verified(move: desk_moves.Verify, state: Any) -> list[object]:
    return [*(state.values[slot] for slot in state.calcs), *calculations([move.flag[1]] if move.flag else [])]


def judged(move: pipeline_moves.Judge, state: Any) -> list[object]:
    if move.failing is None:
        return []
    case = state.cases[move.failing]
    return [move.failing + 1, case.expected, *state.recipe.pool[case.index]]


NAMED: dict[type, Callable[[Any, Any], list[object]]] = {
    desk_moves.Plan: lambda move, _: [*years(*(one.column for one in move.quantities)), *calculations(move.calcs)],
    desk_moves.Query: lambda _, __: [],
    desk_moves.Report: lambda move, state: [move.value, *years(state.slots[state.slot].column)],
    desk_moves.Refetch: lambda move, _: years(move.quantity.column),
    desk_moves.Audit: flagged,
    desk_moves.Compute: lambda move, _: re.findall(r"\d+", move.expression),
    desk_moves.Recount: lambda move, _: re.findall(r"\d+", move.expression),
    desk_moves.Verify: verified,
    desk_moves.Answer: lambda move, _: [move.value],
    chat_moves.Open: lambda _, __: [],
    chat_moves.Bounce: lambda _, __: [],
    chat_moves.Record: lambda move, _: pieces(move.lines),
    chat_moves.Change: lambda _, state: [state.request.change.quantity],
    chat_moves.Check: lambda _, __: [],
    chat_moves.News: lambda _, state: [abs(state.shop.news.quantity)],
    chat_moves.Reserve: lambda move, _: pieces(move.lines),
    chat_moves.Weigh: lambda _, __: [],
    chat_moves.Label: lambda move, _: [money(move.fee)],
    chat_moves.Price: lambda _, __: [],
    chat_moves.Invoice: lambda move, _: [
        money(cents) for cents in (move.goods, move.off, move.fee, move.goods - move.off + move.fee)
    ],
    chat_moves.Close: lambda move, state: [] if move.to else [*pieces(state.reserved), money(state.total)],
    pipeline_moves.Plan: lambda move, _: [
        *range(1, len(move.stages) + 1),
        *(stage.k for stage in move.stages if stage.k),
    ],
    pipeline_moves.Assemble: lambda move, state: [state.draft[place].number for place in move.order],
    pipeline_moves.WriteTests: lambda _, __: [],
    pipeline_moves.Run: lambda _, __: [],
    pipeline_moves.Judge: judged,
    pipeline_moves.Repair: lambda _, __: [],
    pipeline_moves.Dispute: lambda _, __: [],
    pipeline_moves.Defend: lambda _, __: [],
    pipeline_moves.Review: lambda move, state: [state.draft[place].number for place in move.flags],
    pipeline_moves.Publish: lambda move, _: [move.revision + 1, move.scale],
    pipeline_moves.Release: lambda _, __: [],
}
"""The numbers that a move names, no more and no fewer."""


@cache
def actions(system: str) -> list[tuple[Any, Action]]:
    """Return the actions of runs, mistakes of all kinds included, each with the state before it."""
    found = []
    for seed in SEEDS[system]:
        run = natural(system, seed)
        for n, (turn, action) in enumerate(zip(play.turns(run), run.actions, strict=True)):
            found += [(turn.state, one) for one in (action, *(mistakes(run, n) if n % 5 == seed % 5 else ()))]
    return found


@pytest.mark.parametrize("system", ALL)
def test_a_text_names_the_numbers_of_its_move_and_no_others(system: str) -> None:
    seen: Counter[type] = Counter()
    for state, action in actions(system):
        if (named := NAMED.get(type(action.move))) is not None:
            expected = {str(number).lstrip("-") for number in named(action.move, state)}
            assert set(numbers(action.content)) == expected, (action.content, action.move)
            seen[type(action.move)] += 1
    assert len(seen) >= 8


@pytest.mark.parametrize("system", ALL)
def test_a_number_below_zero_is_told_with_its_sign(system: str) -> None:
    for _, action in actions(system):
        value = getattr(action.move, "value", None)
        if isinstance(value, int):
            assert re.search(rf"(?<![-\d]){value}(?!\d)", action.content), action


def test_a_result_is_stated_with_its_slot_and_at_most_the_numbers_of_its_formula() -> None:
    for state, action in actions("table-desk"):
        if isinstance(action.move, desk_moves.State):
            told = numbers(action.content)
            told.remove(str(abs(action.move.value)))
            assert told in ([], [str(number) for number in calculations([state.calcs[state.slot]])])
            assert state.slot in action.content


def test_a_function_is_named_with_its_place_in_the_plan() -> None:
    for state, action in actions("coding-pipeline"):
        if isinstance(action.move, pipeline_moves.Write):
            assert set(numbers(action.content)) == {str(action.move.part.number)}
            assert state.recipe.name.format(action.move.part.number) in action.content


def test_what_a_move_is_about_stands_in_its_text() -> None:
    for state, action in [*actions("order-chat"), *actions("table-desk")]:
        match action.move:
            case chat_moves.Open(ticket, to):
                words = [state.request.customer, ticket.tier, f"zone {ticket.zone}", to]
            case chat_moves.Bounce(to) | chat_moves.Record(_, to):
                words = [to]
            case chat_moves.Check(item):
                words = [item]
            case chat_moves.Label(carrier, fee):
                words = [carrier, money(fee)]
            case chat_moves.Close(str(to), ticket):
                words = [to, ticket.tier, f"zone {ticket.zone}"]
            case desk_moves.Query(of):
                words = [of, state.slot]
            case desk_moves.Report() | desk_moves.Refetch():
                words = [state.slot]
            case desk_moves.Compute(expression) | desk_moves.Recount(expression):
                words = [expression, state.slot]
            case _:
                words = []
        assert all(word in action.content for word in words), (action.content, words)


def test_code_in_a_text_is_the_code_that_is_released() -> None:
    for seed in SEEDS["coding-pipeline"]:
        run = natural("coding-pipeline", seed)
        shown = [
            code for action in run.actions for code in re.findall(r"```python\n(.*?)```", action.content, re.DOTALL)
        ]
        functions = "\n".join(code for code in shown if "assert" not in code)
        final = play.turns(run)[-1].state
        for part in final.revisions[final.revision]:
            assert part.stage.code(part.coding) in functions


PHRASES = {"coding-pipeline": pipeline_phrases, "table-desk": desk_phrases, "order-chat": chat_phrases}


def tuples(module: ModuleType) -> dict[str, tuple[str, ...]]:
    """Return the phrasings of a system by name."""
    return {name: value for name, value in vars(module).items() if name.isupper() and isinstance(value, tuple)}


@pytest.mark.parametrize("system", ALL)
def test_every_phrasing_of_every_kind_of_move_is_used(system: str) -> None:
    met: dict[str, set[int]] = {name: set() for name in tuples(PHRASES[system])}
    for state, action in actions(system):
        for seed in range(3):
            text = said(state, action.move, seed=hash_of(action, seed)).content
            for name, options in tuples(PHRASES[system]).items():
                met[name] |= phrasings(options, text) if len(met[name]) < len(options) else set()
    rare = {"DEFEND", "DISPUTE", "LEFT_OPEN"}
    assert {name: len(found) for name, found in met.items() if name not in rare} == {
        name: len(options) for name, options in tuples(PHRASES[system]).items() if name not in rare
    }


def hash_of(action: Action, seed: int) -> int:
    """Return a number for a phrasing that differs from action to action, and from seed to seed."""
    return sum(map(ord, action.content)) * 31 + seed


@pytest.mark.parametrize("system", ALL)
def test_phrasings_of_a_kind_are_several_all_different_and_tell_nothing_of_mistakes(system: str) -> None:
    for name, options in tuples(PHRASES[system]).items():
        assert len(set(options)) == len(options) >= 4, name
        blanks = [sorted(set(re.findall(r"\{(\w*)\}", option))) for option in options]
        assert len({tuple(names) for names in blanks}) <= 3, name
        for option in options:
            assert not re.search(r"mistake|wrong|fault|slip|inject|oops", option.lower()) or name in {
                "DISPUTE", "DEFEND", "REMARK",
            }  # fmt: skip


FINDINGS = (desk_moves.Audit, desk_moves.Verify, pipeline_moves.Judge, pipeline_moves.Review)


def phrased(system: str, text: str) -> set[tuple[str, int]]:
    """Return which phrasings a text may be in."""
    return {(name, n) for name, options in tuples(PHRASES[system]).items() for n in phrasings(options, text)}


def framed(text: str) -> tuple[str | None, str | None]:
    """Return the pleasantries that a text opens and closes with."""
    return (
        next((opening for opening in OPENINGS if text.startswith(opening)), None),
        next((closing for closing in CLOSINGS if text.partition("\n")[0].endswith(closing)), None),
    )


@pytest.mark.parametrize("system", ALL)
def test_a_mistake_is_put_in_the_words_of_the_right_move(system: str) -> None:
    """Where the two are of one kind; a finding is put in other words than none, whether it is right or not."""
    compared = 0
    for seed in list(SEEDS[system])[:8]:
        run = faultless(system, seed)
        for step_index, fine in enumerate(run.actions):
            for wrong in mistakes(run, step_index):
                if (
                    isinstance(wrong.move, FINDINGS)
                    or type(wrong.move) is not type(fine.move)
                    or wrong.kind != fine.kind
                ):
                    continue
                assert phrased(system, wrong.content) & phrased(system, fine.content), (wrong.content, fine.content)
                assert framed(wrong.content) == framed(fine.content)
                compared += 1
    assert compared > 100
