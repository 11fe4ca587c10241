"""`agentracer evaluate`: how often tracers name the decisive agent and step, and how sure that figure is.

Rules: answers are kept as they come, so a second run goes on; rows without a model are computed anew, since they cost
nothing; progress goes to the console that is given, the report is returned; names of agents and rows are foreign text.
"""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ops.plain import cell, plain
from schemas.errors import SettingsError
from tracer.rules import RULES
from trainer.evaluate import predictions, published
from trainer.evaluate.floors import FLOORS, MODEL_FREE, floor, rule_entries
from trainer.evaluate.hits import TARGETS, Row, row
from trainer.evaluate.labelled import Dataset
from trainer.evaluate.load import Form, load
from trainer.evaluate.models import Models, Variants
from trainer.evaluate.page import page
from trainer.evaluate.report import Report, report
from trainer.evaluate.run import Failed, Noted, Outcome, Results, run, unanswered
from trainer.evaluate.scores import Accuracy, Comparison, RowScores, Scores

ALL_MODEL_FREE = "model-free"
DIFFERENCES_SHOWN = 20


class Wanted(NamedTuple):
    """What is to be evaluated, and how."""

    form: Form
    path: Path
    mapping: Path | None = None
    methods: tuple[str, ...] = (ALL_MODEL_FREE,)
    variants: Variants = Variants()
    predictions: Path | None = None
    results: Path | None = None
    limit: int | None = None
    concurrency: int = 8
    seed: int = 0


def evaluate(wanted: Wanted, console: Console, models: Models | None = None) -> Report:
    """Evaluate; raises SettingsError for what can't be read, and what a broken engine raises."""
    floors, rules, asked = _chosen(wanted.methods, models)
    dataset = load(wanted.form, wanted.path, wanted.mapping).first(wanted.limit)
    rows = [floor(name, dataset.items) for name in floors]
    substring = None
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="agentracer-")))
        with Results(folder / "rules.jsonl") as kept:
            entries = rule_entries(rules)
            rows += asyncio.run(run(dataset, entries, results=kept, concurrency=wanted.concurrency))
        if wanted.predictions is not None:
            said = predictions.read(wanted.predictions, dataset.items)
            rows.append(row(wanted.predictions.name, "given", dataset.items, [one.finding for one in said]))
            substring = published.compare(dataset.items, said, rows[-1])
        if asked and models is not None:
            kept = stack.enter_context(Results(wanted.results or folder / "answers.jsonl"))
            rows += asyncio.run(_ask(dataset, asked, wanted, models, kept, console))
    console.print("computing intervals and comparisons", style="dim")
    return report(dataset, rows, concurrency=wanted.concurrency, substring=substring, seed=wanted.seed)


async def _ask(
    dataset: Dataset, names: Sequence[str], wanted: Wanted, models: Models, results: Results, console: Console
) -> list[Row]:
    async with models.entries(names, wanted.variants) as entries:
        todo = {entry.name: sum(1 for _ in unanswered(dataset, entry, results)) for entry in entries}
        with _progress(todo, len(dataset.items) * len(entries), console) as note:
            return await run(dataset, entries, results=results, concurrency=wanted.concurrency, on_outcome=note)


def _chosen(methods: Sequence[str], models: Models | None) -> tuple[list[str], list[str], list[str]]:
    """Return the names of the rows that are computed, of the rules, and of the methods with a model."""
    offered = (*MODEL_FREE, *(models.names if models is not None else ()))
    names = list(dict.fromkeys(name for one in methods for name in (MODEL_FREE if one == ALL_MODEL_FREE else (one,))))
    for name in names:
        if name not in offered:
            raise SettingsError(f"there is no method {name!r}; choose of {', '.join((ALL_MODEL_FREE, *offered))}")
    return (
        [name for name in names if name in FLOORS],
        [name for name in names if name in RULES],
        [name for name in names if name not in MODEL_FREE],
    )


@contextmanager
def _progress(todo: dict[str, int], whole: int, console: Console) -> Iterator[Noted]:
    """Show a bar with an estimate; what an earlier run has answered is named and not counted in the estimate."""
    if taken_over := whole - sum(todo.values()):
        console.print(f"{taken_over:,} of {whole:,} answers are taken over from an earlier run", style="dim")
    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), *columns, console=console) as bars:
        tasks = {name: bars.add_task(plain(name), total=count, start=False) for name, count in todo.items() if count}

        def note(outcome: Outcome) -> None:
            bars.start_task(tasks[outcome.method])
            bars.advance(tasks[outcome.method])
            if isinstance(outcome, Failed):
                bars.console.print(cell(f"{outcome.method}, {outcome.trajectory_id}: {outcome.why}"), style="yellow")

        yield note


def write_page(of: Report, file: Path) -> None:
    """Write the report as one page of HTML."""
    file.write_text(page(of), encoding="utf-8")


def tables(of: Report) -> RenderableType:
    """Return the report for a terminal: every slice's accuracies, then who is better than whom."""
    names = [(one.by, one.slice) for one in of.rows[0].scores if one.by != "length"] if of.rows else []
    head = f"{of.dataset}: {of.trajectories} trajectories, {of.task_groups} task groups; exact match, 95 % intervals"
    parts: list[RenderableType] = [cell(head), *(cell(f"{one.name}: {one.note}") for one in of.rows if one.note)]
    for by, name in names:
        own = [(one, scores) for one in of.rows for scores in one.scores if (scores.by, scores.slice) == (by, name)]
        parts.append(_accuracies("all" if by == "all" else f"{by} {name}", own))
        if any(scores.calibration for _, scores in own):
            parts.append(_calibrations(own))
        parts += _costs(own)
        parts += _compared(of, by, name)
    return Group(*parts, _by_length(of), *_substring(of))


