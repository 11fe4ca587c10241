"""What stands between a method and a model: one request in, one completion out; three engines behind it.

    vllm.py       vLLM in this process, on a GPU or a CPU
    openai.py     any endpoint that speaks OpenAI's protocol
    scripted.py   a function of the request, for tests and for trying a method out

Rules: a method leases the engine for one trajectory, so all of its requests see the same weights while a promotion
changes them for the next; requests of many leases go on at once and the engine makes batches of them; cancelling a
request frees what it held; what goes wrong is an EngineError, and the engine goes on or says that it is dead.
"""

from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from schemas import Tokens


class Message(NamedTuple):
    """One turn of the chat that a model is shown."""

    role: Literal["system", "user", "assistant"]
    content: str


class Choice(NamedTuple):
    """The completion is one of these texts."""

    options: tuple[str, ...]


class Grammar(NamedTuple):
    """The completion is a sentence of this grammar, in the EBNF that xgrammar and llama.cpp share."""

    ebnf: str


Shape = Choice | Grammar


class Request(NamedTuple):
    """One question; the same messages up to a point are computed once by an engine that caches prefixes."""

    messages: tuple[Message, ...]
    max_tokens: int
    shape: Shape | None = None
    """What the completion is held to; an endpoint that can't is asked without."""
    temperature: float = 0.0
    seed: int = 0
    logprobs: int = 0
    """For so many of the likeliest candidates of every generated token the log-probability is wanted; at most 20."""
    priority: int = 0
    """Lower goes first where requests wait for each other."""


class Finish(StrEnum):
    """Why a completion ended."""

    STOP = "stop"
    """The model said so, or its shape was complete."""
    LENGTH = "length"
    """`max_tokens` were generated."""


class Completion(NamedTuple):
    """What came back."""

    text: str
    finish: Finish
    tokens: Tokens
    """`cached` counts prompt tokens that were not computed again."""
    tops: tuple[dict[str, float], ...] = ()
    """For each generated token its likeliest candidates, text to log-probability (natural). A shape may leave out what
    it forbids, and share out what that had; how many times likelier one candidate is than another stays."""


class Serving(Protocol):
    """One set of weights, for as long as it is leased."""

    @property
    def version(self) -> str:
        """Name of base model and adapter; the same weights have the same."""
        ...

    @property
    def context_tokens(self) -> int:
        """Prompt and completion together may have so many."""
        ...

    @property
    def reserved(self) -> tuple[str, ...]:
        """Texts that this model's tokenizer takes for its own marks; data must not hold them."""
        ...

    def count(self, text: str) -> int:
        """Return how many tokens a text has; an endpoint's is an estimate from above."""
        ...

    async def generate(self, request: Request) -> Completion:
        """Answer one request; raises ContextError where it does not fit, EngineError where anything else fails."""
        ...


class Engine(Protocol):
    """Starts, serves, changes its adapter, stops."""

    @property
    def name(self) -> str:
        """The base model's name."""
        ...

    @property
    def version(self) -> str:
        """What the next lease would serve."""
        ...

    async def start(self) -> None:
        """Load the model; raises EngineError in one sentence that says what to do."""
        ...

    async def stop(self) -> None:
        """Let everything go, whatever is under way."""
        ...

    def lease(self) -> AbstractAsyncContextManager[Serving]:
        """Hold the weights that serve now until the block ends."""
        ...

    async def adopt(self, adapter: Path | None) -> str:
        """Serve the next leases with this adapter, or with the base model alone; return the new version.

        Raises AdapterError where it does not fit the base model; what served before goes on.
        """
        ...
