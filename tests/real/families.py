"""Tokenizers and templates that well-known families ship, each on a tiny random model.

`tools/real_models.py` lays them out, one folder a family. None is part of the repository.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from cai.text.encode import Encoder

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("CAI_REAL_MODELS", ROOT / ".venv" / "real"))
"""Where the folders are."""

HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
SMALL: dict[str, Any] = {
    **HEADS, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2,
    "max_position_embeddings": 2048, "initializer_range": 0.2,
}  # fmt: skip
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 16, "n_group": 1, "topk_group": 1}
LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8,
    "v_head_dim": 8,
}  # fmt: skip

ARCHITECTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "smollm2": ("LlamaConfig", {}),
    "qwen3": ("Qwen3Config", {"head_dim": 8}),
    "qwen3_5": ("Qwen3Config", {"head_dim": 8}),
    "llama3_1": ("LlamaConfig", {}),
    "llama3_2": ("LlamaConfig", {}),
    "llama2": ("LlamaConfig", {}),
    "gemma3": ("Gemma3TextConfig", {"head_dim": 8, "query_pre_attn_scalar": 8,
                                    "sliding_window": 64}),
    "deepseek_v3": ("DeepseekV3Config", {
        **EXPERTS, **LATENT, "num_key_value_heads": 4, "n_routed_experts": 4,
        "first_k_dense_replace": 1}),
    "deepseek_r1": ("Qwen2Config", {}),
    "gptoss": ("GptOssConfig", {"head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2,
                                "sliding_window": 64}),
    "mistral_nemo": ("MistralConfig", {"head_dim": 8, "sliding_window": None}),
    "mistral_small3": ("MistralConfig", {"head_dim": 8, "sliding_window": None}),
    "phi3": ("Phi3Config", {"num_key_value_heads": 4}),
    "phi4": ("Phi3Config", {}),
    "phi4_mini": ("Phi3Config", {}),
    "olmo2": ("Olmo2Config", {}),
    "olmo3": ("Olmo3Config", {"sliding_window": 64}),
    "glm4": ("Glm4MoeConfig", {**EXPERTS, "head_dim": 8, "n_routed_experts": 4,
                               "first_k_dense_replace": 1}),
    "lfm2": ("LlamaConfig", {}),
    "nemotron3": ("LlamaConfig", {}),
}  # fmt: skip
"""A class of transformers for each family, and what it needs beside `SMALL`.

Hybrids (Qwen3.5, LFM2, Nemotron 3) have recurrent layers, which need a cache of another kind: their
templates stand on a plain transformer here.
"""


def folder(name: str) -> Path:
    """A family's folder; the test is skipped where it has not been fetched."""
    path = REAL / name
    if not path.is_dir():
        pytest.skip(f"{path} is not here: `make test-real` fetches it (or set CAI_REAL_MODELS)")
    return path


@lru_cache(maxsize=1)
def tokenizer(name: str) -> Any:
    """A family's tokenizer. One is kept: they are large, and a family's tests run together."""
    return transformers.AutoTokenizer.from_pretrained(folder(name))


@lru_cache(maxsize=1)
def encoder(name: str) -> Encoder:
    """The encoder of a family's tokenizer."""
    return Encoder(tokenizer(name))


def of_each_family(*names: str) -> pytest.MarkDecorator:
    """Parametrizes a test by `name`, a family's tests together: its tokenizer is loaded once."""
    some = [pytest.param(n, marks=pytest.mark.xdist_group(n)) for n in names or ARCHITECTURES]
    return pytest.mark.parametrize("name", some, scope="session")


def save_tiny(name: str, to: Path) -> Path:
    """A random model of the family's architecture with its tokenizer, in the hub's layout."""
    words = tokenizer(name)
    kind, options = ARCHITECTURES[name]
    config = getattr(transformers, kind)(
        **{
            **SMALL,
            "vocab_size": max(words.get_vocab().values()) + 1,
            "bos_token_id": words.bos_token_id,
            "eos_token_id": words.eos_token_id,
            "pad_token_id": words.pad_token_id,
            "tie_word_embeddings": False,
            **options,
        }
    )
    torch.manual_seed(0)
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(to)
    words.save_pretrained(to)
    return to
