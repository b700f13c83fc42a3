"""Write the bundled miniature as GGUF: `python tools/miniature_gguf.py OUT.gguf`.

Weights in float32 (exact: they are stored as bfloat16), tokenizer and chat template included, so
that llama.cpp computes what `cai` computes. The tokenizer splits text at parentheses, and then as
GPT-2 does. GGUF names no such pre-tokenizer, but llama.cpp cuts user-defined tokens out of a text
before it splits the rest: `(` and `)` are marked as such. One difference remains: llama.cpp also
ends a generation at `<|endoftext|>`, a token that the miniature was never trained on.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFWriter, LlamaFileType, TokenType
from safetensors.torch import load_file

WEIGHTS = Path(__file__).parents[1] / "cai" / "miniature" / "weights"
CUT_OUT = ("(", ")")
"""What the tokenizer isolates before anything else."""
LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""A layer's tensors: names in transformers, names in GGUF."""


def gguf_name(name: str) -> str:
    """GGUF's name of a tensor, without the suffix `.weight`."""
    stem = name.removesuffix(".weight").removeprefix("model.")
    if stem.startswith("layers."):
        _, number, rest = stem.split(".", 2)
        return f"blk.{number}.{LAYER[rest]}"
    return {"embed_tokens": "token_embd", "norm": "output_norm"}[stem]


def interleave(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of a query or key projection in llama.cpp's order, which rotates neighbouring pairs.

    transformers rotates the first half of a head against the second. weight: [heads · D, H].
    """
    halves = weight.view(heads, 2, weight.shape[0] // heads // 2, weight.shape[1])
    return halves.transpose(1, 2).reshape(weight.shape)


def write_architecture(writer: GGUFWriter, config: dict[str, Any]) -> None:
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_file_type(LlamaFileType.ALL_F32)


def write_tokenizer(writer: GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    tokenizer = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    ids: dict[str, int] = tokenizer["model"]["vocab"]
    control = {token["content"] for token in tokenizer["added_tokens"]}
    tokens = sorted(ids, key=ids.__getitem__)
    types = [
        TokenType.CONTROL
        if token in control
        else TokenType.USER_DEFINED
        if token in CUT_OUT
        else TokenType.NORMAL
        for token in tokens
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_bos_token_id(ids["<|endoftext|>"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_pad_token_id(config["pad_token_id"])
    writer.add_add_bos_token(False)  # the miniature has none; llama.cpp has to be given one
    writer.add_chat_template((folder / "chat_template.jinja").read_text("utf-8"))


def write_weights(writer: GGUFWriter, folder: Path, config: dict[str, Any]) -> None:
    heads = {
        "q_proj": config["num_attention_heads"],
        "k_proj": config["num_key_value_heads"],
    }
    for name, tensor in load_file(folder / "model.safetensors").items():
        weight = tensor.float()
        projection = name.removesuffix(".weight").rpartition(".")[2]
        if projection in heads:
            weight = interleave(weight, heads[projection])
        writer.add_tensor(f"{gguf_name(name)}.weight", weight.contiguous().numpy())


def write(folder: Path, out: Path) -> None:
    """Write a model folder in the miniature's architecture, with its tokenizer, to a GGUF file."""
    config = json.loads((folder / "config.json").read_text("utf-8"))
    writer = GGUFWriter(out, "llama")
    writer.add_name("miniature")
    write_architecture(writer, config)
    write_tokenizer(writer, folder, config)
    write_weights(writer, folder, config)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("out", type=Path, help="the file to write")
    write(WEIGHTS, parser.parse_args().out)


if __name__ == "__main__":
    main()
