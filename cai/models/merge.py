"""An adapter and its base as one plain model, which any tool loads."""

from __future__ import annotations

from pathlib import Path

import torch

from cai.errors import UsageError
from cai.models.libraries import quiet
from cai.models.load import load_model


def merge_adapter(base: str, adapter: Path, out: Path, dtype: str = "float32") -> None:
    """Write base and adapter as one transformers model, with its tokenizer and chat template.

    W + (alpha / r)·BA is computed in float32 (Hu et al. 2021, section 4.1), then rounded to
    `dtype`: float32, bfloat16 or float16. A 16-bit number may be too coarse for a small change.
    Raises `ModelError` where the two don't fit, `UsageError` where a weight is too large for
    `dtype`, and `OSError` where `out` can't be written.
    """
    loaded = load_model(base, "cpu", "float32", adapter=str(adapter))
    assert loaded.adapters is not None and loaded.adapter is not None
    model = loaded.adapters.merge(loaded.adapter.place).to(getattr(torch, dtype))
    if not all(parameter.isfinite().all() for parameter in model.parameters()):
        raise UsageError(
            f"Some weights are too large for {dtype}", hint="Use --dtype bfloat16 or float32."
        )
    with quiet():
        model.save_pretrained(out)
        loaded.encoder.save_tokenizer(out)
