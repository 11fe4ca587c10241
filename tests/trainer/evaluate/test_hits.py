"""What counts as a hit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas import VerdictStatus
from tests.trainer.evaluate.cases import blaming, labelled
from tracer.protocol import Finding, Suspect, abstained
from trainer.evaluate.hits import METRICS, TARGETS, TOP, WITHIN, is_invalid, row
from trainer.evaluate.labelled import LabelledTrajectory

AGENTS = ("a", "b", "c", "d", "e", "f", "g")
SUSPECTS = st.builds(Suspect, agent=st.sampled_from(AGENTS), step_index=st.integers(-1, 9))
FINDINGS = st.one_of(
    st.none(),
    st.just(abstained("nothing")),
    st.builds(blaming, st.sampled_from(AGENTS), st.integers(-3, 9), alternatives=st.lists(SUSPECTS).map(tuple)),
)


def hits(item: LabelledTrajectory, finding: Finding | None) -> dict[str, float]:
    return {metric: float(own[0]) for metric, own in row("r", "model", [item], [finding]).hits.items()}


def test_the_gold_agent_counts_whoever_speaks_at_the_gold_step() -> None:
    item = labelled(agents=("planner", "coder"), gold=1, agent="planner")
    assert hits(item, blaming("planner", 1))["joint"] == 1
    assert hits(item, blaming("coder", 1))["agent"] == 0


def test_agents_are_compared_by_their_bare_names_and_by_nothing_less() -> None:
    item = labelled(agents=("Orchestrator (thought)",), gold=0)
    assert hits(item, blaming("Orchestrator (plan)", 0))["agent"] == 1
    assert hits(item, blaming("orchestrator", 0))["agent"] == 0
    assert hits(item, blaming("Orchestrators", 0))["agent"] == 0


def test_an_answer_ten_is_no_hit_on_step_one() -> None:
    assert hits(labelled(agents=["x"] * 12, gold=1), blaming("x", 10))["step"] == 0


def test_a_right_agent_and_a_right_step_make_the_pair() -> None:
    item = labelled(gold=1)
    assert [hits(item, blaming(*pair))["joint"] for pair in (("coder", 1), ("coder", 0), ("critic", 1))] == [1, 0, 0]


@pytest.mark.parametrize(
    ("step", "within"), [(4, (1, 1, 1)), (3, (1, 1, 1)), (6, (0, 1, 1)), (9, (0, 0, 1)), (10, (0, 0, 0))]
)
def test_near_is_counted_on_both_sides(step: int, within: tuple[int, ...]) -> None:
    found = hits(labelled(agents=["x"] * 12, gold=4), blaming("x", step))
    assert tuple(found[f"step_within_{k}"] for k in WITHIN) == within


def test_the_first_k_count_distinct_ones_and_the_answer_is_the_first() -> None:
    others = tuple(Suspect(agent=agent, step_index=step) for agent, step in (("b", 5), ("a", 5), ("c", 6), ("x", 0)))
    item = labelled(agents=("x", "a", "b", "c"), gold=0)
    found = hits(item, blaming("a", 5, alternatives=others))
    assert (found["agent_top_3"], found["agent_top_5"]) == (0, 1)
    assert (found["step_top_3"], found["step_top_5"]) == (1, 1)


@pytest.mark.parametrize("finding", [None, abstained("nothing"), Finding(status=VerdictStatus.UNPARSABLE)])
def test_who_names_nobody_has_missed(finding: Finding | None) -> None:
    assert set(hits(labelled(), finding).values()) == {0.0}


def test_no_confidence_is_not_a_low_one() -> None:
    found = row("r", "model", [labelled("a"), labelled("b")], [blaming("x", 0), blaming("x", 0, confidence=0.0)])
    assert np.isnan(found.confidence_N[0])
    assert found.confidence_N[1] == 0.0


def test_invalid_is_what_could_not_be_read_or_is_not_there() -> None:
    outside = blaming("x", 99, status=VerdictStatus.OUT_OF_RANGE)
    found = [None, abstained("no"), blaming("x", 0), Finding(status=VerdictStatus.UNPARSABLE), outside]
    assert [is_invalid(finding) for finding in found] == [False, False, False, True, True]


@given(FINDINGS, st.integers(0, 6))
def test_wider_nets_catch_no_less(finding: Finding | None, gold: int) -> None:
    found = hits(labelled(agents=AGENTS, gold=gold), finding)
    assert set(found) == set(METRICS)
    assert found["joint"] == found["agent"] * found["step"]
    for target, wider in (("step", [f"step_within_{k}" for k in WITHIN]), ("step", [f"step_top_{k}" for k in TOP])):
        chain = [found[target], *(found[name] for name in wider)]
        assert chain == sorted(chain)
    chain = [found["agent"], *(found[f"agent_top_{k}"] for k in TOP)]
    assert chain == sorted(chain)


@given(st.integers(0, 6))
def test_the_label_itself_hits_everything(gold: int) -> None:
    found = hits(labelled(agents=AGENTS, gold=gold), blaming(AGENTS[gold], gold))
    assert set(found.values()) == {1.0}
    assert set(TARGETS) < set(found)
