"""Pairs of responses as tokens, and what counts as their label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cai.data.training import PairRow
from cai.errors import PromptError
from cai.text.encode import Encoder
from cai.training.batches import LearnedReasoning, Tokens, encode_tokens, moved


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt with two responses, each a whole conversation as tokens; `row` is their source."""

    row: PairRow
    chosen: Tokens
    rejected: Tokens

    @property
    def id(self) -> str:
        """Where the row stands, and its id: what people are told of it."""
        return f"{self.row.source} {self.row.id}".strip()

    @property
    def size(self) -> int:
        """Tokens of the longer side."""
        return max(len(self.chosen.ids), len(self.rejected.ids))


def encode_pair(
    encoder: Encoder, row: PairRow, limit: int, reasoning: LearnedReasoning = "learn"
) -> Pair:
    """Both sides as tokens, of which the last response alone counts; reasoning as in SFT.

    Raises `PromptError` as `encode_tokens` does.
    """
    chosen, rejected = (
        encode_tokens(encoder, (*row.prompt, *side), limit, reasoning)
        for side in (row.chosen, row.rejected)
    )
    if chosen.ids == rejected.ids:
        raise PromptError("same responses: both sides are the same tokens to this model")
    return Pair(row, chosen, rejected)


def is_tie(pair: Pair) -> bool:
    """Whether its label says that neither response is the better one."""
    return pair.row.probability == 0.5


def both_sides(pairs: Sequence[Pair]) -> list[Tokens]:
    """All chosen conversations, then all rejected ones."""
    return [p.chosen for p in pairs] + [p.rejected for p in pairs]


def labels_of(pairs: Sequence[Pair], soft: bool, device: torch.device) -> Tensor:
    """Probability that `chosen` is the better response [P].

    soft: each row's own, 1 where it has none. Hard ones are 1, and one half for a tie.
    """
    told = [1.0 if p.row.probability is None else p.row.probability for p in pairs]
    return moved(torch.tensor(told if soft else [p if p == 0.5 else 1.0 for p in told]), device)


def right(difference: Tensor, labels: Tensor) -> Tensor:
    """1 where the better side leads, 0 where the other does [P].

    One half, a toss of a coin, where the label is a tie or the difference is 0, as at DPO's start.
    """
    open_ = (labels == 0.5) | (difference == 0)
    return torch.where(open_, 0.5, (difference > 0).to(labels.dtype))
