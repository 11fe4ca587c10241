"""The rows without a model, against the published figures where the data is present, and by hand."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.trainer.evaluate.cases import labelled
from tracer.rules import RULES
from trainer.evaluate.floors import BY_LOT, FLOORS, PICKED, PICKED_ELSEWHERE, floor, rule_entries
from trainer.evaluate.hits import METRICS, Row
from trainer.evaluate.labelled import Dataset, LabelledTrajectory, dataset_of
from trainer.evaluate.load import load
from trainer.evaluate.run import Results, run

HALVES = {"algorithm_generated": 126, "hand_crafted": 58}


def counted(row: Row, items: Sequence[LabelledTrajectory], part: str) -> dict[str, float]:
    places = [place for place, item in enumerate(items) if item.part == part]
    return {metric: float(row.hits[metric][places].sum()) for metric in METRICS}


async def rule_rows(dataset: Dataset, folder: Path) -> dict[str, Row]:
    with Results(folder / "rules.jsonl") as results:
        rows = await run(dataset, rule_entries(tuple(RULES)), results=results, concurrency=4)
    return {row.name: row for row in rows}


def moved(folder: Path, data: Path) -> Path:
    """Copy the data set with every gold step one later; the last one becomes the first."""
    for half in HALVES:
        (folder / half).mkdir(parents=True)
        for file in (data / "who_and_when" / half).glob("*.json"):
            content: dict[str, Any] = json.loads(file.read_bytes())
            content["mistake_step"] = str((int(content["mistake_step"]) + 1) % len(content["history"]))
            (folder / half / file.name).write_text(json.dumps(content))
    return folder


def constants(dataset: Dataset) -> list[int]:
    """Return the constant step of each half, as its longest trajectory has it."""
    findings = floor(PICKED, dataset.items).findings
    named = [
        [
            finding.step_index
            for finding, item in zip(findings, dataset.items, strict=True)
            if item.part == half and finding is not None and finding.step_index is not None
        ]
        for half in HALVES
    ]
    return [max(steps) for steps in named]


async def test_the_rows_of_who_and_when_are_the_known_ones(data: Path, tmp_path: Path) -> None:
    dataset = load("who-and-when", data / "who_and_when")
    rules, items = await rule_rows(dataset, tmp_path), dataset.items
    generated, crafted = (counted(floor(PICKED, items), items, half) for half in HALVES)
    assert counted(rules["commonest_agent"], items, "algorithm_generated")["agent"] == 68
    assert (generated["step"], crafted["agent"], crafted["step"]) == (34, 33, 11)
    by_lot = [counted(floor(BY_LOT, items), items, half) for half in HALVES]
    shares = [
        round(100 * own[metric] / count, 2)
        for own, count in zip(by_lot, HALVES.values(), strict=True)
        for metric in ("agent", "step")
    ]
    assert shares == [29.10, 12.00, 42.21, 4.16]


def test_a_constant_picked_on_the_other_questions_is_never_better(data: Path) -> None:
    items = load("who-and-when", data / "who_and_when").items
    picked, elsewhere = floor(PICKED, items), floor(PICKED_ELSEWHERE, items)
    for half in HALVES:
        for metric in ("agent", "step"):
            assert counted(elsewhere, items, half)[metric] <= counted(picked, items, half)[metric]
    assert counted(elsewhere, items, "hand_crafted")["step"] == 3  # 8 and 12 are as common: leaving one out turns it
    assert "optimistic" in picked.note


async def test_moving_every_gold_step_by_one_moves_the_rows(data: Path, tmp_path: Path) -> None:
    here = load("who-and-when", data / "who_and_when")
    there = load("who-and-when", moved(tmp_path / "moved", data))
    assert here.digest != there.digest
    commonest = (await rule_rows(there, tmp_path))["commonest_agent"]
    assert counted(commonest, there.items, "algorithm_generated")["agent"] == 68
    for half in HALVES:
        before, after = (counted(floor(PICKED, of.items), of.items, half) for of in (here, there))
        assert after["agent"] == before["agent"]
        golds = [(item.label.step_index, item.length - 1) for item in there.items if item.part == half]
        best = max(sum(min(step, last) == gold for gold, last in golds) for step in range(130))
        assert after["step"] == best
    assert (constants(here)[0], constants(there)[0]) == (1, 2)
    before, after = (counted(floor(BY_LOT, of.items), of.items, "hand_crafted") for of in (here, there))
    assert after["step_within_1"] != before["step_within_1"]
    unmoved = (await rule_rows(here, tmp_path))["commonest_agent"]
    assert counted(unmoved, here.items, "algorithm_generated")["step"] == 24
    assert counted(commonest, there.items, "algorithm_generated")["step"] != 24


def test_a_constant_step_past_the_end_is_the_last_step() -> None:
    items = [labelled("a", ["x"] * 9, 8), labelled("b", ["x"] * 9, 8), labelled("c", ["x", "y", "y"], 2)]
    found = floor(PICKED, items)
    assert [finding and finding.step_index for finding in found.findings] == [8, 8, 2]
    assert found.hits["step"].tolist() == [1, 1, 1]


def test_constants_are_picked_within_a_part() -> None:
    items = [labelled("a", part="one", gold=0), labelled("b", part="two", gold=2), labelled("c", part="one", gold=0)]
    assert floor(PICKED, items).hits["joint"].tolist() == [1, 1, 1]


def test_what_shares_a_question_is_left_out_together() -> None:
    items = [
        labelled("a", gold=0, group="q"), labelled("b", gold=0, group="q"), labelled("c", gold=0, group="q"),
        labelled("d", gold=2), labelled("e", gold=2),
    ]  # fmt: skip
    picked, elsewhere = floor(PICKED, items), floor(PICKED_ELSEWHERE, items)
    assert picked.hits["step"].tolist() == [1, 1, 1, 0, 0]
    assert elsewhere.hits["step"].tolist() == [0, 0, 0, 0, 0]
    assert [finding and finding.agent for finding in elsewhere.findings] == ["critic"] * 3 + ["planner"] * 2


def test_with_one_question_alone_there_is_nothing_to_pick_on() -> None:
    found = floor(PICKED_ELSEWHERE, [labelled("a", group="q"), labelled("b", group="q")])
    assert found.findings == (None, None)
    assert found.hits["agent"].tolist() == [0, 0]


def test_lots_are_drawn_among_distinct_speakers_without_the_human() -> None:
    item = labelled("a", ["human", "x", "x (thought)", "y"], 1)
    found = {metric: hits.tolist() for metric, hits in floor(BY_LOT, [item]).hits.items()}
    assert found["agent"] == [1 / 2]
    assert found["step"] == [1 / 4]
    assert found["joint"] == [1 / 8]
    assert found["step_within_1"] == [3 / 4]
    assert found["agent_top_3"] == [1.0]
    assert found["step_top_3"] == [3 / 4]


def test_who_never_spoke_is_never_drawn() -> None:
    assert floor(BY_LOT, [labelled(agent="nobody")]).hits["agent"].tolist() == [0.0]


@pytest.mark.parametrize("name", FLOORS)
def test_a_floor_gives_every_metric_of_every_trajectory(name: str) -> None:
    dataset = dataset_of("d", [labelled("a"), labelled("b", gold=2)])
    found = floor(name, dataset.items)
    assert set(found.hits) == set(METRICS)
    assert all(len(hits) == 2 and 0 <= hits.min() <= hits.max() <= 1 for hits in found.hits.values())
    assert found.kind == "model-free"
