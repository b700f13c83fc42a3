"""Notes for the user before a run's first step, a sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch

from cai.models.backbone import Backbone
from cai.training.card import reasons
from cai.training.config import TrainConfig
from cai.training.folder import WITHOUT_REASONING
from cai.training.trainer import StageTrainer


def notes(config: TrainConfig, trainer: StageTrainer, out: Path) -> Iterator[str]:
    """Notes on invalid rows, ties, reasoning, the chat template and the number format."""
    backbone, rows = trainer.backbone, trainer.workload.rows
    template = backbone.encoder.template
    if trainer.set_aside:
        count = len(trainer.set_aside)
        reason, most = reasons(trainer.set_aside)[0]
        frequent = f"; {most} of them: {reason}" if count > rows / 10 else ""
        where = out / "set_aside.jsonl"
        yield f"rows used: {rows}, invalid (set aside): {count} (see {where}){frequent}"
    if ties := trainer.facts.counts.get("ties"):
        yield (
            f"ties: {ties} of {rows} pairs have the probability 0.5. They teach that"
            " neither response is better."
        )
    yield from trainer.notes
    if config.thinking == "on" and not template.reasons:
        yield "--thinking on has no effect: the chat template has no reasoning."
    if without_reasoning := trainer.facts.counts.get(WITHOUT_REASONING):
        why = "with --thinking off" if template.markers else "the chat template has no place for it"
        yield (
            f"reasoning: {without_reasoning} of {rows} rows have some, which is left out: {why}."
            " Their answers alone are learned."
        )
    if not backbone.encoder.has_template:
        yield (
            f"{backbone.name} has no chat template: it is trained on “Human:” and"
            " “Assistant:” turns, and what is saved of all weights has that as its template."
        )
    if not backbone.encoder.ends_turns:
        yield _missing_end(backbone)
    if config.full and backbone.dtype != torch.float32:
        yield (
            f"All weights are trained in {backbone.dtype}: steps smaller than their rounding"
            " are lost. Where memory allows: --dtype float32."
        )


def _missing_end(backbone: Backbone) -> str:
    end = backbone.encoder.turn_end_id
    what = (
        "and the tokenizer has no end token: no end of a response is learned"
        if end is None
        else f"so the tokenizer's EOS token {backbone.encoder.tokens([end])[0]} is learned as the"
        " end"
    )
    return f"The chat template of {backbone.name} writes no token behind a response, {what}."
