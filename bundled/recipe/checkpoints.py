"""A training run on disk: its checkpoint, and the model in the hub's layout."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from bundled.recipe.batches import StreamState

CHECKPOINT = "training.safetensors"
BEGUN = "begun.json"
"""The file of the numbers that a run started with."""


def save_hub_folder(model: Any, tokenizer: Any, folder: Path) -> None:
    """Write the bf16 weights and the tokenizer in the hub's layout."""
    from transformers import GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    half = build_half(model)
    half.generation_config = GenerationConfig(
        eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    half.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def stamp(folder: Path, digest: str) -> None:
    """Stamp the weights in a folder with the digest of the recipe that made them.

    The same weights and digest make the same file: safetensors writes its metadata in an order
    drawn anew each time, and here it is sorted.
    """
    file = folder / "model.safetensors"
    save_file(load_file(file), file, metadata={"format": "pt", "recipe": digest})
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":")).encode().ljust(size)
    file.write_bytes(content[:8] + ordered + content[8 + size :])


def stamped(folder: Path) -> str | None:
    """The digest that weights are stamped with; None for weights without a stamp."""
    with safe_open(folder / "model.safetensors", "pt") as file:
        return (file.metadata() or {}).get("recipe")


def build_half(model: Any) -> Any:
    """A bf16 copy of a model."""
    return copy.deepcopy(model).to(torch.bfloat16)


def save_checkpoint(
    folder: Path,
    trainee: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    step: int,
    streams: Sequence[StreamState],
) -> None:
    """Everything needed to go on, written to a new file that replaces the old one.

    `streams` are where each process's batches stand.
    """
    tensors = {f"weights/{name}": p.detach() for name, p in trainee.named_parameters()}
    for which, optimizer in enumerate(optimizers):
        for index, values in optimizer.state_dict()["state"].items():
            for key, value in values.items():
                tensors[f"optimizer/{which}/{index}/{key}"] = torch.as_tensor(value)
    progress = json.dumps({"step": step, "streams": [asdict(stream) for stream in streams]})
    temporary = folder / f"{CHECKPOINT}.new"
    save_file(tensors, temporary, metadata={"progress": progress})
    temporary.replace(folder / CHECKPOINT)


@torch.no_grad()
def load_checkpoint(
    folder: Path, trainee: nn.Module, optimizers: list[torch.optim.Optimizer]
) -> tuple[int, list[StreamState]]:
    """Put a checkpoint's values in place; returns the step and where each process's batches stood.

    Raises:
        FileNotFoundError: the folder holds no checkpoint.
    """
    with safe_open(folder / CHECKPOINT, "pt") as file:
        progress = json.loads(file.metadata()["progress"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    for name, parameter in trainee.named_parameters():
        parameter.copy_(tensors[f"weights/{name}"])
    for which, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            kind, *place = name.split("/")
            if kind == "optimizer" and place[0] == str(which):
                state.setdefault(int(place[1]), {})[place[2]] = value
        groups = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    return progress["step"], [StreamState(**stream) for stream in progress["streams"]]
