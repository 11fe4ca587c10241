"""The table desk, one decision at a time: what is right, every mistake there is, and what follows from either."""

from dataclasses import replace

import pytest

from schemas import Result, StepKind
from tests.trainer.turns import faultless, right, said, wrongs
from trainer.fleet import desk_moves as moves
from trainer.fleet.desk import Desk
from trainer.fleet.sheet import Act, Sheet, Todo
from trainer.fleet.tables import Calc, Quantity, Question, Table
from trainer.simulator import Run, decisive_step, perform, resume

DESK = Desk()
TABLE = Table(
    "Depots", 100, ("a", "b", "c", "d"), ("x 2023", "x 2024"), ((412, 377), (105, 550), (230, 231), (900, 120))
)
A, B = Quantity("a", "x 2023"), Quantity("c", "x 2024")
P, Q = Calc("minus", "A", "B"), Calc("times", "P", 12)
ASKED = Question(TABLE, (A, B), (P, Q), 100, audited=True, verified=True)
"""(412 - 231) * 12, in single units: 217,200."""
A_SLIPS = frozenset({Quantity("b", "x 2023"), Quantity("a", "x 2024")})
B_SLIPS = frozenset({Quantity("b", "x 2024"), Quantity("d", "x 2024"), Quantity("c", "x 2023")})
P_SLIPS = frozenset({Calc("plus", "A", "B"), Calc("minus", "B", "A")})
Q_SLIPS = frozenset({Calc("times", "P", 11), Calc("times", "P", 13), Calc("times", "P", 21)})


def at(act: Act, slot: str = "", asked: Question = ASKED) -> Sheet:
    """Return the sheet when a thing is to be done, all right so far."""
    state = Sheet(asked)
    while state.todo[0] != Todo(act, slot):
        state = right(DESK, state).applied(state)
    return state


def ended(state: Sheet) -> Sheet:
    """Go on without a mistake to the end."""
    while state.todo:
        state = right(DESK, state).applied(state)
    return state


def test_the_desk_works_its_list_off_in_order() -> None:
    state, turns = Sheet(ASKED), []
    while (agent := DESK.next_agent(state)) is not None:
        turns.append((agent, state.todo[0].act, state.slot))
        state = right(DESK, state).applied(state)
    assert turns == [
        ("planner", Act.PLAN, ""),
        ("finder-1", Act.QUERY, "A"),
        ("finder-1", Act.REPORT, "A"),
        ("finder-2", Act.QUERY, "B"),
        ("finder-2", Act.REPORT, "B"),
        ("auditor", Act.AUDIT, ""),
        ("counter", Act.COMPUTE, "P"),
        ("counter", Act.STATE, "P"),
        ("counter", Act.COMPUTE, "Q"),
        ("counter", Act.STATE, "Q"),
        ("auditor", Act.VERIFY, ""),
        ("writer", Act.ANSWER, ""),
    ]
    assert state.values == {"A": 412, "B": 231, "P": 181, "Q": 2172}
    assert state.answer == 217_200
    assert DESK.check(state).result is Result.SUCCESS


def test_a_desk_without_audits_leaves_them_out() -> None:
    plan = moves.Plan((A, B), (P, Q))
    audited = plan.applied(Sheet(replace(ASKED, verified=False)))
    verified = plan.applied(Sheet(replace(ASKED, audited=False)))
    assert [todo.act for todo in audited.todo].count(Act.AUDIT) == 1
    assert Act.VERIFY not in {todo.act for todo in audited.todo}
    assert Act.AUDIT not in {todo.act for todo in verified.todo}
    assert ended(audited).answer == ended(verified).answer == 217_200


def test_a_planner_mistakes_one_figure_or_one_calculation() -> None:
    state = Sheet(ASKED)
    assert right(DESK, state) == moves.Plan((A, B), (P, Q))
    assert set(wrongs(DESK, state)) == {
        *(moves.Plan((wrong, B), (P, Q)) for wrong in A_SLIPS),
        *(moves.Plan((A, wrong), (P, Q)) for wrong in B_SLIPS),
        *(moves.Plan((A, B), (wrong, Q)) for wrong in P_SLIPS),
        *(moves.Plan((A, B), (P, wrong)) for wrong in Q_SLIPS),
    }


