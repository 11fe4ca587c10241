"""A report as one page of HTML that needs nothing else.

Rules: pure; whatever is no word of ours is escaped; no script, no style and no picture from elsewhere; it is readable
on dark and on light, and on paper.
"""

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from . import svg
from .hits import METRICS, TARGETS
from .report import Picture, Report
from .scores import Accuracy, Calibrated, Comparison, Figure, RowScores, Scores
from .slices import LENGTHS, length_name

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --ink: #1b1f24; --soft: #5a6472; --line: #d8dee6; --fill: #2463b4;
  --c0: #2463b4; --c1: #b4432a; --c2: #2f7d4f; --c3: #7a4bb0; --c4: #96690a; --c5: #0f7886; --c6: #b03a78;
  --c7: #5d6570; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --ink: #e6e9ed; --soft: #9aa5b1; --line: #333b45;
  --fill: #6aa5ee; --c0: #6aa5ee; --c1: #ee8a70; --c2: #71c493; --c3: #b795e8; --c4: #dcb04e; --c5: #5fc3d1;
  --c6: #ea86b9; --c7: #a7b0ba; } }
body { background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; }
h2 { border-top: 1px solid var(--line); margin-top: 2.5rem; padding-top: 1rem; }
p.note, caption, small { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: 0.5rem 0 1.5rem; }
caption { text-align: left; }
th, td { border-bottom: 1px solid var(--line); padding: 0.25rem 0.75rem 0.25rem 0; text-align: right; }
th:first-child, td:first-child { text-align: left; }
td small { display: block; white-space: nowrap; }
figure { display: inline-block; margin: 0 1.5rem 1.5rem 0; vertical-align: top; }
svg { max-width: 100%; height: auto; }
svg text { fill: var(--ink); font: 11px system-ui, sans-serif; }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .grid { stroke: var(--line); } svg .even { stroke: var(--soft); stroke-dasharray: 4 4; }
svg .hit { fill: var(--c2); } svg .miss { fill: var(--c7); } svg .cell { fill: var(--fill); stroke: var(--line); }
svg polyline { fill: none; }
.legend span { margin-right: 1rem; white-space: nowrap; }
"""
_COLOURS = "".join(
    f".c{n} line, .c{n} polyline {{ stroke: var(--c{n}); }} .c{n} .dot {{ fill: var(--c{n}); }}\n"
    for n in range(svg.COLOURS)
)


def page(of: Report) -> str:
    """Return the whole page."""
    title = escape(f"Evaluation on {of.dataset}")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{_STYLE}{_COLOURS}</style></head><body><h1>{title}</h1>{''.join(_body(of))}</body></html>\n"
    )


def _body(of: Report) -> Iterator[str]:
    yield (
        f"<p>{of.trajectories} trajectories in {of.task_groups} task groups, data set {escape(of.digest)}. Hits are by"
        f" exact match. Brackets are 95 % intervals: Wilson's where no two trajectories share a task group, else those"
        f" of {of.draws:,} draws of whole task groups. Constants marked optimistic were picked on the data they are"
        " scored on.</p>"
    )
    for by, name in _slices(of):
        yield f"<h2>{escape(_heading(by, name))}</h2>"
        yield _accuracies(of.rows, by, name)
        yield _calibrations(of.rows, by, name)
        yield _compared([one for one in of.comparisons if (one.by, one.slice) == (by, name)])
    yield "<h2>Accuracy by length</h2>"
    yield from (_by_length(of.rows, target) for target in TARGETS)
    yield from _pictures(of.pictures)
    yield _costs(of)
    yield _substring(of)


def _slices(of: Report) -> list[tuple[str, str]]:
    return [(one.by, one.slice) for one in of.rows[0].scores if one.by != "length"] if of.rows else []


def _heading(by: str, name: str) -> str:
    return "All trajectories" if by == "all" else f"{by.capitalize()}: {name}"


def _of(row: RowScores, by: str, name: str) -> Scores:
    return next(one for one in row.scores if (one.by, one.slice) == (by, name))


def _accuracies(rows: Sequence[RowScores], by: str, name: str) -> str:
    lines = [
        [_named(row), str(own.count), str(own.answered), str(own.invalid), *(_hit(own.accuracy[m]) for m in METRICS)]
        for row in rows
        for own in [_of(row, by, name)]
    ]
    return _table(["method", "of", "answered", "invalid", *(m.replace("_", " ") for m in METRICS)], lines)


def _named(row: RowScores) -> str:
    small = "; ".join([row.note] * bool(row.note) + [f"{key} {value}" for key, value in sorted(row.options.items())])
    return escape(row.name) + (f"<small>{escape(small)}</small>" if small else "")


def _hit(of: Accuracy) -> str:
    if of.value is None:
        return "-"
    hits = f"{of.hits:.0f}" if float(of.hits).is_integer() else f"{of.hits:.1f}"
    return f"{of.value:.1%}<small>{hits}/{of.count} {_bounds(of, percent=True)}</small>"


def _bounds(of: Figure | Comparison, *, percent: bool = False) -> str:
    if of.low is None or of.high is None:
        return "no interval"
    return f"[{of.low * 100:.1f}, {of.high * 100:.1f}]" if percent else f"[{of.low:.3f}, {of.high:.3f}]"


def _figure(of: Figure) -> str:
    return "-" if of.value is None else f"{of.value:.3f}<small>{_bounds(of)}</small>"


def _calibrations(rows: Sequence[RowScores], by: str, name: str) -> str:
    lines = [
        [escape(row.name), target, *_calibration(found)]
        for row in rows
        for target, found in _of(row, by, name).calibration.items()
    ]
    heads = ["method", "confidence as that of", "with one", "calibration error", "Brier", "AUROC"]
    heads += ["risk-coverage area", "of a constant", "gain", "p"]
    return _table(heads, lines) if lines else ""


def _calibration(of: Calibrated) -> list[str]:
    figures = (of.calibration_error, of.brier, of.auroc, of.risk_coverage, of.risk_coverage_constant)
    p = "-" if of.p is None else f"{of.p:.4f}"
    return [str(of.count), *map(_figure, figures), _figure(of.risk_coverage_gain), p]


def _compared(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    lines = [
        [
            escape(f"{one.first} - {one.second}"),
            one.metric,
            f"{one.difference * 100:+.1f}",
            _bounds(one, percent=True),
            f"{one.p:.4f}",
        ]
        for one in comparisons
    ]
    table = _table(["first - second", "accuracy", "points", "95 %", "p"], lines)
    return (
        f"<details><summary>Method against method, paired by task group: {len(comparisons)} comparisons, p of each by"
        f" itself</summary>{table}</details>"
    )


def _by_length(rows: Sequence[RowScores], target: str) -> str:
    names = [length_name(*one) for one in LENGTHS]
    here = [name for name in names if rows and any(one.slice == name for one in rows[0].scores if one.by == "length")]
    places = {name: (number + 0.5) / len(here) for number, name in enumerate(here)}
    series = [
        svg.Series(
            row.name,
            [
                _length_point(one, target, places[one.slice] + _aside(number, len(rows), len(here)))
                for one in row.scores
                if one.by == "length"
            ],
        )
        for number, row in enumerate(rows)
    ]
    ticks = [(place, name) for name, place in places.items()]
    plot = svg.shares(series, ticks, title=f"{target} accuracy by length", across="steps of the trajectory")
    return f"<figure><figcaption>{target}</figcaption>{plot}</figure>"


def _aside(number: int, rows: int, places: int) -> float:
    return (number - (rows - 1) / 2) / max(rows, 1) * 0.6 / max(places, 1)


def _length_point(of: Scores, target: str, across: float) -> svg.Point:
    found = of.accuracy[target]
    return svg.Point(across, found.value or 0.0, found.low, found.high, f"{found.hits:g} of {found.count}")


def _pictures(pictures: Sequence[Picture]) -> Iterator[str]:
    sure = [one for one in pictures if one.reliability]
    if sure:
        yield "<h2>Reliability of the confidence</h2>"
        for target in TARGETS:
            series = [svg.Series(one.name, _bins(one, target)) for one in sure]
            plot = svg.reliability(series, title=f"Reliability, {target}")
            yield f"<figure><figcaption>as that of the {target}</figcaption>{plot}</figure>"
    yield "<h2>How far the named step is from the decisive one</h2>"
    for one in pictures:
        yield _captioned(one.name, svg.offsets(one.offsets, title=f"Step offsets of {one.name}"))
    yield "<h2>Who is named (across) for whom (down)</h2>"
    for one in pictures:
        own = one.confusion
        plot = svg.confusion(own.gold, own.named, own.counts, title=f"Confusion of agents by {one.name}")
        yield _captioned(one.name, plot)


def _bins(of: Picture, target: str) -> list[svg.Point]:
    return [svg.Point(one.confidence, one.share_right, label=f"{one.count} answers") for one in of.reliability[target]]


def _captioned(name: str, plot: str) -> str:
    return f"<figure><figcaption>{escape(name)}</figcaption>{plot}</figure>"


def _costs(of: Report) -> str:
    lines = [
        [escape(row.name), *map(_figure, (own.input_tokens, own.cached_tokens, own.output_tokens, own.seconds))]
        for row in of.rows
        for own in row.scores
        if own.by == "all" and own.seconds.value is not None
    ]
    if not lines:
        return ""
    heads = ["method", "tokens read", "of them cached", "tokens written", "seconds"]
    note = f'<p class="note">Per trajectory; the seconds are from asking to answer, {of.concurrency} at a time.</p>'
    return f"<h2>What it costs</h2>{note}{_table(heads, lines)}"


def _substring(of: Report) -> str:
    if of.substring is None:
        return ""
    own = of.substring
    counts = _table(
        ["scorer", "agent", "step"],
        [
            ["exact match", str(own.exact_agent_hits), str(own.exact_step_hits)],
            ["published, by substring", str(own.agent_hits), str(own.step_hits)],
        ],
    )
    lines = [
        [
            *map(escape, (one.trajectory_id, one.what, one.answer, one.gold)),
            _word(one.is_exact),
            _word(one.is_substring),
        ]
        for one in own.differences
    ]
    heads = ["trajectory", "what", "answer", "label", "exact match", "published"]
    return f"<h2>Where the published scorer differs: {len(lines)}</h2>{counts}{_table(heads, lines) if lines else ''}"


def _word(is_hit: bool) -> str:  # noqa: FBT001 - it is what is written
    return "hit" if is_hit else "miss"


def _table(heads: Iterable[str], lines: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in line)}</tr>" for line in lines)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
