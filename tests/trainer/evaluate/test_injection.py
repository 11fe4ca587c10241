"""The injection measure: pairs that differ in one text, and what a tracer that obeys it, or does not, comes to."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import pytest
from pydantic import JsonValue

from schemas import ToolUse, Trajectory
from schemas.errors import EngineError, SettingsError
from tests.factories import outcome, step, trajectory
from tests.trainer.evaluate.cases import Told, blaming
from tracer.engines.protocol import Request
from tracer.engines.scripted import ScriptedEngine
from tracer.methods.table import by_name
from tracer.model import ModelTracer
from tracer.prompt.roster import roster_of
from trainer.evaluate import injection as command
from trainer.evaluate.injected import NEUTRAL, Form, Pair, Place, Source, neutral_text, pairs_of
from trainer.evaluate.injection import Answer, Injection, answered, injection, moved
from trainer.fleet.chance import stream

AGENTS = ("planner", "coder", "critic")


def source(number: int, agents: Sequence[str] = AGENTS, *, tool: JsonValue = None, group: str | None = None) -> Source:
    name = f"t{number}"
    calls = None if tool is None else ToolUse(name="search", result=tool)
    steps = [
        step(name, index, agent=agent, tool=calls if index == 1 else None, content=f"{agent} says {index} of {name}")
        for index, agent in enumerate(agents)
    ]
    return Source(trajectory(steps, outcome=outcome(ground_truth="forty-two")), agents[0], group or name)


def sources(count: int = 18) -> list[Source]:
    return [source(number) for number in range(count)]


class Scripted:
    """A model that names the first agent, or does what a text in the run says: told from the texts of the pairs."""

    def __init__(self, pairs: Sequence[Pair], *, obeys: bool) -> None:
        self.asked: list[Request] = []
        self._told = {key(pair): pair for pair in pairs}
        self._obeys = obeys

    def __call__(self, request: Request) -> str:
        self.asked.append(request)
        shown = request.messages[-1].content
        if shown.count("Answer with one letter."):
            return "O"
        for told, pair in self._told.items():
            if self._obeys and all(part in shown for part in told):
                agent = roster_of(pair.injected.steps).names.index(pair.blamed) + 1
                return f"<answer>A{agent} | {agent - 1}</answer>"
        return "<answer>A1 | 0</answer>"


def key(pair: Pair) -> tuple[str, ...]:
    """Return the parts of the injected text that a prompt leaves as they are: it breaks up tags and lines."""
    return tuple(part.strip() for line in pair.text.splitlines() for part in line.split("<") if part.strip())


async def measured(*, obeys: bool, count: int = 18) -> Injection:
    runs = sources(count)
    pairs = list(pairs_of(runs))
    engine = ScriptedEngine(Scripted(pairs, obeys=obeys))
    await engine.start()
    tracer = ModelTracer(engine, by_name("all_at_once"))
    answers = await answered(pairs, tracer, concurrency=4)
    await engine.stop()
    return injection("simulated", tracer, runs, pairs, answers, 0)


async def test_every_verdict_of_a_model_that_obeys_moves() -> None:
    found = (await measured(obeys=True)).all
    assert (found.share, found.moved, found.could_move, found.high) == (1.0, 18, 18, 1.0)
    assert found.low is not None
    assert 0.8 < found.low < 1.0
    assert (found.difference, found.moved_away) == (1.0, 0)
    assert found.p < 0.001


async def test_no_verdict_of_a_model_that_does_not_obey_moves() -> None:
    found = (await measured(obeys=False)).all
    assert (found.share, found.moved, found.low) == (0.0, 0, 0.0)
    assert found.high is not None
    assert 0.0 < found.high < 0.2
    assert (found.difference, found.p) == (0.0, 1.0)


async def test_every_form_and_every_place_is_told_apart() -> None:
    found = await measured(obeys=True)
    assert {form: one.pairs for form, one in found.by_form.items()} == dict.fromkeys(Form, 3)
    assert {place: one.pairs for place, one in found.by_place.items()} == dict.fromkeys(Place, 6)


@pytest.mark.parametrize("tool", [None, "text", {"found": [1, 2]}, ["a"]])
def test_a_pair_differs_in_one_text_of_one_step_and_both_have_as_many_characters(tool: JsonValue) -> None:
    for pair in pairs_of([source(number, tool=tool) for number in range(18)]):
        one, other = pair.injected.steps, pair.neutral.steps
        differing = [at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]
        assert len(differing) == 1
        (at,) = differing
        assert pair.injected.model_copy(update={"steps": other}) == pair.neutral
        assert size(one[at].model_dump()) == size(other[at].model_dump())
        assert pair.text in said(pair.injected, at)


def size(value: object) -> int:
    """Return how many characters are in all texts of a value."""
    if isinstance(value, dict):
        return sum(map(size, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(size, value))
    return len(value) if isinstance(value, str) else 0


def said(of: Trajectory, at: int) -> str:
    tool = of.steps[at].tool
    result = tool.result if tool else None
    parts = result if isinstance(result, list) else [result]
    return "".join([of.steps[at].content, *(part for part in parts if isinstance(part, str))])


def test_texts_stand_in_the_first_step_the_last_one_and_in_what_a_tool_returned() -> None:
    runs = [source(number, tool="found it") for number in range(18)]
    for pair in pairs_of(runs):
        at = {Place.FIRST: 0, Place.LAST: 2, Place.RESULT: 1}[pair.place]
        steps = pair.injected.steps
        tool = steps[1].tool
        assert pair.text in said(pair.injected, at)
        assert (tool is not None and tool.result == f"found it {pair.text}") == (pair.place is Place.RESULT)


def test_who_is_blamed_acts_in_the_run_and_is_not_the_one_whom_the_label_names() -> None:
    assert {pair.blamed for pair in pairs_of(sources())} == {"coder", "critic"}


def test_a_run_in_which_one_agent_acts_makes_no_pair() -> None:
    runs = [source(0, ("planner", "planner")), source(1)]
    pairs = list(pairs_of(runs))
    assert [pair.source for pair in pairs] == runs[1:]


def test_the_same_seed_makes_the_same_pairs_and_another_seed_others() -> None:
    assert list(pairs_of(sources(), seed=1)) == list(pairs_of(sources(), seed=1)) != list(pairs_of(sources(), seed=2))


def test_a_run_makes_as_many_pairs_as_there_are_forms_and_places() -> None:
    pairs = list(pairs_of(sources(2), each=100))
    assert len(pairs) == 2 * len(Form) * len(Place)
    assert len({(pair.form, pair.place) for pair in pairs}) == len(Form) * len(Place)


@pytest.mark.parametrize("characters", [0, 1, 40, 1_000])
def test_neutral_text_has_the_length_that_is_asked_for_and_begins_with_a_sentence(characters: int) -> None:
    text = neutral_text(characters, stream("test", characters))
    assert len(text) == characters
    assert not text or text[0].isupper()
    assert text[:20] in NEUTRAL * 2


def answers(*named: tuple[str | None, str | None], group: str | None = None) -> list[Answer]:
    runs = [source(number, ("planner", "coder"), group=group) for number in range(len(named))]
    return [Answer(pair, *one) for pair, one in zip(pairs_of(runs), named, strict=True)]


def test_a_verdict_that_names_the_blamed_agent_anyway_can_not_move() -> None:
    found = moved(answers(("coder", "coder"), ("coder", "planner"), ("planner", "planner"), (None, None)))
    assert (found.pairs, found.could_move, found.moved, found.share) == (4, 3, 1, 1 / 3)


def test_verdicts_that_move_away_are_told_and_count_against_the_difference() -> None:
    found = moved(answers(("planner", "coder"), ("coder", None)))
    assert (found.moved, found.moved_away, found.difference) == (1, 1, 0.0)


def test_pairs_of_one_task_are_no_surer_than_one_pair() -> None:
    apart = moved(answers(*[("coder", "planner")] * 10))
    together = moved(answers(*[("coder", "planner")] * 10, group="one task"))
    assert apart.low is not None
    assert together.low is not None
    assert together.low < 0.3 < apart.low
    assert together.difference_low is None


def test_where_no_verdict_could_move_there_is_no_share() -> None:
    assert moved(answers(("coder", "coder"))).share is None


async def test_the_ground_truth_is_hidden() -> None:
    pairs = list(pairs_of(sources(3)))
    tracer = Told(lambda _: blaming("planner", 0))
    await answered(pairs, tracer, concurrency=1)
    assert len(tracer.shown) == 6
    assert not any(one.outcome and one.outcome.ground_truth for one in tracer.shown)


def failing(_: Trajectory) -> NoReturn:
    raise EngineError("the engine is gone; start it")


async def test_a_pair_of_which_a_half_fails_is_left_out_and_counted() -> None:
    runs = sources(6)
    pairs = list(pairs_of(runs))
    tracer = Told(lambda one: failing(one) if one.trajectory_id == "t3" else blaming("planner", 0))
    found = await answered(pairs, tracer, concurrency=1)
    assert injection("simulated", tracer, runs, pairs, found, 0).failed == 1


async def test_a_tracer_that_answers_nothing_ends_it_soon() -> None:
    tracer = Told(failing)
    with pytest.raises(EngineError, match="the engine is gone"):
        await answered(list(pairs_of(sources())), tracer, concurrency=1)
    assert len(tracer.shown) == command.FIRST_FAILURES


def test_runs_that_make_no_pair_are_refused() -> None:
    with pytest.raises(SettingsError, match="in none of the 1 runs"):
        injection("simulated", Told(failing), [source(0, ("planner",))], [], [], 0)


def test_the_command_measures_a_rule_on_simulated_runs(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["simulated", "--method", "last_step", "--limit", "6", "--json"]) == 0
    found = Injection.model_validate_json(capsys.readouterr().out)
    assert (found.method, found.all.pairs, found.all.share) == ("last_step", 6, 0.0)


def test_the_command_prints_a_line_for_all_for_every_form_and_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["simulated", "--method", "last_step", "--limit", "18"]) == 0
    said, told = capsys.readouterr()
    assert [line.split(" | ")[0] for line in said.splitlines()[5:]] == [f"| {one}" for one in ("all", *Form, *Place)]
    assert "18 of 18 pairs" in told


def test_the_command_says_what_is_missing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert command.main(["who-and-when"]) == 2
    assert "needs the path" in capsys.readouterr().err
    (tmp_path / "1.json").write_text(json.dumps({"question": "?"}))
    assert command.main(["who-and-when", str(tmp_path)]) == 2


@pytest.mark.parametrize("option", ["--limit", "--pairs", "--concurrency"])
def test_the_command_takes_no_number_below_one(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["simulated", option, "0"])
    assert "'0' is no number from 1" in capsys.readouterr().err
