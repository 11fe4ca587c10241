"""Any endpoint that speaks OpenAI's chat protocol: a `vllm serve` elsewhere, or a provider.

Rules: the key comes from the environment and is in no message; an answer that can't be read, a 408, 409, 429 or 5xx,
a broken connection and a hang are tried again, after as long as the endpoint asks or twice as long each time; what a
failed attempt may have cost counts as spent, and no request starts that could pass the cost limit; tokens are
estimated from above before, and counted by the endpoint after.
"""

import asyncio
import contextlib
import logging
import os
import random
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from schemas.errors import AdapterError, EngineError

from .calls import Calls, stopped
from .limits import Pace, Purse, Turnstile, backoff_s
from .openai_wire import (
    TURN_TOKENS,
    AgainError,
    OpenAISettings,
    body_of,
    completion,
    estimate,
    forbidden,
    refusal,
    too_long,
)
from .protocol import Completion, Request
from .weights import adapter_id

log = logging.getLogger(__name__)
MARKS = (
    "<|im_start|>",
    "<|im_end|>",
    "<|endoftext|>",
    "<|eot_id|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "</s>",
)
"""Marks of widespread tokenizers; an endpoint does not say which are its own."""


class OpenAIEngine:
    """A client with retries, paces and a purse."""

    def __init__(self, settings: OpenAISettings, *, rng: random.Random | None = None) -> None:
        self.name = settings.model
        self.version = settings.model
        self._settings = settings
        self._rng = rng or random.Random()  # noqa: S311  jitter, no secret
        self._requests = Pace(settings.requests_a_minute)
        self._tokens = Pace(settings.tokens_a_minute)
        self._turns = Turnstile(settings.concurrency)
        self._leases: dict[str, int] = {}
        self._client: Any = None
        self._calls: Calls | None = None
        self.purse = Purse(settings.input_price, settings.output_price, settings.cost_limit)

    async def start(self) -> None:
        """Ask the endpoint for its models; one that does not tell is taken at its word."""
        if self._client is not None:
            return
        client = _client(self._settings)
        try:
            _serves(self._settings, await _models(client, self._settings))
        except BaseException:
            await client.close()
            raise
        self._client, self._calls = client, Calls(self.name)

    async def stop(self) -> None:
        """Close the connections; what is under way fails."""
        client, calls = self._client, self._calls
        self._client = self._calls = None
        if client is not None and calls is not None:
            await calls.stop()
            await client.close()

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator["OpenAIServing"]:
        """Hold the model name that serves now."""
        if self._client is None:
            raise stopped(self.name)
        model = self.version
        self._leases[model] = self._leases.get(model, 0) + 1
        try:
            yield OpenAIServing(self, model, self._settings.context_tokens)
        finally:
            self._leases[model] -= 1
            await self._release(model)

    async def adopt(self, adapter: Path | None) -> str:
        """Ask the endpoint to load an adapter under a name of its own, where the settings allow it."""
        if self._client is None:
            raise stopped(self.name)
        old, new = self.version, self.name
        if adapter is not None:
            new = f"{self.name}+{await asyncio.to_thread(adapter_id, adapter)}"
            if new != old:
                await self._load(adapter, new)
        self.version = new
        await self._release(old)
        return new

    async def _load(self, adapter: Path, name: str) -> None:
        if not self._settings.loads_adapters:
            what = f"the endpoint of {self.name!r} loads no adapters"
            fix = (
                "serve it there under a name of its own and set the model to that, or set loads_adapters for vllm serve"
            )
            raise AdapterError(f"{what}; {fix}")
        if name in await _models(self._client, self._settings):
            return  # by a worker before this one; the name holds the adapter's own content
        asked = {"lora_name": name, "lora_path": str(adapter)}
        status = await self._told("load_lora_adapter", asked)
        if status != 200:
            what = f"the endpoint of {self.name!r} refuses adapter {str(adapter)!r} ({status})"
            raise AdapterError(f"{what}; see its log, and whether the folder is there under this path")

    async def _release(self, model: str) -> None:
        """Unload an adapter that nobody leases and that no longer serves; the endpoint may have done so itself."""
        if model not in (self.version, self.name) and not self._leases.get(model) and self._settings.loads_adapters:
            await self._told("unload_lora_adapter", {"lora_name": model})

    async def _told(self, command: str, body: Mapping[str, str]) -> int | str:
        """Return the status that a command of vLLM's server was answered with."""
        import openai  # noqa: PLC0415  heavy

        try:
            async with asyncio.timeout(self._settings.timeout_s):
                await self._client.post(f"/{command}", body=dict(body), cast_to=str)
        except openai.APIStatusError as error:
            return int(error.status_code)
        except (openai.OpenAIError, TimeoutError) as error:
            return type(error).__name__
        return 200

    async def answer(self, model: str, request: Request) -> Completion:
        """Answer as this model; raises EngineError when the attempts or the money are spent."""
        tokens = sum(estimate(message.content) + TURN_TOKENS for message in request.messages)
        if tokens + request.max_tokens > self._settings.context_tokens:
            raise too_long(self._settings, f"a prompt of about {tokens} tokens and {request.max_tokens} generated ones")
        if self._calls is None:
            raise stopped(self.name)
        return await self._calls.run(self._answer(model, request, tokens))

    async def _answer(self, model: str, request: Request, tokens: int) -> Completion:
        async with self._turns.passed(request.priority):
            why = ""
            for attempt in range(self._settings.attempts):
                try:
                    return await self._attempt(model, request, tokens)
                except AgainError as failed:
                    why = str(failed)
                    log.warning("endpoint failed", extra={"model": model, "attempt": attempt + 1, "why": why})
                    if attempt + 1 < self._settings.attempts:
                        await asyncio.sleep(self._wait_s(attempt, failed))
        what = f"the endpoint of {self.name!r} failed {self._settings.attempts} times, the last time with {why}"
        raise EngineError(f"{what}; see whether it is up, or raise attempts")

    def _wait_s(self, attempt: int, failed: AgainError) -> float:
        if failed.wait_s is None:
            return backoff_s(attempt, self._settings.backoff_s, self._settings.longest_wait_s, self._rng.random())
        if failed.wait_s > self._settings.longest_wait_s:
            what = f"the endpoint of {self.name!r} asks to wait {failed.wait_s:.0f} s after {failed}"
            raise EngineError(f"{what}; raise longest_wait_s, or lower requests_a_minute and tokens_a_minute")
        return failed.wait_s

    async def _attempt(self, model: str, request: Request, tokens: int) -> Completion:
        most = cost = self.purse.cost(tokens, request.max_tokens)
        self.purse.hold(most)
        try:
            await self._paced(tokens + request.max_tokens)
            done = await self._sent(model, request, tokens)
            cost = self.purse.cost(done.tokens.input, done.tokens.output)
        except AgainError as failed:
            cost = most if failed.is_charged else 0.0
            raise
        finally:
            self.purse.pay(most, cost)
        return done

    async def _paced(self, tokens: int) -> None:
        now = asyncio.get_running_loop().time()
        wait_s = max(self._requests.wait_s(now, 1), self._tokens.wait_s(now, tokens))
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _sent(self, model: str, request: Request, tokens: int) -> Completion:
        import openai  # noqa: PLC0415  heavy

        try:
            async with asyncio.timeout(self._settings.timeout_s):
                answer = await self._client.chat.completions.create(**body_of(self._settings, model, request))
        except (TimeoutError, openai.APITimeoutError):
            raise AgainError(f"no answer within {self._settings.timeout_s:g} s", is_charged=True) from None
        except openai.APIStatusError as error:
            raise refusal(self._settings, error) from None
        except (openai.OpenAIError, ValueError, OSError) as error:
            raise AgainError(f"{type(error).__name__} on the connection", is_charged=True) from None
        return completion(answer, tokens)


