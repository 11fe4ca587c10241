"""What goes to an endpoint of OpenAI's protocol and what comes back: settings, bodies, answers, refusals, estimates.

Rules: pure; an answer that can't be read is one to ask for again, whatever is wrong with it; an error tells the
endpoint's status and code, never its text, which may quote the prompt.
"""

import re
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from schemas import Tokens
from schemas.errors import ContextError, EngineError

from .limits import retry_after_s
from .protocol import Choice, Completion, Finish, Request, Shape

TURN_TOKENS = 8
"""What a chat template puts around one message, from above."""
_AGAIN = frozenset({408, 409, 429})
_TOO_LONG = re.compile(
    r"context[_ ]length|context window|too many tokens|max_model_len|input.{0,20}too long", re.IGNORECASE
)
_PIECE = re.compile(r"[A-Za-z]+|[0-9]|[ \t]+|[^A-Za-z0-9 \t]")


class OpenAISettings(BaseModel):
    """One endpoint, what it can, and what it may be asked."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    base_url: str = "http://127.0.0.1:8000/v1"
    """Where the protocol begins."""
    model: str = ""
    """As the endpoint calls it; an adapter that it serves has a name like a model."""
    key_variable: str = "OPENAI_API_KEY"
    """The environment variable that holds the key; one that is not set sends none."""
    context_tokens: int = Field(default=8_192, ge=16)
    """Prompt and completion together."""
    structured: Literal["vllm", "none"] = "none"
    """How a completion is held to a shape: by vLLM's field `structured_outputs`, or not at all."""
    has_priority: bool = False
    """Whether requests carry their priority: vLLM's field, where it schedules by it."""
    loads_adapters: bool = False
    """Whether adapters are loaded by vLLM's `load_lora_adapter`; their folders have to be there under the same path."""
    limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """What the endpoint calls the limit of generated tokens."""
    timeout_s: float = Field(default=120.0, gt=0)
    """How long one attempt may take, whole."""
    attempts: int = Field(default=6, ge=1)
    """How often a request is tried."""
    backoff_s: float = Field(default=1.0, ge=0)
    """How long to wait after the first failed attempt; doubled after each."""
    longest_wait_s: float = Field(default=60.0, ge=0)
    """The longest wait between two attempts; an endpoint that asks for more is not asked again."""
    concurrency: int = Field(default=32, ge=1)
    """Requests at once; the others wait by priority."""
    requests_a_minute: float | None = Field(default=None, gt=0)
    """Attempts, spread evenly over the minute."""
    tokens_a_minute: float | None = Field(default=None, gt=0)
    """Estimated prompt tokens and the limit of generated ones, spread evenly over the minute."""
    input_price: float = Field(default=0.0, ge=0)
    """For a million prompt tokens."""
    output_price: float = Field(default=0.0, ge=0)
    """For a million generated tokens."""
    cost_limit: float | None = Field(default=None, ge=0)
    """What all requests of this process may cost together, in the currency of the prices."""


class AgainError(Exception):
    """An attempt failed in a way that another may not."""

    def __init__(self, why: str, *, wait_s: float | None = None, is_charged: bool = False) -> None:
        super().__init__(why)
        self.wait_s = wait_s
        self.is_charged = is_charged


def body_of(settings: OpenAISettings, model: str, request: Request) -> dict[str, Any]:
    """Return the arguments of one chat completion."""
    body: dict[str, Any] = {
        "model": model,
        "messages": [message._asdict() for message in request.messages],
        "temperature": request.temperature,
        "seed": request.seed,
        settings.limit_field: request.max_tokens,
    }
    if request.logprobs:
        body |= {"logprobs": True, "top_logprobs": request.logprobs}
    extra: dict[str, Any] = {}
    if request.shape is not None and settings.structured == "vllm":
        extra["structured_outputs"] = _structured(request.shape)
    if settings.has_priority:
        extra["priority"] = request.priority
    return body | ({"extra_body": extra} if extra else {})


def _structured(shape: Shape) -> dict[str, Any]:
    return {"choice": list(shape.options)} if isinstance(shape, Choice) else {"grammar": shape.ebnf}


def refusal(settings: OpenAISettings, error: Any) -> Exception:
    """Return what an answer with an error status means."""
    status, code = int(error.status_code), str(getattr(error, "code", None) or "")
    if status in (401, 403):
        return forbidden(settings)
    if status == 404:
        return EngineError(
            f"the endpoint {settings.base_url!r} has no model {settings.model!r}; correct the model's name"
        )
    if status in (400, 413, 422) and (_TOO_LONG.search(code) or _TOO_LONG.search(str(error))):
        return too_long(settings, "the prompt and what may be generated")
    if (status in _AGAIN or status >= 500) and code != "insufficient_quota":
        wait_s = retry_after_s(error.response.headers, datetime.now(UTC))
        return AgainError(f"status {status}", wait_s=wait_s)
    said = f"{status} {code}".strip()
    return EngineError(f"the endpoint of {settings.model!r} refuses a request ({said}); correct its settings")


def forbidden(settings: OpenAISettings) -> EngineError:
    """Return what a refused key is."""
    what = f"the endpoint {settings.base_url!r} accepts no key, or not the one in ${settings.key_variable}"
    return EngineError(f"{what}; set that variable to one it knows")


def too_long(settings: OpenAISettings, what: str) -> ContextError:
    """Return what a request that does not fit is."""
    return ContextError(
        f"{what} are more than {settings.model!r} reads ({settings.context_tokens}); shorten the prompt"
    )


def completion(answer: Any, estimated: int) -> Completion:
    """Return what an answer holds; raises AgainError where it is none."""
    try:
        choice = answer.choices[0]
        text, finish = choice.message.content or "", str(choice.finish_reason)
        tops = tuple(_texts(entry) for entry in (choice.logprobs.content if choice.logprobs else None) or ())
        tokens = _usage(answer.usage) or Tokens(input=estimated, output=estimate(text))
    except (AttributeError, IndexError, TypeError, ValueError) as error:
        raise AgainError(f"an answer that can't be read ({type(error).__name__})", is_charged=True) from None
    if finish not in ("stop", "length"):
        raise EngineError(f"a completion ended with {finish!r}; the endpoint may filter content, try another")
    return Completion(text, Finish(finish), tokens, tops)


def _usage(usage: Any) -> Tokens | None:
    if usage is None:
        return None
    details = getattr(usage, "prompt_tokens_details", None)
    cached = getattr(details, "cached_tokens", None) or 0
    return Tokens(input=usage.prompt_tokens, output=usage.completion_tokens, cached=cached)


def _texts(entry: Any) -> dict[str, float]:
    return {entry.token: float(entry.logprob)} | {top.token: float(top.logprob) for top in entry.top_logprobs or ()}


def estimate(text: str) -> int:
    """Return how many tokens a text has, from above for prose, code and numbers.

    A token for every three letters, each digit and mark, each run of blanks, two or three for every other character.
    """
    return sum(_tokens_in(piece) for piece in _PIECE.findall(text))


def _tokens_in(piece: str) -> int:
    if piece.isascii():
        return -(-len(piece) // 3) if piece.isalpha() else int(piece != " ")
    return 2 if len(piece.encode(errors="surrogatepass")) < 4 else 3
