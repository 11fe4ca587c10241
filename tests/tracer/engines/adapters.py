"""Adapters for tests, made of numbers: right ones for a model folder, and every kind of wrong one."""

import json
from pathlib import Path
from typing import Any


def lora(folder: Path, base: Path, *, rank: int = 4, seed: int = 0, scale: float = 0.05) -> Path:
    """Write a random adapter of query and value matrices, as peft does: its `B` is not zero, so it changes answers."""
    import torch  # noqa: PLC0415  heavy
    from peft import LoraConfig, get_peft_model  # noqa: PLC0415  heavy
    from transformers import AutoModelForCausalLM  # noqa: PLC0415  heavy

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    adapted = get_peft_model(model, config)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=scale)
    adapted.save_pretrained(folder)
    return folder


def tiny_model(folder: Path, **fields: Any) -> Path:
    """Write a model of two small layers without a tokenizer; enough to hold an adapter against."""
    import torch  # noqa: PLC0415  heavy
    from transformers import LlamaConfig, LlamaForCausalLM  # noqa: PLC0415  heavy

    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "vocab_size": 64}
    config = LlamaConfig(**sizes | fields, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=128)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def rewritten(adapter: Path, folder: Path, **fields: Any) -> Path:
    """Copy an adapter with other fields in its configuration."""
    folder.mkdir()
    config = json.loads((adapter / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | fields))
    (folder / "adapter_model.safetensors").write_bytes((adapter / "adapter_model.safetensors").read_bytes())
    return folder


def looks_like_one(folder: Path) -> Path:
    """Write the two files of an adapter, for engines that only look at their bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text("{}")
    (folder / "adapter_model.safetensors").write_bytes(b"weights")
    return folder