def _table(heads: Sequence[str], left: Sequence[str] = ("method",)) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for head in heads:
        is_text = head in left
        table.add_column(head, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    return table


def _titled(title: str, table: Table) -> RenderableType:
    """Return a table under its title; a table's own would be folded to its width."""
    return Group(Text(plain(title), style="bold"), table)


def _accuracies(title: str, own: Sequence[tuple[RowScores, Scores]]) -> RenderableType:
    table = _table(("method", *TARGETS, "±1", "±5", "top 3"))
    for one, scores in own:
        table.add_row(
            cell(one.name),
            *(_hits(scores.accuracy[metric]) for metric in TARGETS),
            *(_share(scores.accuracy[metric]) for metric in ("step_within_1", "step_within_5", "step_top_3")),
        )
    return _titled(title, table)


def _costs(own: Sequence[tuple[RowScores, Scores]]) -> list[RenderableType]:
    asked = [(one, scores) for one, scores in own if one.kind != "model-free"]
    if not asked:
        return []
    table = _table(("method", "named", "invalid", "tokens read", "cached", "written", "s"))
    for one, scores in asked:
        tokens = (scores.input_tokens, scores.cached_tokens, scores.output_tokens)
        table.add_row(
            cell(one.name),
            f"{scores.answered}/{scores.count}",
            f"{scores.invalid / scores.count:.1%}",
            *("-" if figure.value is None else f"{figure.value:,.0f}" for figure in tokens),
            "-" if scores.seconds.value is None else f"{scores.seconds.value:.2f}",
        )
    return [_titled("answers, and what one costs", table)]


def _by_length(of: Report) -> RenderableType:
    """Return step accuracy by length; the report has the rest."""
    lengths = [one.slice for one in of.rows[0].scores if one.by == "length"] if of.rows else []
    table = _table(("method", *lengths))
    for one in of.rows:
        table.add_row(
            cell(one.name),
            *(_hits(own.accuracy["step"], "\n", bounds=False) for own in one.scores if own.by == "length"),
        )
    return _titled("step accuracy by number of steps", table)


def _hits(of: Accuracy, between: str = " ", *, bounds: bool = True) -> str:
    count = f"{of.hits:.0f}" if float(of.hits).is_integer() else f"{of.hits:.1f}"
    has_bounds = bounds and of.low is not None and of.high is not None
    interval = f"\n[{(of.low or 0) * 100:.1f}, {(of.high or 0) * 100:.1f}]" if has_bounds else ""
    return f"{count}/{of.count}{between}{_share(of)}{interval}"


def _share(of: Accuracy) -> str:
    return "-" if of.value is None else f"{of.value * 100:.2f}"


def _calibrations(own: Sequence[tuple[RowScores, Scores]]) -> RenderableType:
    heads = ("method", "as that of", "with one", "ECE", "Brier", "AUROC", "risk-coverage", "constant", "p")
    table = _table(heads, left=("method", "as that of"))
    for one, scores in own:
        for target, found in scores.calibration.items():
            figures = (found.calibration_error, found.brier, found.auroc, found.risk_coverage)
            table.add_row(
                cell(one.name),
                target,
                str(found.count),
                *(_number(figure.value) for figure in (*figures, found.risk_coverage_constant)),
                _number(found.p),
            )
    return _titled("the confidence", table)


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _compared(of: Report, by: str, name: str) -> list[RenderableType]:
    """Return how every row that is no floor compares with every other; p is of each comparison by itself."""
    kinds = {one.name: one.kind for one in of.rows}
    own = [
        one
        for one in of.comparisons
        if (one.by, one.slice) == (by, name) and {kinds[one.first], kinds[one.second]} != {"model-free"}
    ]
    if not own:
        return []
    table = _table(("first", "second", "accuracy", "points", "95 %", "p"), left=("first", "second", "accuracy"))
    for one in own:
        table.add_row(*_comparison(one))
    return [_titled(f"method against method, paired by task group: {len(own)} comparisons", table)]


def _comparison(one: Comparison) -> list[RenderableType]:
    bounds = "-" if one.low is None or one.high is None else f"[{one.low * 100:+.1f}, {one.high * 100:+.1f}]"
    return [cell(one.first), cell(one.second), one.metric, f"{one.difference * 100:+.1f}", bounds, f"{one.p:.4f}"]


def _substring(of: Report) -> list[RenderableType]:
    own = of.substring
    if own is None:
        return []
    heads = ("trajectory", "what", "answer", "label", "exact match", "published")
    table = _table(heads, left=heads)
    for one in own.differences[:DIFFERENCES_SHOWN]:
        exact, substring = ("hit" if hit else "miss" for hit in (one.is_exact, one.is_substring))
        table.add_row(cell(one.trajectory_id), one.what, cell(one.answer), cell(one.gold), exact, substring)
    text = (
        f"exact match: agent {own.exact_agent_hits}, step {own.exact_step_hits}; published scorer: agent"
        f" {own.agent_hits}, step {own.step_hits}, of {own.answers} answers it can read;"
        f" {len(own.differences)} differences"
    )
    return [_titled(text, table) if own.differences else cell(text)]
