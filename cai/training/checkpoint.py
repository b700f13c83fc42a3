"""A training run's state in one file: safetensors, with JSON in its header. No pickle."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cai.data.files import partial_of, store_errors
from cai.errors import DataError, StoreError

_STATE = "state"


def save_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors and a JSON state to a new file that replaces the old one, whole or not at all.

    Raises `StoreError` where the disk is full or the folder can't be written to.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = partial_of(path)
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with store_errors(path.parent):
        try:
            save_file(plain, partial, metadata={_STATE: json.dumps(dict(state))})
        except SafetensorError as error:  # which wraps the system's
            raise StoreError(
                f"{path} can't be written: {error}",
                hint="Free some space and run the same command again; the old file is untouched.",
            ) from error
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)


def load_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the state of a file. Raises `DataError` if it is missing or damaged."""
    try:
        with safe_open(path, "pt") as file:
            state = json.loads((file.metadata() or {})[_STATE])
            return {name: file.get_tensor(name) for name in file.keys()}, state  # noqa: SIM118
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise DataError(
            f"{path} is not a usable checkpoint: {error}",
            hint="Remove it; it will be recomputed.",
        ) from None


def rng_tensors(device: torch.device) -> dict[str, Tensor]:
    """The states of the generators that dropout draws from."""
    states = {"rng/cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["rng/cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_rng(tensors: Mapping[str, Tensor], device: torch.device) -> None:
    """Restore the random states that `rng_tensors` returned."""
    if "rng/cpu" in tensors:
        torch.set_rng_state(tensors["rng/cpu"])
    if "rng/cuda" in tensors and device.type == "cuda":
        torch.cuda.set_rng_state(tensors["rng/cuda"], device)
