"""The operations of programs: by hand, as a person reads them, and as the coder's code does them."""

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainer import programs
from trainer.fleet.operations import OPS, Role, Values
from trainer.fleet.sandbox import Output, run
from trainer.fleet.stages import Stage

VALUES = [7, -3, 12, 12, 5, 40, 0, 9]
BY_HAND: dict[Stage, Values | int] = {
    Stage("at_least", 9): [12, 12, 40, 9],
    Stage("above", 9): [12, 12, 40],
    Stage("at_most", 7): [7, -3, 5, 0],
    Stage("below", 7): [-3, 5, 0],
    Stage("multiples", 3): [-3, 12, 12, 0, 9],
    Stage("non_multiples", 3): [7, 5, 40],
    Stage("head", 3): [7, -3, 12],
    Stage("tail", 3): [40, 0, 9],
    Stage("skip", 3): [12, 5, 40, 0, 9],
    Stage("odd_places"): [7, 12, 5, 0],
    Stage("even_places"): [-3, 12, 40, 9],
    Stage("times", 3): [21, -9, 36, 36, 15, 120, 0, 27],
    Stage("plus", 4): [11, 1, 16, 16, 9, 44, 4, 13],
    Stage("minus", 4): [3, -7, 8, 8, 1, 36, -4, 5],
    Stage("from", 10): [3, 13, -2, -2, 5, -30, 10, 1],
    Stage("quotient", 4): [1, -1, 3, 3, 1, 10, 0, 2],
    Stage("remainder", 4): [3, 1, 0, 0, 1, 0, 0, 1],
    Stage("ascending"): [-3, 0, 5, 7, 9, 12, 12, 40],
    Stage("descending"): [40, 12, 12, 9, 7, 5, 0, -3],
    Stage("total"): 82,
    Stage("count"): 8,
    Stage("largest"): 40,
    Stage("smallest"): -3,
    Stage("span"): 43,
    Stage("mean_down"): 10,
    Stage("mean_up"): 11,
    Stage("ends"): -2,
    Stage("ends_back"): 2,
}
"""What every operation makes of VALUES."""

BELOW_ZERO: dict[Stage, Values | int] = {
    Stage("multiples", 2): [-8],
    Stage("quotient", 5): [-2, -2],
    Stage("remainder", 5): [3, 2],
    Stage("largest"): -7,
    Stage("smallest"): -8,
    Stage("mean_down"): -8,
    Stage("mean_up"): -7,
    Stage("ends"): 1,
}
"""What some operations make of [-7, -8]: down is away from zero, and no maximum starts at 0."""

STAGES = st.sampled_from(sorted(OPS)).flatmap(
    lambda name: st.builds(Stage, st.just(name), st.integers(*OPS[name].parameters or (0, 0)))
)
LISTS = st.lists(st.integers(-100, 100), max_size=12)


def means(stage: Stage, values: Values) -> Values | int:
    """Return what the operation of a stage means."""
    return OPS[stage.op].means(list(values), stage.k)


@pytest.mark.parametrize("stage", BY_HAND, ids=str)
def test_an_operation_means_what_it_does_by_hand(stage: Stage) -> None:
    assert means(stage, VALUES) == BY_HAND[stage]


@pytest.mark.parametrize("stage", BELOW_ZERO, ids=str)
def test_an_operation_rounds_down_and_compares_rightly_below_zero(stage: Stage) -> None:
    assert means(stage, [-7, -8]) == BELOW_ZERO[stage]


def test_every_operation_was_done_by_hand() -> None:
    assert {stage.op for stage in BY_HAND} == set(OPS)


@pytest.mark.parametrize("name", OPS)
def test_nothing_is_left_of_an_empty_list_and_folds_to_zero(name: str) -> None:
    stage = Stage(name, 3 if OPS[name].parameters else 0)
    nothing: Values | int = 0 if OPS[name].role is Role.FOLD else []
    assert means(stage, []) == nothing
    assert coded(stage, []) == [nothing] * len(OPS[name].codes)


def coded(stage: Stage, values: Values) -> list[Values | int]:
    """Return what every coding of a stage gives."""
    results = []
    for coding in range(len(OPS[stage.op].codes)):
        space: dict[str, object] = {}
        exec(f"def stage(values):\n    {stage.code(coding)}\n", space)
        stage_of_values = space["stage"]
        assert callable(stage_of_values)
        results.append(stage_of_values(list(values)))
    return results


@given(STAGES, LISTS)
def test_a_person_who_reads_any_phrasing_does_what_the_operation_means(stage: Stage, values: Values) -> None:
    for phrasing in range(len(OPS[stage.op].words)):
        assert programs.do(stage.words(phrasing), values) == means(stage, values), stage.words(phrasing)


@given(STAGES, LISTS)
def test_every_coding_does_what_the_operation_means(stage: Stage, values: Values) -> None:
    assert coded(stage, values) == [means(stage, values)] * len(OPS[stage.op].codes)


@given(STAGES, LISTS)
def test_neither_meaning_nor_code_changes_the_list_that_it_is_given(stage: Stage, values: Values) -> None:
    given_ = list(values)
    OPS[stage.op].means(given_, stage.k)
    assert given_ == values
    for coding in range(len(OPS[stage.op].codes)):
        space: dict[str, object] = {}
        exec(f"def stage(values):\n    {stage.code(coding)}\n", space)
        stage_of_values = space["stage"]
        assert callable(stage_of_values)
        stage_of_values(given_)
        assert given_ == values


