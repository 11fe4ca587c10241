"""Asking tracers: many at once, kept as they answer, going on where an earlier run was ended."""

import asyncio
from pathlib import Path

import pytest

from schemas import Tokens, Trajectory
from schemas.errors import ContextError, EngineError, SettingsError
from tests.trainer.evaluate.cases import Told, blaming, labelled
from tracer.protocol import Finding
from trainer.evaluate.hits import Row
from trainer.evaluate.labelled import Dataset, dataset_of
from trainer.evaluate.run import FAILURES_IN_A_ROW, Answered, Entry, Failed, Outcome, Results, key_of, run

DATASET = dataset_of("d", [labelled(f"t{number}", gold=number % 3) for number in range(12)])


def last_step(of: Trajectory) -> Finding:
    return blaming(of.steps[-1].agent, len(of.steps) - 1, tokens=Tokens(input=10, output=2))


async def filled(file: Path, *entries: Entry, dataset: Dataset = DATASET, concurrency: int = 4) -> list[Row]:
    with Results(file) as results:
        return await run(dataset, entries, results=results, concurrency=concurrency)


def lines(file: Path) -> list[Answered]:
    return [Answered.model_validate_json(line) for line in file.read_text().splitlines()]


async def test_every_trajectory_is_asked_about_once_and_kept(tmp_path: Path) -> None:
    tracer, file = Told(last_step), tmp_path / "r.jsonl"
    (row,) = await filled(file, Entry("told", tracer))
    assert sorted(of.trajectory_id for of in tracer.shown) == sorted(f"t{number}" for number in range(12))
    assert row.hits["step"].sum() == 4
    assert {line.finding.tokens.input for line in lines(file)} == {10}
    assert (row.seconds_N >= 0).all()


async def test_a_second_run_asks_nothing_and_says_the_same(tmp_path: Path) -> None:
    file, again = tmp_path / "r.jsonl", Told(last_step)
    (first,) = await filled(file, Entry("told", Told(last_step)))
    before = file.read_bytes()
    (second,) = await filled(file, Entry("told", again))
    assert (again.shown, file.read_bytes()) == ([], before)
    assert second.findings == first.findings
    assert (second.seconds_N == first.seconds_N).all()


async def test_a_line_that_a_kill_cut_off_is_asked_again(tmp_path: Path) -> None:
    file, again = tmp_path / "r.jsonl", Told(last_step)
    await filled(file, Entry("told", Told(last_step)))
    whole = file.read_bytes()
    file.write_bytes(whole[:-30])
    await filled(file, Entry("told", again))
    assert len(again.shown) == 1
    assert len(lines(file)) == 12


@pytest.mark.parametrize("cut", [1, 8, 20])
async def test_a_first_line_that_was_cut_off_is_asked_again(tmp_path: Path, cut: int) -> None:
    file, few = tmp_path / "r.jsonl", DATASET.first(1)
    await filled(file, Entry("told", Told(last_step)), dataset=few)
    whole = file.read_bytes()
    file.write_bytes(whole[:cut])
    if cut >= len('{"key":'):
        await filled(file, Entry("told", Told(last_step)), dataset=few)
        assert len(lines(file)) == 1
        return
    with pytest.raises(SettingsError, match="is no answer of an evaluation"):
        await filled(file, Entry("told", Told(last_step)), dataset=few)


async def test_a_limit_is_gone_on_from(tmp_path: Path) -> None:
    file, again = tmp_path / "r.jsonl", Told(last_step)
    await filled(file, Entry("told", Told(last_step)), dataset=DATASET.first(5))
    await filled(file, Entry("told", again))
    assert len(again.shown) == 7


async def test_nothing_is_taken_over_from_another_row_version_option_or_data_set(tmp_path: Path) -> None:
    tracer, other = Told(last_step), dataset_of("d", [labelled("t0")])
    entries = [
        Entry("told", tracer),
        Entry("other", tracer),
        Entry("told", tracer, shows_truth=True),
        Entry("told", tracer, options={"seeds": "3"}),
        Entry("told", Told(last_step, version="2")),
    ]
    keys = {key_of(DATASET, entry) for entry in entries} | {key_of(other, entries[0])}
    assert len(keys) == 6
    await filled(tmp_path / "r.jsonl", *entries)
    assert len(lines(tmp_path / "r.jsonl")) == 60


