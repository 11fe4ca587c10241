"""What the tracers without a model say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import StepEvent, ToolUse, Trajectory, VerdictStatus
from schemas.errors import SettingsError
from tests.factories import step, trajectory
from tracer.protocol import Finding
from tracer.rules import RULES, UNCOUNTED, agent_of, at_random, by_name, commonest_agent, last_error, last_step

AGENTS = ("planner", "coder (thought)", "coder", "Computer_terminal", "critic")


def spoken(*agents: str) -> Trajectory:
    return trajectory([step(index=index, agent=agent) for index, agent in enumerate(agents)])


def blamed(finding: Finding) -> tuple[str | None, int | None]:
    return finding.agent, finding.step_index


def test_the_last_error_is_blamed_and_earlier_ones_are_the_alternatives() -> None:
    steps = [
        step(index=0, agent="a", error_type="KeyError"),
        step(index=1, agent="b", content="said", tool=ToolUse(name="search", error="no route to host")),
        step(index=2, agent="c"),
    ]
    found = last_error(trajectory(steps))
    assert blamed(found) == ("b", 1)
    assert found.reason == "step 1 of b is the last one that ended in an error (search failed)"
    assert [(one.agent, one.step_index) for one in found.alternatives] == [("a", 0)]
    assert [(quote.step_index, quote.quote) for quote in found.evidence] == [(1, "no route to host")]
    assert found.failure_path == (1, 2)
    assert found.confidence is None


def test_without_an_error_the_last_error_abstains() -> None:
    found = last_error(spoken("a", "b"))
    assert (found.status, found.reason) == (VerdictStatus.ABSTAINED, "no step ended in an error")
    assert blamed(found) == (None, None)


def test_the_last_step_is_blamed_under_its_agents_own_name() -> None:
    assert blamed(last_step(spoken("a", "Orchestrator (thought)"))) == ("Orchestrator", 1)


def test_the_commonest_speaker_is_blamed_at_its_first_step_whatever_voice_it_speaks_in() -> None:
    found = commonest_agent(spoken("planner", "coder (thought)", "critic", "coder (-> critic)", "planner", "coder"))
    assert blamed(found) == ("coder", 1)
    assert [(one.agent, one.step_index) for one in found.alternatives] == [("planner", 0), ("critic", 2)]


def test_ties_go_to_whoever_spoke_first() -> None:
    assert blamed(commonest_agent(spoken("b", "a", "a", "b"))) == ("b", 0)


def test_a_terminal_is_no_agent_unless_it_is_counted() -> None:
    of = spoken("coder", "Computer_terminal", "ComputerTerminal", "Computer_terminal")
    assert blamed(commonest_agent(of)) == ("coder", 0)
    assert blamed(commonest_agent(of, frozenset())) == ("Computer_terminal", 1)


def test_where_only_terminals_speak_the_commonest_agent_abstains() -> None:
    assert commonest_agent(spoken("Computer_terminal")).status is VerdictStatus.ABSTAINED


def test_chance_says_the_same_of_the_same_revision_and_not_of_another() -> None:
    of = trajectory([step(index=index, agent=f"agent-{index}") for index in range(40)])
    assert at_random(of) == at_random(of)
    drawn = {blamed(at_random(of.model_copy(update={"revision": revision}))) for revision in range(30)}
    assert len(drawn) > 15


def test_chance_draws_speakers_evenly_however_often_they_speak() -> None:
    drawn = [at_random(spoken(*["a"] * 9, "b").model_copy(update={"revision": revision})) for revision in range(400)]
    assert 150 < sum(found.agent == "b" for found in drawn) < 250
    assert all(found.step_index == 9 for found in drawn if found.agent == "b")


def test_an_agent_whose_name_begins_with_a_bracket_keeps_it() -> None:
    assert agent_of(step(agent=" (x)")) == " (x)"


@pytest.mark.parametrize("name", RULES)
async def test_a_trajectory_without_steps_makes_every_rule_abstain(name: str) -> None:
    empty = trajectory().model_copy(update={"steps": ()})
    assert (await by_name(name).trace(empty)).status is VerdictStatus.ABSTAINED


def test_an_unknown_tracer_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(SettingsError, match=r"no tracer 'oracle'; choose one of last_error, last_step, commonest"):
        by_name("oracle")


def test_other_uncounted_speakers_are_another_version_of_the_tracer() -> None:
    usual, other = by_name("commonest_agent"), by_name("commonest_agent", frozenset({"Terminal"}))
    assert usual.version != other.version
    assert by_name("last_step", frozenset()).version == by_name("last_step").version == usual.version


STEPS = st.lists(
    st.tuples(st.sampled_from(AGENTS), st.text(max_size=400), st.booleans()).map(
        lambda drawn: step(agent=drawn[0], content=drawn[1], error_type="E" if drawn[2] else None)
    ),
    min_size=1,
    max_size=12,
)


@given(STEPS, st.sampled_from(sorted(RULES)))
def test_every_rule_names_a_step_of_the_agent_it_blames_and_quotes_it(steps: list[StepEvent], name: str) -> None:
    of = trajectory(steps)
    found = RULES[name](of, UNCOUNTED)
    if found.status is VerdictStatus.ABSTAINED:
        assert name in {"last_error", "commonest_agent"}
        return
    assert found.step_index is not None
    assert agent_of(steps[found.step_index]) == found.agent
    assert found.failure_path == tuple(range(found.step_index, len(steps)))
    assert all(quote.quote in steps[quote.step_index].content for quote in found.evidence)
    assert found.reason_source == "template"
