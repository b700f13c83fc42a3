"""Supervised fine-tuning: the likelihood of responses alone (Bai et al. 2022, section 3).

Of documents, the likelihood of the whole text (Li et al. 2026, arXiv 2605.02087).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor

from cai.data.training import read_sft, training_files
from cai.data.training_rows import SftRow
from cai.losses.sft import sft_loss
from cai.models.backbone import Backbone
from cai.training.batches import (
    LossOn,
    LossOnReasoning,
    Tokens,
    collate,
    encode_document,
    encode_turns,
    response_logprobs,
)
from cai.training.config import SftConfig
from cai.training.examples import Examples, load_examples, loses_reasoning, row_name
from cai.training.micro_batches import Metrics
from cai.training.offline import OfflineTrainer, row_capacity
from cai.training.policy import load_policy


@dataclass(frozen=True, slots=True)
class EncodedTurn:
    """A conversation or a document to learn from; `id` is what messages call its row."""

    id: str
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class SftObjective:
    """Mean negative log-likelihood of a batch's response tokens; of a document, all its tokens.

    capacity: tokens of a packed row, 0 for one conversation a row.
    """

    backbone: Backbone
    capacity: int = 0

    def weight(self, example: EncodedTurn) -> float:
        """Its response tokens."""
        return float(example.tokens.counted)

    def tokens(self, example: EncodedTurn) -> int:
        """All its tokens."""
        return len(example.tokens)

    def loss(self, examples: Sequence[EncodedTurn], total: float) -> tuple[Tensor, Metrics]:
        """As `Objective.loss`."""
        rows = collate([e.tokens for e in examples], self.capacity).to(self.backbone.device)
        with self.backbone.using("policy"):
            logprobs = response_logprobs(self.backbone, rows)
        loss = sft_loss(logprobs, total)
        return loss, {"loss": loss.detach()}


class SftTrainer(OfflineTrainer[EncodedTurn]):
    """`cai train sft`."""

    signal = "token"

    @classmethod
    def load(cls, config: SftConfig, data: Sequence[Path]) -> SftTrainer:
        """Load the base and encode the conversations. config: `resolve`d."""
        policy = load_policy(config)
        backbone = policy.backbone
        capacity = row_capacity(config, backbone, config.packing)
        turns = load_conversations(config, data, backbone)
        return cls(config, policy, SftObjective(backbone, capacity), turns)


def load_conversations(
    config: SftConfig, data: Sequence[Path], backbone: Backbone
) -> Examples[EncodedTurn]:
    """The conversations of files, to train on and held out.

    Raises `DataError` where none can be used.
    """
    limit = config.longest(backbone.context)
    loss_on = cast(LossOn, config.loss_on)
    reasoning = cast(LossOnReasoning, config.reasoning)

    def encode(row: SftRow) -> list[EncodedTurn]:
        if row.document:
            turns = [encode_document(backbone.encoder, row.document, limit)]
        else:
            turns = encode_turns(
                backbone.encoder, row.messages, limit, loss_on, reasoning, row.not_to_learn
            )
        name = row_name(row)
        return [EncodedTurn(name, tokens) for tokens in turns]

    def loses(row: SftRow) -> bool:
        answers = row.messages if loss_on == "all" else row.messages[-1:]
        return loses_reasoning(backbone, answers, reasoning)

    files = training_files(data, "sft")
    return load_examples(config, files, read_sft, encode, lambda turn: turn.id, loses)
