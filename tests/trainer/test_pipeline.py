"""The coding pipeline, one decision at a time: what is right, every mistake there is, and what follows from either."""

from dataclasses import replace
from typing import Any

import pytest

from schemas import Result, StepKind
from tests.trainer.turns import faultless, phrasings, right, said, wrongs
from trainer.fleet import pipeline_moves as moves
from trainer.fleet import pipeline_phrases as say
from trainer.fleet.bench import Bench, Case, Part, Phase
from trainer.fleet.pipeline import MOST_CASES, Pipeline
from trainer.fleet.recipe import SAMPLES, Recipe
from trainer.fleet.stages import Stage
from trainer.simulator import perform, resume

PIPELINE = Pipeline()
KEEP, SCALE, SUM = Stage("at_least", 12), Stage("times", 3), Stage("total")
STAGES = (KEEP, SCALE, SUM)
POOL = ((12, 5), (11, 13), (20,), (4, 30), (0, 1), (12, 12, -3), ())
RECIPE = Recipe(STAGES, 100, POOL, "do_{}")
EXPECTED = (36, 39, 60, 90, 0, 72, 0)
ABOVE = (Stage("above", 12), SCALE, SUM)
"""It gives 0 for the first input, and 0 for the sixth."""
KEEP_SLIPS = {Stage("above", 12), Stage("at_most", 12), *(Stage("at_least", k) for k in (11, 13, 21))}
SCALE_SLIPS = {Stage("plus", 3), Stage("times", 2), Stage("times", 4)}
SUM_SLIPS = {Stage("count"), Stage("mean_down")}
SLIPS = {
    *((wrong, SCALE, SUM) for wrong in KEEP_SLIPS),
    *((KEEP, wrong, SUM) for wrong in SCALE_SLIPS),
    *((KEEP, SCALE, wrong) for wrong in SUM_SLIPS),
}


def drafted(stages: tuple[Stage, ...]) -> tuple[Part, ...]:
    """Return a draft of stages."""
    return tuple(Part(place + 1, stage) for place, stage in enumerate(stages))


def bench(stages: tuple[Stage, ...] = STAGES, phase: Phase = Phase.RUN, **fields: Any) -> Bench:
    """Return a bench with a draft of stages and a test of the first input."""
    draft = drafted(stages)
    defaults = {"plan": STAGES, "draft": draft, "revisions": (draft,), "cases": (Case(0, 36),)}
    return Bench(RECIPE, phase, **defaults | fields)


def stages_of(move: object) -> tuple[Stage, ...]:
    """Return the stages of a repaired draft."""
    assert isinstance(move, moves.Repair)
    return tuple(part.stage for part in move.parts)


def turns(state: Bench) -> list[tuple[str, type]]:
    """Go on without a mistake to the end; return who did what."""
    found = []
    while (agent := PIPELINE.next_agent(state)) is not None:
        move = right(PIPELINE, state)
        found.append((agent, type(move)))
        state = move.applied(state)
    return found


def ended(state: Bench) -> Bench:
    """Go on without a mistake to the end."""
    while PIPELINE.next_agent(state) is not None:
        state = right(PIPELINE, state).applied(state)
    return state


FROM_TESTS = [("tester", moves.WriteTests), ("tester", moves.Run), ("tester", moves.Judge)]
FROM_REVIEW = [("reviewer", moves.Review), ("publisher", moves.Publish), ("publisher", moves.Release)]


def test_the_expected_values_are_those_by_hand() -> None:
    assert tuple(RECIPE.expected(index) for index in range(len(POOL))) == EXPECTED


def test_a_program_goes_down_the_line() -> None:
    assert turns(Bench(RECIPE)) == [
        ("planner", moves.Plan),
        *[("coder", moves.Write)] * 3,
        ("coder", moves.Assemble),
        *FROM_TESTS,
        *FROM_REVIEW,
    ]
    done = ended(Bench(RECIPE))
    assert tuple(part.stage for part in done.draft) == STAGES
    assert (done.revision, done.scale, done.phase) == (0, 100, Phase.DONE)
    assert PIPELINE.check(done).result is Result.SUCCESS


def test_a_planner_mistakes_one_stage_or_the_order_but_never_moves_the_last() -> None:
    state = Bench(RECIPE)
    assert right(PIPELINE, state) == moves.Plan(STAGES)
    assert set(wrongs(PIPELINE, state)) == {moves.Plan(stages) for stages in SLIPS | {(SCALE, KEEP, SUM)}}


