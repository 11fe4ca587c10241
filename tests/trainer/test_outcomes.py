"""Outcomes judged again by a person who has the events alone: the task's text, what was said, and what tools showed."""

import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import permutations

from schemas import Result, StepEvent
from tests.factories import START
from tests.trainer import programs, purchases, questions
from tests.trainer.turns import natural
from trainer.fleet.orders import opening
from trainer.fleet.recipe import recipe
from trainer.fleet.tables import question
from trainer.simulator import events

SEEDS = {"coding-pipeline": range(60), "table-desk": range(200), "order-chat": range(200)}


def sent(system: str, seed: int) -> list[StepEvent]:
    """Return the events of a run at the usual rate."""
    return events(natural(system, seed), started_at=START)


def text(found: list[StepEvent]) -> str:
    """Return the task as the first event tells it."""
    assert found[0].task
    return found[0].task


def succeeded(found: list[StepEvent]) -> bool:
    """Return what the environment says."""
    assert found[-1].outcome
    return found[-1].outcome.result is Result.SUCCESS


def truth(found: list[StepEvent]) -> str | None:
    """Return what the environment says it should have been."""
    assert found[-1].outcome
    return found[-1].outcome.ground_truth


def called(event: StepEvent, tool: str) -> Mapping[str, object] | None:
    """Return the arguments of a call of that tool."""
    if event.tool is None or event.tool.name != tool:
        return None
    assert isinstance(event.tool.arguments, dict)
    return event.tool.arguments


def solve_of(found: list[StepEvent], revision: int) -> Callable[[list[int]], int]:
    """Return the program of a revision: the coder's functions with the first `solve`, or a later program whole."""
    shown = [code for event in found for code in re.findall(r"```python\n(.*?)```", event.content, re.DOTALL)]
    parts = [code for code in shown if "solve(" not in code]
    first, *repaired = [code for code in shown if "def solve(" in code]
    space: dict[str, Callable[[list[int]], int]] = {}
    exec(["\n".join([*parts, first]), *repaired][revision - 1], space)
    return space["solve"]


def test_a_program_is_accepted_just_where_its_shown_code_gives_what_the_text_asks_for() -> None:
    accepted = 0
    for seed in SEEDS["coding-pipeline"]:
        found = sent("coding-pipeline", seed)
        asked, manifest = programs.read(text(found)), called(found[-1], "release")
        assert manifest
        solve, scale = solve_of(found, int(str(manifest["revision"]))), int(str(manifest["scale"]))
        pool = recipe(seed)[0].pool
        right = [solve(list(values)) * scale for values in pool] == [asked.result(list(values)) for values in pool]
        assert succeeded(found) == right, seed
        accepted += right
    assert 15 < accepted < 45


def test_tests_are_run_as_they_were_written_and_report_what_the_shown_code_gives() -> None:
    reports = 0
    for seed in SEEDS["coding-pipeline"]:
        found, written = sent("coding-pipeline", seed), list[tuple[str, str]]()
        for n, event in enumerate(found):
            written = re.findall(r"assert solve\((\[.*?\])\) == (-?\d+)", event.content) or written
            if (asked := called(event, "run_tests")) and event.tool:
                solve = solve_of(found[:n], int(str(asked["revision"])))
                assert event.tool.result == [
                    {"input": eval(values), "expected": int(expected), "got": solve(eval(values))}
                    for values, expected in written
                ]
                reports += 1
    assert reports > len(SEEDS["coding-pipeline"])


def test_an_answer_is_right_just_where_it_is_what_the_text_and_the_table_give() -> None:
    right = 0
    for seed in SEEDS["table-desk"]:
        found, cells = sent("table-desk", seed), question(seed)[0].table.cells
        answer = questions.answer(text(found), cells)
        (given,) = re.findall(r"(?<!\d)-?\d+", found[-1].content)
        assert truth(found) == str(answer)
        assert succeeded(found) == (int(given) == answer)
        right += succeeded(found)
    assert 60 < right < 140


