"""A small server that speaks OpenAI's chat protocol over a real socket, and fails as endpoints do.

A scripted engine answers; `faults` are used up one a request, the first first; vLLM's commands for adapters are there.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Any

from aiohttp import web

from schemas.errors import ContextError
from tracer.engines.protocol import Choice, Completion, Message, Request
from tracer.engines.scripted import ScriptedEngine


class Fault(StrEnum):
    """How a request goes wrong."""

    BUSY = "429"
    BUSY_FOR_LONG = "429 with an hour to wait"
    OUT_OF_MONEY = "429 insufficient_quota"
    BROKEN = "500"
    HALF_A_BODY = "half a body"
    HANG = "hang"
    NOT_JSON = "not JSON"
    OTHER_JSON = "JSON of another kind"
    NO_CHOICES = "no choices"
    FORBIDDEN = "401"
    FILTERED = "content_filter"
    NO_USAGE = "no usage"


class Endpoint:
    """One server; what it was sent is in `bodies`, with `models` it tells what it has."""

    def __init__(self, engine: ScriptedEngine, models: list[dict[str, Any]]) -> None:
        self.engine = engine
        self.models = models
        self.faults: list[Fault] = []
        self.bodies: list[dict[str, Any]] = []
        self.at_s: list[float] = []
        self.keys: list[str | None] = []
        self.loaded: dict[str, str] = {}
        self.refuses_adapters = False
        self.url = ""

    async def chat(self, http: web.Request) -> web.StreamResponse:
        body = await http.json()
        self.bodies.append(body)
        self.keys.append(http.headers.get("Authorization"))
        self.at_s.append(asyncio.get_running_loop().time())
        fault = self.faults.pop(0) if self.faults else None
        if fault is not None and (failed := await self._failed(http, fault)) is not None:
            return failed
        try:
            async with self.engine.lease() as serving:
                done = await serving.generate(_request(body))
        except ContextError:
            return _refused(400, "context_length_exceeded")
        answer = _answer(body["model"], done)
        if fault is Fault.FILTERED:
            answer["choices"][0]["finish_reason"] = "content_filter"
        if fault is Fault.NO_USAGE:
            del answer["usage"]
        return web.json_response(answer)

    async def _failed(self, http: web.Request, fault: Fault) -> web.StreamResponse | None:
        if fault is Fault.HANG:
            await asyncio.sleep(30)
        if fault is Fault.HALF_A_BODY:
            return await _half(http)
        return {
            Fault.BUSY: _refused(429, "rate_limit_exceeded", {"Retry-After": "0.3"}),
            Fault.BUSY_FOR_LONG: _refused(429, "rate_limit_exceeded", {"Retry-After": "3600"}),
            Fault.OUT_OF_MONEY: _refused(429, "insufficient_quota"),
            Fault.BROKEN: _refused(500, "server_error"),
            Fault.NOT_JSON: web.Response(text='{"choices": [', content_type="application/json"),
            Fault.OTHER_JSON: web.json_response([1, 2, 3]),
            Fault.NO_CHOICES: web.json_response({"id": "1", "choices": []}),
            Fault.FORBIDDEN: _refused(401, "invalid_api_key"),
        }.get(fault)

    async def list(self, _: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": self.models})

    async def load(self, http: web.Request) -> web.Response:
        body = await http.json()
        if self.refuses_adapters:
            return _refused(400, "no such folder")
        self.loaded[body["lora_name"]] = body["lora_path"]
        return web.Response(text="loaded")

    async def unload(self, http: web.Request) -> web.Response:
        del self.loaded[(await http.json())["lora_name"]]
        return web.Response(text="unloaded")


@asynccontextmanager
async def listening(endpoint: Endpoint) -> AsyncIterator[Endpoint]:
    """Serve on a port of its own until the block ends."""
    app = web.Application(client_max_size=100_000_000)
    app.router.add_post("/v1/chat/completions", endpoint.chat)
    app.router.add_get("/v1/models", endpoint.list)
    app.router.add_post("/v1/load_lora_adapter", endpoint.load)
    app.router.add_post("/v1/unload_lora_adapter", endpoint.unload)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    endpoint.url = f"http://127.0.0.1:{port}/v1"
    await endpoint.engine.start()
    try:
        yield endpoint
    finally:
        await endpoint.engine.stop()
        await runner.cleanup()


async def _half(http: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "application/json", "Content-Length": "1000"})
    await response.prepare(http)
    await response.write(b'{"id": "1", "choi')
    assert http.transport is not None
    http.transport.close()
    return response


def _refused(status: int, code: str, headers: dict[str, str] | None = None) -> web.Response:
    error = {"message": "it said: the prompt was SECRET-PROMPT", "type": "error", "code": code}
    return web.json_response({"error": error}, status=status, headers=headers)


def _request(body: dict[str, Any]) -> Request:
    held = body.get("structured_outputs", {}).get("choice")
    return Request(
        messages=tuple(Message(**message) for message in body["messages"]),
        max_tokens=body["max_tokens"],
        shape=Choice(tuple(held)) if held else None,
        temperature=body["temperature"],
        seed=body["seed"],
        logprobs=body.get("top_logprobs", 0),
    )


def _answer(model: str, done: Completion) -> dict[str, Any]:
    message = {"role": "assistant", "content": done.text}
    content = [_token(candidates) for candidates in done.tops]
    choice = {"index": 0, "message": message, "finish_reason": done.finish.value}
    usage = {
        "prompt_tokens": done.tokens.input,
        "completion_tokens": done.tokens.output,
        "total_tokens": done.tokens.input + done.tokens.output,
        "prompt_tokens_details": {"cached_tokens": done.tokens.cached},
    }
    choice["logprobs"] = {"content": content} if content else None
    answer = {"id": "1", "object": "chat.completion", "created": 1, "model": model, "choices": [choice], "usage": usage}
    return dict(json.loads(json.dumps(answer)))


def _token(candidates: dict[str, float]) -> dict[str, Any]:
    tops = [{"token": token, "logprob": value, "bytes": None} for token, value in candidates.items()]
    return tops[0] | {"top_logprobs": tops}
