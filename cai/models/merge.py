"""Merge an adapter and its base into one plain model, which any tool can load."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from cai.errors import UsageError
from cai.models.libraries import quiet
from cai.models.load import load_model


def merge_adapter(base: str, adapter: Path, out: Path, dtype: str = "float32") -> float:
    """Write base and adapter as one transformers model, with its tokenizer and chat template.

    W + (alpha / r)·BA is computed in float32 (Hu et al. 2021, section 4.1), then rounded to
    `dtype`: float32, bfloat16 or float16. A 16-bit number may be too coarse for a small change:
    returns what rounding changes in the weights, relative to what the adapter does (Frobenius
    norms over all weights that it changes).
    Raises `ModelError` where the two don't fit, `UsageError` where a weight is too large for
    `dtype`, and `OSError` where `out` can't be written.
    """
    loaded = load_model(base, "cpu", "float32", adapter=str(adapter))
    assert loaded.adapters is not None and loaded.adapter is not None
    before = {
        place.replace(".base_layer", ""): parameter.clone()
        for place, parameter in loaded.model.named_parameters()
        if ".base_layer." in place and ".lora_" not in place  # fused experts nest their adapters
    }
    model = loaded.adapters.merge(loaded.adapter.place)
    rounding_loss = _rounding(before, dict(model.named_parameters()), getattr(torch, dtype))
    model = model.to(getattr(torch, dtype))
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise UsageError(
            f"Some weights are too large for {dtype}", hint="Use --dtype bfloat16 or float32."
        )
    with quiet():
        model.save_pretrained(out)
        loaded.encoder.save_tokenizer(out)
    return rounding_loss


def _rounding(
    before: Mapping[str, Tensor], merged: Mapping[str, Tensor], dtype: torch.dtype
) -> float:
    effect = error = 0.0
    for place, old in before.items():
        new = merged[place]
        effect += float((new - old).double().square().sum())
        error += float((new.to(dtype).float() - new).double().square().sum())
    return math.sqrt(error / effect) if effect else 0.0