@pytest.mark.parametrize(("slot", "of", "others"), [("A", "a", {"b"}), ("B", "c", {"b", "d"})])
def test_a_finder_asks_for_a_row_or_the_one_beside_it(slot: str, of: str, others: set[str]) -> None:
    state = at(Act.QUERY, slot)
    assert right(DESK, state) == moves.Query(of)
    assert set(wrongs(DESK, state)) == {moves.Query(other) for other in others}


def test_a_finder_asks_for_one_region_or_the_other() -> None:
    state = at(Act.QUERY, "A", replace(ASKED, quantities=(Quantity("northern", "x 2023"), B)))
    assert (right(DESK, state), wrongs(DESK, state)) == (moves.Query("northern"), [moves.Query("southern")])


def test_a_finder_misreads_a_figure_or_reads_another_column() -> None:
    state = at(Act.REPORT, "A")
    assert right(DESK, state) == moves.Report(412)
    assert set(wrongs(DESK, state)) == {moves.Report(value) for value in (411, 413, 142, 421, 377)}


def test_a_finder_reports_what_the_tool_showed_and_not_the_truth() -> None:
    asked_wrongly = moves.Query("b").applied(at(Act.QUERY, "A"))
    assert right(DESK, asked_wrongly) == moves.Report(105)
    planned_wrongly = moves.Plan((Quantity("a", "x 2024"), B), (P, Q)).applied(Sheet(ASKED))
    assert right(DESK, moves.Query("a").applied(planned_wrongly)) == moves.Report(377)


def test_an_auditor_who_has_nothing_to_flag_may_flag_something_else() -> None:
    state = at(Act.AUDIT)
    assert right(DESK, state) == moves.Audit(())
    assert set(wrongs(DESK, state)) == {
        *(moves.Audit((("A", wrong),)) for wrong in A_SLIPS),
        *(moves.Audit((("B", wrong),)) for wrong in B_SLIPS),
    }


def test_an_auditor_flags_every_figure_that_is_not_the_questions_or_lets_all_pass() -> None:
    state = replace(at(Act.AUDIT), values={"A": 377, "B": 213})
    assert right(DESK, state) == moves.Audit((("A", A), ("B", B)))
    assert wrongs(DESK, state) == [moves.Audit(())]
    one = replace(state, values={"A": 412, "B": 213})
    assert right(DESK, one) == moves.Audit((("B", B),))


def test_what_was_flagged_is_looked_up_again_and_taken_as_shown() -> None:
    state = replace(at(Act.AUDIT), values={"A": 377, "B": 213}, slots={"A": Quantity("a", "x 2024"), "B": B})
    flagged = moves.Audit((("A", A), ("B", B))).applied(state)
    assert flagged.todo[:3] == (Todo(Act.REFETCH, "A"), Todo(Act.REFETCH, "B"), Todo(Act.COMPUTE, "P"))
    assert DESK.next_agent(flagged) == "finder-1"
    assert (right(DESK, flagged), set(wrongs(DESK, flagged))) == (
        moves.Refetch(A),
        {moves.Refetch(wrong) for wrong in A_SLIPS},
    )
    again = moves.Refetch(A).applied(flagged)
    assert again.values == {"A": 412, "B": 213}
    assert DESK.next_agent(again) == "finder-2"
    assert ended(again).answer == 217_200
    assert moves.Refetch(Quantity("b", "x 2023")).applied(flagged).values["A"] == 105


def test_a_counter_takes_another_operator_order_number_or_slot() -> None:
    first, second = at(Act.COMPUTE, "P"), at(Act.COMPUTE, "Q")
    assert right(DESK, first) == moves.Compute("412 - 231")
    assert set(wrongs(DESK, first)) == {moves.Compute("412 + 231"), moves.Compute("231 - 412")}
    assert right(DESK, second) == moves.Compute("181 * 12")
    texts = ("181 * 11", "181 * 13", "181 * 21", "412 * 12", "231 * 12")
    assert set(wrongs(DESK, second)) == {moves.Compute(text) for text in texts}


def test_a_counter_misreads_the_calculators_result() -> None:
    state = at(Act.STATE, "P")
    assert right(DESK, state) == moves.State(181)
    assert set(wrongs(DESK, state)) == {moves.State(value) for value in (180, 182, 811, 118)}


