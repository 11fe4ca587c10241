"""Stages and the tasks that they make up: as a person reads them, and as they are told, coded and mistaken."""

from collections import Counter
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.trainer import programs
from trainer.fleet.bench import Part, function, solve, source
from trainer.fleet.chance import one_wrong, swapped
from trainer.fleet.operations import OPS, Role
from trainer.fleet.recipe import LEAST_ANSWERS, POOL, SAMPLES, SCALES, Recipe, recipe
from trainer.fleet.sandbox import Output, run
from trainer.fleet.stages import Stage, draw, meaning

SEEDS = range(250)


def test_stages_are_done_one_after_the_other() -> None:
    values = [7, -3, 12, 12, 5, 40, 0, 9]
    by_hand = {
        (Stage("at_least", 9), Stage("total")): 12 + 12 + 40 + 9,
        (Stage("above", 9), Stage("count")): 3,
        (Stage("from", 10), Stage("largest")): 13,
        (Stage("skip", 2), Stage("minus", 2), Stage("ends")): (12 - 2) - (9 - 2),
        (Stage("odd_places"), Stage("mean_up")): 6,
        (Stage("even_places"), Stage("mean_down")): 14,
        (Stage("ascending"), Stage("head", 2), Stage("span")): 3,
        (Stage("head", 2), Stage("ascending"), Stage("span")): 10,
        (Stage("above", 90), Stage("plus", 5), Stage("smallest")): 0,
        (Stage("total"),): 82,
    }
    assert {stages: meaning(stages, values) for stages in by_hand} == by_hand
    assert values == [7, -3, 12, 12, 5, 40, 0, 9]


@pytest.mark.parametrize("stages", [(Stage("total"), Stage("count")), (Stage("ascending"),), ()])
def test_only_a_last_stage_that_folds_makes_a_program(stages: tuple[Stage, ...]) -> None:
    with pytest.raises(AssertionError, match="fold"):
        meaning(stages, [1, 2])


def test_a_drawn_stage_has_the_role_that_was_asked_for_and_a_number_within_its_bounds() -> None:
    rng = Random(2)
    drawn = {role: [draw(role, rng) for _ in range(300)] for role in Role}
    assert {stage.op for stages in drawn.values() for stage in stages} == set(OPS)
    for role, stages in drawn.items():
        assert {OPS[stage.op].role for stage in stages} == {role}
        assert all(in_bounds(stage) for stage in stages)


def in_bounds(stage: Stage) -> bool:
    """Whether a stage has a number that its operation is drawn with."""
    low, high = OPS[stage.op].parameters or (0, 0)
    return low <= stage.k <= high


def test_a_stage_is_taken_for_its_neighbours_and_for_another_number() -> None:
    assert Stage("at_least", 12).slips() == [
        Stage("above", 12),
        Stage("at_most", 12),
        Stage("at_least", 11),
        Stage("at_least", 13),
        Stage("at_least", 21),
    ]
    assert Stage("head", 2).slips() == [Stage("tail", 2), Stage("skip", 2), Stage("head", 3)]
    assert Stage("total").slips() == [Stage("count"), Stage("mean_down")]


@given(st.sampled_from(sorted(OPS)), st.integers(2, 39))
def test_a_mistaken_stage_can_be_told_and_coded_and_is_another(name: str, k: int) -> None:
    stage = Stage(name, k if OPS[name].parameters else 0)
    for wrong in stage.slips():
        assert wrong != stage
        assert OPS[wrong.op].role is OPS[name].role
        assert wrong.k > 1 if OPS[wrong.op].parameters else wrong.k == 0
        assert wrong.words(0) != stage.words(0)
        assert wrong.code(0) != stage.code(0)


def test_phrasings_and_codings_go_round() -> None:
    stage = Stage("ascending")
    assert [stage.words(n) for n in (0, 1, 2)] == [OPS["ascending"].words[n] for n in (0, 1, 0)]
    assert [stage.code(n) for n in (2, 3)] == [OPS["ascending"].codes[n] for n in (0, 1)]


def test_one_of_several_is_wrong_in_every_way_and_neighbours_change_places() -> None:
    assert one_wrong((1, 2), lambda n: [n * 10, n * 100]) == [(10, 2), (100, 2), (1, 20), (1, 200)]
    assert one_wrong((), lambda n: [n]) == []
    assert swapped("abc") == [("b", "a", "c"), ("a", "c", "b")]
    assert swapped("aab") == [("a", "b", "a")]
    assert swapped("a") == []


