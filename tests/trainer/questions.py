"""Reads a question of the table desk as a person would: the nested words, and the figures straight from the cells."""

import re
from collections.abc import Callable, Sequence
from fractions import Fraction
from math import floor

Cells = Sequence[Sequence[int]]

NESTED: dict[str, Callable[[int, int], int]] = {
    "the sum of () and ()": lambda a, b: a + b,
    "() plus ()": lambda a, b: a + b,
    "() minus ()": lambda a, b: a - b,
    "() less ()": lambda a, b: a - b,
    "the larger of () and ()": lambda a, b: (a + b + abs(a - b)) // 2,
    "whichever is more, () or ()": lambda a, b: (a + b + abs(a - b)) // 2,
    "the smaller of () and ()": lambda a, b: (a + b - abs(a - b)) // 2,
    "whichever is less, () or ()": lambda a, b: (a + b - abs(a - b)) // 2,
    "() times #": lambda a, b: a * b,
    "() multiplied by #": lambda a, b: a * b,
    "() as a percentage of ()": lambda a, b: floor(Fraction(100 * a, b) + Fraction(1, 2)),
    "the percentage that () is of ()": lambda a, b: floor(Fraction(100 * a, b) + Fraction(1, 2)),
}

FIGURES = (
    r"the total (?P<measure>\w+) of the (?P<region>\w+) rows in (?P<year>\d+)",
    r"all (?P<region>\w+) (?P<measure>\w+) of (?P<year>\d+)",
    r"the (?P<year>\d+) (?P<measure>\w+) of the (?P<region>\w+) region",
    r"(?P<row>.+)'s (?P<measure>\w+) in (?P<year>\d+)",
    r"the (?P<year>\d+) (?P<measure>\w+) of (?P<row>.+)",
    r"(?P<measure>\w+) at (?P<row>.+), (?P<year>\d+)",
)

ASKED = (
    r"Question: what is (?P<asked>.+)\? Answer in (?P<wanted>[\w ]+)\.$",
    r"\), find (?P<asked>.+?)\. The answer should be in (?P<wanted>[\w ]+)\. ",
    r"Please give (?P<asked>.+), in (?P<wanted>[\w ]+)\.$",
)
SIZES = {"single units": 1, "dozens": 12, "hundreds": 100, "thousands": 1000}


def groups(words: str) -> tuple[str, list[str]]:
    """Return the words with what stands in outer brackets taken out, and what stood there."""
    frame, inner, depth = "", [""], 0
    for letter in words:
        depth -= letter == ")"
        if depth:
            inner[-1] += letter
        else:
            frame += letter
        if letter == "(":
            depth += 1
            inner += [""] if depth == 1 and inner[-1] else []
    return frame, inner


def figure(words: str, rows: Sequence[str], columns: Sequence[str], cells: Cells) -> int:
    """Look one figure up."""
    found = next(filter(None, (re.fullmatch(pattern, words) for pattern in FIGURES)), None)
    assert found, f"a person would not know which figure {words!r} is"
    named = found.groupdict()
    column = columns.index(f"{named['measure']} {named['year']}")
    if "region" in named:
        half = len(rows) // 2
        north = named["region"] == "northern"
        assert north or named["region"] == "southern"
        return sum(cells[at][column] for at in range(len(rows)) if (at < half) == north)
    return cells[rows.index(named["row"])][column]


def value(words: str, rows: Sequence[str], columns: Sequence[str], cells: Cells) -> int:
    """Work out what some words name."""
    frame, inner = groups(words)
    if "()" not in frame:
        return figure(words, rows, columns, cells)
    numbers = [value(one, rows, columns, cells) for one in inner]
    if factor := re.search(r"\d+$", frame):
        frame, numbers = frame[: factor.start()] + "#", [*numbers, int(factor[0])]
    return NESTED[frame](*numbers)


def answer(text: str, cells: Cells) -> int:
    """Answer a question from its text and the cells of its table."""
    rows = re.search(r"Rows: (.+?); the first half of them is northern", text)
    columns = re.search(r"Columns: (.+?)\.", text)
    unit = re.search(r"figures in ([a-z ]+?)[.)]", text)
    asked = next(filter(None, (re.search(pattern, text) for pattern in ASKED)), None)
    assert rows and columns and unit and asked, text  # noqa: PT018 - the text has them all, or it is none
    found = value(asked["asked"], rows[1].split(", "), columns[1].split(", "), cells)
    assert asked["wanted"] in {"single units", "whole percent", unit[1]}, text
    return found * SIZES[unit[1]] if asked["wanted"] == "single units" else found