def test_a_counter_states_what_the_calculator_showed_and_not_the_truth() -> None:
    state = moves.Compute("412 + 231").applied(at(Act.COMPUTE, "P"))
    assert right(DESK, state) == moves.State(643)


def test_an_auditor_who_finds_the_results_right_may_send_one_back() -> None:
    state = at(Act.VERIFY)
    assert right(DESK, state) == moves.Verify(None)
    assert set(wrongs(DESK, state)) == {
        *(moves.Verify(("P", wrong)) for wrong in P_SLIPS),
        *(moves.Verify(("Q", wrong)) for wrong in Q_SLIPS),
    }


@pytest.mark.parametrize(
    ("values", "flag"),
    [
        ({"A": 412, "B": 231, "P": 643, "Q": 7716}, ("P", P)),
        ({"A": 412, "B": 231, "P": 181, "Q": 2127}, ("Q", Q)),
        ({"A": 412, "B": 231, "P": 811, "Q": 2172}, ("P", P)),
    ],
)
def test_an_auditor_sends_the_first_wrong_result_back_or_lets_it_pass(
    values: dict[str, int], flag: tuple[str, Calc]
) -> None:
    state = replace(at(Act.VERIFY), values=values)
    assert right(DESK, state) == moves.Verify(flag)
    assert wrongs(DESK, state) == [moves.Verify(None)]


def test_an_auditor_of_results_goes_by_the_figures_as_reported() -> None:
    state = replace(at(Act.VERIFY), values={"A": 999, "B": 231, "P": 768, "Q": 9216})
    assert right(DESK, state) == moves.Verify(None)


def test_a_result_sent_back_is_worked_out_again_with_all_that_builds_on_it() -> None:
    wrong = {"A": 412, "B": 231, "P": 643, "Q": 7716}
    state = moves.Verify(("P", P)).applied(
        replace(at(Act.VERIFY), values=wrong, calcs={"P": Calc("plus", "A", "B"), "Q": Q})
    )
    assert state.todo == (Todo(Act.RECOUNT, "P"), Todo(Act.RECOUNT, "Q"), Todo(Act.ANSWER))
    assert right(DESK, state) == moves.Recount("412 - 231")
    again = moves.Recount("412 - 231").applied(state)
    assert again.values["P"] == 181
    assert right(DESK, again) == moves.Recount("181 * 12")
    assert ended(state).answer == 217_200


def test_only_what_builds_on_a_slot_is_worked_out_again() -> None:
    calcs = {"P": Calc("minus", "A", "B"), "Q": Calc("plus", "C", "D"), "R": Calc("larger", "P", "Q")}
    assert moves.building_on("P", calcs) == ["P", "R"]
    assert moves.building_on("Q", calcs) == ["Q", "R"]
    assert moves.building_on("R", calcs) == ["R"]
    chain = {"P": Calc("minus", "A", "B"), "Q": Calc("plus", "P", "C"), "R": Calc("times", "Q", 12)}
    assert moves.building_on("P", chain) == ["P", "Q", "R"]


def test_a_writer_takes_another_unit_another_slot_or_other_digits() -> None:
    state = at(Act.ANSWER)
    assert right(DESK, state) == moves.Answer(217_200)
    units = (2_172, 26_064, 2_172_000)
    slots = (41_200, 23_100, 18_100)
    digits = (217_199, 217_201, 127_200, 271_200, 212_700, 217_020)
    assert set(wrongs(DESK, state)) == {moves.Answer(value) for value in (*units, *slots, *digits)}


def test_a_writer_of_a_percentage_takes_it_for_hundredths_and_of_plain_units_for_others() -> None:
    percent = replace(ASKED, calcs=(Calc("percent", "A", "B"),), factor=1)
    state = at(Act.ANSWER, asked=percent)
    assert state.values["P"] == 178
    assert moves.Answer(17_800) in wrongs(DESK, state)
    assert moves.Answer(178_000) not in wrongs(DESK, state)


