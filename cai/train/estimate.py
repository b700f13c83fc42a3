"""What a run would do and need, before it starts: `cai train … --dry-run`."""

from __future__ import annotations

from dataclasses import dataclass

from cai.models.rows import text_config
from cai.train.config import TrainConfig
from cai.train.loop import Plan
from cai.train.stages import Stage

_ACTIVATION_BYTES = 34
"""Bytes a token, layer and hidden unit that a layer keeps for the backward pass in 16 bits, without
the attention scores (Korthikanti et al. 2022, arXiv 2205.05198, equation 1); twice that in 32."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Rows, tokens and steps of a run; parameters trained and all; bytes of memory, roughly."""

    rows: int
    held_out: int
    set_aside: int
    tokens: int
    steps: int
    trained: int
    parameters: int
    memory: int


def estimate(config: TrainConfig, stage: Stage) -> Estimate:
    """Count, and estimate the memory: weights, gradients, AdamW's moments and activations."""
    weights = list(stage.backbone.inner.parameters())
    trained = sum(p.numel() for p in stage.parameters.values())
    held = sum(p.numel() * p.element_size() for p in weights)
    layers = text_config(stage.backbone.model).num_hidden_layers
    longest = max(map(stage.objective.tokens, stage.train))
    piece = max(config.micro_tokens, longest)
    width = 2 if stage.backbone.dtype.itemsize == 4 else 1
    kept = 2 if config.gradient_checkpointing else _ACTIVATION_BYTES
    activations = piece * layers * stage.backbone.hidden_size * kept * width
    return Estimate(
        rows=len(stage.train),
        held_out=len(stage.test),
        set_aside=len(stage.set_aside),
        tokens=round(sum(map(stage.objective.tokens, stage.train)) * config.epochs),
        steps=Plan(
            config.batch_size, config.epochs, config.micro_tokens, config.seed, 1,
            max_steps=config.max_steps,
        ).steps(len(stage.train)),
        trained=trained,
        parameters=sum(p.numel() for p in weights),
        memory=held + trained * 12 + activations,
    )  # fmt: skip
