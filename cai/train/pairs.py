"""Pairs of responses as tokens, and what counts as their label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cai.data.training import PairRow
from cai.text.encode import Encoder
from cai.train.batches import Tokens, encode_tokens


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt with two responses, each a whole conversation as tokens; `row` is where it is from.

    Where a judge gave `chosen` less than one half, the sides are as the row names them.
    """

    row: PairRow
    chosen: Tokens
    rejected: Tokens

    @property
    def id(self) -> str:
        """The row's id."""
        return self.row.id

    @property
    def size(self) -> int:
        """Tokens of the longer side."""
        return max(len(self.chosen.ids), len(self.rejected.ids))


def encode_pair(encoder: Encoder, row: PairRow, limit: int) -> Pair:
    """Both sides as tokens, of which the last response alone counts.

    Raises `PromptError` as `encode_tokens` does.
    """
    chosen, rejected = (
        encode_tokens(encoder, (*row.prompt, *side), limit, "last")
        for side in (row.chosen, row.rejected)
    )
    return Pair(row, chosen, rejected)


def both_sides(pairs: Sequence[Pair]) -> list[Tokens]:
    """All chosen conversations, then all rejected ones."""
    return [p.chosen for p in pairs] + [p.rejected for p in pairs]


def soft_labels(pairs: Sequence[Pair], device: torch.device) -> Tensor:
    """Probability that `chosen` is the better response [P]: 1 where the row has none."""
    values = [1.0 if p.row.probability is None else p.row.probability for p in pairs]
    return torch.tensor(values, device=device)
