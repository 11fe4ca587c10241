"""The rows with a model: every method over one engine, in every way that is asked for.

Rules: the engine runs while the rows are filled and not longer; a row's name says how it was asked: `+G` with the
task's ground truth, `free` without a grammar, which a method that only reads a token's odds never has; what may change
an answer is in the tracer's version, so that no row takes over the answers of another.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Literal, NamedTuple, Protocol

from tracer.calibrate import Calibration
from tracer.engines.protocol import Engine
from tracer.methods.step_scores import StepScores
from tracer.methods.table import METHODS, by_name
from tracer.model import ModelOptions, ModelTracer

from .run import Entry

Truth = Literal["hidden", "shown", "both"]
Answers = Literal["constrained", "free", "both"]


class Variants(NamedTuple):
    """In which ways every method is asked."""

    truth: Truth = "hidden"
    answers: Answers = "constrained"
    seeds: int = 1
    """One is greedy; several vote."""


class Models(Protocol):
    """Where tracers with a model come from."""

    @property
    def names(self) -> Sequence[str]:
        """The methods there are."""
        ...

    def entries(self, names: Sequence[str], variants: Variants) -> AbstractAsyncContextManager[list[Entry]]:
        """Have them ready while the block lasts."""
        ...


class EngineModels:
    """The methods over one engine."""

    names: Sequence[str] = tuple(METHODS)

    def __init__(
        self, engine: Engine, options: ModelOptions | None = None, calibration: Calibration | None = None
    ) -> None:
        self._engine = engine
        self._options = options or ModelOptions()
        self._calibration = calibration

    @asynccontextmanager
    async def entries(self, names: Sequence[str], variants: Variants) -> AsyncIterator[list[Entry]]:
        """Start the engine, and stop it at the end."""
        await self._engine.start()
        try:
            yield [self._entry(name, options) for name in names for options in _ways(name, self._options, variants)]
        finally:
            await self._engine.stop()

    def _entry(self, name: str, options: ModelOptions) -> Entry:
        marks = [" +G"] * options.shows_truth + [" free"] * (not options.is_constrained)
        return Entry(
            name="".join([name, *marks]),
            tracer=ModelTracer(self._engine, by_name(name), options, self._calibration),
            shows_truth=options.shows_truth,
            options={
                "answers": "constrained" if options.is_constrained else "free",
                "seeds": str(len(options.seeds)),
            },
            kind="model",
        )


def _ways(name: str, options: ModelOptions, variants: Variants) -> list[ModelOptions]:
    truths = {"hidden": (False,), "shown": (True,), "both": (False, True)}[variants.truth]
    shapes = {"constrained": (True,), "free": (False,), "both": (True, False)}[variants.answers]
    if name == StepScores.name:
        shapes = (True,)
    seeds = tuple(range(variants.seeds)) if variants.seeds > 1 else options.seeds
    return [
        options.model_copy(update={"shows_truth": truth, "is_constrained": shape, "seeds": seeds})
        for truth in truths
        for shape in shapes
    ]
