"""The client of OpenAI's protocol: the contract over a real socket, and what it does when an endpoint fails."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from schemas.errors import AdapterError, EngineError
from tests.tracer.engines.adapters import looks_like_one
from tests.tracer.engines.contract import *  # noqa: F403  the suite
from tests.tracer.engines.contract import COLOURS, Bench, answered, ask
from tests.tracer.engines.endpoint import Endpoint, Fault, listening
from tests.tracer.engines.script import script
from tracer.engines.openai import OpenAIEngine
from tracer.engines.openai_wire import OpenAISettings, estimate
from tracer.engines.protocol import Choice, Grammar
from tracer.engines.scripted import ScriptedEngine

MODEL = "small-model"


@pytest.fixture
async def endpoint() -> AsyncIterator[Endpoint]:
    models = [{"id": MODEL, "object": "model", "created": 1, "owned_by": "us", "max_model_len": 4_096}]
    async with listening(Endpoint(ScriptedEngine(script, context_tokens=8_192), models)) as endpoint:
        yield endpoint


@pytest.fixture
async def bench(endpoint: Endpoint, tmp_path: Path) -> AsyncIterator[Bench]:
    engine = client(endpoint, loads_adapters=True)
    await engine.start()
    yield Bench(engine, looks_like_one(tmp_path / "adapter"))
    await engine.stop()


def client(endpoint: Endpoint, **fields: Any) -> OpenAIEngine:
    quick: dict[str, Any] = {"backoff_s": 0.02, "timeout_s": 2.0, "attempts": 3, "structured": "vllm"}
    settings: dict[str, Any] = {"base_url": endpoint.url, "model": MODEL, "context_tokens": 4_096}
    return OpenAIEngine(OpenAISettings(**quick | settings | fields), rng=random.Random(1))


async def started(endpoint: Endpoint, **fields: Any) -> OpenAIEngine:
    engine = client(endpoint, **fields)
    await engine.start()
    return engine


@pytest.mark.parametrize(
    "fault",
    [Fault.BUSY, Fault.BROKEN, Fault.HALF_A_BODY, Fault.NOT_JSON, Fault.OTHER_JSON, Fault.NO_CHOICES],
)
async def test_a_request_that_fails_is_tried_again(endpoint: Endpoint, fault: Fault) -> None:
    engine = await started(endpoint)
    endpoint.faults = [fault, fault]
    assert (await answered(engine, ask("hello"))).text
    assert len(endpoint.bodies) == 3
    await engine.stop()


@pytest.mark.parametrize("fault", [Fault.BROKEN, Fault.HALF_A_BODY, Fault.NOT_JSON])
async def test_an_endpoint_that_goes_on_failing_is_one_error(endpoint: Endpoint, fault: Fault) -> None:
    engine = await started(endpoint)
    endpoint.faults = [fault] * 5
    with pytest.raises(EngineError, match=r"'small-model' failed 3 times, the last time with .*; see whether it is up"):
        await answered(engine, ask("hello"))
    assert len(endpoint.bodies) == 3
    endpoint.faults = []
    assert (await answered(engine, ask("hello"))).text
    await engine.stop()


async def test_a_hanging_endpoint_is_left_after_the_timeout_and_asked_again(endpoint: Endpoint) -> None:
    engine = await started(endpoint, timeout_s=0.3)
    endpoint.faults = [Fault.HANG]
    assert (await answered(engine, ask("hello"))).text
    assert 0.3 <= endpoint.at_s[1] - endpoint.at_s[0] < 2.0
    await engine.stop()


async def test_an_endpoint_is_asked_again_when_it_says(endpoint: Endpoint) -> None:
    engine = await started(endpoint)
    endpoint.faults = [Fault.BUSY]
    await answered(engine, ask("hello"))
    assert 0.28 <= endpoint.at_s[1] - endpoint.at_s[0] < 1.5
    await engine.stop()


async def test_an_endpoint_that_wants_to_be_left_for_an_hour_is(endpoint: Endpoint) -> None:
    engine = await started(endpoint)
    endpoint.faults = [Fault.BUSY_FOR_LONG]
    with pytest.raises(EngineError, match="asks to wait 3600 s after status 429; raise longest_wait_s"):
        await answered(engine, ask("hello"))
    assert len(endpoint.bodies) == 1
    await engine.stop()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (Fault.OUT_OF_MONEY, "refuses a request .429 insufficient_quota."),
        (Fault.FORBIDDEN, "accepts no key, or not the one in .OPENAI_API_KEY"),
        (Fault.FILTERED, "ended with 'content_filter'"),
    ],
)
async def test_what_trying_again_does_not_help_is_not_tried_again(endpoint: Endpoint, fault: Fault, says: str) -> None:
    engine = await started(endpoint)
    endpoint.faults = [fault]
    with pytest.raises(EngineError, match=says) as raised:
        await answered(engine, ask("hello"))
    assert "SECRET-PROMPT" not in str(raised.value)
    assert len(endpoint.bodies) == 1
    await engine.stop()


async def test_the_key_is_read_from_the_environment_and_is_in_no_error(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TRACER_KEY", "key-12345")
    engine = await started(endpoint, key_variable="TRACER_KEY")
    endpoint.faults = [Fault.BROKEN] * 3
    with caplog.at_level("DEBUG"), pytest.raises(EngineError) as raised:
        await answered(engine, ask("hello"))
    assert set(endpoint.keys) == {"Bearer key-12345"}
    assert "key-12345" not in str(raised.value) + caplog.text + repr(engine._settings)
    await engine.stop()


async def test_shapes_go_to_vllm_and_to_nobody_else(endpoint: Endpoint) -> None:
    vllm, plain = await started(endpoint), await started(endpoint, structured="none")
    grammar = Grammar('root ::= "yes"')
    await answered(vllm, ask("choose:", shape=Choice(COLOURS)))
    await answered(vllm, ask("hello", shape=grammar))
    await answered(plain, ask("hello", shape=grammar))
    held = [body.get("structured_outputs") for body in endpoint.bodies]
    assert held == [{"choice": list(COLOURS)}, {"grammar": grammar.ebnf}, None]
    for engine in (vllm, plain):
        await engine.stop()


async def test_priorities_are_sent_where_the_endpoint_has_them(endpoint: Endpoint) -> None:
    vllm, plain = await started(endpoint, has_priority=True), await started(endpoint)
    for engine in (vllm, plain):
        await answered(engine, ask("hello", priority=-7))
        await engine.stop()
    assert [body.get("priority") for body in endpoint.bodies] == [-7, None]


async def test_where_requests_wait_for_each_other_the_lowest_priority_goes_first(endpoint: Endpoint) -> None:
    engine = await started(endpoint, concurrency=1)
    async with engine.lease() as serving:
        asked = [asyncio.create_task(serving.generate(ask("first")))]
        await asyncio.sleep(0)
        asked += [asyncio.create_task(serving.generate(ask(str(number), priority=number))) for number in (5, 1, 3)]
        await asyncio.gather(*asked)
    assert [body["messages"][-1]["content"] for body in endpoint.bodies] == ["first", "1", "3", "5"]
    await engine.stop()


async def test_a_waiting_request_that_is_cancelled_takes_no_place(endpoint: Endpoint) -> None:
    engine = await started(endpoint, concurrency=1)
    async with engine.lease() as serving:
        first, gone, last = [asyncio.create_task(serving.generate(ask(name))) for name in ("first", "gone", "last")]
        for _ in range(3):
            await asyncio.sleep(0)  # so that one has the place and two wait, and no answer has come yet
        gone.cancel()
        assert (await first).text == (await last).text
    assert [body["messages"][-1]["content"] for body in endpoint.bodies] == ["first", "last"]
    await engine.stop()


async def test_requests_are_spread_over_the_minute(endpoint: Endpoint) -> None:
    engine = await started(endpoint, requests_a_minute=600)
    async with engine.lease() as serving:
        await asyncio.gather(*(serving.generate(ask("hello")) for _ in range(6)))
    assert endpoint.at_s[-1] - endpoint.at_s[0] >= 0.48
    await engine.stop()


async def test_no_request_starts_that_could_pass_the_cost_limit(endpoint: Endpoint) -> None:
    engine = await started(endpoint, input_price=10.0, output_price=20.0, cost_limit=0.012)
    done = await answered(engine, ask("hello"))
    paid = (done.tokens.input * 10 + done.tokens.output * 20) / 1_000_000
    assert engine.purse.spent == pytest.approx(paid)
    async with engine.lease() as serving:
        ends = await asyncio.gather(*(serving.generate(ask("hello")) for _ in range(20)), return_exceptions=True)
    refused = [str(end) for end in ends if isinstance(end, EngineError)]
    assert 0 < len(refused) < 20
    assert all("the cost limit of the endpoint is reached" in one for one in refused)
    assert engine.purse.spent <= 0.012
    assert engine.purse.held == pytest.approx(0.0)
    assert len(endpoint.bodies) == round(engine.purse.spent / paid)
    await engine.stop()


async def test_attempts_of_unknown_end_count_as_paid_and_refused_ones_do_not(endpoint: Endpoint) -> None:
    refused, unknown = await started(endpoint, input_price=1.0), await started(endpoint, input_price=1.0)
    endpoint.faults = [Fault.BUSY]
    once = await answered(refused, ask("hello"))
    endpoint.faults = [Fault.HALF_A_BODY]
    await answered(unknown, ask("hello"))
    assert refused.purse.spent == pytest.approx(once.tokens.input / 1_000_000)
    assert unknown.purse.spent > 2 * refused.purse.spent
    for engine in (refused, unknown):
        await engine.stop()


async def test_an_answer_without_usage_is_counted_by_the_estimate(endpoint: Endpoint) -> None:
    engine = await started(endpoint)
    endpoint.faults = [Fault.NO_USAGE]
    unsaid, said = await answered(engine, ask("hello")), await answered(engine, ask("hello"))
    assert unsaid.tokens.input >= said.tokens.input
    await engine.stop()


async def test_an_endpoint_is_looked_at_when_the_engine_starts(endpoint: Endpoint) -> None:
    with pytest.raises(EngineError, match="has no model 'other'; it has small-model"):
        await client(endpoint, model="other").start()
    with pytest.raises(EngineError, match="reads at most 4096 tokens, not 4097; lower context_tokens"):
        await client(endpoint, context_tokens=4_097).start()
    with pytest.raises(EngineError, match=r"no endpoint at 'http://127\.0\.0\.1:9/v1'; start it"):
        await client(endpoint, base_url="http://127.0.0.1:9/v1").start()


async def test_an_endpoint_that_names_no_models_is_taken_at_its_word(endpoint: Endpoint) -> None:
    endpoint.models = []
    engine = await started(endpoint, model="whatever")
    assert (await answered(engine, ask("hello"))).text
    await engine.stop()


async def test_adapters_are_loaded_under_a_name_of_their_own_and_unloaded_after_the_last_lease(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    engine = await started(endpoint, loads_adapters=True)
    adapter = looks_like_one(tmp_path / "adapter")
    name = await engine.adopt(adapter)
    assert endpoint.loaded == {name: str(adapter)}
    async with engine.lease() as serving:
        await engine.adopt(None)
        await serving.generate(ask("hello"))
        assert endpoint.bodies[-1]["model"] == name
        assert name in endpoint.loaded
    assert endpoint.loaded == {}
    await engine.stop()


async def test_an_adapter_that_the_endpoint_has_from_a_worker_before_is_not_loaded_again(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    adapter = looks_like_one(tmp_path / "adapter")
    before = await started(endpoint, loads_adapters=True)
    name = await before.adopt(adapter)
    await before.stop()
    endpoint.models, endpoint.refuses_adapters = [*endpoint.models, {"id": name}], True
    after = await started(endpoint, loads_adapters=True)
    assert await after.adopt(adapter) == name
    await after.stop()


async def test_an_endpoint_that_loads_no_adapters_says_what_to_do(endpoint: Endpoint, tmp_path: Path) -> None:
    engine = await started(endpoint)
    adapter = looks_like_one(tmp_path / "adapter")
    with pytest.raises(AdapterError, match="loads no adapters; serve it there under a name of its own"):
        await engine.adopt(adapter)
    refusing = await started(endpoint, loads_adapters=True)
    endpoint.refuses_adapters = True
    with pytest.raises(AdapterError, match=r"refuses adapter .* \(400\)"):
        await refusing.adopt(adapter)
    for one in (engine, refusing):
        assert one.version == MODEL
        await one.stop()


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("", 0),
        ("The quick brown fox jumps over the lazy dog.", 10),
        ("def f(x): return x**2 + 17", 14),
        ("1234567890", 10),
        ("日本語のテキスト", 8),
        ("🙂🙂", 4),
    ],
)
def test_an_estimate_of_tokens_is_from_above(text: str, least: int) -> None:
    assert least <= estimate(text) <= 3 * least
