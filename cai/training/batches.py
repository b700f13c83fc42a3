"""From conversations to tensors: which tokens count, and the rows that hold them.

Rows hold one conversation each, padded on the right, or several end to end (packed): positions then
restart where a conversation begins, and attention does not cross the border. Both give the same
log-probabilities.
"""

from __future__ import annotations

import functools
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, Literal, NamedTuple, TypeAlias

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
_INT32: Final = "i"
"""The code of C's int in arrays: four bytes on every platform that torch has."""


@dataclass(frozen=True, slots=True, init=False)
class Tokens:
    """A conversation as a model reads it, in four bytes a token: there may be 200,000 in memory.

    What counts is what the assistant says, and the token that ends its turn.
    packed: token ids, as int32. borders: where counting begins, ends, begins, and so on.
    """

    packed: bytes
    borders: tuple[int, ...]

    def __init__(self, ids: Iterable[int], response: Iterable[bool]) -> None:
        """response: which of the ids count."""
        counts = (False, *response)
        borders = tuple(i for i, (a, b) in enumerate(pairwise(counts)) if bool(a) != bool(b))
        self._set(ids, borders)

    @classmethod
    def counted_from(cls, ids: Sequence[int], start: int) -> Tokens:
        """The conversation of which all tokens from `start` on count."""
        tokens = cls.__new__(cls)
        tokens._set(ids, (start,) if start < len(ids) else ())
        return tokens

    def _set(self, ids: Iterable[int], borders: tuple[int, ...]) -> None:
        object.__setattr__(self, "packed", array(_INT32, ids).tobytes())
        object.__setattr__(self, "borders", _shared(borders))

    def __len__(self) -> int:
        """How many tokens it has."""
        return len(self.packed) // 4

    @property
    def ids(self) -> tuple[int, ...]:
        """Token ids."""
        return tuple(memoryview(self.packed).cast(_INT32))

    @property
    def response(self) -> tuple[bool, ...]:
        """Which of them count."""
        counts = [False] * len(self)
        for begin, end in self.spans():
            counts[begin:end] = [True] * (end - begin)
        return tuple(counts)

    @property
    def counted(self) -> int:
        """How many tokens count."""
        return sum(end - begin for begin, end in self.spans())

    def spans(self) -> Iterator[tuple[int, int]]:
        """The stretches that count: the first token of each, and the one behind its last."""
        return zip(self.borders[::2], (*self.borders[1::2], len(self)), strict=False)


@functools.lru_cache(maxsize=4096)
def _shared(borders: tuple[int, ...]) -> tuple[int, ...]:
    """One object for all conversations with these borders."""
    return borders


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
    _require_length(len(turn.ids), limit)
    before = len(turn.prompt) + (turn.answer if thoughts and reasoning == "context" else 0)
    return Tokens.counted_from(turn.ids, before)


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
        if out and tokens.packed.startswith(out[-1].packed):
            counted = out.pop().response
            tokens = Tokens(tokens.ids, (*counted, *tokens.response[len(counted) :]))
        out.append(tokens)
    return out


def encode_document(encoder: Encoder, text: str, limit: int) -> Tokens:
    """A text to learn whole, as a language model is pre-trained: no chat turn is around it.

    It stands behind the token that texts begin with (`Encoder.plain`), which does not count, and
    ends with the tokenizer's EOS token, where there is one. Raises `PromptError` where it has more
    than `limit` tokens.
    """
    end = encoder.tokenizer.eos_token_id
    ids = (*encoder.plain(text).ids, *(() if end is None else (end,)))
    _require_length(len(ids), limit)
    return Tokens.counted_from(ids, 1)


def _require_length(length: int, limit: int) -> None:
    if length > limit:
        raise PromptError(
            "too long: more than --max-length and the model's context allow"
            f" ({length} tokens, over {limit})"
        )


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
    lengths = [len(s) for s in sequences]
    packed = capacity > 0
    rows = pack(lengths, capacity) if packed else [[i] for i in range(len(sequences))]
    width = max(sum(lengths[i] for i in row) for row in rows)
    width = -(-width // _MULTIPLE) * _MULTIPLE
    order = [i for row in rows for i in row]
    starts, padding = _places(rows, lengths, width)
    joined = bytearray().join(sequences[i].packed for i in order)
    read = _ranges(starts, [lengths[i] for i in order])
    ids = torch.zeros(len(rows) * width, dtype=torch.long)
    ids[read] = torch.frombuffer(joined, dtype=torch.int32).long()
    mask = torch.zeros(len(rows) * width, dtype=torch.bool)
    mask[read] = True
    last = torch.empty(len(sequences), dtype=torch.long)
    last[order] = torch.tensor(
        [start + lengths[i] - 1 for start, i in zip(starts, order, strict=True)]
    )
    spans = [
        (i, start + begin, end - begin)
        for start, i in zip(starts, order, strict=True)
        for begin, end in sequences[i].spans()
    ]
    owners, begins, sizes = zip(*spans, strict=True) if spans else ((), (), ())
    counted = _ranges(begins, sizes)
    return Batch(
        ids.view(len(rows), width),
        mask.view(len(rows), width),
        _positions(starts + padding, len(rows), width) if packed else None,
        counted - 1,
        ids[counted],
        torch.tensor(owners, dtype=torch.long).repeat_interleave(
            torch.tensor(sizes, dtype=torch.long)
        ),
        last,
    )


def _places(
    rows: Sequence[Sequence[int]], lengths: Sequence[int], width: int
) -> tuple[list[int], list[int]]:
    """Flat indices (row * width + column) where conversations begin, and where padding does."""
    starts: list[int] = []
    padding: list[int] = []
    for r, row in enumerate(rows):
        place = r * width
        for i in row:
            starts.append(place)
            place += lengths[i]
        if place < (r + 1) * width:
            padding.append(place)
    return starts, padding


def _ranges(begins: Sequence[int], sizes: Sequence[int]) -> Tensor:
    """The numbers of all ranges, end to end: int64 [sum of sizes]."""
    first, size = (torch.tensor(x, dtype=torch.long) for x in (begins, sizes))
    before = size.cumsum(0) - size
    return (first - before).repeat_interleave(size) + torch.arange(int(size.sum()))


def _positions(begins: Sequence[int], rows: int, width: int) -> Tensor:
    """Positions that restart at each of these flat indices: int64 [rows, width]."""
    index = torch.arange(rows * width)
    begin = torch.zeros_like(index)
    begin[list(begins)] = torch.tensor(begins)
    return (index - begin.cummax(0).values).view(rows, width)


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

    lengths = [len(sequence) for sequence in sequences]
    scores: list[float] = TokenBudget(micro_tokens).rows(score, lengths, backbone.device).tolist()
    return scores
