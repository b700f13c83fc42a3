"""Fresh backbones on random-weight models, which a test may change."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from cai.models.adapters import overwrite
from cai.models.backbone import Backbone, LoraSettings
from cai.models.load import LoadedModel
from tests.models.tiny import VOCABULARY, encoder, tiny

SMALL = LoraSettings(r=4, alpha=8)
ARCHITECTURES = (
    "llama", "qwen3", "mistral", "mistral-window", "gemma", "gemma2", "gemma3", "phi", "gpt2",
    "gpt-neox",
)  # fmt: skip


def loaded(model: Any, name: str = "llama") -> LoadedModel:
    """A model as `load_model` gives it."""
    dtype = next(model.parameters()).dtype
    return LoadedModel(model, encoder(), name, "f" * 64, torch.device("cpu"), dtype, 512)


def backbone(name: str = "llama", dtype: torch.dtype = torch.float32, **options: Any) -> Backbone:
    """A backbone on a copy of a tiny model."""
    return Backbone(loaded(copy.deepcopy(tiny(name)).to(dtype), name), **options)


def adapter_state(bone: Backbone, name: str) -> dict[str, Tensor]:
    """Copies of an adapter's tensors (all weights, trained in full)."""
    return {k: p.detach().clone() for k, p in bone._parameters(name).items()}


def load_adapter_state(bone: Backbone, name: str, tensors: Mapping[str, Tensor]) -> None:
    """Overwrite an adapter's tensors."""
    overwrite(bone._parameters(name), tensors, f"the state of {name}")


def add_trained(bone: Backbone, name: str, seed: int, settings: LoraSettings = SMALL) -> None:
    """Add an adapter that changes outputs: its B are no longer 0."""
    bone.add_adapter(name, settings, seed)
    generator = torch.Generator().manual_seed(seed)
    state = adapter_state(bone, name)
    for key, tensor in state.items():
        if ".lora_B." in key:
            tensor.copy_(0.05 * torch.randn(tensor.shape, generator=generator))
    load_adapter_state(bone, name, state)


def token_ids(*shape: int, seed: int = 0) -> Tensor:
    """Random token ids, int64."""
    return torch.randint(VOCABULARY, shape, generator=torch.Generator().manual_seed(seed))


def gradients(bone: Backbone) -> dict[str, Tensor]:
    """Copies of the gradients of what is trained; they are cleared."""
    out = {}
    for key, parameter in bone.trainable().items():
        assert parameter.grad is not None, key
        out[key] = parameter.grad.clone()
        parameter.grad = None
    return out


def assert_close(ours: dict[str, Tensor], theirs: dict[str, Tensor], bound: float = 1e-5) -> None:
    """Equal names, and tensors within a bound relative to the largest number of all of them."""
    assert ours.keys() == theirs.keys()
    size = max(float(t.abs().max()) for t in theirs.values())
    assert size > 0
    for key, tensor in theirs.items():
        assert float((ours[key] - tensor).abs().max()) <= bound * size, key
