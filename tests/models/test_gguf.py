"""GGUF files: the weights, tokenizer and template inside them are those of a plain folder."""

from __future__ import annotations

import importlib.util
import json
import logging
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from cai.errors import ModelError
from cai.models.backbone import Backbone, LoraSettings
from cai.models.folders import local_folder
from cai.models.load import load_encoder, load_model
from cai.models.rows import plain_logits
from cai.types import Message
from tests.models.fresh import adapter_state, load_adapter_state
from tests.text.families import family

REAL = Path(sys.prefix) / "real"
"""Where real models are unpacked for tests, beside the environment's packages."""
HAVE_GGUF = importlib.util.find_spec("gguf") is not None
needs_gguf = pytest.mark.skipif(not HAVE_GGUF, reason="needs the package gguf (extra `gguf`)")
ASKED = (Message("system", "Be brief."), Message("user", "Hello <|im_end|> you!"))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAI_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def llama(tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(family("chatml")), hidden_size=64, intermediate_size=96,
        num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=512, tie_word_embeddings=tied, bos_token_id=None,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return model


def llama_cpp_order(weight: Tensor, heads: int) -> Tensor:
    """Rows of q and k as llama.cpp keeps them: a head's two rotary halves interleaved."""
    size = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, size, -1).transpose(1, 2).reshape(weight.shape)


