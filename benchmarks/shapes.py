"""Random models of any size in the shape of a Qwen3, made on the spot, for measurements that need no right answers."""

from pathlib import Path
from typing import NamedTuple

from tracer.engines.weights import embedded


class Shape(NamedTuple):
    """The sizes of a Qwen3 model; its vocabulary is that of the embedded model, whose tokenizer it has."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    ties_embeddings: bool = False

    @property
    def matrix_parameters(self) -> int:
        """Parameters that every token passes, without the embeddings."""
        attention = self.hidden * self.head_size * 2 * (self.heads + self.key_value_heads)
        return self.layers * (attention + 3 * self.hidden * self.intermediate)


TINY = Shape(64, 128, 2, 2, 1, 32, ties_embeddings=True)


def write_qwen3(folder: Path, shape: Shape, *, weights: bool = True) -> Path:
    """Write a Qwen3 model of this shape with random weights of a fixed seed, or its configuration alone."""
    import torch  # noqa: PLC0415  heavy
    from transformers import AutoTokenizer, Qwen3Config, Qwen3ForCausalLM  # noqa: PLC0415  heavy

    tokenizer = AutoTokenizer.from_pretrained(embedded())
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.key_value_heads,
        head_dim=shape.head_size,
        tie_word_embeddings=shape.ties_embeddings,
        max_position_embeddings=8_192,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        dtype="bfloat16",
        architectures=["Qwen3ForCausalLM"],
    )
    tokenizer.save_pretrained(folder)
    if weights:
        torch.manual_seed(0)
        Qwen3ForCausalLM(config).to(torch.bfloat16).save_pretrained(folder)
    else:
        config.save_pretrained(folder)
    return folder