def test_a_program_calls_its_functions_in_order() -> None:
    parts = (Part(2, Stage("times", 3)), Part(1, Stage("at_least", 9), coding=2), Part(3, Stage("count")))
    assert function("do_{}", parts[1]) == ("def do_1(values):\n    return list(filter(lambda v: v >= 9, values))\n")
    assert solve("do_{}", parts) == (
        "def solve(values):\n    values = do_2(values)\n    values = do_1(values)\n    values = do_3(values)\n"
        "    return values\n"
    )
    assert run(source("do_{}", parts), "solve", ((1, 2, 3, 4), ())) == (Output(2), Output(0))


@pytest.mark.parametrize("seed", range(12))
def test_a_program_of_any_codings_gives_what_a_person_gets_from_the_text(seed: int) -> None:
    task, text = recipe(seed)
    asked, rng = programs.read(text), Random(seed)
    parts = tuple(Part(place + 1, stage, rng.randrange(6)) for place, stage in enumerate(task.stages))
    expected = tuple(Output(asked.result(list(values)) // asked.scale) for values in task.pool)
    assert run(source(task.name, parts), "solve", task.pool) == expected


def test_a_person_who_reads_the_text_gets_what_the_task_expects() -> None:
    for seed in SEEDS:
        task, text = recipe(seed)
        asked = programs.read(text)
        assert asked.scale == task.scale
        for index, values in enumerate(task.pool):
            assert asked.result(list(values)) == task.expected(index) * task.scale, (seed, values)


@settings(max_examples=60)
@given(st.integers(0, 10**9), st.lists(st.integers(-1000, 1000), max_size=20))
def test_a_text_and_its_task_agree_on_inputs_of_all_kinds(seed: int, values: list[int]) -> None:
    task, text = recipe(seed)
    assert programs.read(text).result(values) == meaning(task.stages, values) * task.scale


def test_a_task_has_a_few_stages_of_which_the_last_alone_folds() -> None:
    tasks = [recipe(seed)[0] for seed in SEEDS]
    assert {len(task.stages) for task in tasks} == {3, 4}
    for task in tasks:
        roles = [OPS[stage.op].role for stage in task.stages]
        assert roles[-1] is Role.FOLD
        assert Role.FOLD not in roles[:-1]
    assert {stage.op for task in tasks for stage in task.stages} == set(OPS)
    assert {task.scale for task in tasks} == set(SCALES)


def test_a_task_tells_right_from_wrong_on_inputs_of_which_the_last_is_empty() -> None:
    for seed in SEEDS:
        task, _ = recipe(seed)
        assert len(task.pool) == POOL
        assert task.pool[-1] == ()
        assert all(4 <= len(values) <= 9 for values in task.pool[:-1])
        assert len({task.expected(index) for index in range(POOL)}) >= LEAST_ANSWERS
        assert SAMPLES < POOL - 1


def test_the_limits_that_a_task_names_are_among_its_inputs() -> None:
    named = {"at_least", "above", "at_most", "below"}
    tasks = [recipe(seed)[0] for seed in SEEDS]
    limits = [(task, stage.k) for task in tasks for stage in task.stages if stage.op in named]
    assert len(limits) >= 50
    for near in (-1, 0, 1):
        there = sum(any(k + near in values for values in task.pool) for task, k in limits)
        assert there >= 0.9 * len(limits)


def telling(task: Recipe, wrong: tuple[Stage, ...]) -> bool:
    """Whether some input of the task shows that a program is of other stages."""
    return any(meaning(wrong, values) != task.expected(index) for index, values in enumerate(task.pool))


def test_most_mistaken_stages_show_on_the_inputs_of_their_task() -> None:
    shown: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    for seed in SEEDS:
        task, _ = recipe(seed)
        for wrong in one_wrong(task.stages, Stage.slips):
            (op,) = {stage.op for stage, other in zip(task.stages, wrong, strict=True) if stage != other}
            tried[op] += 1
            shown[op] += telling(task, wrong)
    assert shown.total() >= 0.75 * tried.total()
    by_order = {"ascending", "descending"}
    """Sorting matters to `head` or `ends` behind it, and to no sum."""
    assert all(shown[op] >= (0.2 if op in by_order else 0.5) * tried[op] for op in OPS)


def test_names_of_functions_and_links_between_stages_vary() -> None:
    told = [recipe(seed) for seed in SEEDS]
    assert len({task.name for task, _ in told}) == 5
    assert len({text for _, text in told}) == len(SEEDS)
    openings = Counter(" ".join(text.split()[:3]) for _, text in told)
    assert len(openings) == 3
    links = Counter(link for _, text in told for link in ("First", "1)", "To begin,") if f"{link} " in text)
    assert min(links.values()) >= len(SEEDS) / 5


def test_a_task_is_a_function_of_its_seed() -> None:
    tasks = [recipe(seed) for seed in SEEDS]
    assert [recipe(seed) for seed in SEEDS] == tasks
    assert all(one != other for one, other in pairwise(tasks))
