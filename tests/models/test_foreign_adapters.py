"""Adapters that PEFT made elsewhere: as PEFT computes them unmerged, or refused with the reason.

The base is the miniature, whose head is tied to its embeddings.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM, MixtralConfig, MixtralForCausalLM

from cai.backends.local import LocalBackend
from cai.cli.loaded_models import LoadedModels
from cai.errors import ModelError
from cai.models.backbone import Backbone, LoraSettings
from cai.models.load import load_model
from cai.models.logprobs import token_logprobs
from cai.models.merge import merge_adapter
from cai.models.names import resolve_model
from tests.cli.project import cai
from tests.models.fresh import adapter_state, load_adapter_state
from tests.models.tiny import SHAPE
from tests.text.families import family

IDS = torch.randint(5, 2000, (2, 12), generator=torch.Generator().manual_seed(0))
BASE = resolve_model("miniature")

RIGHT: dict[str, dict[str, Any]] = {
    "two layers": {"target_modules": ["q_proj", "v_proj"]},
    "all linear layers": {"target_modules": "all-linear"},
    "DoRA": {"target_modules": ["q_proj", "up_proj"], "use_dora": True},
    "ranks by pattern": {"target_modules": ["q_proj", "k_proj"], "rank_pattern": {"k_proj": 2}},
    "alphas by pattern": {"target_modules": ["q_proj", "k_proj"], "alpha_pattern": {"k_proj": 2}},
    "rank-stabilised": {"target_modules": ["q_proj"], "use_rslora": True},
    "some layers": {"target_modules": ["q_proj"], "layers_to_transform": [1]},
    "all of it at once": {
        "target_modules": "all-linear",
        "use_dora": True,
        "use_rslora": True,
        "rank_pattern": {"k_proj": 2},
        "alpha_pattern": {"q_proj": 3},
        "exclude_modules": ["o_proj"],
    },
}
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "a trained head": (
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
        r"uses modules_to_save \(lm_head\)",
    ),
    "LoRA on the tied head": ({"target_modules": ["q_proj", "lm_head"]}, "weights of the base"),
    "LoRA on the embeddings": ({"target_modules": ["q_proj", "embed_tokens"]}, "embed_tokens"),
    "a resized vocabulary": (
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens", "lm_head"]},
        "uses modules_to_save",
    ),
    "a resized vocabulary, saved unasked": ({"target_modules": ["q_proj"]}, "weights of the base"),
    "some tokens": ({"target_modules": ["q_proj"], "trainable_token_indices": [5]}, "token_ind"),
    "activated by tokens": (
        {"target_modules": ["q_proj"], "alora_invocation_tokens": [5]}, "uses alora_invocation",
    ),
}  # fmt: skip


def peft_adapter(folder: Path, vocabulary: int | None = None, **settings: Any) -> PeftModel:
    """Save an adapter that does something; returns PEFT's own model with it, unmerged."""
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    if vocabulary:
        base.resize_token_embeddings(vocabulary, mean_resizing=False)
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, **settings)
    model = get_peft_model(base, config)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if any(part in name for part in ("lora_B", "magnitude", "modules_to_save")):
                p += 0.02 * torch.randn(p.shape, generator=generator)
    model.save_pretrained(folder)
    return model.eval()


@torch.no_grad()
def logits(model: Any) -> Tensor:
    out: Tensor = model(IDS).logits
    return out


