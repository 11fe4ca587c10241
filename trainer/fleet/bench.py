"""The bench of the coding pipeline: plan, draft, tests and revisions, and what is to be done next."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from .recipe import Recipe
from .sandbox import Output, run
from .stages import Stage


class Phase(StrEnum):
    """What is to be done next."""

    PLAN = "plan"
    CODE = "code"
    ASSEMBLE = "assemble"
    TESTS = "tests"
    RUN = "run"
    JUDGE = "judge"
    FIX = "fix"
    REVIEW = "review"
    PUBLISH = "publish"
    RELEASE = "release"
    DONE = "done"


@dataclass(frozen=True)
class Part:
    """One function of a draft; its number is part of its name, wherever it is called."""

    number: int
    stage: Stage
    coding: int = 0


@dataclass(frozen=True)
class Case:
    """One test: an input of the pool, and what the tester expects of it."""

    index: int
    expected: int


@dataclass(frozen=True)
class Bench:
    """All that the pipeline has in hand; `flags` is None unless the reviewer sent the draft back."""

    recipe: Recipe
    phase: Phase = Phase.PLAN
    plan: tuple[Stage, ...] = ()
    draft: tuple[Part, ...] = ()
    revisions: tuple[tuple[Part, ...], ...] = ()
    cases: tuple[Case, ...] = ()
    flags: tuple[int, ...] | None = None
    rounds: int = 0
    reviewed: bool = False
    revision: int = -1
    scale: int = 1

    def outputs(self, parts: tuple[Part, ...]) -> tuple[Output, ...]:
        """Run a draft on every input of the pool; starting a process is what costs, so all at once."""
        return run(source(self.recipe.name, parts), "solve", self.recipe.pool)

    def results(self) -> Iterator[tuple[Case, Output]]:
        """Return what the draft gives for each test."""
        outputs = self.outputs(self.draft)
        return ((case, outputs[case.index]) for case in self.cases)

    def released(self) -> tuple[Output, ...]:
        """Run the released revision."""
        return self.outputs(self.revisions[self.revision])


def function(name: str, part: Part) -> str:
    """Return the code of one part."""
    return f"def {name.format(part.number)}(values):\n    {part.stage.code(part.coding)}\n"


def solve(name: str, parts: Iterable[Part]) -> str:
    """Return the function that calls the parts in order."""
    calls = "".join(f"    values = {name.format(part.number)}(values)\n" for part in parts)
    return f"def solve(values):\n{calls}    return values\n"


def source(name: str, parts: tuple[Part, ...]) -> str:
    """Return the whole program."""
    return "\n".join([*(function(name, part) for part in parts), solve(name, parts)])
