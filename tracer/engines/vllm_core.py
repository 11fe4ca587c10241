"""One core of vLLM with its tokenizer: requests in, completions out, adapters in and out, one cause of death.

Rules: nothing of vLLM is imported before the first core is loaded, and nowhere else; a prompt is rendered and counted
here, so one that does not fit never reaches the core; cancelling a request aborts it there; stopping fails whatever
waits with EngineError, and so does the core's death, with the first error that its process wrote.
"""

import asyncio
import contextlib
import gc
import itertools
import tempfile
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from schemas import Tokens
from schemas.errors import AdapterError, ContextError, EngineError

from .calls import Calls, stopped
from .core_process import cause, logging_setup
from .protocol import Choice, Completion, Finish, Message, Request, Shape

T = TypeVar("T")

LONG_CHARACTERS = 20_000
"""A prompt of more is counted in a thread, so that the loop goes on."""
BESIDE_BYTES = 1_000_000_000
"""What a core takes on a CPU beside weights, keys and values."""
_FITTING = "max seq len", "KV cache", "cache blocks"
_MEMORY = "out of memory", "OutOfMemory", "can't allocate memory", "exitcode: -9", ": -9"


class Core:
    """A running engine of vLLM; made by `loaded`."""

    def __init__(self, llm: Any, model: str, folder: tempfile.TemporaryDirectory[str], context_tokens: int) -> None:
        self.context_tokens = context_tokens
        self.adapters: dict[int, Any] = {}
        self.tokenizer = llm.get_tokenizer()
        self._llm = llm
        self._model = model
        self._folder = folder
        self._numbers = itertools.count()
        self._calls = Calls(model)
        self._is_stopped = False

    @property
    def is_alive(self) -> bool:
        """Whether it may be asked."""
        return not self._is_stopped and not self._llm.errored

    @property
    def reserved(self) -> tuple[str, ...]:
        """Texts that the tokenizer takes for its own marks."""
        return tuple(sorted({token.content for token in self.tokenizer.added_tokens_decoder.values()}))

    def ids(self, text: str) -> list[int]:
        """Return a text's tokens, marks of the tokenizer included where the text has them."""
        fast = getattr(self.tokenizer, "backend_tokenizer", None)
        if fast is not None:
            return list(fast.encode(text, add_special_tokens=False).ids)
        return list(self.tokenizer.encode(text, add_special_tokens=False))

    async def prompt(self, messages: tuple[Message, ...]) -> list[int]:
        """Return the tokens of a chat, up to where the model's own turn begins."""
        if sum(len(message.content) for message in messages) > LONG_CHARACTERS:
            return await asyncio.to_thread(self._prompt, messages)
        return self._prompt(messages)

    def _prompt(self, messages: tuple[Message, ...]) -> list[int]:
        turns = [message._asdict() for message in messages]
        try:
            return self.ids(self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
        except Exception as error:  # a template is a program and raises what it likes
            raise EngineError(f"the chat template of {self._model!r} fails: {_one_line(error)}") from error

    async def generate(self, request: Request, adapter: int | None) -> Completion:
        """Answer one request with the base model or one of its adapters."""
        ids = await self.prompt(request.messages)
        if len(ids) + request.max_tokens > self.context_tokens:
            what = f"a prompt of {len(ids)} tokens and {request.max_tokens} generated ones"
            raise ContextError(f"{what} are more than the {self.context_tokens} of {self._model!r}; shorten the prompt")
        lora = None if adapter is None else self.adapters[adapter]
        return await self._asked(self._generate(ids, request, lora))

    async def _generate(self, ids: list[int], request: Request, lora: Any) -> Completion:
        from vllm.inputs.engine import tokens_input  # noqa: PLC0415  heavy

        number, asked = str(next(self._numbers)), tokens_input(ids)
        answers = self._llm.generate(asked, _sampling(request), number, lora_request=lora, priority=request.priority)
        return _completion([answer async for answer in answers][-1])

    async def add(self, number: int, adapter: Path, name: str) -> None:
        """Load an adapter beside the others; raises AdapterError where vLLM can't."""
        from vllm.lora.request import LoRARequest  # noqa: PLC0415  heavy

        lora = LoRARequest(lora_name=name, lora_int_id=number, lora_path=str(adapter))
        try:
            await self._asked(self._llm.add_lora(lora))
        except EngineError as error:
            if not self.is_alive:
                raise
            raise AdapterError(f"adapter {str(adapter)!r} can't be loaded: {error}") from error
        self.adapters[number] = lora

    async def remove(self, number: int) -> None:
        """Free an adapter's slot; a core that died has none."""
        if self.adapters.pop(number, None) is not None and self.is_alive:
            with contextlib.suppress(EngineError):
                await self._asked(self._llm.remove_lora(number))

    async def _asked(self, work: Coroutine[Any, Any, T]) -> T:
        """Await what the core does; whatever goes wrong there is an EngineError."""
        if not self.is_alive:
            work.close()
            raise self._dead()
        try:
            return await self._calls.run(work)
        except EngineError:
            raise
        except Exception as error:  # vLLM's own, and what its core sent over
            if not self.is_alive:
                raise self._dead() from error
            raise EngineError(f"model {self._model!r} refuses a request: {_root(error)}") from error

    def _dead(self) -> EngineError:
        if self._is_stopped:
            return stopped(self._model)
        why = cause(Path(self._folder.name)) or "killed, or out of memory"
        return EngineError(f"the core of {self._model!r} died ({why}); the next lease starts another")

    async def stop(self) -> None:
        """Fail whatever waits, and end the process."""
        if self._is_stopped:
            return
        self._is_stopped = True
        await self._calls.stop()
        await asyncio.to_thread(self._llm.shutdown)
        self._llm = None
        gc.collect()  # or it is shut down once more when the interpreter is half gone, and complains
        self._folder.cleanup()


class Serves:
    """The weights of one core, with one of its adapters or none, as long as they are leased."""

    def __init__(self, core: Core, version: str, adapter: int | None = None) -> None:
        self.core = core
        self.version = version
        self.adapter = adapter
        self.leases = 0
        self.context_tokens = core.context_tokens
        self.reserved = core.reserved

    def count(self, text: str) -> int:
        """Return how many tokens a text has."""
        return len(self.core.ids(text))

    async def generate(self, request: Request) -> Completion:
        """Answer one request."""
        return await self.core.generate(request, self.adapter)


def _sampling(request: Request) -> Any:
    from vllm import SamplingParams  # noqa: PLC0415  heavy
    from vllm.sampling_params import RequestOutputKind  # noqa: PLC0415  heavy

    return SamplingParams(
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        seed=request.seed if request.temperature > 0 else None,
        logprobs=request.logprobs or None,
        structured_outputs=_structured(request.shape),
        output_kind=RequestOutputKind.FINAL_ONLY,
    )


def _structured(shape: Shape | None) -> Any:
    from vllm.sampling_params import StructuredOutputsParams  # noqa: PLC0415  heavy

    if shape is None:
        return None
    if isinstance(shape, Choice):
        return StructuredOutputsParams(choice=list(shape.options))
    return StructuredOutputsParams(grammar=shape.ebnf)


def _completion(answer: Any) -> Completion:
    one = answer.outputs[0]
    if one.finish_reason not in ("stop", "length"):
        raise EngineError(f"a request ended without a completion ({one.finish_reason!r}); ask again")
    cached = answer.num_cached_tokens or 0
    tokens = Tokens(input=len(answer.prompt_token_ids), output=len(one.token_ids), cached=cached)
    tops = tuple(_texts(position) for position in one.logprobs or ())
    return Completion(one.text, Finish(one.finish_reason), tokens, tops)


def _texts(position: Mapping[int, Any]) -> dict[str, float]:
    """Return the likeliest candidates by text; where two tokens have one text, the likelier."""
    found: dict[str, float] = {}
    for entry in position.values():
        text = entry.decoded_token or ""
        found[text] = max(found.get(text, entry.logprob), entry.logprob)
    return found


def is_cpu_platform() -> bool:
    """Tell whether vLLM found no GPU; imports it, which takes seconds, so call it in a thread."""
    try:
        from vllm.platforms import current_platform  # noqa: PLC0415  heavy
    except ImportError:
        raise EngineError("vLLM is not installed; install agentracer[model], or set another tracer") from None
    return bool(current_platform.is_cpu())


def in_one_process() -> Any:
    """Return what runs a model in its core's own process; on a CPU vLLM has two, a message each way for every step."""
    from vllm.v1.executor import UniProcExecutor  # noqa: PLC0415  heavy

    return UniProcExecutor


async def loaded(model: Path, arguments: Mapping[str, Any], name: str) -> Core:
    """Start a core (seconds to minutes); raises EngineError in one sentence."""
    folder = tempfile.TemporaryDirectory(prefix="agentracer-engine-", ignore_cleanup_errors=True)
    building = asyncio.ensure_future(asyncio.to_thread(_built, model, arguments, Path(folder.name)))
    try:
        llm = await asyncio.shield(building)
    except asyncio.CancelledError:
        building.add_done_callback(_shut)
        raise
    except Exception as error:  # whatever a model, a driver or a process does when it starts
        why = cause(Path(folder.name)) or _root(error)
        folder.cleanup()
        raise EngineError(_refusal(name, why)) from error
    return Core(llm, name, folder, arguments["max_model_len"])


def _built(model: Path, arguments: Mapping[str, Any], folder: Path) -> Any:
    from vllm.config.logging import LoggingConfig  # noqa: PLC0415  heavy
    from vllm.engine.arg_utils import AsyncEngineArgs  # noqa: PLC0415  heavy
    from vllm.v1.engine.async_llm import AsyncLLM  # noqa: PLC0415  heavy

    log = LoggingConfig(pylogging_config_file=str(logging_setup(folder)))
    return AsyncLLM.from_engine_args(AsyncEngineArgs(model=str(model), logging_config=log, **arguments))


def _shut(building: asyncio.Future[Any]) -> None:
    if not building.cancelled() and building.exception() is None:
        building.result().shutdown()


def has_room(model: Path, kv_cache_bytes: int, name: str) -> None:
    """Raise EngineError where a CPU's memory can't hold a core; without this the kernel kills it later."""
    weights = sum(path.stat().st_size for path in model.glob("*.safetensors"))
    needed, free = weights + kv_cache_bytes + BESIDE_BYTES, _free_bytes()
    if free is not None and needed > free:
        what = f"model {name!r} needs about {needed / 1e9:.1f} GB and {free / 1e9:.1f} GB are free"
        raise EngineError(f"out of memory: {what}; lower kv_cache_bytes or take a smaller model")


def _free_bytes() -> int | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return None


def _refusal(name: str, why: str) -> str:
    if any(sign in why for sign in _FITTING):
        return f"model {name!r} has too little kv cache ({why}); raise kv_cache_bytes or lower context_tokens"
    if any(sign in why for sign in _MEMORY):
        return f"out of memory: model {name!r} does not fit ({why}); lower kv_cache_bytes or take a smaller model"
    return f"vLLM can't load model {name!r} ({why}); VLLM_LOGGING_LEVEL=INFO shows its own log"


def _root(error: BaseException) -> str:
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {_one_line(error)}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:400]
