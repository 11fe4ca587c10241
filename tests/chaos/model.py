"""A tracer with the embedded model for chaos: what a worker is told, so that a verdict takes a second and not a minute.

Rules: who is right does not matter here, so context, time and tokens of a trajectory are small; the engine's core is a
process of the worker's own, and starts anew with it.
"""

from ops.embedded import tracer
from tracer.methods.table import METHODS
from tracer.rules import RULES

NAMES = (*METHODS, *RULES)
missing = tracer.missing
prepare = tracer.prepare
_SMALL = {
    "AGENTRACER_VLLM__CONTEXT_TOKENS": "2048",
    "AGENTRACER_VLLM__KV_CACHE_BYTES": "200000000",
    "AGENTRACER_ASK__TOKENS": "4000",
    "AGENTRACER_ASK__SECONDS": "20",
    "AGENTRACER_TRACER_CONCURRENCY": "8",
    "AGENTRACER_DRAIN_TIMEOUT_S": "10",
}


def is_model(name: str | None) -> bool:
    """Whether a tracer asks a model."""
    return name in METHODS


def worker_settings(name: str) -> dict[str, str]:
    """Return what a tracer worker has to find in its environment."""
    engine = tracer.worker_settings() | _SMALL if is_model(name) else {}
    return engine | {"AGENTRACER_TRACER": name}
