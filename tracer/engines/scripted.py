"""An engine without a model: a function of the request answers, for tests and for trying a method out.

Rules: it keeps the contract of the real ones (leases, versions, context, prefixes, what stopping does), so a method
that runs on it runs on them; a scripted answer that is none of a choice's options is a mistake of the script and
raises, unless the engine plays an endpoint that holds to no shape; grammars are not checked; a token is a word, a mark
or a gap.
"""

import contextlib
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from schemas import Tokens
from schemas.errors import ContextError, EngineError

from .calls import Calls, stopped
from .protocol import Choice, Completion, Finish, Request
from .weights import adapter_id

Said = str | Completion
Script = Callable[[Request], Said | Awaitable[Said]]
BLOCK = 16
"""Prefixes are cached in blocks of so many tokens, as vLLM does it."""
_TOKEN = re.compile(r" ?\w{1,8}|\s+|[^\w\s]")


class Asked(NamedTuple):
    """One request, and the version that answered it."""

    version: str
    request: Request


def tokens_of(text: str) -> list[str]:
    """Split a text so that joining gives it back."""
    return _TOKEN.findall(text)


class ScriptedEngine:
    """Answers by a function, at once or when it is done waiting."""

    def __init__(
        self,
        script: Script,
        *,
        name: str = "scripted",
        context_tokens: int = 8_192,
        reserved: tuple[str, ...] = (),
        is_held: bool = True,
    ) -> None:
        self.name = name
        self.version = name
        self.asked: list[Asked] = []
        """Every request that fitted, in order."""
        self.leases: dict[str, int] = {}
        """How many leases of a version are open."""
        self._script = script
        self._context_tokens = context_tokens
        self._reserved = reserved
        self._is_held = is_held
        self._known: set[int] = set()
        self._calls: Calls | None = None

    async def start(self) -> None:
        """Begin to answer."""
        self._calls = self._calls or Calls(self.name)

    async def stop(self) -> None:
        """End what is under way; nothing is cached afterwards."""
        calls, self._calls = self._calls, None
        self._known.clear()
        if calls is not None:
            await calls.stop()

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator["ScriptedServing"]:
        """Hold the version that serves now."""
        if self._calls is None:
            raise stopped(self.name)
        version = self.version
        self.leases[version] = self.leases.get(version, 0) + 1
        try:
            yield ScriptedServing(self, version, self._context_tokens, self._reserved)
        finally:
            self.leases[version] -= 1

    async def adopt(self, adapter: Path | None) -> str:
        """Serve under another version; an adapter has the files of one, or it is refused."""
        if self._calls is None:
            raise stopped(self.name)
        self.version = self.name if adapter is None else f"{self.name}+{adapter_id(adapter)}"
        return self.version

    async def answer(self, version: str, request: Request) -> Completion:
        """Answer as this version."""
        if self._calls is None:
            raise stopped(self.name)
        prompt = [token for message in request.messages for token in (message.role, *tokens_of(message.content))]
        if len(prompt) + request.max_tokens > self._context_tokens:
            what = f"a prompt of {len(prompt)} tokens and {request.max_tokens} generated ones"
            raise ContextError(f"{what} are more than the {self._context_tokens} of {self.name!r}; shorten the prompt")
        self.asked.append(Asked(version, request))
        said = await self._calls.run(self._said(request))
        if isinstance(said, Completion):
            return said
        self._holds(said, request)
        return _completion(said, request, len(prompt), self._cached(version, prompt))

    async def _said(self, request: Request) -> Said:
        said = self._script(request)
        return await said if inspect.isawaitable(said) else said

    def _holds(self, said: str, request: Request) -> None:
        if self._is_held and isinstance(request.shape, Choice) and said not in request.shape.options:
            raise EngineError(f"the scripted answer {said!r} is none of {request.shape.options}; correct the script")

    def _cached(self, version: str, prompt: list[str]) -> int:
        """Return how many leading tokens were seen before, in whole blocks and never the last token; note the rest."""
        whole, before = [], hash(version)
        for start in range(0, len(prompt) - BLOCK, BLOCK):
            before = hash((before, *prompt[start : start + BLOCK]))
            whole.append(before)
        new = next((at for at, block in enumerate(whole) if block not in self._known), len(whole))
        self._known.update(whole)
        return new * BLOCK


class ScriptedServing:
    """One version of a scripted engine."""

    def __init__(self, engine: ScriptedEngine, version: str, context_tokens: int, reserved: tuple[str, ...]) -> None:
        self.version = version
        self.context_tokens = context_tokens
        self.reserved = reserved
        self._engine = engine

    def count(self, text: str) -> int:
        """Return how many tokens a text has."""
        return len(tokens_of(text))

    async def generate(self, request: Request) -> Completion:
        """Answer one request."""
        return await self._engine.answer(self.version, request)


def _completion(said: str, request: Request, prompt: int, cached: int) -> Completion:
    spoken = tokens_of(said)
    kept = spoken[: request.max_tokens]
    tops = tuple({token: 0.0} for token in kept) if request.logprobs else ()
    finish = Finish.STOP if len(kept) == len(spoken) else Finish.LENGTH
    return Completion("".join(kept), finish, Tokens(input=prompt, output=len(kept), cached=cached), tops)