def test_a_calculator_that_refuses_is_an_error_and_the_counter_goes_on_with_zero() -> None:
    state = at(Act.COMPUTE, "P")
    tool = said(state, moves.Compute("percent(412, 0)")).tool
    assert tool is not None
    assert (tool.result, tool.arguments) == (None, {"expression": "percent(412, 0)"})
    assert "can't be worked out" in str(tool.error)
    assert moves.Compute("percent(412, 0)").applied(state).computed["P"] == 0
    assert moves.Recount("percent(412, 0)").applied(state).values["P"] == 0


@pytest.mark.parametrize("value", [0, -5, 10**25])
def test_a_figure_that_no_table_holds_does_not_stop_the_desk(value: int) -> None:
    percent = replace(ASKED, quantities=(A, B, A), calcs=(P, Calc("percent", "P", "C")), factor=1)
    state = replace(at(Act.AUDIT, asked=percent), values={"A": 412, "B": 231, "C": value})
    unseen = moves.Audit(()).applied(state)
    assert DESK.check(ended(unseen)).result is Result.FAILURE
    assert DESK.check(ended(state)).result is Result.SUCCESS


def test_the_answer_is_checked_against_the_question() -> None:
    state = at(Act.ANSWER)
    wrong = DESK.check(moves.Answer(217_201).applied(state))
    assert (wrong.result, wrong.score, wrong.evaluator) == (Result.FAILURE, 0.0, "environment")
    assert (wrong.reason, wrong.ground_truth) == ("the answer 217201 is wrong", "217200")
    fine = DESK.check(moves.Answer(217_200).applied(state))
    assert (fine.result, fine.score, fine.reason) == (Result.SUCCESS, 1.0, "the answer 217200 is right")
    assert DESK.check(state).result is Result.FAILURE


@pytest.mark.parametrize(
    ("act", "slot", "move", "kind", "name", "result"),
    [
        (Act.QUERY, "A", moves.Query("b"), StepKind.TOOL_CALL, "table", {"x 2023": 105, "x 2024": 550}),
        (Act.QUERY, "B", moves.Query("southern"), StepKind.TOOL_CALL, "table", {"x 2023": 1130, "x 2024": 351}),
        (Act.COMPUTE, "P", moves.Compute("412 + 231"), StepKind.TOOL_CALL, "calculator", 643),
        (Act.COMPUTE, "P", moves.Refetch(B), StepKind.TOOL_CALL, "table", 231),
        (Act.COMPUTE, "P", moves.Recount("7 * 6"), StepKind.TOOL_CALL, "calculator", 42),
    ],
)
def test_a_tool_tells_the_truth_of_whatever_it_is_asked(
    act: Act,
    slot: str,
    move: moves.Query | moves.Compute | moves.Refetch | moves.Recount,
    kind: StepKind,
    name: str,
    result: object,
) -> None:
    found = said(at(act, slot), move)
    assert found.kind is kind
    assert found.tool is not None
    assert (found.tool.name, found.tool.result, found.tool.error) == (name, result, None)


def first(run: Run, kind: type) -> int | None:
    """Return the first step whose move is of that kind."""
    return next((n for n, action in enumerate(run.actions) if isinstance(action.move, kind)), None)


def test_a_misread_figure_is_caught_by_the_auditor_or_used_until_it_shows_at_the_end() -> None:
    failures = 0
    for seed in range(20):
        run = faultless("table-desk", seed)
        read, audit = first(run, moves.Report), first(run, moves.Audit)
        if read is None or audit is None:
            continue
        caught = resume(run, read, perform(run, read, moves.Report(987_654_321)))
        assert (caught.mistakes, caught.failed) == ((read,), False)
        wrong = resume(caught, audit, perform(caught, audit, moves.Audit(())))
        assert wrong.mistakes == (read, audit)
        assert any("987654321" in str(action.tool) for action in wrong.actions[audit:])
        failures += wrong.failed
        assert decisive_step(wrong) == (read if wrong.failed else None)
    assert failures >= 8


def test_a_tampered_answer_fails() -> None:
    run = faultless("table-desk", 1)
    last = len(run.actions) - 1
    move = run.actions[last].move
    assert isinstance(move, moves.Answer)
    tampered = resume(run, last, perform(run, last, replace(move, value=move.value + 1)))
    assert tampered.failed
    assert tampered.outcome.ground_truth == str(move.value)
    assert decisive_step(tampered) == last
