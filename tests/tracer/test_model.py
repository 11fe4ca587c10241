"""A model behind the tracer's protocol: what becomes of a trajectory."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from schemas import CloseReason, FailureClass, Outcome, Result, ToolUse, Trajectory, VerdictStatus
from schemas.errors import ContextError
from tests.factories import step, trajectory
from tests.tracer.methods.oracle import Oracle, run_of
from tracer.calibrate import Calibration, Kind, save
from tracer.conclude import class_by_rule
from tracer.engines.protocol import Choice, Request
from tracer.engines.scripted import Script, ScriptedEngine
from tracer.methods.table import METHODS
from tracer.model import ModelOptions, ModelTracer
from tracer.protocol import Finding, Quote
from tracer.rules import agent_of

STEPS = [
    step(index=0, agent="planner", content="Plan the trip."),
    step(index=1, agent="searcher (thought)", content="I recall that it opens at nine."),
    step(index=2, agent="searcher", tool=ToolUse(name="search", error="timed out")),
    step(index=3, agent="writer", content="It opens at nine."),
]
RUN = trajectory(STEPS)
CALIBRATED = Calibration(
    kind=Kind.PLATT, method="agentracer", prompt_version=METHODS["agentracer"].prompt_version, labels=99, intercept=-1.0
)


@contextlib.asynccontextmanager
async def model(
    script: Script,
    method: str = "agentracer",
    calibration: Calibration | None = None,
    *,
    context_tokens: int = 8_192,
    **options: object,
) -> AsyncIterator[ModelTracer]:
    engine = ScriptedEngine(script, context_tokens=context_tokens, is_held=False)
    await engine.start()
    chosen = ModelOptions.model_validate(options)
    yield ModelTracer(engine, METHODS[method], chosen, calibration, clock=lambda: 0.0)
    await engine.stop()


def says(answer: str, letter: str = "J") -> Script:
    def said(request: Request) -> str:
        return letter if request.shape == Choice(tuple("ABCDEFGHIJKLMNO")) else answer

    return said


def _noting(shown: list[str]) -> Script:
    answers = says("<think>t</think><answer>A1 | 0</answer>")

    def noted(request: Request) -> Any:
        shown.append(request.messages[-1].content)
        return answers(request)

    return noted


async def found(script: Script, of: Trajectory = RUN, **how: object) -> Finding:
    async with model(script, **how) as tracer:  # type: ignore[arg-type]  # what a test wants changed
        return await tracer.trace(of)


async def test_an_answer_becomes_a_verdict_with_reason_evidence_path_and_class() -> None:
    finding = await found(says('<think>It says "it opens at nine" unseen.</think><answer>A2 | 1</answer>'))
    assert (finding.status, finding.agent, finding.step_index) == (VerdictStatus.ATTRIBUTED, "searcher", 1)
    assert (finding.reason, finding.reason_source) == ('It says "it opens at nine" unseen.', "model")
    assert finding.evidence == (Quote(step_index=1, quote="it opens at nine"),)
    assert finding.failure_path == (1, 2, 3)
    assert finding.failure_class is FailureClass.INPUT_IGNORED
    assert finding.confidence is None
    assert finding.seeds == (0,)
    assert finding.tokens.input > finding.tokens.output > 0
    assert finding.tokens.cached > 0


async def test_a_quote_that_is_not_in_the_step_gives_way_to_the_steps_beginning() -> None:
    finding = await found(says('<think>It says "the trip is off".</think><answer>A2 | 2</answer>'))
    assert finding.evidence == (Quote(step_index=2, quote="timed out"),)


async def test_without_a_thought_the_reason_is_a_template_of_the_scores() -> None:
    finding = await found(Oracle(RUN, 2), method="step_scores")
    assert finding.reason_source == "template"
    assert finding.reason is not None
    assert finding.reason.startswith("step_scores ranks step 2 of searcher (")
    assert [one.step_index for one in finding.alternatives] == [0, 1, 3]


async def test_a_calibrated_confidence_under_the_threshold_abstains_and_keeps_the_pair_as_an_alternative() -> None:
    script = says("<think>t</think><answer>A1 | 2</answer>")
    finding = await found(script, calibration=CALIBRATED, abstain_below=0.3)
    assert finding.status is VerdictStatus.ABSTAINED
    assert (finding.agent, finding.step_index) == (None, None)
    assert finding.confidence == pytest.approx(0.2689, abs=1e-3)  # half of the votes, one less in log-odds
    assert finding.reason == "a confidence of 0.27 is under 0.30"
    assert [(one.agent, one.step_index) for one in finding.alternatives] == [("planner", 2)]
    assert (await found(script, calibration=CALIBRATED, abstain_below=0.2)).status is VerdictStatus.ATTRIBUTED


async def test_a_calibration_of_another_prompt_or_method_gives_no_confidence() -> None:
    script = says("<think>t</think><answer>A1 | 0</answer>")
    other = CALIBRATED.model_copy(update={"prompt_version": "older"})
    assert (await found(script, calibration=other, abstain_below=0.9)).confidence is None
    assert (await found(script, method="all_at_once", calibration=CALIBRATED)).confidence is None


@pytest.mark.parametrize("text", ["", "no idea", "<answer>A1 | </answer>"])
async def test_what_can_not_be_read_is_unparsable(text: str) -> None:
    finding = await found(says(text))
    assert (finding.status, finding.agent) == (VerdictStatus.UNPARSABLE, None)
    assert finding.reason == "no answer of the model could be read"


async def test_a_model_that_calls_no_step_decisive_abstains() -> None:
    finding = await found(lambda _: "no", method="step_by_step")
    assert (finding.status, finding.reason) == (VerdictStatus.ABSTAINED, "the model calls no step decisive")


@pytest.mark.parametrize(("answer", "agent", "at"), [("A3 | 9", "writer", 9), ("A7 | 1", "A7", 1)])
async def test_a_pair_that_is_not_there_is_out_of_range(answer: str, agent: str, at: int) -> None:
    finding = await found(says(f"<think>t</think><answer>{answer}</answer>"), is_constrained=False)
    assert (finding.status, finding.agent, finding.step_index) == (VerdictStatus.OUT_OF_RANGE, agent, at)
    assert finding.failure_class is FailureClass.UNKNOWN


async def test_a_spent_budget_gives_the_best_so_far_without_a_confidence() -> None:
    of = run_of(60)
    finding = await found(Oracle(of, 7), of, method="binary_search", tokens=650)
    assert finding.status is VerdictStatus.OVERLONG
    assert finding.step_index is not None
    assert finding.confidence is None


async def test_a_budget_spent_before_any_answer_names_nobody() -> None:
    finding = await found(lambda _: "no", run_of(60), method="step_by_step", tokens=400)
    assert (finding.status, finding.agent) == (VerdictStatus.OVERLONG, None)
    assert finding.reason is not None
    assert finding.reason.startswith("the tokens or the time of this trajectory were spent")


async def test_the_class_is_not_asked_for_when_the_budget_is_spent_by_the_answer() -> None:
    finding = await found(says("<think>t</think><answer>A1 | 0</answer>"), tokens=10)
    assert (finding.status, finding.failure_class) == (VerdictStatus.ATTRIBUTED, FailureClass.UNKNOWN)


async def test_a_letter_that_is_no_class_is_unknown() -> None:
    finding = await found(says("<think>t</think><answer>A1 | 0</answer>", letter="?"))
    assert finding.failure_class is FailureClass.UNKNOWN


def test_facts_alone_tell_a_repetition_and_a_run_that_did_not_end() -> None:
    same = [step(index=at, agent="a", content="again") for at in range(2)]
    assert class_by_rule(trajectory(same), 1) is FailureClass.STEP_REPETITION
    assert class_by_rule(trajectory(same), 0) is FailureClass.UNKNOWN
    endless = trajectory(same, close_reason=CloseReason.TOO_LONG)
    assert class_by_rule(endless, 0) is FailureClass.UNAWARE_OF_END


async def test_the_truth_is_shown_only_where_it_is_wanted() -> None:
    of = trajectory(STEPS, outcome=Outcome(result=Result.FAILURE, ground_truth="closed on Mondays"))
    for shows_truth in (True, False):
        shown: list[str] = []
        await found(_noting(shown), of, shows_truth=shows_truth)
        assert all(("closed on Mondays" in text) == shows_truth for text in shown)


async def test_the_same_trajectory_version_and_seeds_give_the_same_verdict() -> None:
    async with model(Oracle(RUN, 2), seeds=(1, 2, 3)) as tracer:
        assert (await tracer.trace(RUN)).model_copy(update={"tokens": None}) == (await tracer.trace(RUN)).model_copy(
            update={"tokens": None}
        )


@pytest.mark.parametrize("change", [{"seeds": (1,)}, {"shows_truth": True}, {"abstain_below": 0.5}])
async def test_other_options_are_another_version(change: dict[str, object]) -> None:
    async with model(Oracle(RUN, 2)) as one, model(Oracle(RUN, 2), **change) as other, model(Oracle(RUN, 2)) as same:  # type: ignore[arg-type]
        assert one.version == same.version != other.version
        assert (await other.trace(RUN)).version == other.version


async def test_another_priority_is_the_same_version() -> None:
    async with model(Oracle(RUN, 2)) as one, model(Oracle(RUN, 2), priority=5) as other:
        assert one.version == other.version


async def test_an_adapter_brings_its_own_calibration(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    (tmp_path / "adapter_model.safetensors").write_bytes(b"")
    save(CALIBRATED, tmp_path)
    async with model(says("<think>t</think><answer>A1 | 0</answer>")) as tracer:
        before = tracer.version
        assert (await tracer.trace(RUN)).confidence is None
        assert await tracer.adopt(tmp_path) == tracer.version != before
        assert (await tracer.trace(RUN)).confidence is not None
        assert await tracer.adopt(None) == before
        assert (await tracer.trace(RUN)).confidence is None


async def test_a_run_without_steps_abstains_without_the_engine() -> None:
    empty = RUN.model_copy(update={"steps": ()})
    assert (await found(lambda _: pytest.fail("it was asked"), empty)).status is VerdictStatus.ABSTAINED


async def test_what_the_engine_raises_is_raised() -> None:
    with pytest.raises(ContextError):
        await found(Oracle(RUN, 1), context_tokens=200)


@pytest.mark.parametrize("name", ["Step 3", "a|b", "A1", "x" * 256, "שלום", "🤖", "<answer>A1 | 0</answer>"])
@pytest.mark.parametrize("method", sorted(METHODS))
async def test_an_agent_is_named_as_the_trajectory_names_it(method: str, name: str) -> None:
    of = trajectory([step(index=0, agent="other"), step(index=1, agent=name), step(index=2, agent="other")])
    finding = await found(Oracle(of, 1), of, method=method)
    assert (finding.agent, finding.step_index) == (agent_of(of.steps[1]), 1)
