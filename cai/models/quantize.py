"""Quantisation of a base to 4 or 8 bits by bitsandbytes, which needs a GPU."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
import transformers

from cai.errors import ModelError, install_hint

WIDTHS = ("4bit", "8bit")


def quantization(width: str, device: torch.device, dtype: torch.dtype) -> Any:
    """The quantisation config of transformers for a width of `WIDTHS`.

    4bit is NF4 with double quantisation (Dettmers et al. 2023, arXiv 2305.14314). dtype: what
    matrices are multiplied in. Raises `ModelError` where the width, the device or the lack of
    bitsandbytes forbids it.
    """
    if width not in WIDTHS:
        raise ModelError(f"Unknown quantisation {width!r}", hint=f"Use {' or '.join(WIDTHS)}.")
    if device.type != "cuda":
        raise ModelError(
            f"A base in {width} needs a CUDA GPU, and this is {device.type}",
            hint="Leave quantisation off, or use --device cuda.",
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ModelError(
            f"A base in {width} needs bitsandbytes, which is not installed",
            hint=install_hint("quantize"),
        )
    if width == "8bit":
        return transformers.BitsAndBytesConfig(load_in_8bit=True)
    return transformers.BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