@pytest.mark.parametrize("kind", RIGHT)
def test_loaded_and_merged_as_peft_computes_it(kind: str, tmp_path: Path) -> None:
    """Unmerged to the bit of float32, and merged within 1e-4; and it does something."""
    expected = logits(peft_adapter(tmp_path / "adapter", **RIGHT[kind]))
    loaded = load_model("miniature", "cpu", "float32", adapter=str(tmp_path / "adapter"))
    torch.testing.assert_close(logits(loaded.model), expected, rtol=0, atol=1e-6)
    assert loaded.adapter is not None
    with loaded.adapter.base.weights():
        alone = logits(loaded.model)
    assert (alone - expected).abs().max() > 1e-2
    assert torch.equal(alone, logits(load_model("miniature", "cpu", "float32").model))
    assert merge_adapter("miniature", tmp_path / "adapter", tmp_path / "merged") == 0
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    torch.testing.assert_close(logits(merged), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", RIGHT)
def test_training_has_peft_s_loss_and_gradients(
    kind: str, checkpointing: bool, tmp_path: Path
) -> None:
    """Of the same adapter under the same loss, computed by PEFT's model: every part has them."""
    theirs = peft_adapter(tmp_path / "adapter", **RIGHT[kind])
    for name, parameter in theirs.named_parameters():
        parameter.requires_grad_(".lora_" in name)
    expected = theirs(input_ids=IDS, labels=IDS).loss
    expected.backward()
    bone = Backbone.load(
        "miniature", device="cpu", dtype="float32", gradient_checkpointing=checkpointing
    )
    bone.load_adapter("policy", tmp_path / "adapter")
    bone.copy_adapter("policy", "reference")
    bone.train_only("policy")
    bone.train()
    with bone.using("policy"):
        hidden = bone.hidden_states(IDS)[:, :-1].flatten(0, 1)
        loss = -token_logprobs(hidden, bone.head, IDS[:, 1:].flatten()).mean()
    loss.backward()
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    found = {name.removeprefix("policy."): p.grad for name, p in bone.trainable().items()}
    right = {
        name.removeprefix("base_model.model.").replace(".default", ""): p.grad
        for name, p in theirs.named_parameters()
        if p.requires_grad
    }
    assert found.keys() == right.keys()
    largest = max(float(grad.abs().max()) for grad in right.values())
    for name, grad in found.items():
        assert grad is not None and float(grad.abs().max()) > 0, name
        assert float((grad - right[name]).abs().max()) < 1e-4 * largest, name


def test_a_run_from_it_trains_every_part_and_peft_reads_the_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`cai train --adapter`, which keeps DoRA, rslora and both patterns in what it writes."""
    monkeypatch.chdir(tmp_path)
    settings = RIGHT["all of it at once"]
    peft_adapter(tmp_path / "adapter", **settings)
    row = '{"prompt": "How do I begin with chess?", "completion": "Protect your king."}\n'
    (tmp_path / "rows.jsonl").write_text(row * 4)
    cai("train", "sft", "--data", "rows.jsonl", "--model", "miniature", "--adapter", "adapter",
        "--out", "run", "--max-steps", 1, "--batch-size", 2, "--quiet", "--device", "cpu",
        "--dtype", "float32")  # fmt: skip
    before = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    after = load_file(tmp_path / "run" / "adapter" / "adapter_model.safetensors")
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert not torch.equal(tensor, after[name]), name
    config = PeftConfig.from_pretrained(str(tmp_path / "run" / "adapter"))
    for name in ("use_dora", "use_rslora", "rank_pattern", "alpha_pattern"):
        assert getattr(config, name) == settings[name]
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(base, tmp_path / "run" / "adapter")
    ours = load_model("miniature", "cpu", "float32", adapter=str(tmp_path / "run"))
    torch.testing.assert_close(logits(theirs.eval()), logits(ours.model), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", RIGHT)
def test_a_backbone_loads_it_and_saves_what_peft_loads(kind: str, tmp_path: Path) -> None:
    """What `cai train --adapter` starts from, and what it writes."""
    expected = logits(peft_adapter(tmp_path / "adapter", **RIGHT[kind]))
    bone = Backbone.load("miniature", device="cpu", dtype="float32")
    bone.load_adapter("policy", tmp_path / "adapter")
    bone.copy_adapter("policy", "reference")
    for name in ("policy", "reference"):
        with bone.using(name):
            torch.testing.assert_close(logits(bone.inner), expected, rtol=0, atol=1e-6)
    bone.save_adapter("policy", tmp_path / "saved")
    base = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(base, tmp_path / "saved")
    torch.testing.assert_close(logits(theirs), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_with_the_reason_wherever_it_is_loaded(kind: str, tmp_path: Path) -> None:
    settings, reason = REFUSED[kind]
    adapter = tmp_path / "adapter"
    peft_adapter(adapter, 2600 if "vocabulary" in kind else None, **settings)
    ways = {
        "build-data": lambda: LocalBackend.load("miniature", adapter=str(adapter)),
        "chat, compare": lambda: LoadedModels.load(
            "miniature", [str(adapter)], device="cpu", dtype="auto", at_once=1
        ),
        "merge": lambda: merge_adapter("miniature", adapter, tmp_path / "merged"),
        "train": lambda: Backbone.load("miniature").load_adapter("policy", adapter),
    }
    for way, load in ways.items():
        with pytest.raises(ModelError, match=reason) as error:
            load()
        assert "Merge it into its base with PEFT" in str(error.value), way
    assert not (tmp_path / "merged").exists()


def test_a_head_that_only_the_config_names_is_refused_by_the_model(tmp_path: Path) -> None:
    """A file without the tied head's own weights, as PEFT writes it when asked to."""
    settings: dict[str, Any] = {"target_modules": ["q_proj", "lm_head"]}
    model = peft_adapter(tmp_path / "adapter", **settings)
    model.save_pretrained(tmp_path / "bare", save_embedding_layers=False)
    with pytest.raises(ModelError, match=r"bare changes lm_head \(tied to the embeddings\)"):
        load_model("miniature", adapter=str(tmp_path / "bare"))


@pytest.mark.parametrize("command", ["build-data", "chat", "compare", "merge", "train"])
def test_the_command_line_refuses_it_before_the_base_is_loaded(
    command: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    adapter = tmp_path / "adapter"
    peft_adapter(adapter, **REFUSED["a trained head"][0])
    monkeypatch.chdir(tmp_path)
    data = tmp_path / "rows.jsonl"
    data.write_text('{"prompt": "Hello.", "completion": "Hi."}\n')
    commands = {
        "build-data": ("build-data", "--adapter", adapter, "--out", "run"),
        "chat": ("chat", "--model", "miniature", "--adapter", adapter),
        "compare": ("compare", "--model", "miniature", "--adapter", adapter),
        "merge": ("merge", adapter, "--model", "miniature", "--out", "out"),
        "train": ("train", "sft", "--data", data, "--model", "miniature", "--adapter", adapter),
    }[command]
    if command != "merge":
        monkeypatch.setattr("cai.models.load._model", None)
    cai(*commands, exit_code=5)
    assert "uses modules_to_save (lm_head), which is not supported" in capsys.readouterr().err


def test_what_merging_costs_is_measured_and_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Recomputed: ||bf16(W + BA) - (W + BA)|| / ||BA|| over the four layers that are changed."""
    peft_adapter(tmp_path / "a", target_modules=["q_proj"])
    loaded = load_model("miniature", "cpu", "float32", adapter=str(tmp_path / "a"))
    assert loaded.adapter is not None
    effect = error = 0.0
    layer: Any
    for layer in loaded.model.modules():
        if hasattr(layer, "lora_A"):
            change = layer.get_delta_weight(loaded.adapter.place)
            whole = layer.base_layer.weight + change
            effect += float(change.square().sum())
            error += float((whole.bfloat16().float() - whole).square().sum())
    expected = (error / effect) ** 0.5
    lost = merge_adapter("miniature", tmp_path / "a", tmp_path / "merged", "bfloat16")
    assert lost == pytest.approx(expected, rel=1e-3) and 0.01 < lost < 1
    arguments = ("merge", tmp_path / "a", "--model", "miniature", "--dtype", "bfloat16")
    cai(*arguments, "--out", tmp_path / "out")
    message = capsys.readouterr().err
    assert f"Rounding to bfloat16 changes the weights {lost:.0%} as much as the adapter" in message


@pytest.mark.filterwarnings("ignore::peft.utils.PeftWarning")
def test_what_cannot_be_merged_is_told_and_is_right_unmerged(tmp_path: Path) -> None:
    """A bias beside B, where the layer has none of its own to add it to."""
    expected = logits(peft_adapter(tmp_path / "a", target_modules=["q_proj"], lora_bias=True))
    loaded = load_model("miniature", "cpu", "float32", adapter=str(tmp_path / "a"))
    torch.testing.assert_close(logits(loaded.model), expected, rtol=0, atol=1e-6)
    with pytest.raises(ModelError, match=r"can't be merged into miniature.*no bias"):
        merge_adapter("miniature", tmp_path / "a", tmp_path / "merged")


def test_nothing_of_an_adapter_is_rounded_in_bfloat16(tmp_path: Path) -> None:
    """bfloat16 keeps 8 bits: added to a weight of 1, an effect of 2^-9 is gone. So the adapter's
    own numbers stay float32, beside the base's."""
    peft_adapter(tmp_path / "a", target_modules=["q_proj"])
    assert float(torch.tensor(1.0).bfloat16() + torch.tensor(2.0**-9).bfloat16()) == 1.0
    base = load_model("miniature", "cpu", "bfloat16")
    loaded = base.with_adapter(str(tmp_path / "a"))
    assert loaded.adapter is not None and loaded.adapters is not None
    parameters = loaded.adapters.parameters(loaded.adapter.place)
    saved = load_file(tmp_path / "a" / "adapter_model.safetensors")
    assert {f"base_model.model.{key}" for key in parameters} == set(saved)
    for key, parameter in parameters.items():
        assert parameter.dtype == torch.float32
        assert torch.equal(parameter, saved[f"base_model.model.{key}"])
    layer: Any = next(m for m in loaded.model.modules() if hasattr(m, "lora_A"))
    untouched = load_model("miniature", "cpu", "bfloat16").model
    place = next(n for n, m in loaded.model.named_modules() if m is layer)
    before: Any = untouched.get_submodule(place)
    assert torch.equal(layer.base_layer.weight, before.weight)


def test_fused_experts_are_trained_saved_and_merged(tmp_path: Path) -> None:
    """Of a mixture of experts PEFT adapts the fused weights as parameters, not as layers.

    A fresh adapter changes nothing, a saved one is what it was, and merged it is the same model.
    """
    torch.manual_seed(0)
    base = MixtralForCausalLM(MixtralConfig(**SHAPE, num_local_experts=4, num_experts_per_tok=2))
    base.save_pretrained(tmp_path / "base")
    family("chatml").save_pretrained(tmp_path / "base")
    backbone = Backbone.load(str(tmp_path / "base"), device="cpu", dtype="float32")
    ids = IDS % SHAPE["vocab_size"]
    plain = base.eval()(ids).logits
    backbone.add_adapter("policy", LoraSettings(r=4, alpha=8), seed=1)
    with torch.no_grad(), backbone.using("policy"):
        torch.testing.assert_close(backbone.model(ids).logits, plain, atol=1e-5, rtol=1e-5)
    state = adapter_state(backbone, "policy")
    assert any("experts" in name for name in state)
    generator = torch.Generator().manual_seed(1)
    for name, tensor in state.items():
        if "lora_B" in name:
            tensor.copy_(0.02 * torch.randn(tensor.shape, generator=generator))
    load_adapter_state(backbone, "policy", state)
    with torch.no_grad(), backbone.using("policy"):
        moved = backbone.model(ids).logits
    with torch.no_grad(), backbone.using(None):
        torch.testing.assert_close(backbone.model(ids).logits, plain, atol=1e-5, rtol=1e-5)
    assert (moved - plain).abs().max() > 0.1
    backbone.save_adapter("policy", tmp_path / "adapter")
    loaded = load_model(str(tmp_path / "base"), "cpu", "float32", str(tmp_path / "adapter"))
    with torch.no_grad(), loaded.weights():
        torch.testing.assert_close(loaded.model(ids).logits, moved, atol=1e-5, rtol=1e-5)
    merge_adapter(str(tmp_path / "base"), tmp_path / "adapter", tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32)
    torch.testing.assert_close(merged(ids).logits, moved, atol=1e-4, rtol=1e-4)
