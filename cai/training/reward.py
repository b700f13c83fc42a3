"""The reward model: a scalar head at a response's last token, trained on preferences.

Bradley and Terry 1952; Ouyang et al. 2022, eq. 1. Soft labels: the judge's probability is the
target of the binary cross-entropy (Bai et al. 2022, section 4.1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from cai.losses.reward import bradley_terry_loss, centring_loss
from cai.models.backbone import Backbone
from cai.models.heads import ScalarHead
from cai.text.encode import Encoder
from cai.text.reasoning import Reply
from cai.training.batches import Tokens, encode_reply, hidden_states, lay_out, moved, pieces
from cai.training.budget import TokenBudget
from cai.training.pairs import Pair, both_sides, labels_of, right
from cai.training.rows import Metrics
from cai.types import Messages


def encode_scored(encoder: Encoder, prompt: Messages, reply: Reply, limit: int) -> Tokens:
    """A reply as a reward model reads it: the answer, without the reasoning before it.

    Raises `PromptError` as `encode_tokens` does.
    """
    return encode_reply(encoder, prompt, reply, limit, "drop")


def score(
    backbone: Backbone, head: nn.Module, sequences: Sequence[Tokens], adapter: str | None
) -> Tensor:
    """Scores of whole conversations, read at their last token: float32 [S]."""
    rows = lay_out(sequences).to(backbone.device)
    with backbone.using(adapter):
        hidden = hidden_states(backbone, rows)
    scores: Tensor = head(hidden.flatten(0, 1)[rows.last])
    return scores


@torch.no_grad()
def score_all(
    backbone: Backbone,
    head: nn.Module,
    sequences: Sequence[Tokens],
    adapter: str | None,
    micro_tokens: int,
) -> list[float]:
    """Scores of any number of conversations, in their order."""
    backbone.train(False)
    lengths, budget = [len(s.ids) for s in sequences], TokenBudget(micro_tokens)

    def work() -> list[float]:
        found = [0.0] * len(sequences)
        for piece in pieces(lengths, budget.tokens):
            values = score(backbone, head, [sequences[i] for i in piece], adapter).tolist()
            for i, value in zip(piece, values, strict=True):
                found[i] = value
        return found

    return budget.spend(work, lengths, backbone.device)


@dataclass(frozen=True, slots=True)
class RewardObjective:
    """Cross-entropy of who wins, by the difference of two scores.

    soft: learn each row's probability rather than that `chosen` won. centring: weight of
    (s_chosen + s_rejected)², which pulls scores to 0 (Eisenstein et al. 2023, section 2.2).
    margins: subtract a row's margin from the difference (Touvron et al. 2023, eq. 2).
    """

    backbone: Backbone
    head: ScalarHead
    soft: bool = True
    centring: float = 0.0
    margins: bool = True

    def weight(self, example: Pair) -> float:
        """One a pair."""
        return 1.0

    def tokens(self, example: Pair) -> int:
        """Both sides, padded to the longer."""
        return 2 * example.size

    def loss(self, examples: Sequence[Pair], total: float) -> tuple[Tensor, Metrics]:
        """As `Objective.loss`."""
        scores = score(self.backbone, self.head, both_sides(examples), "policy")
        chosen, rejected = scores.chunk(2)
        labels = labels_of(examples, self.soft, scores.device)
        margins = self._margins(examples, scores.device)
        losses = bradley_terry_loss(chosen, rejected, labels, margins)
        if self.centring:
            losses = losses + self.centring * centring_loss(chosen, rejected)
        loss = losses.sum() / total
        difference = (chosen - rejected).detach()
        return loss, {
            "loss": loss.detach(),
            "accuracy": right(difference, labels).sum() / total,
            "margin": difference.sum() / total,
            "mean_score": scores.detach().sum() / (2 * total),
        }

    def _margins(self, pairs: Sequence[Pair], device: torch.device) -> Tensor | None:
        if not self.margins or all(p.row.margin is None for p in pairs):
            return None
        return moved(torch.tensor([p.row.margin or 0.0 for p in pairs]), device)
