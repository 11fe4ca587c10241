"""The luck of a turn: how often it slips, what it slips into, and that no other turn's luck moves with it."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.fleet.chance import CLOSINGS, OPENINGS, Chance, Slip, Voice, chance, spread, stream


def luck(draw: float, rate: float) -> Chance:
    """Return the luck of a turn whose draw is known."""
    return Chance(draw, Random(1), rate)


def counts(rate: float, slips: list[Slip[str]]) -> dict[str, int]:
    """Return how often each thing is done over a thousand draws, evenly spread."""
    found = [luck((n + 0.5) / 1000, rate).choose("right", slips) for n in range(1000)]
    return {choice: found.count(choice) for choice in sorted(set(found))}


BY_HAND: list[tuple[float, list[Slip[str]], dict[str, int]]] = [
    (0.0, [(1.0, "a")], {"right": 1000}),
    (0.2, [], {"right": 1000}),
    (0.2, [(0.0, "a")], {"right": 1000}),
    (0.2, [(0.5, "a"), (1.0, "b")], {"a": 100, "b": 200, "right": 700}),
    (1.0, [(0.5, "a"), (0.25, "b")], {"a": 500, "b": 250, "right": 250}),
    (3.0, [(1.0, "a"), (1.0, "b")], {"a": 500, "b": 500}),
    (1.0, [(3.0, "a"), (1.0, "b")], {"a": 750, "b": 250}),
    (0.2, [(1.0, "right"), (1.0, "b")], {"b": 200, "right": 800}),
    (99.0, [(1.0, "right")], {"right": 1000}),
]


@pytest.mark.parametrize(("rate", "slips", "expected"), BY_HAND)
def test_a_slip_is_made_with_its_weight_times_the_rate(
    rate: float, slips: list[Slip[str]], expected: dict[str, int]
) -> None:
    assert counts(rate, slips) == expected


def test_a_weight_is_spread_evenly_and_nothing_over_nothing() -> None:
    assert spread(1.0, ["a", "b", "c", "d"]) == [(0.25, "a"), (0.25, "b"), (0.25, "c"), (0.25, "d")]
    assert spread(1.0, []) == []
    assert spread(0.6, iter("ab")) == [(0.3, "a"), (0.3, "b")]


@given(
    draw=st.floats(0, 1, exclude_max=True),
    rate=st.floats(0, 100),
    slips=st.lists(st.tuples(st.floats(0, 10), st.sampled_from("abc")), max_size=6),
    forced=st.booleans(),
)
def test_a_choice_is_the_right_thing_or_one_of_the_wrong_ones(
    draw: float, rate: float, slips: list[Slip[str]], *, forced: bool
) -> None:
    chosen = Chance(draw, Random(1), rate, forced).choose("a", slips)
    others = {other for weight, other in slips if other != "a"}
    assert chosen in {"a"} | others
    if rate == 0 and not forced:
        assert chosen == "a"
    if forced and any(weight > 0 for weight, other in slips if other != "a"):
        assert chosen != "a"


def test_a_forced_turn_slips_whatever_the_rate_and_by_weight() -> None:
    slips = [(0.1, "a"), (0.3, "b")]
    forced = [chance(["turn"], 0.0, fault=n).choose("right", slips) for n in range(400)]
    assert set(forced) == {"a", "b"}
    assert 0.65 < forced.count("b") / 400 < 0.85
    assert forced == [chance(["turn"], 9.0, fault=n).choose("right", slips) for n in range(400)]


def test_a_turn_that_cannot_slip_is_not_forced_to() -> None:
    assert chance(["turn"], 0.0, fault=1).choose("right", [(1.0, "right")]) == "right"
    assert chance(["turn"], 0.0, fault=1).choose("right", []) == "right"


def test_a_turn_has_its_own_numbers_whatever_else_is_drawn() -> None:
    first = chance(["x", 1], 0.3)
    first.free.random()
    again = chance(["x", 1], 0.9)
    assert (first.draw, stream("x", 1, "free").random()) == (again.draw, again.free.random())
    assert chance(["x", 2], 0.3).draw != first.draw
    assert chance(["x", 1], 0.3, fault=0).draw != first.draw
    assert chance(["x", 1], 0.3, fault=0).free.random() == chance(["x", 1], 0.3).free.random()


def test_keys_that_read_alike_are_kept_apart_by_their_parts() -> None:
    draws = [stream(*key).random() for key in (("a", 1), ("a", 2), ("a", "1", "x"), ("b", 1), ("a1",), ("a", 11))]
    assert len(set(draws)) == len(draws)
    assert stream("a", 1).random() == stream("a", 1).random()


def test_draws_are_spread_over_turns_agents_and_seeds() -> None:
    draws = [
        chance(["s", seed, 0, agent, turn], 0.3).draw for seed in range(50) for agent in "abc" for turn in range(4)
    ]
    assert len(set(draws)) == len(draws)
    assert 0.45 < sum(draws) / len(draws) < 0.55
    tenths = [sum(n / 10 <= draw < (n + 1) / 10 for draw in draws) for n in range(10)]
    assert min(tenths) >= 0.6 * len(draws) / 10


def test_a_voice_opens_and_closes_about_every_other_time_and_says_the_thing_in_between() -> None:
    said = [Voice(stream("voice", n)).say(["It is done", "There it is"]) for n in range(600)]
    assert len(set(said)) > 150
    opened = [text for text in said if text.startswith(OPENINGS)]
    closed = [text for text in said if text.endswith(CLOSINGS)]
    assert 0.4 < len(opened) / 600 < 0.6
    assert 0.4 < len(closed) / 600 < 0.6
    assert all(("It is done" in text) != ("There it is" in text) for text in said)
    assert {opening for opening in OPENINGS for text in opened if text.startswith(opening)} == set(OPENINGS)
    assert {closing for closing in CLOSINGS for text in closed if text.endswith(closing)} == set(CLOSINGS)


def test_a_voice_picks_every_option_about_as_often() -> None:
    picked = [Voice(stream("pick", n)).one_of("abcd") for n in range(400)]
    assert all(70 < picked.count(option) < 130 for option in "abcd")