class OpenAIServing:
    """One model name at the endpoint."""

    reserved = MARKS

    def __init__(self, engine: OpenAIEngine, version: str, context_tokens: int) -> None:
        self.version = version
        self.context_tokens = context_tokens
        self._engine = engine

    def count(self, text: str) -> int:
        """Return an estimate from above."""
        return estimate(text)

    async def generate(self, request: Request) -> Completion:
        """Answer one request."""
        return await self._engine.answer(self.version, request)


def _client(settings: OpenAISettings) -> Any:
    try:
        from openai import AsyncOpenAI  # noqa: PLC0415  heavy
    except ImportError:
        raise EngineError("the package openai is not installed; install agentracer[model]") from None
    key = os.environ.get(settings.key_variable) or "none"
    return AsyncOpenAI(base_url=settings.base_url, api_key=key, max_retries=0, timeout=settings.timeout_s)


async def _models(client: Any, settings: OpenAISettings) -> dict[str, int | None]:
    """Return the models that the endpoint names, with their context where it tells; none where it does not say."""
    import openai  # noqa: PLC0415  heavy

    try:
        async with asyncio.timeout(settings.timeout_s):
            page = await client.models.list()
        return {str(model.id): getattr(model, "max_model_len", None) for model in page.data or ()}
    except openai.APIStatusError as error:
        if error.status_code in (401, 403):
            raise forbidden(settings) from None
        return {}
    except (openai.APIConnectionError, TimeoutError):
        raise EngineError(f"no endpoint at {settings.base_url!r}; start it there or correct base_url") from None
    except (openai.OpenAIError, ValueError, AttributeError, TypeError):
        return {}


def _serves(settings: OpenAISettings, models: Mapping[str, int | None]) -> None:
    if models and settings.model not in models:
        some = ", ".join(sorted(models)[:5])
        raise EngineError(f"the endpoint {settings.base_url!r} has no model {settings.model!r}; it has {some}")
    most = models.get(settings.model)
    if isinstance(most, int) and settings.context_tokens > most:
        what = f"model {settings.model!r} at {settings.base_url!r} reads at most {most} tokens"
        raise EngineError(f"{what}, not {settings.context_tokens}; lower context_tokens")
