"""The rows with a model: over one engine, in every way that is asked for."""

from pathlib import Path

import pytest

from schemas.errors import EngineError
from tests.trainer.evaluate.cases import labelled
from tracer.engines.protocol import Choice, Request
from tracer.engines.scripted import ScriptedEngine
from trainer.evaluate.hits import Row, is_invalid
from trainer.evaluate.labelled import Dataset, dataset_of
from trainer.evaluate.models import EngineModels, Variants
from trainer.evaluate.run import Results, key_of, run

RIGHT = "<think>the second step is wrong</think><answer>A2 | 1</answer>"


def script(request: Request) -> str:
    """Answer in the form where a grammar holds to it, else ramble."""
    if isinstance(request.shape, Choice):
        return request.shape.options[0]
    return RIGHT if request.shape is not None else "I am not sure at all."


def with_truth(name: str) -> Dataset:
    item = labelled(name)
    assert item.trajectory.outcome is not None
    outcome = item.trajectory.outcome.model_copy(update={"ground_truth": "forty-two"})
    told = item.trajectory.model_copy(update={"outcome": outcome})
    return dataset_of("d", [item.model_copy(update={"trajectory": told})])


async def rows(engine: ScriptedEngine, variants: Variants, file: Path) -> list[Row]:
    dataset = with_truth("t1")
    with Results(file) as results:
        async with EngineModels(engine).entries(["agentracer"], variants) as entries:
            assert len({key_of(dataset, entry) for entry in entries}) == len(entries)
            return await run(dataset, entries, results=results, concurrency=2)


async def test_free_answers_that_can_not_be_read_are_told_apart_from_held_ones(tmp_path: Path) -> None:
    found = await rows(ScriptedEngine(script), Variants(answers="both"), tmp_path / "r.jsonl")
    assert [row.name for row in found] == ["agentracer", "agentracer free"]
    assert [row.hits["joint"].tolist() for row in found] == [[1.0], [0.0]]
    assert [is_invalid(row.findings[0]) for row in found] == [False, True]


async def test_the_model_reads_the_truth_where_it_may_and_nowhere_else(tmp_path: Path) -> None:
    for truth in ("hidden", "shown"):
        engine = ScriptedEngine(script)
        (row,) = await rows(engine, Variants(truth=truth), tmp_path / f"{truth}.jsonl")
        told = any("forty-two" in message.content for one in engine.asked for message in one.request.messages)
        assert (row.options["ground_truth"], told) == (truth, truth == "shown")


async def test_every_way_is_a_row_of_its_own(tmp_path: Path) -> None:
    found = await rows(ScriptedEngine(script), Variants("both", "both", seeds=3), tmp_path / "r.jsonl")
    assert [row.name for row in found] == ["agentracer", "agentracer free", "agentracer +G", "agentracer +G free"]
    assert {row.options["seeds"] for row in found} == {"3"}


async def test_the_engine_is_stopped_whatever_happens() -> None:
    engine = ScriptedEngine(script)
    with pytest.raises(ZeroDivisionError):
        async with EngineModels(engine).entries(["agentracer"], Variants()):
            raise ZeroDivisionError
    with pytest.raises(EngineError):
        async with engine.lease():
            pass


async def test_a_method_that_reads_the_odds_of_a_token_is_one_row_with_a_grammar_and_without() -> None:
    for answers in ("both", "free"):
        async with EngineModels(ScriptedEngine(script)).entries(["step_scores"], Variants(answers=answers)) as entries:
            assert [entry.name for entry in entries] == ["step_scores"]
