"""Reads a task of the coding pipeline as a person would: from its text alone, one stage after the other.

Rules: nothing here comes from the fleet's own tables, so that text, meaning and code are held against a third party.
"""

import re
from collections.abc import Callable
from fractions import Fraction
from math import ceil, floor
from typing import NamedTuple

Values = list[int]
Did = Callable[[Values, int], "Values | int"]


def _keep(holds: Callable[[int, int], bool]) -> Did:
    """Keep by the value and the number of the stage."""
    return lambda values, k: [value for value in values if holds(value, k)]


def _places(holds: Callable[[int, int], bool]) -> Did:
    """Keep by the place, counted from 1, and the number of the stage."""
    return lambda values, k: [value for place, value in enumerate(values, 1) if holds(place, k)]


def _each(makes: Callable[[int, int], int]) -> Did:
    return lambda values, k: [makes(value, k) for value in values]


def _of(folds: Callable[[Values], int]) -> Did:
    """Fold, and give 0 where there is nothing left."""
    return lambda values, _: folds(values) if values else 0


def _up(values: Values, _: int) -> Values:
    """Put every value before the first one that is larger."""
    ordered: Values = []
    for value in values:
        ordered.insert(sum(other <= value for other in ordered), value)
    return ordered


READINGS: dict[Did, tuple[str, ...]] = {
    _keep(lambda v, k: v - k >= 0): (
        "keep the values of # or more",
        "keep only what is at least #",
        "drop everything below #",
    ),
    _keep(lambda v, k: v - k > 0): (
        "keep the values above #",
        "keep only what is more than #",
        "drop everything of # or less",
    ),
    _keep(lambda v, k: v - k <= 0): (
        "keep the values of # or less",
        "keep only what is at most #",
        "drop everything above #",
    ),
    _keep(lambda v, k: v - k < 0): (
        "keep the values below #",
        "keep only what is less than #",
        "drop everything of # or more",
    ),
    _keep(lambda v, k: Fraction(v, k).denominator == 1): (
        "keep the multiples of #",
        "keep only what # divides evenly",
        "drop everything that # does not divide",
    ),
    _keep(lambda v, k: Fraction(v, k).denominator > 1): (
        "drop the multiples of #",
        "keep only what # does not divide evenly",
        "drop everything that # divides",
    ),
    _places(lambda place, k: place <= k): (
        "keep the first # values",
        "take only the # leading values",
        "cut the list after its first # values",
    ),
    _places(lambda place, k: place > k): (
        "leave out the first # values",
        "drop the # leading values",
        "start the list after its first # values",
    ),
    lambda values, k: [value for place, value in enumerate(values) if len(values) - place <= k]: (
        "keep the last # values",
        "take only the # trailing values",
        "cut everything before the last # values",
    ),
    _places(lambda place, _: place % 2 == 1): (
        "keep the first, third, fifth value and so on",
        "keep every other value, beginning with the first one",
    ),
    _places(lambda place, _: place % 2 == 0): (
        "keep the second, fourth, sixth value and so on",
        "keep every other value, beginning with the second one",
    ),
    _each(lambda v, k: sum([v] * k)): (
        "multiply each value by #",
        "scale every value by #",
        "replace each value by # times it",
    ),
    _each(lambda v, k: v + k): (
        "add # to each value",
        "raise every value by #",
        "replace each value by itself plus #",
    ),
    _each(lambda v, k: v - k): (
        "subtract # from each value",
        "lower every value by #",
        "replace each value by itself minus #",
    ),
    _each(lambda v, k: k - v): (
        "subtract each value from #",
        "replace each value by # minus it",
        "turn every value v into # - v",
    ),
    _each(lambda v, k: floor(Fraction(v, k))): (
        "divide each value by #, rounding down",
        "replace each value by how often # goes into it, rounded down",
    ),
    _each(lambda v, k: v - k * floor(Fraction(v, k))): (
        "replace each value by its remainder modulo #",
        "take every value modulo #",
    ),
    _up: ("sort the values in ascending order", "order the list from small to large"),
    lambda values, k: _up(values, k)[::-1]: (
        "sort the values in descending order",
        "order the list from large to small",
    ),
    _of(sum): ("return the sum of what is left", "add everything up and return the total"),
    _of(len): ("return how many values are left", "return the number of remaining values"),
    _of(lambda vs: _up(vs, 0)[-1]): ("return the largest value", "return the maximum"),
    _of(lambda vs: _up(vs, 0)[0]): ("return the smallest value", "return the minimum"),
    _of(lambda vs: _up(vs, 0)[-1] - _up(vs, 0)[0]): (
        "return the largest value minus the smallest",
        "return the distance between maximum and minimum",
    ),
    _of(lambda vs: floor(Fraction(sum(vs), len(vs)))): (
        "return the mean, rounded down",
        "return the average, rounded down to a whole number",
    ),
    _of(lambda vs: ceil(Fraction(sum(vs), len(vs)))): (
        "return the mean, rounded up",
        "return the average, rounded up to a whole number",
    ),
    _of(lambda vs: vs[0] - vs[-1]): (
        "return the first value minus the last",
        "return the difference of the first value and the last one",
    ),
    _of(lambda vs: vs[-1] - vs[0]): (
        "return the last value minus the first",
        "return the difference of the last value and the first one",
    ),
}
"""What a person does, by all the ways to ask for it."""

DID = {words: did for did, ways in READINGS.items() for words in ways}


def do(words: str, values: Values) -> "Values | int":
    """Do what one stage says."""
    numbers = re.findall(r"\d+", words)
    return DID[re.sub(r"\d+", "#", words)](values, int(numbers[0]) if numbers else 0)


class Program(NamedTuple):
    """A task as it was read: the words of its stages, and the factor of the release."""

    stages: tuple[str, ...]
    scale: int

    def result(self, values: Values) -> int:
        """Do all of it."""
        left: Values | int = list(values)
        for words in self.stages:
            assert isinstance(left, list), f"nothing can follow a stage that returns: {self.stages}"
            left = do(words, left)
        assert isinstance(left, int), f"nothing is returned: {self.stages}"
        return left * self.scale


LINK = r"(?:First|Then|Next|After that|[1-4]\)|To begin,|then) "


def read(text: str) -> Program:
    """Read the text of a task."""
    found = re.search(r"whole numbers\. (.+)\. (?:Of an empty list|Nothing left means|If no value is left)", text)
    assert found, text
    stages = tuple(re.sub(LINK, "", part, count=1) for part in found[1].split("; "))
    release = text[found.end() :]
    factor = re.search(r"times (\d+)|(\d+) times", release)
    assert factor or "as it is" in release or "plain number" in release, text
    return Program(stages, int(factor[1] or factor[2]) if factor else 1)
