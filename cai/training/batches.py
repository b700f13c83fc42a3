"""From conversations to tensors: which tokens count, and the rows that hold them.

Rows hold one conversation each, padded on the right, or several end to end (packed): positions then
restart where a conversation begins, and attention does not cross the border. Both give the same
log-probabilities.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from cai.errors import PromptError
from cai.models.backbone import Backbone
from cai.models.logprobs import token_logprobs
from cai.text.encode import Encoder
from cai.text.reasoning import Reply
from cai.training.micro_batches import TokenBudget
from cai.types import Messages

LossOn: TypeAlias = Literal["all", "last"]
"""Which of a conversation's assistant turns count."""
LossOnReasoning: TypeAlias = Literal["learn", "context", "drop"]
"""Whether reasoning before an answer counts, is only its context, or is left out."""

_MULTIPLE = 8
"""Rows are padded to a multiple of this many tokens."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """A conversation as a model reads it.

    ids: token ids, the last of which counts. response: which of them count: what the assistant
    says, and the token that ends its turn.
    """

    ids: tuple[int, ...]
    response: tuple[bool, ...]

    @property
    def counted(self) -> int:
        """How many tokens count."""
        return sum(self.response)


def encode_tokens(
    encoder: Encoder,
    messages: Messages,
    limit: int,
    reasoning: LossOnReasoning = "learn",
) -> Tokens:
    """A conversation whose last turn, the assistant's, counts: `Encoder.turn`.

    Raises `PromptError` where it has more than `limit` tokens.
    """
    if len(messages) < 2 or messages[-1].role != "assistant":
        raise PromptError("The last turn is not the assistant's")
    reply = encoder.reply_of(messages[-1])
    if reply.reasoning and not reply.answer:
        how = "is not followed by an answer" if reply.closed else "does not end"
        raise PromptError(f"no answer: the reasoning {how}")
    return encode_reply(encoder, messages[:-1], reply, limit, reasoning)


def encode_reply(
    encoder: Encoder,
    prompt: Messages,
    reply: Reply,
    limit: int,
    reasoning: LossOnReasoning = "learn",
) -> Tokens:
    """As `encode_tokens`, of a prompt and a reply whose answer is known from its reasoning."""
    thoughts = "" if reasoning == "drop" else reply.reasoning
    turn = encoder.turn(prompt, reply.answer, thoughts)
    if len(turn.ids) > limit:
        raise PromptError(
            "too long: more than --max-length and the model's context allow"
            f" ({len(turn.ids)} tokens, over {limit})"
        )
    before = len(turn.prompt) + (turn.answer if thoughts and reasoning == "context" else 0)
    return Tokens(turn.ids, tuple(i >= before for i in range(len(turn.ids))))


def encode_scored(encoder: Encoder, prompt: Messages, reply: Reply, limit: int) -> Tokens:
    """A reply as a reward model reads it: the answer, without the reasoning before it.

    Raises `PromptError` as `encode_tokens` does.
    """
    return encode_reply(encoder, prompt, reply, limit, "drop")


def encode_turns(
    encoder: Encoder,
    messages: Messages,
    limit: int,
    loss_on: LossOn = "last",
    reasoning: LossOnReasoning = "learn",
    not_to_learn: Collection[int] = (),
) -> list[Tokens]:
    """A conversation to learn: its last assistant turn, or all of them, each as it is sampled.

    Turns share a sequence where the template keeps what stood before; where it words an earlier
    turn otherwise once others follow (dropping its reasoning, say), each has a sequence of its own.
    not_to_learn: indices of earlier turns that do not count all the same.
    Raises `PromptError` as `encode_tokens` does.
    """
    if loss_on == "last":
        return [encode_tokens(encoder, messages, limit, reasoning)]
    turns = enumerate(messages)
    ends = [i for i, m in turns if i and m.role == "assistant" and i not in not_to_learn]
    if not ends or ends[-1] != len(messages) - 1:
        raise PromptError("The last turn is not the assistant's")
    out: list[Tokens] = []
    for end in ends:
        tokens = encode_tokens(encoder, messages[: end + 1], limit, reasoning)
        if out and tokens.ids[: len(out[-1].ids)] == out[-1].ids:
            counted = out.pop().response
            tokens = Tokens(tokens.ids, (*counted, *tokens.response[len(counted) :]))
        out.append(tokens)
    return out


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The same tensor on a device; from pinned memory where that is a GPU, so as not to wait."""
    if device.type == "cuda":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


