"""Tables and questions: a table by hand, and the truth of drawn questions from their texts and cells alone."""

from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer import questions
from trainer.fleet.calculator import calculate
from trainer.fleet.tables import (
    FORMS,
    NEAR,
    REGIONS,
    THEMES,
    UNITS,
    WORDS,
    Calc,
    Quantity,
    Question,
    Table,
    question,
    wrong_factors,
)

ROWS, COLUMNS = ("a", "b", "c", "d"), ("x 2023", "x 2024", "y 2023")
CELLS = ((1, 2, 3), (10, 20, 30), (100, 200, 300), (5, 7, 9))
TABLE = Table("Test", 100, ROWS, COLUMNS, CELLS)
SEEDS = range(400)


def asked(quantities: tuple[Quantity, ...], calcs: tuple[Calc, ...], factor: int = 1) -> Question:
    """Return a question about TABLE."""
    return Question(TABLE, quantities, calcs, factor, audited=True, verified=True)


@pytest.mark.parametrize(
    ("of", "figures"),
    [
        ("a", {"x 2023": 1, "x 2024": 2, "y 2023": 3}),
        ("d", {"x 2023": 5, "x 2024": 7, "y 2023": 9}),
        ("northern", {"x 2023": 11, "x 2024": 22, "y 2023": 33}),
        ("southern", {"x 2023": 105, "x 2024": 207, "y 2023": 309}),
    ],
)
def test_a_table_shows_a_row_or_the_totals_of_a_region(of: str, figures: dict[str, int]) -> None:
    assert TABLE.figures(of) == figures
    assert list(TABLE.figures(of)) == list(COLUMNS)


def test_the_regions_make_up_the_whole_table() -> None:
    north, south = (TABLE.figures(region) for region in REGIONS)
    rows = [TABLE.figures(row) for row in ROWS]
    assert {name: north[name] + south[name] for name in COLUMNS} == {
        name: sum(row[name] for row in rows) for name in COLUMNS
    }


def test_a_row_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="not in"):
        TABLE.figures("e")


A, B, C = Quantity("c", "x 2024"), Quantity("b", "x 2023"), Quantity("northern", "x 2024")
"""200, 10 and 22."""
BY_HAND: dict[tuple[Calc, ...], int] = {
    (Calc("plus", "A", "B"), Calc("minus", "P", "C")): 188,
    (Calc("minus", "B", "A"), Calc("plus", "P", "C")): -168,
    (Calc("minus", "A", "B"), Calc("larger", "P", "C")): 190,
    (Calc("smaller", "A", "B"), Calc("smaller", "P", "C")): 10,
    (Calc("minus", "A", "B"), Calc("times", "P", 12)): 2280,
    (Calc("plus", "A", "B"), Calc("percent", "C", "P")): 10,
    (Calc("minus", "B", "A"), Calc("percent", "P", "C")): -864,
    (Calc("larger", "A", "B"), Calc("minus", "P", "C"), Calc("times", "Q", 3)): 534,
}


@pytest.mark.parametrize("calcs", BY_HAND, ids=lambda calcs: " ".join(calc.op for calc in calcs))
def test_a_question_is_worked_out_as_by_hand(calcs: tuple[Calc, ...]) -> None:
    assert asked((A, B, C), calcs).answer() == BY_HAND[calcs]
    assert asked((A, B, C), calcs, factor=100).answer() == 100 * BY_HAND[calcs]


def test_every_step_of_the_working_is_kept_beside_the_figures() -> None:
    question_ = asked((A, B), (Calc("minus", "A", "B"), Calc("times", "P", 3)))
    assert question_.slots == {"A": A, "B": B}
    assert question_.last == "Q"
    assert question_.worked({"A": 200, "B": 10}) == {"A": 200, "B": 10, "P": 190, "Q": 570}


def test_a_percentage_of_nothing_is_taken_over_as_zero() -> None:
    question_ = asked((A, B, C), (Calc("plus", "A", "B"), Calc("percent", "P", "C")))
    assert question_.worked({"A": 1, "B": 2, "C": 0})["Q"] == 0


@pytest.mark.parametrize(
    ("quantity", "slips"),
    [
        (Quantity("a", "x 2023"), [("b", "x 2023"), ("a", "x 2024"), ("a", "y 2023")]),
        (Quantity("b", "x 2024"), [("a", "x 2024"), ("c", "x 2024"), ("b", "x 2023"), ("b", "y 2023")]),
        (Quantity("d", "y 2023"), [("c", "y 2023"), ("d", "x 2023"), ("d", "x 2024")]),
        (Quantity("northern", "x 2023"), [("southern", "x 2023"), ("northern", "x 2024"), ("northern", "y 2023")]),
    ],
)
def test_a_quantity_is_taken_for_its_neighbours(quantity: Quantity, slips: list[tuple[str, str]]) -> None:
    assert quantity.slips(TABLE) == [Quantity(*slip) for slip in slips]


@pytest.mark.parametrize(
    ("calc", "slips"),
    [
        (Calc("plus", "A", "B"), [Calc("minus", "A", "B")]),
        (Calc("minus", "A", "B"), [Calc("plus", "A", "B"), Calc("minus", "B", "A")]),
        (Calc("larger", "P", "C"), [Calc("smaller", "P", "C")]),
        (Calc("smaller", "P", "C"), [Calc("larger", "P", "C")]),
        (Calc("percent", "P", "C"), [Calc("percent", "C", "P")]),
        (Calc("times", "P", 12), [Calc("times", "P", 11), Calc("times", "P", 13), Calc("times", "P", 21)]),
    ],
)
def test_a_calculation_is_taken_for_its_reverse_or_another(calc: Calc, slips: list[Calc]) -> None:
    assert calc.slips() == slips


