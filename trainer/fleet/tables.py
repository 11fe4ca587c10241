"""The table desk's tables and questions: figures by row, measure and year, and what is asked about them.

Rules: both are functions of the seed; a question is quantities (cells, or a region's total) and calculations over
them, the last of which is the answer; what a quantity or a calculation is easily taken for is another valid one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from .calculator import calculated
from .chance import Voice, stream
from .digits import misread


class Theme(NamedTuple):
    """What a table is about."""

    title: str
    rows: tuple[str, ...]
    measures: tuple[str, ...]


THEMES = (
    Theme(
        "Branch libraries", ("Ashby", "Corve", "Dunmore", "Elling", "Farrow", "Hatch"), ("loans", "visits", "members")
    ),
    Theme(
        "Depots", ("Kiln Lane", "Mill Road", "North Gate", "Old Quay", "Park End", "West Yard"), ("parcels", "returns")
    ),
    Theme("Orchards", ("Brook", "Glebe", "Hollow", "Orley", "Ridge", "Tanner"), ("apples", "pears", "plums")),
    Theme("Hotels", ("Anchor", "Bellevue", "Crown", "Drake", "Empire", "Fountain"), ("nights", "guests", "bookings")),
    Theme("Ferries", ("Alder", "Birch", "Cedar", "Elm", "Hazel", "Rowan"), ("trips", "cars", "passengers")),
)
REGIONS = ("northern", "southern")
YEARS = (2023, 2024)
UNITS = {1: "single units", 12: "dozens", 100: "hundreds", 1000: "thousands"}


@dataclass(frozen=True)
class Table:
    """Figures by row and column; the first half of the rows is the northern region."""

    title: str
    unit: int
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[int, ...], ...]

    def figures(self, of: str) -> dict[str, int]:
        """Return the columns of a row, or the totals of a region; this is the table tool."""
        if of in REGIONS:
            half = len(self.rows) // 2
            cells = self.cells[:half] if of == REGIONS[0] else self.cells[half:]
            return dict(zip(self.columns, map(sum, zip(*cells, strict=True)), strict=True))
        return dict(zip(self.columns, self.cells[self.rows.index(of)], strict=True))


@dataclass(frozen=True)
class Quantity:
    """One figure: of a row or of a whole region, in a column."""

    of: str
    column: str

    def words(self, phrasing: int) -> str:
        """Say the quantity."""
        measure, year = self.column.rsplit(" ", 1)
        if self.of in REGIONS:
            options = (
                f"the total {measure} of the {self.of} rows in {year}",
                f"all {self.of} {measure} of {year}",
                f"the {year} {measure} of the {self.of} region",
            )
        else:
            options = (
                f"{self.of}'s {measure} in {year}",
                f"the {year} {measure} of {self.of}",
                f"{measure} at {self.of}, {year}",
            )
        return options[phrasing % len(options)]

    def slips(self, table: Table) -> list["Quantity"]:
        """Return what it is easily taken for: the row beside it, the other region, another column."""
        names = REGIONS if self.of in REGIONS else table.rows
        at = names.index(self.of)
        rows = [name for name in names[max(0, at - 1) : at + 2] if name != self.of]
        columns = [column for column in table.columns if column != self.column]
        return [*(replace(self, of=of) for of in rows), *(replace(self, column=column) for column in columns)]


FORMS = {
    "plus": "{} + {}",
    "minus": "{} - {}",
    "times": "{} * {}",
    "larger": "max({}, {})",
    "smaller": "min({}, {})",
    "percent": "percent({}, {})",
}
WORDS = {
    "plus": ("the sum of ({}) and ({})", "({}) plus ({})"),
    "minus": ("({}) minus ({})", "({}) less ({})"),
    "times": ("({}) times {}", "({}) multiplied by {}"),
    "larger": ("the larger of ({}) and ({})", "whichever is more, ({}) or ({})"),
    "smaller": ("the smaller of ({}) and ({})", "whichever is less, ({}) or ({})"),
    "percent": ("({}) as a percentage of ({})", "the percentage that ({}) is of ({})"),
}
NEAR: dict[str, tuple[str, ...]] = {
    "plus": ("minus",),
    "minus": ("plus",),
    "larger": ("smaller",),
    "smaller": ("larger",),
    "times": (),
    "percent": (),
}


@dataclass(frozen=True)
class Calc:
    """One calculation; an operand is a slot's name, or a number of the question's own."""

    op: str
    left: str
    right: str | int

    def expression(self, values: Mapping[str, int]) -> str:
        """Write it for the calculator."""
        left, right = (values[one] if isinstance(one, str) else one for one in (self.left, self.right))
        return FORMS[self.op].format(left, right)

    @property
    def formula(self) -> str:
        """Write it with the slots' names."""
        return FORMS[self.op].format(self.left, self.right)

    def slips(self) -> list["Calc"]:
        """Return what it is easily taken for: operands swapped, another operator, a number misread."""
        wrong = [replace(self, op=near) for near in NEAR[self.op]]
        if isinstance(self.right, int):
            return [*wrong, *(replace(self, right=number) for number in misread(self.right))]
        return [*wrong, Calc(self.op, self.right, self.left)] if self.op in {"minus", "percent"} else wrong


