"""Small plots as inline SVG, drawn with the page's own colours.

Rules: every text in a plot is escaped; a plot says its axes and has a title for those who don't see it; colours are
classes (`c0`, `c1`, …) and variables of the page, so that a plot is readable on dark and on light.
"""

from collections.abc import Iterable, Sequence
from html import escape
from typing import NamedTuple

WIDTH, HEIGHT = 520, 260
LEFT, RIGHT, TOP, BOTTOM = 48, 12, 14, 40
COLOURS = 8
FARTHEST = 10
"""Offsets beyond are drawn together."""
_ACROSS, _DOWN = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM
_CELL = 34


class Point(NamedTuple):
    """A share with its interval, at a place across from 0 to 1."""

    across: float
    share: float
    low: float | None = None
    high: float | None = None
    label: str = ""


class Series(NamedTuple):
    """The points of one row."""

    name: str
    points: Sequence[Point]


def shares(series: Sequence[Series], ticks: Sequence[tuple[float, str]], *, title: str, across: str) -> str:
    """Plot shares from 0 to 1 with their intervals, a colour each row."""
    marks = [_series(one, number) for number, one in enumerate(series)]
    return _plot([*_frame(ticks, across, "share right"), *marks], title) + _legend([one.name for one in series])


def reliability(series: Sequence[Series], *, title: str) -> str:
    """Plot how often answers of a confidence are right, beside the diagonal where they would be if it were true."""
    ticks = [(tenth / 5, f"{tenth / 5:.1f}") for tenth in range(6)]
    diagonal = f'<line class="even" x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}"/>'
    marks = [_series(one, number) for number, one in enumerate(series)]
    frame = _frame(ticks, "confidence", "share right")
    return _plot([*frame, diagonal, *marks], title) + _legend([one.name for one in series])


def offsets(counts: dict[int, int], *, title: str) -> str:
    """Plot how far the named steps are from the decisive ones."""
    bars: dict[int, int] = {}
    for offset, count in counts.items():
        held = max(-FARTHEST, min(FARTHEST, offset))
        bars[held] = bars.get(held, 0) + count
    most = max(bars.values(), default=1)
    width = _ACROSS / (2 * FARTHEST + 1)
    drawn = (_bar(offset, count, most, width) for offset, count in sorted(bars.items()))
    places = [(_place(offset), _offset_name(offset)) for offset in range(-FARTHEST, FARTHEST + 1, 5)]
    frame = _frame(places, "named step less decisive step", "trajectories", most=most)
    return _plot([*frame, *drawn], title)


def confusion(gold: Sequence[str], named: Sequence[str], counts: Sequence[Sequence[int]], *, title: str) -> str:
    """Plot who was named for whom: right ones lie on the diagonal."""
    most = max((count for line in counts for count in line), default=0) or 1
    left, top = 200, 150
    width, height = left + _CELL * len(named) + 10, top + _CELL * len(gold) + 10
    heads = (
        f'<text transform="translate({left + _CELL * place + 20},{top - 6}) rotate(-45)">{_short(name)}</text>'
        for place, name in enumerate(named)
    )
    lines = (
        _confusion_line(row, name, line, most, left, top)
        for row, (name, line) in enumerate(zip(gold, counts, strict=True))
    )
    return _svg([*heads, *lines], title, width, height)


def _confusion_line(row: int, name: str, line: Sequence[int], most: int, left: int, top: int) -> str:
    y = top + _CELL * row
    cells = [f'<text class="end" x="{left - 6}" y="{y + 21}">{_short(name)}</text>']
    for column, count in enumerate(line):
        x = left + _CELL * column
        cells.append(
            f'<rect class="cell" x="{x}" y="{y}" width="{_CELL - 2}" height="{_CELL - 2}" '
            f'fill-opacity="{count / most * 0.5:.2f}"/>'
        )
        if count:
            cells.append(f'<text class="middle" x="{x + 16}" y="{y + 21}">{count}</text>')
    return "".join(cells)