async def test_the_truth_is_shown_to_those_alone_who_may_see_it(tmp_path: Path) -> None:
    def with_truth(name: str) -> Dataset:
        item = labelled(name)
        outcome = item.trajectory.outcome
        assert outcome is not None
        told = item.trajectory.model_copy(update={"outcome": outcome.model_copy(update={"ground_truth": "42"})})
        return dataset_of("d", [item.model_copy(update={"trajectory": told})])

    blind, seeing = Told(last_step), Told(last_step)
    entries = Entry("blind", blind), Entry("seeing", seeing, shows_truth=True)
    rows = await filled(tmp_path / "r.jsonl", *entries, dataset=with_truth("a"))
    truths = [[of.outcome and of.outcome.ground_truth for of in tracer.shown] for tracer in (blind, seeing)]
    assert truths == [[None], ["42"]]
    assert [row.options["ground_truth"] for row in rows] == ["hidden", "shown"]


async def test_at_most_so_many_are_under_way_at_once(tmp_path: Path) -> None:
    class Slow:
        name, version = "slow", "1"
        under_way = most = 0

        async def trace(self, of: Trajectory) -> Finding:
            self.under_way += 1
            self.most = max(self.most, self.under_way)
            await asyncio.sleep(0.001)
            self.under_way -= 1
            return last_step(of)

    tracer = Slow()
    await filled(tmp_path / "r.jsonl", Entry("slow", tracer), concurrency=3)
    assert tracer.most == 3


async def test_an_answer_that_fails_is_a_miss_and_is_asked_again_next_time(tmp_path: Path) -> None:
    def too_long_for_one(of: Trajectory) -> Finding:
        if of.trajectory_id == "t4":
            raise ContextError("'t4' is too long; raise the context")
        return last_step(of)

    noted: list[Outcome] = []
    file, again = tmp_path / "r.jsonl", Told(last_step)
    with Results(file) as results:
        entry = Entry("told", Told(too_long_for_one))
        (row,) = await run(DATASET, [entry], results=results, concurrency=1, on_outcome=noted.append)
    assert row.note == "1 failed, the first: 't4' is too long; raise the context"
    assert [finding is None for finding in row.findings].count(True) == 1
    assert [one.trajectory_id for one in noted if isinstance(one, Failed)] == ["t4"]
    await filled(file, Entry("told", again))
    assert [of.trajectory_id for of in again.shown] == ["t4"]


async def test_a_broken_engine_ends_the_run_with_its_own_words_and_what_was_answered_stays(tmp_path: Path) -> None:
    asked: list[str] = []

    def broken(of: Trajectory) -> Finding:
        asked.append(of.trajectory_id)
        if len(asked) > 3:
            raise EngineError("the engine has died; start it again")
        return last_step(of)

    with pytest.raises(EngineError, match="the engine has died"):
        await filled(tmp_path / "r.jsonl", Entry("told", Told(broken)), concurrency=1)
    assert len(asked) == 3 + FAILURES_IN_A_ROW
    assert len(lines(tmp_path / "r.jsonl")) == 3


async def test_progress_is_told_of_every_answer(tmp_path: Path) -> None:
    noted: list[Outcome] = []
    with Results(tmp_path / "r.jsonl") as results:
        entry = Entry("told", Told(last_step))
        await run(DATASET, [entry], results=results, concurrency=4, on_outcome=noted.append)
    assert len(noted) == 12


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "README.md"
    for content in ("# My notes\n", "my only copy"):
        file.write_text(content)
        with pytest.raises(SettingsError, match=r"line 1 of .* is no answer of an evaluation"), Results(file):
            pass
        assert file.read_text() == content


def test_two_runs_do_not_write_one_file(tmp_path: Path) -> None:
    file = tmp_path / "r.jsonl"
    with Results(file), pytest.raises(SettingsError, match="in use by another run"), Results(file):
        pass
    with Results(file):
        pass


def test_a_place_that_can_not_be_written_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="can't be written"), Results(tmp_path / "no" / "r.jsonl"):
        pass
