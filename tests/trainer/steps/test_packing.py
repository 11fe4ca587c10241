"""Prompts that begin alike, laid out as one row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.steps.packing import pack

PROMPTS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=8), min_size=1, max_size=5)


def test_what_all_begin_with_is_there_once() -> None:
    packed = pack([[1, 2, 3, 4], [1, 2, 5], [1, 2, 6, 7]])
    assert packed.ids == (1, 2, 3, 4, 5, 6, 7)
    assert packed.positions == (0, 1, 2, 3, 2, 2, 3)
    assert packed.branches == (0, 0, 1, 1, 2, 3, 3)
    assert packed.ends == (3, 4, 6)


def test_the_last_token_of_a_prompt_is_always_its_own() -> None:
    packed = pack([[1, 2], [1, 2]])
    assert packed.ids == (1, 2, 2)
    assert packed.ends == (1, 2)


@pytest.mark.parametrize("prompts", [[[7]], [[7], [8]], [[7], [7, 8]]])
def test_prompts_that_share_nothing_stand_side_by_side(prompts: list[list[int]]) -> None:
    packed = pack(prompts)
    assert 0 not in packed.branches
    assert packed.ids == tuple(token for prompt in prompts for token in prompt)


@given(PROMPTS)
def test_every_prompt_can_be_read_back_at_its_own_positions(prompts: list[list[int]]) -> None:
    packed = pack(prompts)
    for number, prompt in enumerate(prompts, start=1):
        seen = [at for at, branch in enumerate(packed.branches) if branch in {0, number}]
        assert [packed.ids[at] for at in seen] == prompt
        assert [packed.positions[at] for at in seen] == list(range(len(prompt)))
        assert seen[-1] == packed.ends[number - 1]