def test_stages_that_are_alike_are_not_taken_for_each_other() -> None:
    twice = Bench(replace(RECIPE, stages=(SCALE, SCALE, SUM)))
    assert set(wrongs(PIPELINE, twice)) == {
        *(moves.Plan((wrong, SCALE, SUM)) for wrong in SCALE_SLIPS),
        *(moves.Plan((SCALE, wrong, SUM)) for wrong in SCALE_SLIPS),
        *(moves.Plan((SCALE, SCALE, wrong)) for wrong in SUM_SLIPS),
    }


def test_a_coder_writes_the_next_stage_of_the_plan_or_what_it_is_taken_for() -> None:
    planned = moves.Plan(ABOVE).applied(Bench(RECIPE))
    first = right(PIPELINE, planned)
    assert isinstance(first, moves.Write)
    assert (first.part.number, first.part.stage) == (1, ABOVE[0])
    second = first.applied(planned)
    move = right(PIPELINE, second)
    assert isinstance(move, moves.Write)
    assert (move.part.number, move.part.stage) == (2, SCALE)
    found = [wrong.part for wrong in wrongs(PIPELINE, second) if isinstance(wrong, moves.Write)]
    assert {part.stage for part in found} == SCALE_SLIPS
    assert {(part.number, part.coding) for part in found} == {(2, move.part.coding)}


def test_a_coder_joins_the_functions_in_order_or_with_two_in_each_others_place() -> None:
    state = bench(phase=Phase.ASSEMBLE, revisions=())
    assert right(PIPELINE, state) == moves.Assemble((0, 1, 2))
    assert wrongs(PIPELINE, state) == [moves.Assemble((1, 0, 2))]
    crossed = moves.Assemble((1, 0, 2)).applied(state)
    assert [part.number for part in crossed.draft] == [2, 1, 3]
    assert crossed.revisions == (crossed.draft,)
    assert crossed.outputs(crossed.draft)[0].value == 51


def test_a_tester_expects_what_the_task_gives_for_some_of_the_known_inputs() -> None:
    state = bench(phase=Phase.TESTS, cases=())
    counts = set()
    for turn in range(40):
        move = right(PIPELINE, state, ("turn", turn))
        assert isinstance(move, moves.WriteTests)
        counts.add(len(move.cases))
        assert all(case.expected == EXPECTED[case.index] for case in move.cases)
        indices = [case.index for case in move.cases]
        assert indices == sorted(set(indices))
        assert max(indices) < SAMPLES
    assert counts == set(range(1, MOST_CASES + 1))


def test_a_tester_who_misreads_a_stage_expects_what_that_reading_gives() -> None:
    state = bench(phase=Phase.TESTS, cases=())
    fine = right(PIPELINE, state)
    assert isinstance(fine, moves.WriteTests)
    chosen = [case.index for case in fine.cases]
    readings = {
        tuple(Case(index, replace(RECIPE, stages=stages).expected(index)) for index in chosen) for stages in SLIPS
    }
    assert {move.cases for move in wrongs(PIPELINE, state) if isinstance(move, moves.WriteTests)} == readings - {
        fine.cases
    }


def test_the_test_runner_tells_what_the_program_really_gives() -> None:
    state = bench(ABOVE, cases=(Case(0, 36), Case(3, 90)))
    tool = said(state, moves.Run()).tool
    assert tool is not None
    assert (tool.name, tool.arguments) == ("run_tests", {"revision": 1})
    assert tool.result == [
        {"input": [12, 5], "expected": 36, "got": 0},
        {"input": [4, 30], "expected": 90, "got": 90},
    ]


def test_the_test_runner_tells_the_error_of_a_program_that_raises() -> None:
    tool = said(bench((SUM, KEEP, SCALE)), moves.Run()).tool
    assert tool is not None
    assert isinstance(tool.result, list)
    assert "'int' object is not iterable" in str(tool.result[0])


def test_a_tester_names_the_first_failing_test_or_overlooks_it() -> None:
    state = bench(ABOVE, Phase.JUDGE, cases=(Case(3, 90), Case(0, 36), Case(5, 72)))
    assert right(PIPELINE, state) == moves.Judge(1)
    assert wrongs(PIPELINE, state) == [moves.Judge(None)]