@pytest.mark.parametrize("stage", [stage for stage in BY_HAND if OPS[stage.op].role is Role.FOLD], ids=str)
def test_a_fold_comes_out_of_the_sandbox_as_it_does_by_hand(stage: Stage) -> None:
    for coding in range(len(OPS[stage.op].codes)):
        code = f"def solve(values):\n    {stage.code(coding)}\n"
        assert run(code, "solve", (tuple(VALUES), ())) == (Output(int(str(BY_HAND[stage]))), Output(0))


@pytest.mark.parametrize("name", OPS)
def test_phrasings_and_codings_of_an_operation_are_all_different(name: str) -> None:
    op = OPS[name]
    codes = {ast.dump(ast.parse(f"def f(values):\n    {code.format(k=5)}\n")) for code in op.codes}
    assert len(codes) == len(op.codes) >= 2
    assert len(set(op.words)) == len(op.words) >= 2


def test_no_two_operations_share_a_phrasing_or_a_coding() -> None:
    words = [text for op in OPS.values() for text in op.words]
    codes = [text for op in OPS.values() for text in op.codes]
    assert (len(set(words)), len(set(codes))) == (len(words), len(codes))
    assert len(words) == len(programs.DID), "a person knows phrasings that nobody uses"


@pytest.mark.parametrize("name", OPS)
def test_a_number_is_named_where_the_operation_has_one_and_nowhere_else(name: str) -> None:
    op = OPS[name]
    texts = [*op.words, *op.codes]
    assert all(("{k}" in text) == bool(op.parameters) for text in texts)


@pytest.mark.parametrize("name", OPS)
def test_what_an_operation_is_taken_for_has_its_role_and_takes_its_number(name: str) -> None:
    op = OPS[name]
    assert op.near
    assert name not in op.near
    for near in op.near:
        assert OPS[near].role is op.role
        assert bool(OPS[near].parameters) == bool(op.parameters)


TELLING: dict[tuple[str, str], Values] = {
    ("at_least", "above"): [4, 5, 6],
    ("at_least", "at_most"): [4, 5, 6],
    ("above", "at_least"): [4, 5, 6],
    ("above", "below"): [4, 5, 6],
    ("at_most", "below"): [4, 5, 6],
    ("at_most", "at_least"): [4, 5, 6],
    ("below", "at_most"): [4, 5, 6],
    ("below", "above"): [4, 5, 6],
    ("multiples", "non_multiples"): [5],
    ("non_multiples", "multiples"): [5],
    ("head", "tail"): [1, 2, 3, 4, 5, 6],
    ("head", "skip"): [1],
    ("tail", "head"): [1, 2, 3, 4, 5, 6],
    ("tail", "skip"): [1],
    ("skip", "head"): [1],
    ("skip", "tail"): [1],
    ("odd_places", "even_places"): [1],
    ("even_places", "odd_places"): [1],
    ("times", "plus"): [1],
    ("plus", "times"): [1],
    ("plus", "minus"): [1],
    ("minus", "from"): [1],
    ("minus", "plus"): [1],
    ("from", "minus"): [1],
    ("quotient", "remainder"): [5],
    ("remainder", "quotient"): [5],
    ("ascending", "descending"): [1, 2],
    ("descending", "ascending"): [1, 2],
    ("total", "count"): [5],
    ("total", "mean_down"): [1, 2],
    ("count", "total"): [5],
    ("largest", "smallest"): [1, 2],
    ("largest", "span"): [1, 2],
    ("smallest", "largest"): [1, 2],
    ("smallest", "span"): [2, 5],
    ("span", "largest"): [1, 2],
    ("span", "smallest"): [2, 5],
    ("mean_down", "mean_up"): [1, 2],
    ("mean_down", "total"): [1, 2],
    ("mean_up", "mean_down"): [1, 2],
    ("mean_up", "total"): [1, 2],
    ("ends", "ends_back"): [1, 2],
    ("ends", "span"): [1, 2],
    ("ends_back", "ends"): [1, 2],
    ("ends_back", "span"): [2, 1],
}
"""A short list that tells an operation, with the number 5 if any, from what it is taken for."""


def test_a_list_by_hand_tells_every_operation_from_all_that_it_is_taken_for() -> None:
    assert {(name, near) for name, op in OPS.items() for near in op.near} == set(TELLING)
    for (name, near), values in TELLING.items():
        k = 5 if OPS[name].parameters else 0
        assert means(Stage(name, k), values) != means(Stage(near, k), values), (name, near)


HARMLESS: dict[tuple[str, str], Values] = {
    ("at_least", "above"): [4, 6],
    ("head", "tail"): [1, 2],
    ("times", "plus"): [],
    ("ascending", "descending"): [3, 3],
    ("largest", "smallest"): [3],
    ("largest", "span"): [0, 3],
    ("mean_down", "mean_up"): [4, 6],
    ("ends", "ends_back"): [2, 9, 2],
    ("total", "mean_down"): [8],
}
"""Mistakes that do no harm on some list: a run may succeed in spite of one, and then nobody is to blame."""


@pytest.mark.parametrize("pair", HARMLESS, ids=str)
def test_a_mistaken_operation_may_do_no_harm(pair: tuple[str, str]) -> None:
    name, near = pair
    assert near in OPS[name].near
    k = 5 if OPS[name].parameters else 0
    assert means(Stage(name, k), HARMLESS[pair]) == means(Stage(near, k), HARMLESS[pair])


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.parameters])
def test_another_number_of_an_operation_shows_on_some_list(name: str) -> None:
    low, high = OPS[name].parameters or (0, 0)
    values = list(range(-100, 101))
    for k in range(low, high):
        assert means(Stage(name, k), values) != means(Stage(name, k + 1), values)
