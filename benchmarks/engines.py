"""The engine under the tracer, as the benchmarks need it: what it is asked, the same asked of vLLM alone, its counters.

Rules: the bare engine is `vllm.LLM` with the arguments of the tracer's own engine and a core of its own; it is given
prompts and parameters that are made before the clock starts, so all that is put together around a prompt is the
tracer's, and both make tokens of it; prefixes are forgotten before every measurement.
"""

import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tracer.engines.core_process import logging_setup
from tracer.engines.protocol import Completion, Engine, Request, Serving
from tracer.engines.vllm import VllmEngine, VllmSettings
from tracer.engines.vllm_core import Core, _sampling, is_cpu_platform


class BenchedEngine(VllmEngine):
    """The real one, with arguments of vLLM that no setting has."""

    def __init__(self, settings: VllmSettings, **more: Any) -> None:
        super().__init__(settings)
        self._more = more

    def arguments(self) -> dict[str, Any]:
        """Return what vLLM is started with, the model's folder too."""
        return {"model": str(self._base()), **self._arguments(is_cpu=is_cpu_platform())}

    def _arguments(self, *, is_cpu: bool) -> dict[str, Any]:
        return super()._arguments(is_cpu=is_cpu) | self._more

    @property
    def core(self) -> Core:
        """The core that serves."""
        assert self._serves is not None, "start it first"
        return self._serves.core

    async def forget(self) -> None:
        """Forget every prefix."""
        if not await self.core._llm.reset_prefix_cache():
            raise RuntimeError("the engine still holds prefixes; something is under way")


class Recorder:
    """An engine that notes what it is asked, in order."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.asked: list[Request] = []

    @property
    def name(self) -> str:
        """The base model's name."""
        return self._engine.name

    @property
    def version(self) -> str:
        """What the next lease would serve."""
        return self._engine.version

    async def start(self) -> None:
        """Start the engine under it."""
        await self._engine.start()

    async def stop(self) -> None:
        """Stop the engine under it."""
        await self._engine.stop()

    async def adopt(self, adapter: Path | None) -> str:
        """Change the adapter of the engine under it."""
        return await self._engine.adopt(adapter)

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[Serving]:
        """Lease the engine under it."""
        async with self._engine.lease() as serving:
            yield _Noting(serving, self.asked)


class _Noting:
    def __init__(self, serving: Serving, asked: list[Request]) -> None:
        self.version = serving.version
        self.context_tokens = serving.context_tokens
        self.reserved = serving.reserved
        self._serving = serving
        self._asked = asked

    def count(self, text: str) -> int:
        return self._serving.count(text)

    async def generate(self, request: Request) -> Completion:
        self._asked.append(request)
        return await self._serving.generate(request)


class Done(NamedTuple):
    """What answering some prompts took."""

    seconds: float
    requests: int
    input: int
    """Prompt tokens, cached ones too."""
    cached: int
    output: int

    def __str__(self) -> str:
        """Write it for a progress line."""
        what = f"{self.requests:,} prompts of {self.input:,} tokens ({self.cached:,} cached)"
        return f"{what} and {self.output:,} generated in {self.seconds:.1f} s"


class Bare:
    """vLLM alone, beside the engine whose arguments it has."""

    def __init__(self, engine: BenchedEngine) -> None:
        from vllm import LLM  # noqa: PLC0415  heavy
        from vllm.config.logging import LoggingConfig  # noqa: PLC0415  heavy

        self._engine = engine
        self._folder = tempfile.TemporaryDirectory(prefix="agentracer-bench-")
        log = LoggingConfig(pylogging_config_file=str(logging_setup(Path(self._folder.name))))
        self._llm = LLM(**engine.arguments(), logging_config=log)

    def answer(self, requests: Sequence[Request]) -> Done:
        """Answer all of these at once."""
        self._llm.reset_prefix_cache()
        core = self._engine.core
        prompts = [_text(core, one) for one in requests]
        sampling = [_sampling(one) for one in requests]
        began = time.perf_counter()
        answers = self._llm.generate(prompts, sampling, use_tqdm=False)
        seconds = time.perf_counter() - began
        assert answers[0].prompt_token_ids == core._prompt(requests[0].messages), "both read the same tokens"
        return Done(
            seconds,
            len(requests),
            sum(len(one.prompt_token_ids or ()) for one in answers),
            sum(one.num_cached_tokens or 0 for one in answers),
            sum(len(one.outputs[0].token_ids) for one in answers),
        )

    def stop(self) -> None:
        """End its core."""
        self._llm.llm_engine.engine_core.shutdown()
        self._folder.cleanup()


def _text(core: Core, request: Request) -> str:
    turns = [message._asdict() for message in request.messages]
    return str(core.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))


class Counters:
    """What the core itself counts; for an engine that was started with `disable_log_stats=False`."""

    def __init__(self) -> None:
        self.zero()

    def watch(self, engine: BenchedEngine) -> None:
        """Be told by an engine that is started."""
        engine.core._llm.logger_manager.stat_loggers.append(self)

    def record(self, scheduler_stats: Any, iteration_stats: Any, **_: object) -> None:
        """Take what a step of the engine says."""
        if iteration_stats is not None:
            self.computed += iteration_stats.prompt_token_stats.computed
            self.prompt += iteration_stats.prompt_token_stats.total
            self.preempted += iteration_stats.num_preempted_reqs
        if scheduler_stats is not None:
            again = scheduler_stats.prefix_cache_stats
            self.recomputed += again.preempted_queries - again.preempted_hits

    def zero(self) -> None:
        """Begin anew."""
        self.computed = self.prompt = self.preempted = self.recomputed = 0


def core_ids() -> list[int]:
    """Return the process ids of every core that this process started."""
    return sorted(child.pid or 0 for child in multiprocessing.active_children() if "EngineCore" in child.name)


def cpu_s(pid: int) -> float:
    """Return the seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
