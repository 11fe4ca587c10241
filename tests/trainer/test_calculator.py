"""The calculator: what it works out, by hand and against Python's own arithmetic, and what it refuses."""

from fractions import Fraction
from math import floor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.fleet.calculator import DIGITS, calculate, calculated, percent
from trainer.fleet.digits import misread

BY_HAND = {
    "7": 7,
    "(7)": 7,
    "-7": -7,
    "-(-7)": 7,
    "412 - 377": 35,
    "377 - 412": -35,
    "9 - 3 - 2": 4,
    "2 + 3 * 4": 14,
    "(2 + 3) * 4": 20,
    "-3 * (2 + 4)": -18,
    "max(12, min(40, 30))": 30,
    "max(-5, -7)": -5,
    "min(-5, -7)": -7,
    "max(3 * 4, 11) - 1": 11,
    "percent(1, 8)": 13,
    "percent(1, 3)": 33,
    "percent(2, 3)": 67,
    "percent(5, 4)": 125,
    "percent(0, 4)": 0,
    "percent(-1, 8)": -12,
    "percent(-1, 3)": -33,
    "percent(3 - 1, 4)": 50,
    "999999999 * 999999999": 999999998000000001,
    f"{'9' * DIGITS}": 10**DIGITS - 1,
}


@pytest.mark.parametrize("text", BY_HAND)
def test_an_expression_is_worked_out_as_by_hand(text: str) -> None:
    assert calculate(text) == BY_HAND[text]
    assert calculated(text) == BY_HAND[text]


SUMS = st.recursive(
    st.integers(-999, 999).map(str),
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda parts: f"({' '.join(parts)})"),
        st.tuples(st.sampled_from(("max", "min")), inner, inner).map(lambda parts: "{}({}, {})".format(*parts)),
        inner.map(lambda one: f"-({one})"),
    ),
    max_leaves=6,
)


@given(SUMS)
def test_an_expression_is_worked_out_as_python_does(text: str) -> None:
    assert calculate(text) == eval(text)


@given(st.integers(-(10**6), 10**6), st.integers(-(10**6), 10**6).filter(bool))
def test_a_percentage_is_rounded_half_up(part: int, whole: int) -> None:
    assert percent(part, whole) == floor(Fraction(100 * part, whole) + Fraction(1, 2))


REFUSED = {
    "nothing": "",
    "a blank": " ",
    "a letter": "a + 1",
    "a slot": "P - B",
    "division": "1 / 2",
    "whole division": "7 // 2",
    "a remainder": "7 % 2",
    "a power": "2 ** 99999",
    "a shift": "1 << 3",
    "bits": "5 & 4",
    "a complement": "~3",
    "a plus sign": "+3",
    "a fraction": "1.5",
    "an exponent": "1e3",
    "a truth": "True + 1",
    "a text": "'7'",
    "a product of texts": "'7' * 3",
    "a comparison": "1 < 2",
    "a choice": "1 if 2 else 3",
    "a list": "[7]",
    "two lines": "1\n2",
    "two statements": "1; 2",
    "an assignment": "(a := 3)",
    "an unclosed bracket": "(1 + 2",
    "another function": "abs(-3)",
    "one argument": "max(1)",
    "three arguments": "max(1, 2, 3)",
    "a named argument": "max(1, default=2)",
    "a spread argument": "max(*[1, 2])",
    "a method": "(1).bit_length()",
    "a function of a function": "max(max, 1)",
    "an import": "__import__('os').system('true')",
    "a way round": "().__class__.__bases__[0].__subclasses__()",
    "a lambda": "(lambda: 1)()",
    "percent of nothing": "percent(1, 0)",
    "a zero byte": "1\0",
    "half a character": "\ud800",
    "other digits": "٣",
}


@pytest.mark.parametrize("text", REFUSED.values(), ids=REFUSED)
def test_what_is_not_arithmetic_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        calculate(text)
    assert calculated(text) == 0


HOSTILE = {
    "brackets": "(" * 10_000 + "1" + ")" * 10_000,
    "signs": "-" * 100_000 + "1",
    "a long sum": "1" + "+1" * 20_000,
    "calls": "max(1, " * 5_000 + "1" + ")" * 5_000,
    "digits": "9" * 100_000,
    "hexadecimal digits": "0x" + "f" * 100_000,
    "a long product": "*".join(["999999999"] * 500),
    "one digit too many": "1" + "0" * DIGITS,
    "one digit too many below zero": "-1" + "0" * DIGITS,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_what_would_take_stack_or_memory_is_refused_in_a_short_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"worked out|digits|arithmetic") as refused:
        calculate(text)
    assert len(str(refused.value)) < 400


def test_a_result_fits_the_64_bits_of_the_wire() -> None:
    assert 10**DIGITS < 2**63


def test_a_number_is_misread_by_a_swap_or_by_one() -> None:
    by_hand = {
        12: (11, 13, 21),
        -12: (-11, -13, -21),
        0: (1,),
        1: (2,),
        -1: (-2,),
        2: (1, 3),
        7: (6, 8),
        10: (9, 11),
        11: (10, 12),
        100: (99, 101),
        105: (104, 106, 150),
        377: (376, 378, 737),
        1234: (1233, 1235, 1243, 1324, 2134),
    }
    assert {number: misread(number) for number in by_hand} == by_hand


@given(st.integers(-(10**9), 10**9))
def test_a_misread_number_is_another_of_its_size_and_sign(number: int) -> None:
    found = misread(number)
    assert found
    assert number not in found
    assert len(set(found)) == len(found)
    for wrong in found:
        assert (wrong < 0) == (number < 0)
        assert abs(len(str(abs(wrong))) - len(str(abs(number)))) <= 1