def test_every_figure_and_calculation_that_a_tool_shows_is_true() -> None:
    shown = 0
    for seed in SEEDS["table-desk"]:
        table = question(seed)[0].table
        columns = table.columns
        for event in sent("table-desk", seed):
            if (asked := called(event, "table")) and event.tool:
                of, column = str(asked["of"]), asked.get("column")
                region = of in {"northern", "southern"}
                words = f"the total {{}} of the {of} rows in {{}}" if region else f"{of}'s {{}} in {{}}"
                figures = {
                    name: questions.figure(words.format(*name.split()), table.rows, columns, table.cells)
                    for name in columns
                }
                assert event.tool.result == (figures[str(column)] if column else figures)
                shown += 1
            elif (asked := called(event, "calculator")) and event.tool:
                known = {"max": max, "min": min, "percent": lambda a, b: (200 * a + b) // (2 * b)}
                assert event.tool.result == eval(str(asked["expression"]), {**known})
                shown += 1
    assert shown > 1000


def shelf(seed: int) -> purchases.Shelf:
    """Return what the shop of a seed has at first."""
    items = opening(seed)[0].items
    prices = {item: Decimal(there.price) / 100 for item, there in items.items()}
    return purchases.Shelf(
        {item: there.stock for item, there in items.items()},
        prices,
        {item: there.grams for item, there in items.items()},
    )


def heard(found: list[StepEvent], there: purchases.Shelf) -> tuple[purchases.Lines, purchases.Shelf]:
    """Return what the customer wants and what there is, by all that customer and warehouse have said."""
    wanted, stock = purchases.lines(text(found).partition("House rules")[0]), there.stock
    for event in found:
        if event.agent == "customer":
            wanted = purchases.change(event.content, wanted)
        if event.agent == "warehouse":
            stock = purchases.news(event.content, stock)
    return wanted, there._replace(stock=stock)


def test_books_are_right_just_where_they_are_what_the_messages_and_the_shelf_give() -> None:
    right = 0
    for seed in SEEDS["order-chat"]:
        found = sent("order-chat", seed)
        wanted, there = heard(found, shelf(seed))
        books = purchases.fulfil(text(found), wanted, there)
        listed = ", ".join(f"{quantity} x {item}" for item, quantity in books.lines.items()) or "nothing"
        told = f"{listed} by {books.carrier} for {books.fee:.2f}, {books.total:.2f} in total"
        assert truth(found) == told, seed
        if succeeded(found):
            assert listed in found[-1].content
            assert f"{books.total:.2f}" in found[-1].content
            right += 1
    assert 60 < right < 140


def test_every_stock_price_and_weight_that_a_tool_shows_is_true_at_that_time() -> None:
    shown = 0
    for seed in SEEDS["order-chat"]:
        there = shelf(seed)
        for event in sent("order-chat", seed):
            result = event.tool.result if event.tool else None
            if event.agent == "warehouse":
                there = there._replace(stock=purchases.news(event.content, there.stock))
            elif asked := called(event, "stock"):
                assert result == there.stock[str(asked["item"])] >= 0
            elif asked := called(event, "scale"):
                packed = purchases.lines(str(asked["lines"]))
                assert result == {"grams": sum(there.grams[item] * n for item, n in packed.items())}
            elif (asked := called(event, "prices")) and asked["items"]:
                assert result == {item: f"{there.prices[item]:.2f}" for item in str(asked["items"]).split(", ")}
            else:
                continue
            shown += 1
    assert shown > 800


def test_inventory_reserves_no_more_than_is_there_and_is_refused_where_it_tries() -> None:
    refused = 0
    for seed in SEEDS["order-chat"]:
        there = shelf(seed)
        for event in sent("order-chat", seed):
            if event.agent == "warehouse":
                there = there._replace(stock=purchases.news(event.content, there.stock))
            if (asked := called(event, "reserve")) and event.tool:
                wanted = purchases.lines(str(asked["lines"]))
                short = [item for item, quantity in wanted.items() if quantity > there.stock[item]]
                assert (event.tool.result is None) == bool(short)
                if short:
                    assert event.tool.error == f"only {there.stock[short[0]]} x {short[0]} in stock"
                    refused += 1
    assert refused >= 3


def test_an_invoice_is_the_sum_of_its_parts_and_the_confirmation_names_the_last_one() -> None:
    for seed in SEEDS["order-chat"]:
        found = sent("order-chat", seed)
        said = [event.content for event in found if event.agent == "billing" and event.tool is None]
        amounts = [[Decimal(one) for one in re.findall(r"-?\d+\.\d\d", content)] for content in said]
        invoices = [one for one in amounts if one]
        for one in invoices:
            assert len(one) == 4
            assert any(total == goods - off + fee for total, goods, off, fee in permutations(one))
        assert any(f"{amount:.2f}" in found[-1].content for amount in invoices[-1])
