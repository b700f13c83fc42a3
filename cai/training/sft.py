"""Supervised fine-tuning: the likelihood of responses alone (Bai et al. 2022, section 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from cai.losses.sft import sft_loss
from cai.models.backbone import Backbone
from cai.training.batches import Tokens, lay_out, response_logprobs
from cai.training.rows import Metrics


@dataclass(frozen=True, slots=True)
class SftExample:
    """A conversation to learn from, and the id of its row."""

    id: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class SftObjective:
    """Mean negative log-likelihood of a batch's response tokens.

    capacity: tokens of a packed row, 0 for one conversation a row.
    """

    backbone: Backbone
    capacity: int = 0

    def weight(self, example: SftExample) -> float:
        """Its response tokens."""
        return float(example.tokens.counted)

    def tokens(self, example: SftExample) -> int:
        """All its tokens."""
        return len(example.tokens.ids)

    def loss(self, examples: Sequence[SftExample], total: float) -> tuple[Tensor, Metrics]:
        """As `Objective.loss`."""
        rows = lay_out([e.tokens for e in examples], self.capacity).to(self.backbone.device)
        with self.backbone.using("policy"):
            logprobs = response_logprobs(self.backbone, rows)
        loss = sft_loss(logprobs, total)
        return loss, {"loss": loss.detach()}