def test_a_tester_may_send_back_what_passes() -> None:
    state = bench(phase=Phase.JUDGE)
    assert right(PIPELINE, state) == moves.Judge(None)
    assert wrongs(PIPELINE, state) == [moves.Judge(0)]


def test_a_tester_goes_by_its_own_expectation() -> None:
    assert right(PIPELINE, bench(phase=Phase.JUDGE, cases=(Case(0, 63),))) == moves.Judge(0)
    assert right(PIPELINE, bench(ABOVE, Phase.JUDGE, cases=(Case(0, 0),))) == moves.Judge(None)


def test_tests_send_a_draft_back_twice_and_then_leave_it_to_the_reviewer() -> None:
    state, phases = bench(ABOVE, Phase.JUDGE), []
    for _ in range(3):
        after = moves.Judge(0).applied(state)
        phases.append(after.phase)
        state = replace(after, phase=Phase.JUDGE)
    assert phases == [Phase.FIX, Phase.FIX, Phase.REVIEW]
    assert phrasings(say.LEFT_OPEN, said(state, moves.Judge(0)).content)
    assert phrasings(say.FAILED, said(replace(state, rounds=1), moves.Judge(0)).content)


def test_a_coder_who_is_sent_back_reads_the_task_again_and_repairs_the_program() -> None:
    state = bench(ABOVE, Phase.FIX)
    move = right(PIPELINE, state)
    assert stages_of(move) == STAGES
    assert {stages_of(wrong) for wrong in wrongs(PIPELINE, state)} == {
        *((wrong, SCALE, SUM) for wrong in ABOVE[0].slips()),
        *((ABOVE[0], wrong, SUM) for wrong in SCALE_SLIPS),
        *((ABOVE[0], SCALE, wrong) for wrong in SUM_SLIPS),
    } - {STAGES}
    repaired = move.applied(state)
    assert repaired.revisions == (drafted(ABOVE), repaired.draft)
    assert repaired.phase is Phase.RUN
    assert turns(state) == [("coder", moves.Repair), *FROM_TESTS[1:], *FROM_REVIEW]
    assert PIPELINE.check(ended(state)).result is Result.SUCCESS


def test_a_repair_keeps_the_code_of_stages_that_stay() -> None:
    state = bench(ABOVE, Phase.FIX)
    coded = tuple(replace(part, coding=5) for part in state.draft)
    move = right(PIPELINE, replace(state, draft=coded))
    assert isinstance(move, moves.Repair)
    assert [part.coding for part in move.parts[1:]] == [5, 5]


def test_a_coder_may_go_back_to_a_wrong_plan_instead_of_the_task() -> None:
    state = bench((KEEP, SCALE, Stage("count")), Phase.FIX, plan=ABOVE)
    assert stages_of(right(PIPELINE, state)) == STAGES
    assert ABOVE in {stages_of(wrong) for wrong in wrongs(PIPELINE, state)}


@pytest.mark.parametrize(
    ("flags", "answer", "phase"), [(None, moves.Dispute(), Phase.TESTS), ((1,), moves.Defend(), Phase.REVIEW)]
)
def test_a_coder_whose_program_is_right_says_so_or_spoils_it(
    flags: tuple[int, ...] | None, answer: moves.Dispute | moves.Defend, phase: Phase
) -> None:
    state = bench(phase=Phase.FIX, flags=flags)
    assert right(PIPELINE, state) == answer
    assert answer.applied(state).phase is phase
    assert {stages_of(wrong) for wrong in wrongs(PIPELINE, state)} == SLIPS


def test_a_disputed_test_is_worked_out_again_and_the_draft_goes_on() -> None:
    state = bench(phase=Phase.JUDGE, cases=(Case(0, 63),))
    assert turns(state) == [("tester", moves.Judge), ("coder", moves.Dispute), *FROM_TESTS, *FROM_REVIEW]


def test_a_reviewer_flags_every_place_that_departs_from_the_task_or_lets_all_pass() -> None:
    state = bench((Stage("above", 12), SCALE, Stage("count")), Phase.REVIEW)
    assert right(PIPELINE, state) == moves.Review((0, 2))
    assert wrongs(PIPELINE, state) == [moves.Review(())]
    assert "do_1, do_3" in said(state, moves.Review((0, 2))).content


