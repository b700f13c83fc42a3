"""Rows, tokens, steps and memory of a run before it starts: `cai train … --dry-run`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cai.models.rows import text_config
from cai.training.capacity import AdapterCapacity, capacity_of
from cai.training.card import reasons
from cai.training.config import TrainConfig
from cai.training.trainer import StageTrainer

_ACTIVATIONS = 34
"""Bytes a token, layer and hidden unit that a layer keeps for the backward pass in 16 bits, without
the attention scores (Korthikanti et al. 2022, arXiv 2205.05198, equation 1); twice that in 32."""
_MEASURED = 3
"""Times the equation, for what adapters keep, gradients of activations and copies: a rough factor,
set by the peaks of runs in float32 on a CPU."""
_PROCESS = 500_000_000  # bytes of Python and torch before anything is loaded
_CHECKPOINTED = 2  # only a layer's input is kept (the same, section 5)
_OPTIMIZER = 12  # bytes a trained parameter: its gradient and AdamW's two moments, in float32


@dataclass(frozen=True, slots=True)
class RunEstimate:
    """Rows (prompts, for PPO), tokens and steps; parameters trained and all; bytes, roughly.

    capacity: of the adapter; None in full training.

    reasons: why rows were set aside, the most frequent first.
    tokens: that are read in training; for PPO the most that may be written. memory: of each
    process.
    """

    rows: int
    held_out: int
    set_aside: int
    reasons: tuple[tuple[str, int], ...]
    tokens: int
    steps: int
    trained: int
    parameters: int
    memory: int
    capacity: AdapterCapacity | None = None


def placeholder_reward(prompts: Sequence[object], responses: Sequence[object]) -> list[float]:
    """Stands for the reward in a dry run that has none yet."""
    return [0.0] * len(responses)


def sharded_bytes(layers: float, count: int, processes: int) -> float:
    """Bytes of `count` layers in each process that they are sharded over.

    It holds its share, and two layers whole: the one that computes, and the one that is gathered
    meanwhile.
    """
    return layers * min(1.0, 1 / processes + 2 / count)


def estimate(config: TrainConfig, trainer: StageTrainer, processes: int = 1) -> RunEstimate:
    """What a run needs, before its first step, in each of so many processes."""
    work, backbone = trainer.workload, trainer.backbone
    beside = (*work.other_models, *backbone.copies)
    parameters = {id(p): p for p in (*backbone.model.parameters(), *trainer.parameters.values())}
    loaded = parameters | {id(p): p for module in beside for p in module.parameters()}
    trained = sum(p.numel() for p in trainer.parameters.values())
    shape = text_config(backbone.model)
    activation_bytes = _CHECKPOINTED if config.gradient_checkpointing else _ACTIVATIONS
    together = max(work.longest, min(config.micro_tokens, work.tokens))  # tokens in one pass
    units = together * shape.num_hidden_layers * shape.hidden_size
    activations = _MEASURED * units * activation_bytes * backbone.dtype.itemsize // 2
    weights = sum(p.numel() * p.element_size() for p in loaded.values())
    whole = trained
    if config.parallel == "fsdp" and processes > 1:
        names = {id(p) for p in trainer.parameters.values()}
        for model in (backbone.model, *backbone.copies):
            layers, count = _layers(model)
            size = sum(p.numel() * p.element_size() for p in layers)
            weights -= size - round(sharded_bytes(size, count, processes))
            inside = sum(p.numel() for p in layers if id(p) in names)
            whole -= inside - inside // processes
    return RunEstimate(
        rows=work.rows,
        held_out=work.held_out,
        set_aside=len(trainer.set_aside),
        reasons=reasons(trainer.set_aside),
        tokens=work.tokens,
        steps=work.steps,
        trained=trained,
        parameters=sum(p.numel() for p in parameters.values()),
        memory=_PROCESS + weights + whole * _OPTIMIZER + activations,
        capacity=capacity_of(trainer),
    )


def _layers(model: Any) -> tuple[list[Any], int]:
    """The parameters that FSDP shards, and the number of layers; adapters stay whole."""
    layers = getattr(model.base_model, "layers", ())
    inside = (item for layer in layers for item in layer.named_parameters())
    return [p for name, p in inside if ".lora_" not in name], max(1, len(layers))
