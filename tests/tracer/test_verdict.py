"""A finding becomes a verdict: what is checked, what is taken from the step, what is bounded."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas import Evidence, RouteReason, Routing, Tokens, ToolUse, Trajectory, Verdict, VerdictPurpose, VerdictStatus
from tests.factories import step, trajectory
from tracer.protocol import Finding, Quote, Suspect, abstained
from tracer.verdict import QUOTE_CHARACTERS, QUOTES, REASON_CHARACTERS, to_verdict, verdict_id

NOW = datetime(2026, 3, 1, 13, tzinfo=UTC)
BLAMED = Finding(status=VerdictStatus.ATTRIBUTED, agent="agent-1", step_index=1)


def judged(finding: Finding = BLAMED, of: Trajectory | None = None, queued_ms: int = 5, traced_ms: int = 7) -> Verdict:
    return to_verdict(
        of or trajectory(),
        finding,
        tracer="rule",
        version="1",
        attempts=2,
        queued_ms=queued_ms,
        traced_ms=traced_ms,
        decided_at=NOW,
    )


def test_a_verdict_takes_event_and_agent_version_from_the_step() -> None:
    steps = [step(index=0), step(index=1, agent_version="7"), step(index=2)]
    found = judged(of=trajectory(steps, system_version="2", task_id="q", routing=Routing(reason=RouteReason.SCORE)))
    assert (found.agent, found.step_index, found.event_id, found.agent_version) == ("agent-1", 1, "t1-1", "7")
    assert (found.system_version, found.task_id, found.route_reason) == ("2", "q", RouteReason.SCORE)
    assert (found.tracer, found.tracer_version, found.attempts) == ("rule", "1", 2)
    assert (found.queued_ms, found.traced_ms, found.decided_at) == (5, 7, NOW)
    assert found.purpose is VerdictPurpose.SERVE


def test_the_same_revision_judged_by_the_same_tracer_has_the_same_id() -> None:
    later = judged().model_copy(update={"decided_at": NOW + timedelta(days=1)})
    assert judged().verdict_id == later.verdict_id
    assert judged(abstained("budget")).verdict_id == judged().verdict_id


def test_the_id_tells_runs_revisions_tracers_versions_and_purposes_apart() -> None:
    one = trajectory()
    others = [
        one,
        one.model_copy(update={"trajectory_id": "t2"}),
        one.model_copy(update={"opened_at": one.opened_at + timedelta(milliseconds=1)}),
        one.model_copy(update={"revision": 2}),
    ]
    ids = [verdict_id(other, tracer="a", version="1", purpose=VerdictPurpose.SERVE) for other in others]
    ids.append(verdict_id(one, tracer="b", version="1", purpose=VerdictPurpose.SERVE))
    ids.append(verdict_id(one, tracer="a", version="2", purpose=VerdictPurpose.SERVE))
    ids.append(verdict_id(one, tracer="a", version="1", purpose=VerdictPurpose.SHADOW))
    assert len(set(ids)) == len(ids)


def test_the_version_that_found_it_counts_not_the_one_that_is_live_now() -> None:
    found = judged(BLAMED.model_copy(update={"version": "0"}))
    assert found.tracer_version == "0"
    assert found.verdict_id != judged().verdict_id


@pytest.mark.parametrize("index", [-1, 3, 2**40])
def test_a_step_that_is_not_there_is_out_of_range(index: int) -> None:
    found = judged(BLAMED.model_copy(update={"step_index": index}))
    assert found.status is VerdictStatus.OUT_OF_RANGE
    assert found.event_id is None
    assert found.agent == "agent-1"
    assert found.step_index == (3 if index == 3 else None)


def test_quotes_that_are_not_word_for_word_are_left_out() -> None:
    tool = ToolUse(name="search", arguments={"q": ["deep text"]}, result="the result", error="broke")
    of = trajectory([step(index=0, content="I will search", input="asked", tool=tool)])
    said = ["will", "deep text", "result", "broke", "asked", "made up", "", "search"]
    finding = Finding(
        status=VerdictStatus.ATTRIBUTED,
        agent="a",
        step_index=0,
        evidence=(*(Quote(step_index=0, quote=quote) for quote in said), Quote(step_index=1, quote="will")),
    )
    quotes = [evidence.quote for evidence in judged(finding, of).evidence]
    assert quotes == ["will", "deep text", "result", "broke", "asked", "search"]
    assert judged(finding, of).evidence[0] == Evidence(step_index=0, event_id="t1-0", quote="will")


def test_alternatives_and_paths_keep_only_steps_that_are_there() -> None:
    finding = BLAMED.model_copy(
        update={
            "alternatives": (Suspect(agent="x", step_index=2, score=0.5), Suspect(agent="y", step_index=9)),
            "failure_path": (2, 1, 1, 7, -1),
        }
    )
    found = judged(finding)
    assert [(one.agent, one.step_index, one.event_id, one.score) for one in found.alternatives] == [
        ("x", 2, "t1-2", 0.5)
    ]
    assert found.failure_path == (1, 2)


def test_whatever_a_finding_holds_the_verdict_stays_well_under_its_topics_limit() -> None:
    text = "\x01" * 50_000
    of = trajectory([step(index=0, content=text)])
    quotes = tuple(Quote(step_index=0, quote=text) for _ in range(200))
    suspects = tuple(Suspect(agent="a" * 256, step_index=0) for _ in range(10_000))
    finding = Finding(
        status=VerdictStatus.ATTRIBUTED,
        agent="a",
        step_index=0,
        reason=text,
        evidence=quotes,
        alternatives=suspects,
        failure_path=tuple(range(100_000)),
    )
    found = judged(finding, of)
    assert (len(found.evidence), len(found.evidence[0].quote)) == (QUOTES, QUOTE_CHARACTERS)
    assert len(found.reason or "") == REASON_CHARACTERS
    assert len(found.model_dump_json()) < 1_000_000


def test_times_outside_of_what_a_verdict_holds_are_cut() -> None:
    assert judged(queued_ms=-5).queued_ms == 0
    assert judged(queued_ms=2**40).queued_ms == 2**31 - 1


@given(
    st.sampled_from([VerdictStatus.ATTRIBUTED, VerdictStatus.ABSTAINED, VerdictStatus.UNPARSABLE]),
    st.integers(),
    st.text(max_size=20),
    st.lists(st.tuples(st.integers(-2, 5), st.text(max_size=5)), max_size=5),
    st.lists(st.integers(), max_size=5),
)
def test_no_finding_makes_a_verdict_that_is_none(
    status: VerdictStatus, index: int, reason: str, quotes: list[tuple[int, str]], path: list[int]
) -> None:
    finding = Finding(
        status=status,
        agent="a",
        step_index=index,
        reason=reason,
        evidence=tuple(Quote(step_index=at, quote=quote) for at, quote in quotes),
        failure_path=tuple(path),
        tokens=Tokens(input=3),
    )
    found = judged(finding)
    assert Verdict.model_validate_json(found.model_dump_json()) == found
    assert all(evidence.quote in f"step {evidence.step_index} of t1" for evidence in found.evidence)


@pytest.mark.parametrize("fields", [{}, {"agent": "a"}, {"step_index": 0}])
def test_a_finding_that_blames_names_agent_and_step(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="names an agent and a step"):
        Finding.model_validate({"status": VerdictStatus.ATTRIBUTED, **fields})


@pytest.mark.parametrize("agent", ["", "a" * 257, "two\nlines"])
def test_an_agent_that_no_verdict_could_carry_is_refused_in_the_finding(agent: str) -> None:
    with pytest.raises(ValidationError):
        Finding(status=VerdictStatus.ATTRIBUTED, agent=agent, step_index=0)
