"""The parts that the simulated systems are made of, by hand: luck, numbers, programs, tables and orders."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.fleet.calculator import calculate
from trainer.fleet.chance import Chance, Voice, chance, spread, stream
from trainer.fleet.digits import misread
from trainer.fleet.operations import OPS, Role
from trainer.fleet.orders import (
    HOUSE_RULES,
    Item,
    Line,
    Order,
    Request,
    Shop,
    Shortage,
    allocate,
    carrier_for,
    discount,
    fulfil,
    money,
    told,
)
from trainer.fleet.stages import Stage, draw, meaning
from trainer.fleet.tables import Calc, Quantity, Question, Table

VALUES = [7, -3, 12, 12, 5, 40, 0, 9]


def luck(draw_: float, rate: float) -> Chance:
    """Return the luck of a turn whose draw is known."""
    return Chance(draw_, Random(1), rate)


def test_a_slip_is_made_with_its_weight_times_the_rate() -> None:
    slips = [(0.5, "a"), (1.0, "b")]
    found = [luck((n + 0.5) / 1000, 0.2).choose("right", slips) for n in range(1000)]
    assert (found.count("a"), found.count("b"), found.count("right")) == (100, 200, 700)


def test_a_rate_of_zero_makes_no_slip_and_a_forced_turn_always_one() -> None:
    assert luck(0.0, 0.0).choose("right", [(1.0, "a")]) == "right"
    forced = {chance(["turn", n], 0.0, fault=n).choose("right", [(0.1, "a"), (0.1, "b")]) for n in range(40)}
    assert forced == {"a", "b"}


def test_a_slip_that_is_the_right_thing_is_none() -> None:
    assert chance(["turn"], 0.0, fault=1).choose("right", [(1.0, "right")]) == "right"


def test_weights_beyond_certainty_are_scaled_to_it() -> None:
    found = [luck((n + 0.5) / 1000, 3.0).choose("right", spread(2.0, ["a", "b"])) for n in range(1000)]
    assert (found.count("a"), found.count("b")) == (500, 500)


def test_a_turn_has_its_own_numbers_whatever_else_is_drawn() -> None:
    first = chance(["x", 1], 0.3)
    first.free.random()
    again = chance(["x", 1], 0.9)
    assert (first.draw, Random.random(stream("x", 1, "free"))) == (again.draw, again.free.random())
    assert chance(["x", 2], 0.3).draw != first.draw


def test_a_voice_varies_what_it_says() -> None:
    said = {Voice(stream("voice", n)).say(["It is done"]) for n in range(200)}
    assert len(said) > 60
    assert all("It is done" in text for text in said)


def test_numbers_are_misread_by_a_swap_or_by_one() -> None:
    assert misread(12) == (11, 13, 21)
    assert misread(-12) == (-11, -13, -21)
    assert misread(7) == (6, 8)
    assert misread(1) == (2,)
    assert misread(100) == (99, 101)
    assert misread(377) == (376, 378, 737)


@given(st.integers(-(10**6), 10**6))
def test_a_misread_number_is_another_number(number: int) -> None:
    assert number not in misread(number)
    assert misread(number)


@pytest.mark.parametrize("name", OPS)
def test_every_coding_of_an_operation_does_what_the_operation_means(name: str) -> None:
    op, rng = OPS[name], Random(name)
    for coding in range(len(op.codes)):
        space: dict[str, object] = {}
        k = rng.randint(*op.parameters) if op.parameters else 0
        exec(f"def stage(values):\n    {Stage(name, k).code(coding)}", space)
        stage = space["stage"]
        assert callable(stage)
        for _ in range(30):
            values = [rng.randint(-20, 60) for _ in range(rng.randint(0, 9))]
            assert stage(list(values)) == op.means(list(values), k), (name, coding, values, k)


@pytest.mark.parametrize("name", OPS)
def test_an_operation_is_taken_for_others_of_the_table_that_do_the_same_to_a_list(name: str) -> None:
    stage = Stage(name, 12 if OPS[name].parameters else 0)
    assert stage not in stage.slips()
    assert {OPS[wrong.op].role for wrong in stage.slips()} == {OPS[name].role}
    assert {near for near in OPS[name].near if name in OPS[near].near or OPS[near].role is OPS[name].role}


def test_stages_mean_what_they_say() -> None:
    def of(*stages: Stage) -> int:
        return meaning(stages, VALUES)

    assert of(Stage("at_least", 9), Stage("total")) == 12 + 12 + 40 + 9
    assert of(Stage("above", 9), Stage("count")) == 3
    assert of(Stage("from", 10), Stage("largest")) == 13
    assert of(Stage("skip", 2), Stage("minus", 2), Stage("ends")) == 10 - 7
    assert of(Stage("odd_places"), Stage("mean_up")) == 6
    assert of(Stage("even_places"), Stage("mean_down")) == 14
    assert of(Stage("ascending"), Stage("head", 2), Stage("span")) == 3
    assert meaning([Stage("total")], []) == 0


def test_a_drawn_stage_has_the_role_that_was_asked_for() -> None:
    rng = Random(2)
    for role in Role:
        assert {OPS[draw(role, rng).op].role for _ in range(50)} == {role}


def test_the_calculator_calculates() -> None:
    assert calculate("412 - 377") == 35
    assert calculate("-3 * (2 + 4)") == -18
    assert calculate("max(12, min(40, 30))") == 30
    assert (calculate("percent(1, 8)"), calculate("percent(1, 3)"), calculate("percent(2, 3)")) == (13, 33, 67)


@pytest.mark.parametrize(
    "text", ["2 ** 99999", "__import__('os')", "1 / 2", "a + 1", "", "max(1)", "percent(1, 0)", "1.5"]
)
def test_the_calculator_refuses_what_is_not_its_own(text: str) -> None:
    with pytest.raises(ValueError, match=r"arithmetic|worked out"):
        calculate(text)


def test_the_calculator_refuses_what_grows_without_end() -> None:
    with pytest.raises(ValueError, match="digits"):
        calculate("*".join(["9999999"] * 20))


TABLE = Table("Test", 100, ("a", "b", "c", "d"), ("x 2023", "x 2024"), ((1, 2), (10, 20), (100, 200), (5, 7)))


def test_a_table_shows_rows_and_the_totals_of_regions() -> None:
    assert TABLE.figures("b") == {"x 2023": 10, "x 2024": 20}
    assert TABLE.figures("northern") == {"x 2023": 11, "x 2024": 22}
    assert TABLE.figures("southern") == {"x 2023": 105, "x 2024": 207}


def test_a_question_is_worked_out_in_the_unit_that_is_asked_for() -> None:
    quantities = (Quantity("c", "x 2024"), Quantity("b", "x 2023"), Quantity("northern", "x 2024"))
    calcs = (Calc("minus", "A", "B"), Calc("larger", "P", "C"))
    assert Question(TABLE, quantities, calcs, 100, audited=True, verified=True).answer() == 19_000
    percent = (Calc("plus", "A", "B"), Calc("percent", "C", "P"))
    assert Question(TABLE, quantities, percent, 1, audited=True, verified=True).answer() == 10


def test_a_quantity_is_taken_for_its_neighbours() -> None:
    slips = Quantity("b", "x 2023").slips(TABLE)
    assert slips == [Quantity("a", "x 2023"), Quantity("c", "x 2023"), Quantity("b", "x 2024")]
    assert Quantity("northern", "x 2023").slips(TABLE)[0] == Quantity("southern", "x 2023")


def test_a_calculation_is_taken_for_its_reverse_or_another_operator() -> None:
    assert Calc("minus", "A", "B").slips() == [Calc("plus", "A", "B"), Calc("minus", "B", "A")]
    assert Calc("times", "P", 12).slips() == [Calc("times", "P", number) for number in (11, 13, 21)]


STOCK = {"desk lamp": 3, "floor lamp": 50, "oak shelf": 9}


@pytest.mark.parametrize(
    ("rule", "filled"),
    [
        (Shortage.PARTIAL, (Line("desk lamp", 3), Line("oak shelf", 9))),
        (Shortage.SUBSTITUTE, (Line("floor lamp", 4), Line("oak shelf", 9))),
        (Shortage.LEAVE_OUT, (Line("oak shelf", 9),)),
    ],
)
def test_a_short_line_is_filled_by_the_customers_rule(rule: Shortage, filled: tuple[Line, ...]) -> None:
    assert allocate((Line("desk lamp", 4), Line("oak shelf", 9)), STOCK, rule) == filled


def test_nothing_is_left_of_a_line_without_stock() -> None:
    assert allocate((Line("desk lamp", 4),), {"desk lamp": 0}, Shortage.PARTIAL) == ()
    assert told(()) == "nothing"


def test_the_house_rules_hold_at_their_limits() -> None:
    assert [carrier_for(grams) for grams in (5_000, 5_001, 20_000, 20_001)] == ["post", "courier", "courier", "freight"]
    assert [discount(39_900, tier) for tier in ("basic", "silver", "gold")] == [0, 1_995, 3_990]
    assert [discount(40_000, tier) for tier in ("basic", "silver", "gold")] == [2_000, 4_000, 6_000]
    assert money(12_305) == "123.05"
    for figure in ("5 %", "10 %", "400.00", "20.00", "48.00", "62.00", "85.00"):
        assert figure in HOUSE_RULES


def test_an_order_is_fulfilled_after_the_change_and_the_news() -> None:
    items = {"desk lamp": Item(2_000, 900, 10), "floor lamp": Item(3_000, 650, 80), "oak shelf": Item(500, 380, 70)}
    lines = (Line("desk lamp", 12), Line("oak shelf", 4))
    request = Request("Silva", "silver", "B", Shortage.PARTIAL, lines, Line("oak shelf", 6))
    order = fulfil(Shop(items, Line("desk lamp", -1)), request)
    goods = 9 * 2_000 + 6 * 500
    assert order == Order((Line("desk lamp", 9), Line("oak shelf", 6)), "courier", 1_500, goods - 1_050 + 1_500)