class Batch(NamedTuple):
    """S conversations laid out in R rows of T tokens, N of which count.

    ids: int64 [R, T]. mask: bool [R, T], True for what is no padding. positions: int64 [R, T] where
    conversations are packed, else None. target_positions: int64 [N], where the tokens that count
    are predicted: the flat index (row * T + column) of the token before each. targets: int64 [N],
    the tokens that count. owner: int64 [N], the conversation of each. last: int64 [S], the flat
    index of each conversation's last token.
    """

    ids: Tensor
    mask: Tensor
    positions: Tensor | None
    target_positions: Tensor
    targets: Tensor
    owner: Tensor
    last: Tensor

    def to(self, device: torch.device) -> Batch:
        """The same on a device."""
        positions = None if self.positions is None else to_device(self.positions, device)
        rest = (
            to_device(t, device)
            for t in (self.target_positions, self.targets, self.owner, self.last)
        )
        return Batch(to_device(self.ids, device), to_device(self.mask, device), positions, *rest)


def collate(sequences: Sequence[Tokens], capacity: int = 0) -> Batch:
    """Put conversations into rows: one a row, or as many as fit into `capacity` tokens."""
    packed = capacity > 0
    rows = pack([len(s.ids) for s in sequences], capacity) if packed else [
        [i] for i in range(len(sequences))
    ]  # fmt: skip
    width = max(sum(len(sequences[i].ids) for i in row) for row in rows)
    width = -(-width // _MULTIPLE) * _MULTIPLE
    shape = len(rows), width
    ids = torch.zeros(shape, dtype=torch.long)
    mask = torch.zeros(shape, dtype=torch.bool)
    positions = torch.arange(width).repeat(len(rows), 1)
    target_positions: list[int] = []
    targets: list[int] = []
    owner: list[int] = []
    last = [0] * len(sequences)
    for r, row in enumerate(rows):
        start = 0
        for i in row:
            sequence = sequences[i]
            end = start + len(sequence.ids)
            ids[r, start:end] = torch.tensor(sequence.ids)
            mask[r, start:end] = True
            positions[r, start:] -= positions[r, start].item()
            counted = [j for j, counts in enumerate(sequence.response) if counts]
            target_positions += [r * width + start + j - 1 for j in counted]
            targets += [sequence.ids[j] for j in counted]
            owner += [i] * len(counted)
            last[i] = r * width + end - 1
            start = end
        if start < width:
            positions[r, start:] -= positions[r, start].item()
    return Batch(
        ids,
        mask,
        positions if packed else None,
        torch.tensor(target_positions),
        torch.tensor(targets),
        torch.tensor(owner),
        torch.tensor(last),
    )


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Bins of indices whose lengths sum to `capacity` at most: best fit, longest first.

    What is longer than `capacity` has a bin of its own.
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fits = [b for b, space in enumerate(room) if space >= lengths[i]]
        if fits:
            best = min(fits, key=lambda b: (room[b], b))
            bins[best].append(i)
            room[best] -= lengths[i]
        else:
            bins.append([i])
            room.append(capacity - lengths[i])
    return bins


def hidden_states(backbone: Backbone, rows: Batch) -> Tensor:
    """Last hidden states [R, T, H] under the adapter in use."""
    if rows.positions is not None:
        return backbone.hidden_states(rows.ids, positions=rows.positions)
    return backbone.hidden_states(rows.ids, rows.mask)


def response_logprobs(backbone: Backbone, rows: Batch, temperature: float = 1.0) -> Tensor:
    """Log-probabilities of the tokens that count: float32 [N]; `rows.owner` says whose they are."""
    hidden = hidden_states(backbone, rows).flatten(0, 1)
    return token_logprobs(hidden[rows.target_positions], backbone.head, rows.targets, temperature)


def sequence_logprobs(backbone: Backbone, rows: Batch) -> Tensor:
    """Sum of the log-probabilities of each conversation's counted tokens: float32 [S]."""
    logprobs = response_logprobs(backbone, rows)
    return logprobs.new_zeros(len(rows.last)).index_add(0, rows.owner, logprobs)


def sequence_scores(backbone: Backbone, head: nn.Module, rows: Batch) -> Tensor:
    """A scalar head's value at each conversation's last token: float32 [S]."""
    hidden = hidden_states(backbone, rows).flatten(0, 1)
    scores: Tensor = head(hidden[rows.last])
    return scores


@torch.no_grad()
def score_all(
    backbone: Backbone,
    head: nn.Module,
    sequences: Sequence[Tokens],
    adapter: str | None,
    micro_tokens: int,
) -> list[float]:
    """Scores of any number of conversations, in their order. adapter: None for the base alone."""
    backbone.train(False)

    def score(batch: list[int]) -> Tensor:
        rows = collate([sequences[i] for i in batch]).to(backbone.device)
        with backbone.using(adapter):
            return sequence_scores(backbone, head, rows)

    lengths = [len(sequence.ids) for sequence in sequences]
    scores: list[float] = TokenBudget(micro_tokens).rows(score, lengths, backbone.device).tolist()
    return scores