def write_gguf(file: Path, model: LlamaForCausalLM, q8: bool = False) -> None:
    """What llama.cpp's converter writes of a llama with a byte-level BPE."""
    import gguf

    config, tokenizer = model.config, family("chatml")
    writer = gguf.GGUFWriter(file, "llama")
    writer.add_name("Tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    data = json.loads(tokenizer.backend_tokenizer.to_str())
    special = {t["id"] for t in data["added_tokens"]}
    names = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(names)
    writer.add_token_types([3 if i in special else 1 for i in range(len(names))])
    merges = data["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_pad_token_id(tokenizer.eos_token_id)
    writer.add_chat_template(tokenizer.chat_template)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
        own = next((h for part, h in heads.items() if part in name), None)
        values = (llama_cpp_order(tensor, own) if own else tensor).numpy()
        if q8 and values.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(ggml_name(name), gguf.quants.quantize(values, kind), raw_dtype=kind)
        else:
            writer.add_tensor(ggml_name(name), values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def ggml_name(name: str) -> str:
    parts = {
        "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
        "model.layers": "blk", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for theirs, ours in parts.items():
        name = name.replace(theirs, ours)
    return name


@needs_gguf
@pytest.mark.parametrize("tied", [True, False])
def test_weights_tokenizer_and_template_are_those_inside(tied: bool, tmp_path: Path) -> None:
    model = llama(tied)
    write_gguf(tmp_path / "tiny.gguf", model)
    loaded = load_model(str(tmp_path / "tiny.gguf"), "cpu")
    ids = [5, 6, 7, 8, 9]
    torch.testing.assert_close(
        plain_logits(loaded.model, ids), plain_logits(model, ids), rtol=0, atol=1e-5
    )
    backbone: Any = loaded.model
    head, embeddings = backbone.lm_head, backbone.get_input_embeddings()
    assert (head.weight is embeddings.weight) == tied
    assert loaded.name == "tiny.gguf" and loaded.context == 512
    stock = family("chatml").apply_chat_template(
        [{"role": m.role, "content": m.content.replace("<|im_end|>", "and")} for m in ASKED],
        add_generation_prompt=True, return_dict=False,
    )  # fmt: skip
    clean = tuple(Message(m.role, m.content.replace("<|im_end|>", "and")) for m in ASKED)
    assert list(loaded.encoder.encode(clean).ids) == stock
    end = family("chatml").convert_tokens_to_ids("<|im_end|>")
    assert loaded.encoder.encode(ASKED).ids.count(end) == stock.count(end), "text ends no turn"
    assert end in loaded.encoder.eos_ids


@needs_gguf
def test_quantised_weights_are_those_that_the_file_says(tmp_path: Path) -> None:
    """Q8_0: 32 weights share a scale of max / 127, so each is off by half a step at most."""
    model = llama(False)
    write_gguf(tmp_path / "tiny.gguf", model, q8=True)
    loaded = load_model(str(tmp_path / "tiny.gguf"), "cpu")
    theirs = dict(model.named_parameters())
    for name, parameter in loaded.model.named_parameters():
        off = (parameter - theirs[name]).abs().max()
        step = theirs[name].abs().max() / 127
        assert off <= 0.51 * step if parameter.ndim == 2 else off == 0, name


@needs_gguf
def test_it_is_unpacked_once_and_a_folder_will_do(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    write_gguf(folder / "tiny.gguf", llama(True))
    with caplog.at_level(logging.WARNING):
        first = local_folder(str(folder / "tiny.gguf"))
        assert "Unpacking" in caplog.text
        caplog.clear()
        assert local_folder(str(folder)) == first
        moved = shutil.move(folder / "tiny.gguf", tmp_path / "renamed.gguf")
        assert local_folder(str(moved)) == first, "the content names it"
        assert not caplog.text
    assert [p.name for p in (cache / "gguf").iterdir()] == [first.name]
    assert load_encoder(str(moved)).has_template
    config = json.loads((first / "config.json").read_text())
    assert "quantization_config" not in config
    shutil.copy(moved, folder / "a.gguf")
    shutil.copy(moved, folder / "b.gguf")
    with pytest.raises(ModelError, match=r"holds 2 GGUF files, a\.gguf and b\.gguf"):
        local_folder(str(folder))
    shutil.copy(first / "model.safetensors", folder)
    assert local_folder(str(folder)) == folder, "a folder of safetensors comes first"


@needs_gguf
def test_an_adapter_is_trained_saved_and_merged_on_it(tmp_path: Path) -> None:
    from cai.models.merge import merge_adapter

    file = tmp_path / "tiny.gguf"
    write_gguf(file, llama(True))
    bone = Backbone.load(str(file), device="cpu")
    bone.add_adapter("policy", LoraSettings(r=2), 0)
    state = {k: t + 0.05 for k, t in adapter_state(bone, "policy").items()}
    load_adapter_state(bone, "policy", state)
    bone.save_adapter("policy", tmp_path / "adapter")
    merge_adapter(str(file), tmp_path / "adapter", tmp_path / "merged")
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad(), bone.using("policy"):
        expected = bone.inner(ids).logits
        merged: Any = load_model(str(tmp_path / "merged"), "cpu").model
        torch.testing.assert_close(merged(ids).logits, expected, rtol=0, atol=1e-4)


@needs_gguf
@pytest.mark.slow
@pytest.mark.skipif(not (REAL / "smollm2-gguf").is_dir(), reason=f"no SmolLM2 in {REAL}")
def test_smollm2_is_the_model_in_the_hubs_layout() -> None:
    """Weights to the bit, and the ids of a conversation; two minutes, most for the tokenizer."""
    folder = local_folder(str(REAL / "smollm2-gguf"))
    ours, theirs = (load_file(f / "model.safetensors") for f in (folder, REAL / "smollm2"))
    assert ours.keys() == theirs.keys() and len(ours) == 272
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert load_encoder(folder).encode(ASKED) == load_encoder(REAL / "smollm2").encode(ASKED)


def test_without_the_package_its_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "m.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"pip install -e '\.\[gguf\]'"):
        load_model(str(tmp_path / "m.gguf"))


@needs_gguf
@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model at all" * 100])
def test_a_damaged_file_is_told(content: bytes, tmp_path: Path, cache: Path) -> None:
    (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(ModelError, match=r"m\.gguf can't be"):
        load_model(str(tmp_path / "m.gguf"))
    assert list((cache / "gguf").iterdir()) == [], "nothing half made is left"
    with pytest.raises(ModelError, match="There is no file"):
        load_model(str(tmp_path / "nowhere.gguf"))
