"""The rows that need no model: the rules, and the bag of words."""

from tests.factories import step, trajectory
from trainer.steps.rows import Named, bag_of_words, highest, rules
from trainer.steps.runs import Split, draw, trajectory_of
from trainer.steps.words import bag, fit


def test_the_first_of_the_highest_is_named_with_its_agent() -> None:
    run = trajectory([step(index=n, agent=f"agent-{n}") for n in range(3)])
    assert highest(run, [0.5, 2.0, 2.0]) == Named("agent-1", 1)


def test_the_rules_are_those_that_are_served() -> None:
    found = rules()
    run = trajectory_of(next(draw(Split.SEEDS, 1)).run)
    assert set(found) == {"rule: last_error", "rule: last_step", "rule: commonest_agent", "rule: random"}
    assert found["rule: last_step"](run).step_index == len(run.steps) - 1


def test_a_rule_with_nothing_to_say_names_nobody() -> None:
    assert rules()["rule: last_error"](trajectory()) == Named(None, None)


def test_a_bag_holds_the_words_and_takes_all_numbers_for_one() -> None:
    found = bag(step(content="Total: 12 or 34", agent="writer"))
    assert {"total", "or", "#", "agent=writer"} <= found
    assert "12" not in found


def test_a_bag_of_words_learns_the_word_that_gives_the_step_away() -> None:
    runs = [
        (trajectory([step(index=n, content="oops" if n == k % 3 else "fine") for n in range(3)]), k % 3)
        for k in range(30)
    ]
    fitted = fit(runs)
    for run, decisive in runs[:3]:
        assert highest(run, fitted.scores(run)).step_index == decisive


def test_the_same_runs_and_seed_give_the_same_weights() -> None:
    runs = list(draw(Split.TRAIN, 8))
    run = trajectory_of(runs[0].run)
    one, other = (fit([(trajectory_of(a.run), a.step_index) for a in runs], seed=3) for _ in range(2))
    assert one.scores(run) == other.scores(run)


def test_the_bag_of_words_row_names_a_step_that_is_there() -> None:
    runs = list(draw(Split.TRAIN, 8))
    found = bag_of_words(runs)(trajectory_of(runs[0].run))
    assert found.step_index in range(len(runs[0].run.actions))