Quantities = tuple[Quantity, ...]
Calcs = tuple[Calc, ...]
FOUND, WORKED = "ABCD", "PQR"
"""The slots of quantities, and of calculations."""


@dataclass(frozen=True)
class Question:
    """What is asked: the table, the quantities A, B, ..., the calculations P, Q, ..., and the unit of the answer."""

    table: Table
    quantities: Quantities
    calcs: Calcs
    factor: int
    audited: bool
    verified: bool
    """Whether the auditor looks over the figures, and over the calculations."""

    @property
    def slots(self) -> dict[str, Quantity]:
        """The quantities by slot."""
        return dict(zip(FOUND, self.quantities, strict=False))

    @property
    def last(self) -> str:
        """The slot of the answer."""
        return WORKED[len(self.calcs) - 1]

    def worked(self, figures: Mapping[str, int]) -> dict[str, int]:
        """Work every calculation out from the figures."""
        values = dict(figures)
        for slot, calc in zip(WORKED, self.calcs, strict=False):
            values[slot] = calculated(calc.expression(values))
        return values

    def answer(self) -> int:
        """Look everything up and work the answer out."""
        figures = {slot: self.table.figures(one.of)[one.column] for slot, one in self.slots.items()}
        return self.worked(figures)[self.last] * self.factor


def question(seed: int) -> tuple[Question, str]:
    """Return the task of a seed and its text."""
    rng = stream("question", seed)
    table = _table(rng)
    count, calcs = _calcs(rng)
    quantities = _quantities(table, count, rng)
    factor = table.unit if calcs[-1].op != "percent" and rng.random() < 0.6 else 1
    audited, verified = rng.random() < 0.9, rng.random() < 0.95
    found = Question(table, quantities, calcs, factor, audited, verified)
    return found, _text(found, Voice(rng))


def _table(rng: Random) -> Table:
    theme = rng.choice(THEMES)
    columns = tuple(f"{measure} {year}" for measure in theme.measures[:2] for year in YEARS)
    cells = tuple(tuple(rng.randint(102, 989) for _ in columns) for _ in theme.rows)
    return Table(theme.title, rng.choice(tuple(UNITS)), theme.rows, columns, cells)


def _calcs(rng: Random) -> tuple[int, Calcs]:
    """Draw the shape of a question: how many quantities, and what is done with them."""
    one, two, three = (rng.choice(("plus", "minus", "minus", "larger", "smaller")) for _ in range(3))
    shapes: tuple[tuple[int, Calcs], ...] = (
        (3, (Calc(one, "A", "B"), Calc(two, "P", "C"))),
        (4, (Calc(one, "A", "B"), Calc(two, "C", "D"), Calc(three, "P", "Q"))),
        (2, (Calc(one, "A", "B"), Calc("times", "P", rng.randint(12, 48)))),
        (3, (Calc(one, "A", "B"), Calc("percent", "P", "C"))),
        (3, (Calc(one, "A", "B"), Calc(two, "P", "C"), Calc("times", "Q", rng.randint(12, 48)))),
    )
    return rng.choice(shapes)


def _quantities(table: Table, count: int, rng: Random) -> Quantities:
    found: list[Quantity] = []
    while len(found) < count:
        of = rng.choice(REGIONS) if rng.random() < 0.2 else rng.choice(table.rows)
        one = Quantity(of, rng.choice(table.columns))
        if one not in found:
            found.append(one)
    return tuple(found)


FRAMES = (
    "Table {title!r}, figures in {unit}. {rows} {columns} Question: what is {asked}? Answer in {wanted}.",
    "From the table {title!r} (figures in {unit}), find {asked}. The answer should be in {wanted}. {columns} {rows}",
    "{title!r} is a table of figures in {unit}. {columns} {rows} Please give {asked}, in {wanted}.",
)
ROWS = "Rows: {}; the first half of them is northern, the rest southern."


def _text(asked: Question, voice: Voice) -> str:
    table = asked.table
    words = {slot: one.words(voice.one_of(range(3))) for slot, one in asked.slots.items()}
    for slot, calc in zip(WORKED, asked.calcs, strict=False):
        right = words[calc.right] if isinstance(calc.right, str) else calc.right
        words[slot] = voice.one_of(WORDS[calc.op]).format(words[calc.left], right)
    plain = asked.factor == table.unit and asked.calcs[-1].op != "percent"
    unit = UNITS[1] if plain else "whole percent" if asked.calcs[-1].op == "percent" else UNITS[table.unit]
    return voice.one_of(FRAMES).format(
        title=table.title,
        unit=UNITS[table.unit],
        rows=ROWS.format(", ".join(table.rows)),
        columns=f"Columns: {', '.join(table.columns)}.",
        asked=words[asked.last],
        wanted=unit,
    )


def wrong_factors(asked: Question) -> Sequence[int]:
    """Return the factors that the answer's unit is easily taken for."""
    units = (1, 100) if asked.calcs[-1].op == "percent" else UNITS
    return [factor for factor in units if factor != asked.factor]
