"""What a run would do and need, before it starts: `cai train … --dry-run`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cai.models.backbone import Backbone
from cai.models.rows import text_config
from cai.train.config import PpoConfig, RowsConfig, TrainConfig
from cai.train.loop import Plan
from cai.train.ppo_run import Prepared
from cai.train.stages import Stage

_ACTIVATIONS = 34
"""Bytes a token, layer and hidden unit that a layer keeps for the backward pass in 16 bits, without
the attention scores (Korthikanti et al. 2022, arXiv 2205.05198, equation 1); twice that in 32."""
_CHECKPOINTED = 2  # only a layer's input is kept (the same, section 5)
_OPTIMIZER = 12  # bytes a trained parameter: its gradient and AdamW's two moments, in float32


@dataclass(frozen=True, slots=True)
class Estimate:
    """Rows (prompts, for PPO), tokens and steps; parameters trained and all; bytes, roughly.

    tokens: that are read in training; for PPO the most that may be written.
    """

    rows: int
    held_out: int
    set_aside: int
    tokens: int
    steps: int
    trained: int
    parameters: int
    memory: int


def estimate(config: RowsConfig, stage: Stage) -> Estimate:
    """Of a stage that learns from rows."""
    plan = Plan(
        config.batch_size, config.epochs, config.micro_tokens, config.seed, 1,
        max_steps=config.max_steps,
    )  # fmt: skip
    tokens = list(map(stage.objective.tokens, stage.train))
    return Estimate(
        rows=len(stage.train),
        held_out=len(stage.test),
        set_aside=len(stage.set_aside),
        tokens=round(sum(tokens) * config.epochs),
        steps=plan.steps(len(stage.train)),
        **_weights(config, stage.backbone, stage.parameters, max(tokens)),
    )


def estimate_ppo(config: PpoConfig, prepared: Prepared) -> Estimate:
    """Of PPO."""
    settings = prepared.trainer.settings
    longest = settings.max_new_tokens + max(len(p.ids) for p in prepared.trainer.prompts)
    return Estimate(
        rows=len(prepared.trainer.prompts),
        held_out=0,
        set_aside=len(prepared.set_aside),
        tokens=settings.updates * settings.prompts_per_update * settings.max_new_tokens,
        steps=settings.updates,
        **_weights(config, prepared.backbone, prepared.trainer.optimizer.parameters, longest),
    )


def _weights(config: TrainConfig, backbone: Backbone, trained: Any, longest: int) -> dict[str, int]:
    """Parameters, and the memory for weights, optimizer and one piece's activations."""
    weights = list(backbone.model.parameters())
    count = sum(p.numel() for p in trained.values())
    shape = text_config(backbone.model)
    bytes_kept = _CHECKPOINTED if config.gradient_checkpointing else _ACTIVATIONS
    units = max(config.micro_tokens, longest) * shape.num_hidden_layers * shape.hidden_size
    activations = units * bytes_kept * backbone.dtype.itemsize // 2
    held = sum(p.numel() * p.element_size() for p in weights)
    return {
        "trained": count,
        "parameters": sum(p.numel() for p in weights),
        "memory": held + count * _OPTIMIZER + activations,
    }