def test_a_reviewer_may_flag_what_is_right() -> None:
    state = bench(phase=Phase.REVIEW)
    assert right(PIPELINE, state) == moves.Review(())
    assert set(wrongs(PIPELINE, state)) == {moves.Review((place,)) for place in range(3)}
    flagged = moves.Review((1,)).applied(state)
    assert turns(flagged) == [("coder", moves.Defend), *FROM_REVIEW]


def test_a_reviewer_sends_a_draft_back_once() -> None:
    state = bench(ABOVE, Phase.REVIEW)
    back = moves.Review((0,)).applied(state)
    assert (back.phase, back.flags, back.reviewed) == (Phase.FIX, (0,), True)
    assert turns(state) == [
        ("reviewer", moves.Review),
        ("coder", moves.Repair),
        *FROM_TESTS[1:],
        *FROM_REVIEW,
    ]
    assert moves.Review((0,)).applied(replace(state, reviewed=True)).phase is Phase.PUBLISH


def test_a_publisher_takes_another_scale_or_an_older_revision() -> None:
    state = bench(phase=Phase.PUBLISH, revisions=(drafted(ABOVE), drafted(STAGES)))
    assert right(PIPELINE, state) == moves.Publish(1, 100)
    assert set(wrongs(PIPELINE, state)) == {
        *(moves.Publish(1, scale) for scale in (1, 10, 1000)),
        moves.Publish(0, 100),
    }


def test_what_is_released_is_what_the_manifest_names() -> None:
    state = bench(phase=Phase.PUBLISH, revisions=(drafted(ABOVE), drafted(STAGES)))
    manifest = moves.Publish(0, 10).applied(state)
    tool = said(manifest, moves.Release()).tool
    assert tool is not None
    assert tool.arguments == {"entry": "solve", "revision": 1, "scale": 10}
    assert tool.result == {"released": True, "of": 2}
    assert [output.value for output in manifest.released()] == [0, 39, 60, 90, 0, 0, 0]


@pytest.mark.parametrize(
    ("revision", "scale", "score", "reason", "truth"),
    [
        (1, 100, 1.0, "all cases pass", None),
        (0, 100, 0.714, "2 of 7 acceptance cases fail; the first: [12, 5] gave 0", "[12, 5] should give 3600"),
        (1, 10, 0.286, "5 of 7 acceptance cases fail; the first: [12, 5] gave 360", "[12, 5] should give 3600"),
    ],
)
def test_a_release_is_accepted_by_all_inputs_of_the_task(
    revision: int, scale: int, score: float, reason: str, truth: str | None
) -> None:
    state = bench(revisions=(drafted(ABOVE), drafted(STAGES)), revision=revision, scale=scale)
    outcome = PIPELINE.check(state)
    assert outcome.result is (Result.FAILURE if truth else Result.SUCCESS)
    assert (outcome.score, outcome.reason, outcome.ground_truth) == (score, reason, truth)
    assert outcome.evaluator == "environment"


def test_a_release_that_raises_is_a_failure_with_its_error() -> None:
    outcome = PIPELINE.check(bench((SUM, KEEP, SCALE), revision=0, scale=100))
    assert outcome.result is Result.FAILURE
    assert "gave TypeError" in str(outcome.reason)


def test_a_program_is_shown_as_the_code_that_runs() -> None:
    state = bench((*STAGES[:2],), Phase.CODE)
    part = Part(3, SUM, coding=1)
    text = said(state, moves.Write(part)).content
    assert text.endswith(
        "```python\ndef do_3(values):\n    if not values:\n        return 0\n    return sum(values)\n```"
    )
    joined = said(bench(phase=Phase.ASSEMBLE), moves.Assemble((1, 0, 2)))
    assert joined.kind is StepKind.LLM
    assert "do_2, do_1, do_3" in joined.content
    assert "    values = do_2(values)\n    values = do_1(values)\n    values = do_3(values)\n" in joined.content


def test_a_tampered_release_of_a_whole_run_fails_in_the_acceptance_run() -> None:
    run = faultless("coding-pipeline", 1)
    step_index = next(n for n, action in enumerate(run.actions) if isinstance(action.move, moves.Publish))
    move = run.actions[step_index].move
    assert isinstance(move, moves.Publish)
    tampered = resume(run, step_index, perform(run, step_index, replace(move, scale=move.scale * 10)))
    assert tampered.failed
    assert tampered.mistakes == (step_index,)
