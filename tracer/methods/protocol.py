"""How one failed trajectory is asked about: a case in, a guess out, within a budget.

Rules: a method is a coroutine over a case and an `Ask`, and knows no engine; whatever it has found so far it tells by
`ask.so_far`, so that the best answer stands when the budget is spent; a completion that can't be read is no error; a
guess names agents as the trajectory does.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from schemas import Tokens, Trajectory
from schemas.errors import AgentracerError
from tracer.engines.protocol import Completion, Message, Request, Serving
from tracer.prompt.roster import Roster


class SpentError(AgentracerError):
    """The tokens or the time of one trajectory are spent."""


class Scored(NamedTuple):
    """A pair that may be the decisive one, and how much speaks for it; scores of one guess compare."""

    agent: str
    step_index: int
    score: float


class Guess(NamedTuple):
    """What a method found."""

    ranked: tuple[Scored, ...]
    """The likeliest first; empty where no completion could be read."""
    raw: float | None = None
    """How sure, from 0 to 1, before calibration."""
    reason: str | None = None
    """In the model's own words, or None."""
    quotes: tuple[str, ...] = ()
    """What the model quoted; what is not in the step word for word is dropped later."""
    seeds: tuple[int, ...] = ()
    outside: tuple[str, int] | None = None
    """A pair that was named and is not there: agent's short id, or its step out of range."""
    opening: tuple[Message, ...] = ()
    """The messages that it was last asked over: another question about them costs little. Empty: no model's words."""


@dataclass(frozen=True, slots=True)
class Case:
    """One failed trajectory, and how it is to be asked about."""

    trajectory: Trajectory
    roster: Roster
    shows_truth: bool = False
    """Whether the model sees the task's ground truth."""
    seeds: tuple[int, ...] = (0,)
    """Of the votes; one means greedy."""
    is_constrained: bool = True
    """Whether completions are held to a grammar; training rollouts are not."""
    step_tokens: int = 512
    """Where the whole does not fit, a step of a window keeps so many, or all that it has."""
    whole_tokens: int | None = None
    """Steps are shown at once up to so many, though the context may have room for more; None: all the room."""
    window_tokens: int = 768
    """What one step's question has as its context, where each step is asked about by itself."""
    reserved: tuple[str, ...] = ()
    """Texts that the model's tokenizer takes for its own marks; no data may hold them."""


@dataclass(slots=True)
class Budget:
    """What one trajectory may cost."""

    tokens: int
    """Prompt tokens that were computed, and generated ones."""
    seconds: float


@dataclass(slots=True)
class Ask:
    """One trajectory's way to the model, which counts what it costs."""

    serving: Serving
    budget: Budget
    clock: Callable[[], float]
    """Seconds that only ever go up."""
    priority: int = 0
    best: Guess | None = None
    requests: int = 0
    unread: int = 0
    """Completions that could not be read."""
    _started: float = field(init=False)
    _input: int = 0
    _output: int = 0
    _cached: int = 0

    def __post_init__(self) -> None:
        self._started = self.clock()

    @property
    def tokens(self) -> Tokens:
        """What was read and written so far."""
        return Tokens(input=self._input, output=self._output, cached=self._cached)

    def so_far(self, guess: Guess) -> None:
        """Note the best answer up to now."""
        self.best = guess

    def room(self, max_tokens: int) -> int:
        """Return how many tokens a prompt may have beside so many generated ones."""
        return self.serving.context_tokens - max_tokens

    async def __call__(self, request: Request) -> Completion:
        """Answer one request; raises SpentError where the budget is spent, also in its middle."""
        left_s = self.budget.seconds - (self.clock() - self._started)
        if left_s <= 0 or self._input - self._cached + self._output >= self.budget.tokens:
            raise SpentError("the budget of this trajectory is spent")
        self.requests += 1
        try:
            async with asyncio.timeout(left_s):
                done = await self.serving.generate(request._replace(priority=self.priority))
        except TimeoutError:
            raise SpentError("the time of this trajectory is spent") from None
        self._input += done.tokens.input
        self._output += done.tokens.output
        self._cached += done.tokens.cached
        return done


class Method(Protocol):
    """One way of asking."""

    @property
    def name(self) -> str:
        """As the setting has it."""
        ...

    @property
    def prompt_version(self) -> str:
        """A hash of every text that it asks with; another text is another version."""
        ...

    async def find(self, case: Case, ask: Ask) -> Guess:
        """Name the decisive pair of one failed trajectory that has at least one step."""
        ...
