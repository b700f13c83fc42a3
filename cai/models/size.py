"""The size of a model, from its config alone: no weights are read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import transformers

from cai.errors import ModelError
from cai.models.libraries import first_line
from cai.models.load import context_of, load_config
from cai.models.rows import text_config


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a model: parameters, bytes of the weights, bytes of a token in the KV cache,
    their dtype, and the context length."""

    parameters: int
    weights: int
    token: int
    dtype: torch.dtype
    context: int


def model_size(name: str | Path, device: str = "auto", dtype: str = "auto") -> Size:
    """The size of the model that `load_model` would load. Raises `ModelError`."""
    config, number_type = load_config(name, device=device, dtype=dtype)
    try:
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
    except Exception as error:
        raise ModelError(f"{name} is no language model: {first_line(error)}") from error
    parameters = sum(p.numel() for p in {id(p): p for p in model.parameters()}.values())
    shape = text_config(model)
    heads = getattr(shape, "num_key_value_heads", None) or shape.num_attention_heads
    width = getattr(shape, "head_dim", None) or shape.hidden_size // shape.num_attention_heads
    token = 2 * shape.num_hidden_layers * heads * width * number_type.itemsize
    return Size(
        parameters, parameters * number_type.itemsize, token, number_type, context_of(config)
    )
