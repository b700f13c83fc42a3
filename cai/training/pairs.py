"""Preference pairs as tokens, and their labels: soft or hard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from cai.data.training import PairRow, read_pairs, training_files
from cai.errors import DataError, PromptError
from cai.models.backbone import Backbone
from cai.text.encode import Encoder
from cai.training.batches import LossOnReasoning, Tokens, encode_tokens, to_device
from cai.training.config import RowsConfig
from cai.training.examples import Examples, count_without_reasoning, load_examples


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A prompt with two responses, each a whole conversation as tokens; `row` is their source."""

    row: PairRow
    chosen: Tokens
    rejected: Tokens

    @property
    def id(self) -> str:
        """Where the row stands in its file, and its id: what messages call it."""
        return f"{self.row.source} {self.row.id}".strip()

    @property
    def size(self) -> int:
        """Tokens of the longer side."""
        return max(len(self.chosen.ids), len(self.rejected.ids))


def encode_pair(
    encoder: Encoder, row: PairRow, limit: int, reasoning: LossOnReasoning = "learn"
) -> EncodedPair:
    """Both sides as tokens, of which the last response alone counts; reasoning as in SFT.

    Raises `PromptError` as `encode_tokens` does.
    """
    chosen, rejected = (
        encode_tokens(encoder, (*row.prompt, *side), limit, reasoning)
        for side in (row.chosen, row.rejected)
    )
    if chosen.ids == rejected.ids:
        raise PromptError("same responses: both sides are the same tokens to this model")
    return EncodedPair(row, chosen, rejected)


def load_pairs(
    config: RowsConfig,
    data: Sequence[Path],
    backbone: Backbone,
    reasoning: LossOnReasoning = "learn",
) -> Examples[EncodedPair]:
    """The pairs of files, to train on and held out.

    Raises `DataError` if no pair can be used, or none has a better side.
    """
    limit = config.longest(backbone.context)

    def encode(row: PairRow) -> EncodedPair:
        return encode_pair(backbone.encoder, row, limit, reasoning)

    files = training_files(data, "preferences")
    pairs = load_examples(config, files, read_pairs, encode, lambda p: p.row.prompt, lambda p: p.id)
    ties = sum(map(is_even, pairs.train))
    if ties == len(pairs.train):
        raise DataError(
            f"None of the {len(pairs.train)} pairs has a better side: each probability is 0.5",
            hint="Ties teach nothing. If a judge wrote them, it gave no signal: look at the card of"
            " the build, and try another --judge.",
        )
    answers = [(*pair.row.chosen[-1:], *pair.row.rejected[-1:]) for pair in pairs.train]
    return replace(
        pairs,
        ties=ties,
        without_reasoning=count_without_reasoning(backbone, answers, reasoning),
    )


def is_even(pair: EncodedPair) -> bool:
    """Whether a pair's probability is exactly 0.5: neither response is the better one."""
    return pair.row.probability == 0.5


def both_sides(pairs: Sequence[EncodedPair]) -> list[Tokens]:
    """All chosen conversations, then all rejected ones."""
    return [p.chosen for p in pairs] + [p.rejected for p in pairs]


def labels_of(pairs: Sequence[EncodedPair], soft: bool, device: torch.device) -> Tensor:
    """Probability that `chosen` is the better response [P].

    soft: each row's own probability, 1 where it has none. Hard labels are 1, and 0.5 for a tie.
    """
    labels = [1.0 if p.row.probability is None else p.row.probability for p in pairs]
    if not soft:
        labels = [0.5 if label == 0.5 else 1.0 for label in labels]
    return to_device(torch.tensor(labels), device)


def pair_accuracy(difference: Tensor, labels: Tensor) -> Tensor:
    """Accuracy of each pair: 1 if the better side has the higher score, else 0. [P]

    0.5 (chance) if the label is 0.5 or the difference is 0, as at DPO's start.
    """
    undecided = (labels == 0.5) | (difference == 0)
    return torch.where(undecided, 0.5, (difference > 0).to(labels.dtype))
