"""What the simulated fleet's failures look like in numbers, over some hundred runs."""

import re
from collections import Counter
from collections.abc import Iterable

import pytest

from trainer.simulator import ALL, Run, decisive_step, simulate

COUNTS = {"coding-pipeline": 90, "table-desk": 300, "order-chat": 300}
"""A pipeline's run costs processes, the others next to nothing."""

MOST_PRECISION = 0.65
LEAST_SUPPORT = 25


@pytest.fixture(scope="module")
def runs() -> dict[str, list[Run]]:
    """Return the runs by system."""
    return {system: [simulate(system, 40_000 + seed) for seed in range(COUNTS[system])] for system in ALL}


@pytest.fixture(scope="module")
def decisive(runs: dict[str, list[Run]]) -> dict[str, list[tuple[Run, int]]]:
    """Return the labelled failures by system."""
    found = {system: [(run, decisive_step(run)) for run in runs[system] if run.failed] for system in ALL}
    return {system: [(run, step) for run, step in rows if step is not None] for system, rows in found.items()}


def share(flags: Iterable[bool]) -> float:
    """Return the share of what holds."""
    found = list(flags)
    return sum(found) / len(found)


@pytest.mark.parametrize("system", ALL)
def test_about_half_of_the_runs_fail(runs: dict[str, list[Run]], system: str) -> None:
    assert 0.3 <= share(run.failed for run in runs[system]) <= 0.65


@pytest.mark.parametrize("system", ALL)
def test_most_failures_have_a_decisive_step(
    runs: dict[str, list[Run]], decisive: dict[str, list[tuple[Run, int]]], system: str
) -> None:
    assert len(decisive[system]) >= 0.75 * sum(run.failed for run in runs[system])


@pytest.mark.parametrize("system", ALL)
def test_the_decisive_step_is_often_neither_the_first_mistake_nor_the_last_step(
    decisive: dict[str, list[tuple[Run, int]]], system: str
) -> None:
    rows = decisive[system]
    assert share(step != run.mistakes[0] for run, step in rows) >= 0.15
    assert share(step != len(run.actions) - 1 for run, step in rows) >= 0.7
    assert share(step <= len(run.actions) - 3 for run, step in rows) >= 0.5


@pytest.mark.parametrize("system", ALL)
def test_blame_is_spread_over_agents_and_steps(decisive: dict[str, list[tuple[Run, int]]], system: str) -> None:
    agents = Counter(run.actions[step].agent for run, step in decisive[system])
    steps = Counter(step for _, step in decisive[system])
    assert len(agents) >= 4
    assert agents.most_common(1)[0][1] <= 0.6 * agents.total()
    assert steps.most_common(1)[0][1] <= 0.5 * steps.total()


@pytest.mark.parametrize("system", ALL)
def test_some_mistakes_are_repaired_and_some_harmless(runs: dict[str, list[Run]], system: str) -> None:
    assert share(bool(run.mistakes) for run in runs[system] if not run.failed) >= 0.2
    assert share(len(run.mistakes) > 1 for run in runs[system] if run.failed) >= 0.2


@pytest.mark.parametrize("system", ALL)
def test_no_single_word_gives_a_mistake_away(runs: dict[str, list[Run]], system: str) -> None:
    seen: Counter[str] = Counter()
    wrong: Counter[str] = Counter()
    for run in runs[system]:
        for n, action in enumerate(run.actions):
            tool = action.tool.model_dump_json() if action.tool else ""
            words = set(re.findall(r"\w+", f"{action.content} {tool}".lower()))
            seen.update(words)
            wrong.update(words if n in run.mistakes else ())
    common = [word for word in seen if seen[word] >= LEAST_SUPPORT]
    assert len(common) > 150
    telling = {word: wrong[word] / seen[word] for word in common if wrong[word] > MOST_PRECISION * seen[word]}
    assert telling == {}


@pytest.mark.parametrize("system", ALL)
def test_texts_vary(runs: dict[str, list[Run]], system: str) -> None:
    texts = [re.sub(r"\d+", "#", action.content) for run in runs[system] for action in run.actions]
    assert Counter(texts).most_common(1)[0][1] < 0.02 * len(texts)
    assert len({run.task.text for run in runs[system]}) == len(runs[system])
