"""Which weights have an adapter beside them, and the experts and routers of a mixture."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM as Auto
from transformers import (
    GptOssConfig,
    GraniteMoeConfig,
    Llama4TextConfig,
    MixtralConfig,
    PhimoeConfig,
)

from cai.errors import UsageError
from cai.models.adapters import Adapters, LoraSettings
from cai.models.coverage import _size, coverage
from tests.models.fresh import backbone
from tests.models.tiny import SHAPE

IDS = torch.randint(5, 250, (2, 12), generator=torch.Generator().manual_seed(0))
EXPERTS = {
    "gpt_oss": (GptOssConfig, {"num_local_experts": 4, "num_experts_per_tok": 2, "head_dim": 8}),
    "granite": (GraniteMoeConfig, {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "llama4": (Llama4TextConfig,
               {"num_local_experts": 4, "intermediate_size_mlp": 64, "head_dim": 8}),
    "mixtral": (MixtralConfig, {"num_local_experts": 4, "num_experts_per_tok": 2}),
    "phi": (PhimoeConfig, {"num_local_experts": 4}),
}  # fmt: skip


def mixture(name: str, targets: str | None) -> tuple[Any, Adapters, torch.Tensor]:
    """A random mixture of experts with an adapter (None: yet without), and its own logits."""
    kind, own = EXPERTS[name]
    torch.manual_seed(0)
    model = Auto.from_config(kind(**(SHAPE | own))).eval().requires_grad_(False)
    plain = model(IDS).logits
    adapters = Adapters(model, name)
    if targets is not None:
        adapters.add("policy", LoraSettings(r=4, alpha=8, targets=targets).config(model), seed=1)
    return model, adapters, plain


def test_the_share_by_hand() -> None:
    """Queries alone: SHAPE's hidden² of each layer; all else that is a matrix is named."""
    bone = backbone()
    bone.add_adapter("policy", LoraSettings(r=4, alpha=8, targets=("q_proj",)), seed=1)
    found = coverage(bone.model, "policy")
    layers, hidden = SHAPE["num_hidden_layers"], SHAPE["hidden_size"]
    assert found.adapted == layers * hidden * hidden
    base = sum(p.numel() for n, p in bone.model.named_parameters() if ".lora_" not in n)
    assert found.weights == base
    assert found.share == found.adapted / base
    names = dict(found.without)
    assert names["layers.*.mlp.up_proj"] == layers * hidden * SHAPE["intermediate_size"]
    assert "layers.*.self_attn.q_proj" not in names and "embed_tokens" in names
    assert not any("norm" in name for name in names)
    sizes = [size for _, size in found.without]
    assert sizes == sorted(sizes, reverse=True)
    bone.add_adapter("other", LoraSettings(r=2, alpha=4), seed=1)
    assert coverage(bone.model, "policy") == found, "of its own adapter alone"
    assert set(dict(coverage(bone.model, "other").without)) <= {"embed_tokens", "lm_head"}


def test_a_weight_of_4_bits_has_its_own_shape() -> None:
    packed = torch.nn.Parameter(torch.zeros(8, 1))
    assert _size(packed) == 8
    packed.quant_state = SimpleNamespace(shape=(4, 4))  # type: ignore[attr-defined]
    assert _size(packed) == 16


@pytest.mark.parametrize("name", EXPERTS)
def test_experts_are_adapted_on_request(name: str, tmp_path: Path) -> None:
    """A fresh adapter changes nothing, a backward pass reaches it all, and saved it is the same."""
    model, adapters, plain = mixture(name, "all")
    assert not any(".experts." in path for path, _ in coverage(model, "policy").without)
    torch.testing.assert_close(model(IDS).logits, plain, atol=1e-5, rtol=1e-5)
    parameters = adapters.parameters("policy")
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for path, parameter in parameters.items():
            if ".lora_B." in path:
                parameter.copy_(0.02 * torch.randn(parameter.shape, generator=generator))
    for parameter in parameters.values():
        parameter.requires_grad_(True)
    out = model(IDS).logits
    assert (out - plain).abs().max() > 1e-3
    adapters.save("policy", tmp_path / "saved")
    again, loaded, _ = mixture(name, None)
    loaded.load("policy", str(tmp_path / "saved"))
    torch.testing.assert_close(again(IDS).logits, out.detach(), atol=1e-6, rtol=1e-6)
    out.logsumexp(-1).mean().backward()
    reached = {path for path, p in parameters.items() if p.grad is not None and p.grad.any()}
    assert {path for path in parameters if ".experts" in path} <= reached


@pytest.mark.parametrize("name", EXPERTS)
def test_all_linear_leaves_routers_alone_that_are_more_than_a_product(name: str) -> None:
    model, _, plain = mixture(name, "all-linear")
    torch.testing.assert_close(model(IDS).logits, plain, atol=1e-5, rtol=1e-5)
    left = [path for path, _ in coverage(model, "policy").without if ".experts." in path]
    assert bool(left) == (name != "mixtral"), "PEFT takes Mixtral's experts for linear layers"


def test_experts_take_no_dropout() -> None:
    with pytest.raises(UsageError, match="experts can't have dropout"):
        LoraSettings(targets="all", dropout=0.1)
