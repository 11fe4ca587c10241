"""What every engine does: the suite that each engine's own file of tests runs, on its own fixture `bench`."""

import asyncio
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import TypeAdapter

from schemas.errors import AdapterError, ContextError, EngineError
from schemas.fields import Name
from tracer.engines.protocol import Choice, Completion, Engine, Finish, Message, Request

SYSTEM = Message("system", "You answer questions about the steps of a failed run. " * 12)
COLOURS = ("red", "green", "dark blue")


class Bench(NamedTuple):
    """A started engine, and an adapter that fits its model."""

    engine: Engine
    adapter: Path


def ask(text: str, max_tokens: int = 8, **fields: Any) -> Request:
    request = Request((SYSTEM, Message("user", text)), max_tokens)
    return request._replace(**fields)


async def answered(engine: Engine, request: Request) -> Completion:
    async with engine.lease() as serving:
        return await serving.generate(request)


async def test_a_choice_comes_back_as_one_of_its_options_and_ends_by_itself(bench: Bench) -> None:
    done = await answered(bench.engine, ask("choose: a colour", shape=Choice(COLOURS)))
    assert done.text in COLOURS
    assert done.finish is Finish.STOP


async def test_a_long_answer_is_cut_at_the_tokens_that_were_asked_for(bench: Bench) -> None:
    done = await answered(bench.engine, ask("long: count from one to a thousand in words", max_tokens=5))
    assert (done.finish, done.tokens.output) == (Finish.LENGTH, 5)


async def test_the_tokens_of_a_request_are_counted(bench: Bench) -> None:
    short, longer = [await answered(bench.engine, ask("long: " + "more words " * times)) for times in (1, 41)]
    assert 0 < short.tokens.input < longer.tokens.input - 40
    assert 0 < short.tokens.output <= 8


async def test_a_prefix_that_was_read_before_is_cached(bench: Bench) -> None:
    shared = "long: " + " ".join(f"fact {number} holds" for number in range(60))
    first = await answered(bench.engine, ask(f"{shared} and first?"))
    second = await answered(bench.engine, ask(f"{shared} and second?"))
    assert second.tokens.cached > 0.8 * second.tokens.input - 20
    assert second.tokens.cached > first.tokens.cached
    assert second.tokens.cached < second.tokens.input


async def test_the_same_request_at_temperature_zero_has_the_same_answer(bench: Bench) -> None:
    request = ask("long: name a colour", max_tokens=12)
    assert (await answered(bench.engine, request)).text == (await answered(bench.engine, request)).text


async def test_every_generated_token_comes_with_its_candidates(bench: Bench) -> None:
    done = await answered(bench.engine, ask("long: name a colour", max_tokens=4, logprobs=3))
    assert len(done.tops) == done.tokens.output == 4
    assert all(1 <= len(candidates) <= 4 for candidates in done.tops)
    assert all(value <= 0.0 for candidates in done.tops for value in candidates.values())
    assert (await answered(bench.engine, ask("long: name a colour", max_tokens=4))).tops == ()


async def test_a_request_that_does_not_fit_is_refused_and_the_next_is_answered(bench: Bench) -> None:
    async with bench.engine.lease() as serving:
        with pytest.raises(ContextError, match=f"{serving.context_tokens}.*; shorten the prompt"):
            await serving.generate(ask("long: " + "word " * serving.context_tokens))
        with pytest.raises(ContextError):
            await serving.generate(ask("long: short", max_tokens=serving.context_tokens))
        assert (await serving.generate(ask("long: short"))).text


async def test_counts_add_up_whatever_the_text(bench: Bench) -> None:
    async with bench.engine.lease() as serving:
        assert serving.count("") == 0
        for left, right in (("two words", " and more"), ("日本語の", "テキスト"), ("🙂" * 9, "שלום"), ("\x00", "\n\n")):
            assert 0 < serving.count(left + right) <= serving.count(left) + serving.count(right) + 2


async def test_any_text_may_be_asked(bench: Bench) -> None:
    texts = ["🙂 " * 30, "مرحبا بالعالم", "\x00\x01\x7f", "日本語" * 20, "a|b\\\"'`{}<>", " " * 50]
    done = await asyncio.gather(*(answered(bench.engine, ask(f"long: {text}")) for text in texts))
    assert all(0 < one.tokens.output <= 8 for one in done)


async def test_many_requests_go_on_at_once(bench: Bench) -> None:
    async with bench.engine.lease() as serving:
        asked = [serving.generate(ask(f"choose: {number}", shape=Choice(COLOURS))) for number in range(24)]
        assert {one.text for one in await asyncio.gather(*asked)} <= set(COLOURS)


async def test_a_cancelled_request_leaves_the_others_alone(bench: Bench) -> None:
    async with bench.engine.lease() as serving:
        slow = asyncio.create_task(serving.generate(ask("slow: a story of a thousand words", max_tokens=400)))
        other = asyncio.create_task(serving.generate(ask("long: name a colour")))
        await asyncio.sleep(0.2)
        slow.cancel()
        with pytest.raises(asyncio.CancelledError):
            await slow
        assert (await other).text


async def test_an_adapter_serves_the_next_leases_and_the_old_weights_the_open_ones(bench: Bench) -> None:
    base = bench.engine.version
    async with bench.engine.lease() as old:
        adopted = await bench.engine.adopt(bench.adapter)
        assert bench.engine.version == adopted != base
        async with bench.engine.lease() as new:
            assert (old.version, new.version) == (base, adopted)
            both = (old.generate(ask("long: hello")), new.generate(ask("long: hello")))
            assert all(one.text for one in await asyncio.gather(*both))
    assert await bench.engine.adopt(None) == base
    assert (await answered(bench.engine, ask("long: hello"))).text


async def test_adopting_what_serves_changes_nothing(bench: Bench) -> None:
    before = bench.engine.version
    assert await bench.engine.adopt(None) == before == bench.engine.version


async def test_names_and_versions_may_stand_on_a_verdict(bench: Bench) -> None:
    name = TypeAdapter(Name)
    adopted = await bench.engine.adopt(bench.adapter)
    try:
        assert name.validate_python(adopted).startswith(name.validate_python(bench.engine.name))
    finally:
        await bench.engine.adopt(None)


async def test_a_folder_that_is_no_adapter_is_refused_and_the_old_weights_go_on(bench: Bench, tmp_path: Path) -> None:
    before = bench.engine.version
    with pytest.raises(AdapterError, match=str(tmp_path)):
        await bench.engine.adopt(tmp_path)
    assert bench.engine.version == before
    assert (await answered(bench.engine, ask("long: hello"))).text


async def test_stopping_fails_what_is_under_way_and_starting_serves_again(bench: Bench) -> None:
    async with bench.engine.lease() as serving:
        slow = asyncio.create_task(serving.generate(ask("slow: a story of a thousand words", max_tokens=400)))
        await asyncio.sleep(0.2)
        await bench.engine.stop()
        with pytest.raises(EngineError, match="not running"):
            await slow
        with pytest.raises(EngineError, match="not running"):
            await serving.generate(ask("long: hello"))
    with pytest.raises(EngineError, match="not running; start it"):
        async with bench.engine.lease():
            pass
    await bench.engine.stop()
    await bench.engine.start()
    assert (await answered(bench.engine, ask("long: hello"))).text
