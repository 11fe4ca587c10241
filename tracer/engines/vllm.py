"""vLLM behind the tracer's protocol: one model on a GPU or a CPU, its core in a process of its own.

Rules: vLLM starts its core by `spawn`, which imports the main module again: whoever starts an engine does so under
`if __name__ == "__main__"` or from a console script (`agentracer worker tracer` is one), and there is no way around,
as the asynchronous engine ignores VLLM_ENABLE_V1_MULTIPROCESSING; loading runs in a thread and never holds the loop
up; on a GPU an adapter is loaded beside the others under a new id, on a CPU it is merged and a second core takes over
when it is ready; old weights go when their last lease ends; a core that dies fails whoever waits with EngineError, and
the next lease starts another with the same weights; what the user set in the environment stands.
"""

import asyncio
import contextlib
import importlib.metadata
import json
import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas.errors import EngineError

from .calls import stopped
from .vllm_core import Core, Serves, has_room, in_one_process, is_cpu_platform, loaded
from .weights import EMBEDDED, Dtype, adapter_id, check, located, merged

log = logging.getLogger(__name__)
KV_BYTES_ON_CPU = 1 << 30
STEP_TOKENS_ON_CPU = 1_024


class VllmSettings(BaseModel):
    """One model, how it is served and what it may take of the machine."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    model: str = EMBEDDED
    """The base model: `smollm2-135m` is the embedded one, anything else a folder or a hub id."""
    adapter: Path | None = None
    """A LoRA adapter as peft writes it; None serves the base model."""
    context_tokens: int = Field(default=8_192, ge=16)
    """Prompt and completion together; at most what the model was made for."""
    dtype: Literal["auto", "bfloat16", "float16", "float32"] = "auto"
    """Of weights and computation; `auto` is the model's own. The same seed gives the same text only in float32."""
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that share every layer."""
    pipeline_parallel: int = Field(default=1, ge=1)
    """Groups of GPUs that the layers are spread over."""
    kv_cache_bytes: int | None = Field(default=None, ge=1_000_000)
    """For keys and values; None is 1 GiB on a CPU and what is left of the memory share on a GPU."""
    gpu_memory_share: float = Field(default=0.9, gt=0, le=1)
    """Of a GPU's memory, for weights, keys and values."""
    max_sequences: int = Field(default=64, ge=1)
    """Requests that are computed in one batch; the others wait by priority."""
    batch_tokens: int | None = Field(default=None, ge=64)
    """Tokens of one step of the engine; longer prompts are read in chunks. None is 1,024 on a CPU, vLLM's on a GPU."""
    adapts: Literal["auto", "runtime", "merge"] = "auto"
    """How an adapter is served: `runtime` beside the base model, `merge` added to its weights; `auto` is `runtime` on
    a GPU and `merge` on a CPU."""
    max_lora_rank: Literal[8, 16, 32, 64, 128, 256] = 64
    """The largest rank of an adapter at run time."""
    lora_slots: int = Field(default=3, ge=2)
    """Adapters that fit at run time. One slot stays free, because vLLM gives requests of the base model an adapter's
    weights when none is; where the others are leased, `adopt` waits."""
    enforce_eager: bool | None = None
    """Skip compilation; None skips it on a CPU, where it takes a minute and a half."""
    threads: int = Field(default=1, ge=1)
    """Threads of the core on a CPU, where OMP_NUM_THREADS is not set; threads that share cores slow each other down."""


