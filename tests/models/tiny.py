"""Random-weight models of well-known architectures, small enough to build in a test."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import transformers as tf

from cai.text.encode import Encoder
from tests.text.families import family

VOCABULARY = 520
SHAPE: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 48,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": 0.4,
    "pad_token_id": 0,
}
GPT2 = {"n_embd": 48, "n_layer": 3, "n_head": 4, "n_positions": 512, "vocab_size": VOCABULARY}
MAMBA = {"hidden_size": 32, "num_hidden_layers": 2, "state_size": 8, "vocab_size": VOCABULARY}
ALL_HEADS = {**SHAPE, "num_key_value_heads": 4}

ARCHITECTURES: dict[str, Any] = {
    "llama": lambda: tf.LlamaConfig(**SHAPE),
    "qwen3": lambda: tf.Qwen3Config(**SHAPE, head_dim=16),
    "mistral": lambda: tf.MistralConfig(**SHAPE, sliding_window=None),
    "mistral-window": lambda: tf.MistralConfig(**SHAPE, sliding_window=8),
    "gemma": lambda: tf.GemmaConfig(**SHAPE, head_dim=12),
    "gemma2": lambda: tf.Gemma2Config(
        **SHAPE, head_dim=12, sliding_window=8, query_pre_attn_scalar=12
    ),
    "gemma3": lambda: tf.Gemma3TextConfig(
        **SHAPE, head_dim=12, sliding_window=8, query_pre_attn_scalar=12,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    ),
    "phi": lambda: tf.PhiConfig(**ALL_HEADS),
    "gpt2": lambda: tf.GPT2Config(**GPT2, initializer_range=0.2),
    "gpt-neox": lambda: tf.GPTNeoXConfig(
        **{k: v for k, v in SHAPE.items() if k != "num_key_value_heads"}
    ),
}  # fmt: skip
"""Architectures that the slots serve."""

UNUSUAL: dict[str, Any] = {
    "mamba": lambda: tf.MambaConfig(**MAMBA, initializer_range=0.4),
}
"""Architectures that take another kind of cache."""


@cache
def tiny(name: str = "llama") -> Any:
    """A random model, the same for every test; nobody may change it."""
    torch.manual_seed(0)
    config = {**ARCHITECTURES, **UNUSUAL}[name]()
    return tf.AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)


@cache
def encoder(name: str = "chatml") -> Encoder:
    """The encoder of a small tokenizer, whose ids fit the models' vocabulary."""
    return Encoder(family(name))
