"""The tracer with a model: an engine and a method behind the tracer's protocol.

Rules: one lease for one trajectory, so its verdict is of one set of weights; the budget bounds what it costs, and what
was found when it is spent goes out as `overlong`; what an engine raises is raised; a calibration belongs to one set of
weights, one method and one prompt, and without it there is no confidence.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from schemas import FailureClass, Trajectory, VerdictStatus
from tracer.engines.protocol import Choice, Engine, Request, Serving
from tracer.methods.protocol import Ask, Budget, Case, Guess, Method, SpentError
from tracer.methods.votes import id_named
from tracer.prompt.roster import roster_of
from tracer.prompt.words import CLASSES, asked, classify

from .calibrate import Calibration, load
from .conclude import Asked, Named, class_by_rule, finding_of, named_by, status_of
from .protocol import Finding, abstained

VERSION_CHARACTERS = 256


class ModelOptions(BaseModel):
    """How a model is asked about every trajectory."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    tokens: int = Field(default=200_000, ge=1)
    """What one trajectory may cost: prompt tokens that are computed, and generated ones."""
    seconds: float = Field(default=300.0, gt=0)
    """How long one trajectory may take."""
    seeds: tuple[int, ...] = Field(default=(0,), min_length=1)
    """One is greedy; several vote."""
    shows_truth: bool = False
    """Whether the model sees the task's ground truth."""
    is_constrained: bool = True
    """Whether completions are held to a grammar."""
    step_tokens: int = Field(default=512, ge=1)
    """Where the whole does not fit, a step of a window keeps so many tokens, or all that it has."""
    whole_tokens: int | None = Field(default=None, ge=0)
    """Steps are shown at once up to so many tokens; null: as many as the context has room for."""
    window_tokens: int = Field(default=768, ge=1)
    """The context of one step's question, where each step is asked about by itself."""
    abstain_below: float = Field(default=0.0, ge=0.0, le=1.0)
    """A calibrated confidence under this names nobody."""
    asks_class: bool = True
    """Whether a method that generates is also asked for the kind of failure."""
    priority: int = 0
    """Lower goes first in the engine's queue; short methods may have a lower one than long ones."""

    @property
    def id(self) -> str:
        """A short hash of what may change an answer."""
        text = self.model_dump_json(exclude={"priority"})
        return hashlib.sha256(text.encode()).hexdigest()[:6]


class ModelTracer:
    """Asks a model by one method."""

    def __init__(
        self,
        engine: Engine,
        method: Method,
        options: ModelOptions | None = None,
        calibration: Calibration | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = method.name
        self._engine = engine
        self._method = method
        self._options = options or ModelOptions()
        self._calibrations = {engine.version: calibration}
        self._clock = clock

    @property
    def version(self) -> str:
        """Weights, prompt, options and calibration of the next trace."""
        return self._version(self._engine.version)

    @property
    def base_model(self) -> str:
        """The base model that an adapter has to be made for."""
        return self._engine.name

    async def adopt(self, adapter: Path | None) -> str:
        """Trace the next ones with this adapter and the calibration beside it; raises as the engine does."""
        calibration = load(adapter) if adapter is not None else None
        serving = await self._engine.adopt(adapter)
        self._calibrations[serving] = calibration
        return self._version(serving)

    async def trace(self, trajectory: Trajectory) -> Finding:
        """Name the decisive agent and step."""
        if not trajectory.steps:
            return abstained("the trajectory has no steps")
        async with self._engine.lease() as serving:
            options = self._options
            case = self._case(trajectory, serving)
            ask = Ask(serving, Budget(options.tokens, options.seconds), self._clock, priority=options.priority)
            guess, is_spent = await self._guess(case, ask)
            went = self._asked(serving, ask, guess, is_spent=is_spent)
            failure_class = await self._class(case, ask, guess, went)
            found = finding_of(case, guess, went, failure_class)
            return found.model_copy(
                update={
                    "version": self._version(serving.version),
                    "prompt_version": self._method.prompt_version,
                    "tokens": ask.tokens,
                }
            )

    async def _guess(self, case: Case, ask: Ask) -> tuple[Guess, bool]:
        """Return the guess, and whether the budget was spent before the method was done."""
        try:
            return await self._method.find(case, ask), False
        except SpentError:
            return ask.best or Guess((), seeds=case.seeds), True

    def _case(self, trajectory: Trajectory, serving: Serving) -> Case:
        options = self._options
        return Case(
            trajectory,
            roster_of(trajectory.steps),
            shows_truth=options.shows_truth,
            seeds=options.seeds,
            is_constrained=options.is_constrained,
            step_tokens=options.step_tokens,
            whole_tokens=options.whole_tokens,
            window_tokens=options.window_tokens,
            reserved=serving.reserved,
        )

    def _asked(self, serving: Serving, ask: Ask, guess: Guess, *, is_spent: bool) -> Asked:
        calibration = self._calibration(serving.version)
        confidence = None
        if calibration is not None and guess.raw is not None and not is_spent:
            confidence = calibration.apply(guess.raw)
        return Asked(
            method=self._method.name,
            is_spent=is_spent,
            is_unread=0 < ask.requests == ask.unread,
            confidence=confidence,
            abstain_below=self._options.abstain_below,
        )

    async def _class(self, case: Case, ask: Ask, guess: Guess, went: Asked) -> FailureClass:
        """Ask over the messages that the method asked last, which the engine has computed already."""
        named = named_by(guess, case)
        if named is None or status_of(guess, went) is not VerdictStatus.ATTRIBUTED:
            return FailureClass.UNKNOWN
        if not guess.opening or not self._options.asks_class:
            return class_by_rule(case.trajectory, named.step_index)
        try:
            return _class_read((await ask(_class_request(case, guess, named))).text)
        except SpentError:
            return FailureClass.UNKNOWN

    def _calibration(self, serving_version: str) -> Calibration | None:
        calibration = self._calibrations.get(serving_version)
        is_ours = calibration is not None and calibration.fits(self._method.name, self._method.prompt_version)
        return calibration if is_ours else None

    def _version(self, serving_version: str) -> str:
        calibration = self._calibration(serving_version)
        parts = [self._method.prompt_version, self._options.id, *([calibration.id] if calibration else [])]
        tail = f"+{'-'.join(parts)}"
        if len(serving_version) + len(tail) > VERSION_CHARACTERS:
            serving_version = hashlib.sha256(serving_version.encode()).hexdigest()
        return serving_version + tail


def _class_request(case: Case, guess: Guess, named: Named) -> Request:
    messages = asked(guess.opening, classify(named.step_index, id_named(case, named.agent)))
    shape = Choice(tuple(CLASSES)) if case.is_constrained else None
    return Request(messages, max_tokens=1, shape=shape, seed=case.seeds[0])


def _class_read(text: str) -> FailureClass:
    found = CLASSES.get(text.strip().rstrip(".:)").upper())
    return found[0] if found else FailureClass.UNKNOWN
