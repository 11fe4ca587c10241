"""The body of the command: rows by name, models that are asked once, what a person is shown."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from ops.evaluate import Wanted, evaluate, tables, write_page
from schemas import Trajectory, VerdictStatus
from schemas.errors import SettingsError
from tests.trainer.evaluate.cases import Told, blaming, labelled
from tracer.protocol import Finding
from trainer.evaluate import tracertraj
from trainer.evaluate.floors import MODEL_FREE
from trainer.evaluate.models import Variants
from trainer.evaluate.report import Report
from trainer.evaluate.run import Entry


class Models:
    """One method, in the ways that are asked for."""

    names: Sequence[str] = ("knowing",)

    def __init__(self) -> None:
        self.tracer = Told(self._answer)
        self.closed = False

    @asynccontextmanager
    async def entries(self, names: Sequence[str], variants: Variants) -> AsyncIterator[list[Entry]]:
        seeds = {"seeds": str(variants.seeds)}
        yield [Entry(name, self.tracer, options=seeds, kind="model") for name in names]
        self.closed = True

    @staticmethod
    def _answer(of: Trajectory) -> Finding:
        if of.trajectory_id == "t3":
            return Finding(status=VerdictStatus.UNPARSABLE)
        return blaming("coder [red]", 1, confidence=0.8)


def saved(folder: Path, count: int = 8) -> Wanted:
    tracertraj.write(folder / "d.jsonl", [labelled(f"t{number}", ["p", "coder [red]", "c"]) for number in range(count)])
    return Wanted("tracertraj", folder / "d.jsonl")


def shown(of: Report, width: int = 160) -> str:
    console = Console(file=StringIO(), width=width)
    console.print(tables(of))
    assert isinstance(console.file, StringIO)
    return " ".join(console.file.getvalue().split())


def quiet() -> Console:
    return Console(file=StringIO(), stderr=True)


def test_model_free_stands_for_every_rule_and_floor(tmp_path: Path) -> None:
    of = evaluate(saved(tmp_path), quiet())
    assert sorted(one.name for one in of.rows) == sorted(MODEL_FREE)


def test_methods_choose_the_rows(tmp_path: Path) -> None:
    models = Models()
    of = evaluate(saved(tmp_path)._replace(methods=("last_step", "knowing", "constant")), quiet(), models)
    assert sorted(one.name for one in of.rows) == ["constant", "knowing", "last_step"]
    assert models.closed


def test_an_unknown_method_is_refused_before_anything_is_read() -> None:
    with pytest.raises(SettingsError, match="no method 'oracle'; choose of model-free, constant"):
        evaluate(Wanted("tracertraj", Path("nowhere"), methods=("oracle",)), quiet())


def test_a_second_run_asks_a_model_only_what_is_missing(tmp_path: Path) -> None:
    wanted = saved(tmp_path)._replace(methods=("knowing",), results=tmp_path / "r.jsonl")
    first, second, console = Models(), Models(), quiet()
    few = evaluate(wanted._replace(limit=5), console, first)
    whole = evaluate(wanted, console, second)
    assert (len(first.tracer.shown), len(second.tracer.shown)) == (5, 3)
    assert (few.trajectories, whole.trajectories) == (5, 8)
    assert isinstance(console.file, StringIO)
    assert "5 of 8 answers are taken over" in console.file.getvalue()


def test_other_seeds_are_other_answers(tmp_path: Path) -> None:
    wanted = saved(tmp_path)._replace(methods=("knowing",), results=tmp_path / "r.jsonl")
    evaluate(wanted, quiet(), Models())
    again = Models()
    evaluate(wanted._replace(variants=Variants(seeds=5)), quiet(), again)
    assert len(again.tracer.shown) == 8


def test_a_person_sees_counts_shares_intervals_and_who_is_better(tmp_path: Path) -> None:
    of = evaluate(saved(tmp_path)._replace(methods=("last_step", "knowing")), quiet(), Models())
    text = shown(of)
    assert "7/8 87.50" in text
    assert "[52.9, 97.8]" in text
    assert "7/8 12.5%" in text  # named, and an answer that could not be read
    assert "method against method, paired by task group: 3 comparisons" in text
    assert "step accuracy by number of steps" in text


def test_given_predictions_are_a_row_and_are_scored_both_ways(tmp_path: Path) -> None:
    given = tmp_path / "theirs.txt"
    given.write_text("Prediction for t1.json:\nAgent Name: coder [red]\nStep Number: 10\n")
    of = evaluate(saved(tmp_path)._replace(methods=("constant",), predictions=given), quiet())
    assert [one.name for one in of.rows] == ["constant", "theirs.txt"]
    assert of.substring is not None
    assert (of.substring.exact_step_hits, of.substring.step_hits) == (0, 1)
    text = shown(of)
    assert "exact match: agent 1, step 0; published scorer: agent 0, step 1, of 1 answers it can read" in text


def test_names_are_text_and_no_markup(tmp_path: Path) -> None:
    given = tmp_path / "[bold]their\x1b[31m.txt"
    given.write_text("Prediction for t1.json:\nAgent Name: coder\nStep Number: 1\n")
    of = evaluate(saved(tmp_path)._replace(methods=("constant",), predictions=given), quiet())
    text = shown(of)
    assert "[bold]their" in text
    assert "\x1b" not in text


def test_the_page_is_written(tmp_path: Path) -> None:
    write_page(evaluate(saved(tmp_path), quiet()), tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text().startswith("<!doctype html>")