def test_a_calculation_is_written_with_names_or_with_figures() -> None:
    figures = {"A": 412, "B": 377, "P": -35}
    assert Calc("minus", "A", "B").formula == "A - B"
    assert Calc("minus", "A", "B").expression(figures) == "412 - 377"
    assert Calc("times", "P", 12).formula == "P * 12"
    assert calculate(Calc("times", "P", 12).expression(figures)) == -420
    assert Calc("larger", "P", "A").expression(figures) == "max(-35, 412)"


@pytest.mark.parametrize(
    ("unit", "op", "factor", "others"),
    [
        (100, "plus", 100, [1, 12, 1000]),
        (100, "plus", 1, [12, 100, 1000]),
        (1, "minus", 1, [12, 100, 1000]),
        (12, "percent", 1, [100]),
    ],
)
def test_the_unit_of_an_answer_is_taken_for_the_others(unit: int, op: str, factor: int, others: list[int]) -> None:
    table = Table("Test", unit, ROWS, COLUMNS, CELLS)
    question_ = Question(table, (A, B), (Calc(op, "A", "B"),), factor, audited=True, verified=True)
    assert list(wrong_factors(question_)) == others


def test_a_person_who_reads_the_text_and_the_cells_finds_the_same_answer() -> None:
    for seed in SEEDS:
        found, text = question(seed)
        assert questions.answer(text, found.table.cells) == found.answer(), (seed, text)


@settings(max_examples=150)
@given(st.integers(0, 2**31), st.data())
def test_text_and_truth_agree_on_tables_of_all_kinds(seed: int, data: st.DataObject) -> None:
    found, text = question(seed)
    cell = st.integers(1, 10**6)
    row = st.tuples(*[cell] * len(found.table.columns))
    cells = data.draw(st.tuples(*[row] * len(found.table.rows)))
    table = Table(found.table.title, found.table.unit, found.table.rows, found.table.columns, cells)
    other = Question(table, found.quantities, found.calcs, found.factor, audited=True, verified=True)
    assert questions.answer(text, cells) == other.answer()


def test_a_person_can_tell_all_phrasings_of_quantities_and_calculations_apart() -> None:
    for of in ("a", "c", *REGIONS):
        for name in COLUMNS:
            told = {Quantity(of, name).words(phrasing) for phrasing in range(3)}
            assert len(told) == 3
            assert {questions.figure(words, ROWS, COLUMNS, CELLS) for words in told} == {TABLE.figures(of)[name]}
            assert all(name[-4:] in words for words in told)


def test_a_person_knows_every_way_to_put_a_calculation_and_no_other() -> None:
    told = [words.format("", "#" if op == "times" else "") for op, ways in WORDS.items() for words in ways]
    assert len(set(told)) == len(told)
    assert set(told) == set(questions.NESTED)


def test_a_question_has_two_or_three_calculations_over_two_to_four_different_figures() -> None:
    shapes: Counter[tuple[int, int]] = Counter()
    for seed in SEEDS:
        found, _ = question(seed)
        assert len(set(found.quantities)) == len(found.quantities)
        used = [one for calc in found.calcs for one in (calc.left, calc.right) if isinstance(one, str)]
        assert sorted(used) == sorted([*found.slots, *"PQR"[: len(found.calcs) - 1]])
        shapes[len(found.quantities), len(found.calcs)] += 1
    assert set(shapes) == {(3, 2), (4, 3), (2, 2), (3, 3)}
    assert min(shapes.values()) >= len(SEEDS) / 10


def test_questions_vary_in_all_that_they_are_made_of() -> None:
    found = [question(seed)[0] for seed in SEEDS]
    assert {one.table.title for one in found} == {theme.title for theme in THEMES}
    assert {one.table.unit for one in found} == set(UNITS)
    assert {calc.op for one in found for calc in one.calcs} == set(FORMS) == set(WORDS) == set(NEAR)
    assert {one.factor == 1 for one in found} == {True, False}
    assert 0.8 < sum(one.audited for one in found) / len(found) < 0.98
    assert 0.88 < sum(one.verified for one in found) / len(found) < 1.0
    regional = sum(quantity.of in REGIONS for one in found for quantity in one.quantities)
    assert 0.1 < regional / sum(len(one.quantities) for one in found) < 0.3


def test_a_drawn_table_has_figures_of_three_digits_that_differ_from_row_to_row() -> None:
    for seed in SEEDS:
        table = question(seed)[0].table
        assert len(table.rows) == len(table.cells) == 6
        assert all(len(row) == len(table.columns) == 4 for row in table.cells)
        assert all(100 <= cell <= 999 for row in table.cells for cell in row)
        assert all(one != other for one, other in pairwise(table.cells))


def test_a_percentage_is_never_asked_in_another_unit() -> None:
    for seed in SEEDS:
        found, text = question(seed)
        if found.calcs[-1].op == "percent":
            assert found.factor == 1
            assert "whole percent" in text