def environment(settings: VllmSettings) -> dict[str, str]:
    """Return what vLLM has to find in the environment before it is imported."""
    wanted = {
        "VLLM_WORKER_MULTIPROC_METHOD": "spawn",  # a forked loop with its threads would hang
        "VLLM_NO_USAGE_STATS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if _is_cpu_build():
        wanted |= {
            "VLLM_TARGET_DEVICE": "cpu",
            "OMP_NUM_THREADS": str(settings.threads),
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # or two engines would be bound to the same core
        }
    if settings.model == EMBEDDED or Path(settings.model).expanduser().exists():
        wanted["HF_HUB_OFFLINE"] = "1"
    return wanted


def _is_cpu_build() -> bool:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return bool(importlib.metadata.version("vllm-cpu"))
    return False


class VllmEngine:
    """Continuous batches, cached prefixes, LoRA; see the module's rules."""

    def __init__(self, settings: VllmSettings | None = None) -> None:
        self._settings = settings or VllmSettings()
        self._adapter = self._settings.adapter
        self._serves: Serves | None = None
        self._cores: set[Core] = set()
        self._changing = asyncio.Lock()
        self._retired = asyncio.Event()
        self._last_id = 0
        self._adds = False
        """Whether adapters are served at run time; known from the first core on."""
        self._releasing: set[asyncio.Task[None]] = set()

    @property
    def name(self) -> str:
        """The base model's name."""
        model = self._settings.model
        return Path(model).name if Path(model).expanduser().is_dir() else model

    @property
    def version(self) -> str:
        """What the next lease would serve."""
        return self._serves.version if self._serves else self._version(self._adapter)

    @property
    def is_alive(self) -> bool:
        """Whether a lease would be served without starting a core."""
        return self._serves is not None and self._serves.core.is_alive

    async def start(self) -> None:
        """Load the model where it is not loaded; after a crash, load what served last."""
        async with self._changing:
            if not self.is_alive:
                self._take_over(await self._load(self._adapter))

    async def stop(self) -> None:
        """End every core; requests under way fail with EngineError."""
        self._serves = None
        self._retired.set()
        async with self._changing:
            self._serves = None
            await asyncio.gather(*(core.stop() for core in self._cores), *self._releasing)
            self._cores.clear()

    @contextlib.asynccontextmanager
    async def lease(self) -> AsyncIterator[Serves]:
        """Hold the weights that serve now; starts a core again that died."""
        serves = await self._serving()
        serves.leases += 1
        try:
            yield serves
        finally:
            serves.leases -= 1
            self._release_soon(serves)

    async def _serving(self) -> Serves:
        if self._serves is not None and not self.is_alive:
            await self.start()
        if self._serves is None:
            raise stopped(self.name)
        return self._serves

    async def adopt(self, adapter: Path | None) -> str:
        """Serve the next leases with this adapter; at run time it waits for a slot, on a CPU for a second core."""
        async with self._changing:
            if self._serves is None:
                raise stopped(self.name)
            version = await asyncio.to_thread(self._version, adapter)
            if version != self._serves.version or not self.is_alive:
                self._take_over(await self._adopted(adapter))
            self._adapter = adapter
            return version

    async def _adopted(self, adapter: Path | None) -> Serves:
        if self._serves is None or not self.is_alive or not self._adds:
            return await self._load(adapter)
        return await self._beside(self._serves.core, adapter)

    async def _load(self, adapter: Path | None) -> Serves:
        """Start a core that serves this adapter."""
        for name, value in environment(self._settings).items():
            os.environ.setdefault(name, value)
        is_cpu, base = await asyncio.to_thread(is_cpu_platform), await asyncio.to_thread(self._base)
        self._adds = self._settings.adapts == "runtime" or (self._settings.adapts == "auto" and not is_cpu)
        if adapter is None or self._adds:
            core = await self._core(base, is_cpu=is_cpu)
            return await self._beside(core, adapter)
        version = await asyncio.to_thread(self._version, adapter)
        core = await self._core(await asyncio.to_thread(merged, base, adapter), is_cpu=is_cpu)
        return Serves(core, version)

    async def _core(self, model: Path, *, is_cpu: bool) -> Core:
        arguments = self._arguments(is_cpu=is_cpu)
        if is_cpu:
            has_room(model, arguments["kv_cache_memory_bytes"], self.name)
        core = await loaded(model, arguments, self.name)
        self._cores.add(core)
        return core

    async def _beside(self, core: Core, adapter: Path | None) -> Serves:
        """Load an adapter into a core that runs; None is the base model, which is always there."""
        if adapter is None:
            return Serves(core, self.name)
        try:
            base, version = await asyncio.to_thread(self._base), await asyncio.to_thread(self._version, adapter)
            await asyncio.to_thread(check, base, adapter, self._settings.max_lora_rank)
            while len(core.adapters) >= self._settings.lora_slots - 1:
                await self._retiring()
            self._last_id += 1
            await core.add(self._last_id, adapter, version)
        except BaseException:
            if self._serves is None or self._serves.core is not core:
                await self._end(core)
            raise
        return Serves(core, version, self._last_id)

    async def _retiring(self) -> None:
        """Wait until another adapter is let go."""
        self._retired.clear()
        await self._retired.wait()
        if self._serves is None:
            raise stopped(self.name)

    def _take_over(self, serves: Serves) -> None:
        old, self._serves = self._serves, serves
        log.info("engine serves", extra={"version": serves.version, "was": old and old.version})
        if old is not None:
            self._release_soon(old)

    def _release_soon(self, serves: Serves) -> None:
        """Let weights go that nobody leases and that no longer serve, without making anybody wait."""
        if serves is not self._serves and not serves.leases:
            task = asyncio.create_task(self._release(serves))
            self._releasing.add(task)
            task.add_done_callback(self._releasing.discard)

    async def _release(self, serves: Serves) -> None:
        if self._serves is None or serves.core is not self._serves.core:
            await self._end(serves.core)
        elif serves.adapter is not None:
            await serves.core.remove(serves.adapter)
            self._retired.set()

    async def _end(self, core: Core) -> None:
        self._cores.discard(core)
        await core.stop()

    def _version(self, adapter: Path | None) -> str:
        return self.name if adapter is None else f"{self.name}+{adapter_id(adapter)}"

    def _base(self) -> Path:
        """Return the base model's folder; raises EngineError where it was made for less context."""
        base = located(self._settings.model, self._dtype)
        most = json.loads((base / "config.json").read_text()).get("max_position_embeddings")
        if most is not None and self._settings.context_tokens > most:
            what = f"model {self.name!r} reads at most {most} tokens, not {self._settings.context_tokens}"
            raise EngineError(f"{what}; lower context_tokens")
        return base

    @property
    def _dtype(self) -> Dtype:
        return "bfloat16" if self._settings.dtype == "auto" else self._settings.dtype

    def _arguments(self, *, is_cpu: bool) -> dict[str, Any]:
        """Return vLLM's own names for the settings."""
        ours = self._settings
        arguments: dict[str, Any] = {
            "max_model_len": ours.context_tokens,
            "dtype": ours.dtype,
            "tensor_parallel_size": ours.tensor_parallel,
            "pipeline_parallel_size": ours.pipeline_parallel,
            "gpu_memory_utilization": ours.gpu_memory_share,
            "kv_cache_memory_bytes": ours.kv_cache_bytes or (KV_BYTES_ON_CPU if is_cpu else None),
            "max_num_seqs": ours.max_sequences,
            "max_num_batched_tokens": ours.batch_tokens or (STEP_TOKENS_ON_CPU if is_cpu else None),
            "enforce_eager": is_cpu if ours.enforce_eager is None else ours.enforce_eager,
            "enable_prefix_caching": True,
            "enable_chunked_prefill": True,
            "scheduling_policy": "priority",
            "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
            "disable_log_stats": True,
        }
        if is_cpu and ours.tensor_parallel == ours.pipeline_parallel == 1:
            arguments["distributed_executor_backend"] = in_one_process()
        if self._adds:
            loras = {
                "max_loras": ours.lora_slots,
                "max_cpu_loras": ours.lora_slots,
                "max_lora_rank": ours.max_lora_rank,
            }
            arguments |= {"enable_lora": True} | loras
        return arguments
