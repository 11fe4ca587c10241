"""The tasks of the coding pipeline: what the program should do, and the inputs it is accepted by.

Rules: a recipe is a function of its seed; the inputs hold the limits that the stages name and their neighbours, so
that a boundary taken for another shows.
"""

from dataclasses import dataclass
from random import Random

from .chance import Voice, stream
from .operations import Role
from .sandbox import Inputs
from .stages import Stage, draw, meaning

SCALES = {
    1: ("Give the result as it is.", "Deliver the plain number."),
    10: ("Deliver the result in tenths (times 10).", "The release is to give tenths, that is 10 times the number."),
    100: ("Deliver the result in cents (times 100).", "The release is to give cents, that is 100 times the number."),
    1000: ("Deliver the result in mills (times 1000).", "The release is to give mills, 1000 times the number."),
}
NAMES = ("step_{}", "stage_{}", "part_{}", "do_{}", "phase_{}")
POOL = 14
LEAST_ANSWERS = 6
"""A task whose inputs give fewer different answers tells right from wrong too seldom."""
SAMPLES = 6
"""So many of the inputs are known to the tester; acceptance uses them all."""

LINKS = (("First", "Then", "Next", "After that"), ("1)", "2)", "3)", "4)"), ("To begin,", "then", "then", "then"))
FRAMES = (
    "Write solve(values) for a list of whole numbers. {steps} Of an empty list, the result is 0. {scale}",
    "We need a function solve(values); values is a list of whole numbers. {steps} Nothing left means 0. {scale}",
    "Please build solve(values), which takes whole numbers. {steps} If no value is left, return 0. {scale}",
)


@dataclass(frozen=True)
class Recipe:
    """What is asked for: the stages in order, the scale of the release, and the inputs it is accepted by."""

    stages: tuple[Stage, ...]
    scale: int
    pool: Inputs
    name: str

    def expected(self, index: int) -> int:
        """Return what the program, unscaled, should give for an input of the pool."""
        return meaning(self.stages, self.pool[index])


def recipe(seed: int) -> tuple[Recipe, str]:
    """Return the task of a seed and its text."""
    rng = stream("recipe", seed)
    found = _draw(rng)
    while len({found.expected(index) for index in range(POOL)}) < LEAST_ANSWERS:
        found = _draw(rng)
    return found, _text(found, Voice(rng))


def _draw(rng: Random) -> Recipe:
    stages = _stages(rng)
    return Recipe(stages, rng.choice(tuple(SCALES)), _pool(stages, rng), rng.choice(NAMES))


def _stages(rng: Random) -> tuple[Stage, ...]:
    count = rng.randint(2, 3)
    roles = [rng.choice((Role.FILTER, Role.FILTER, Role.MAP, Role.MAP, Role.ORDER)) for _ in range(count)]
    return (*(draw(role, rng) for role in roles), draw(Role.FOLD, rng))


def _pool(stages: tuple[Stage, ...], rng: Random) -> Inputs:
    edges = [stage.k + off for stage in stages for off in (-1, 0, 1) if stage.k] or [0]
    lists = [
        tuple(rng.choice(edges) if rng.random() < 0.25 else rng.randint(-20, 60) for _ in range(rng.randint(4, 9)))
        for _ in range(POOL - 1)
    ]
    return (*lists, ())


def _text(task: Recipe, voice: Voice) -> str:
    links = voice.one_of(LINKS)
    told = [f"{link} {stage.words(voice.one_of(range(3)))}" for link, stage in zip(links, task.stages, strict=False)]
    steps = "; ".join(told) + "."
    return voice.one_of(FRAMES).format(steps=steps, scale=voice.one_of(SCALES[task.scale]))