def _series(series: Series, number: int) -> str:
    points = list(series.points)
    path = " ".join(f"{_x(point.across):.1f},{_y(point.share):.1f}" for point in points)
    marks = "".join(_point(point, series.name, number) for point in points)
    return f'<g class="c{number % COLOURS}"><polyline points="{path}"/>{marks}</g>'


def _point(point: Point, name: str, number: int) -> str:
    x, y = _x(point.across), _y(point.share)
    bar = ""
    if point.low is not None and point.high is not None:
        bar = f'<line x1="{x:.1f}" y1="{_y(point.low):.1f}" x2="{x:.1f}" y2="{_y(point.high):.1f}"/>'
    return bar + _mark(x, y, number, f"<title>{escape(name)}: {escape(point.label)}</title>")


def _mark(x: float, y: float, number: int, inside: str = "") -> str:
    """Return a dot; past the last colour a square, then a diamond."""
    turn = number // COLOURS % 3
    if turn == 0:
        return f'<circle class="dot" cx="{x:.1f}" cy="{y:.1f}" r="3.5">{inside}</circle>'
    around = f' transform="rotate(45 {x:.1f} {y:.1f})"' if turn == 2 else ""
    return f'<rect class="dot" x="{x - 3:.1f}" y="{y - 3:.1f}" width="6" height="6"{around}>{inside}</rect>'


def _bar(offset: int, count: int, most: int, width: float) -> str:
    height = _DOWN * count / most
    x, y = _x(_place(offset)) - width / 2, TOP + _DOWN - height
    kind = "hit" if offset == 0 else "miss"
    return (
        f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width - 2:.1f}" height="{height:.1f}">'
        f"<title>{_offset_name(offset)}: {count}</title></rect>"
    )


def _place(offset: int) -> float:
    return (offset + FARTHEST + 0.5) / (2 * FARTHEST + 1)


def _offset_name(offset: int) -> str:
    return f"{'≤' if offset == -FARTHEST else '≥' if offset == FARTHEST else ''}{offset:+d}" if offset else "0"


def _frame(ticks: Iterable[tuple[float, str]], across: str, up: str, most: int | None = None) -> list[str]:
    parts = []
    for quarter in range(5):
        share = quarter / 4
        name = f"{share:.0%}" if most is None else f"{share * most:.0f}"
        parts.append(f'<line class="grid" x1="{LEFT}" y1="{_y(share):.1f}" x2="{WIDTH - RIGHT}" y2="{_y(share):.1f}"/>')
        parts.append(f'<text class="end" x="{LEFT - 6}" y="{_y(share) + 4:.1f}">{name}</text>')
    for place, name in ticks:
        parts.append(f'<text class="middle" x="{_x(place):.1f}" y="{HEIGHT - BOTTOM + 16}">{escape(name)}</text>')
    parts.append(f'<text class="middle" x="{_x(0.5):.1f}" y="{HEIGHT - 6}">{escape(across)}</text>')
    parts.append(f'<text class="middle" transform="translate(10,{_y(0.5):.1f}) rotate(-90)">{escape(up)}</text>')
    return parts


def _legend(names: Sequence[str]) -> str:
    items = (
        f'<span class="c{number % COLOURS}"><svg width="12" height="12" aria-hidden="true">{_mark(6, 6, number)}</svg>'
        f" {escape(name)}</span>"
        for number, name in enumerate(names)
    )
    return f'<p class="legend">{" ".join(items)}</p>'


def _plot(parts: Iterable[str], title: str) -> str:
    return _svg(parts, title, WIDTH, HEIGHT)


def _svg(parts: Iterable[str], title: str, width: int, height: int) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">'
        f"<title>{escape(title)}</title>{''.join(parts)}</svg>"
    )


def _x(across: float) -> float:
    return LEFT + _ACROSS * across


def _y(share: float) -> float:
    return TOP + _DOWN * (1 - share)


def _short(name: str) -> str:
    return escape(name if len(name) <= 26 else f"{name[:25]}…")
