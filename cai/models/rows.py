"""Forward passes for sampling: a batch of conversations, each with its KV cache.

`SlotRows` computes many conversations at once on a `SlotCache`. `make_rows` compares its logits
with the model's plain forward on random tokens and, if they differ, uses `PlainRows`, which is
slower and works for any architecture.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from cai.models.cache import Masks, SlotCache
from cai.models.memory import is_out_of_memory

AGREE = {torch.float32: 1e-4}
"""Largest distance of two ways to compute the same logits, relative to their spread."""
AGREE_HALF = 0.1


class DecodingRows(Protocol):
    """Conversations in numbered rows; logits come back as float32 [rows, vocabulary]."""

    reuses: bool
    """Whether a row can keep a prefix of its tokens and continue from there."""

    def prefill(
        self, first: int, suffixes: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> Tensor:
        """Prefill the rows from `first` on, each after its first `starts` tokens.

        Returns the logits after each row's last token.
        """
        ...

    def decode(self, tokens: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """Decode one more token in each of the first rows, which hold `lengths` tokens."""
        ...

    def swap(self, a: int, b: int) -> None:
        """Exchange two rows."""
        ...

    def resize(self, slots: int) -> None:
        """Keep the first `slots` rows."""
        ...

    def clear(self) -> None:
        """Clear all rows."""
        ...


def plain_logits(model: nn.Module, ids: Sequence[int]) -> Tensor:
    """The model's plain forward on [1, tokens], no cache: logits after the last, float32 [vocab].

    Always the same shape for the same text, so always the same bits on one machine.
    """
    device = next(model.parameters()).device
    tokens = torch.tensor([list(ids)], device=device)
    last = torch.tensor([len(ids) - 1], device=device)
    inputs = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens), "use_cache": False}
    return projected(model, torch.zeros_like(last), last, **inputs)[0]


def projected(model: nn.Module, rows: Tensor, columns: Tensor, **inputs: Any) -> Tensor:
    """Run a model and project only chosen positions to the vocabulary.

    rows, columns: int64 [n], the positions in the batch. Returns float32 [n, vocabulary].
    """
    head = model.get_output_embeddings()  # type: ignore[operator]
    with _project_only(head, rows, columns):
        logits: Tensor = model(**inputs).logits
    if logits.shape[:2] != (len(rows), 1):  # the head was not called as a module
        logits = logits[rows, columns][:, None]
    return logits[:, 0].float()


@contextlib.contextmanager
def _project_only(head: nn.Module | None, rows: Tensor, columns: Tensor) -> Iterator[None]:
    if head is None:
        yield
        return

    def pick(_: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0][rows, columns][:, None], *args[1:])

    handle = head.register_forward_pre_hook(pick)
    try:
        yield
    finally:
        handle.remove()


class SlotRows:
    """All rows in one forward, on a `SlotCache`.

    Prompts of a batch are padded on the right; there is no left padding. The mask hides padding,
    and the next tokens overwrite its keys and values.
    """

    reuses = True

    def __init__(self, model: nn.Module, slots: int, by_type: bool) -> None:
        self.model = model
        self.cache = SlotCache(slots)
        parameter = next(model.parameters())
        self.device = parameter.device
        self.masks = Masks(text_config(model), parameter.dtype, by_type)

    def prefill(
        self, first: int, suffixes: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> Tensor:
        """As in `DecodingRows`."""
        width = max(map(len, suffixes))
        padded = [[*s, *[s[-1]] * (width - len(s))] for s in suffixes]
        return self._forward(first, padded, starts, [len(s) - 1 for s in suffixes])

    def decode(self, tokens: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """As in `DecodingRows`."""
        return self._forward(0, [[t] for t in tokens], lengths, [0] * len(tokens))

    def _forward(
        self, first: int, ids: list[list[int]], starts: Sequence[int], last: list[int]
    ) -> Tensor:
        positions = self.cache.aim(first, starts, len(ids[0]), self.device)
        columns = torch.tensor(last, device=self.device)
        ends = positions[:, :1] + columns[:, None]  # padding stays inside the context
        return projected(
            self.model,
            torch.arange(len(ids), device=self.device),
            columns,
            input_ids=torch.tensor(ids, device=self.device),
            position_ids=torch.minimum(positions, ends),
            attention_mask=self.masks(positions, self.cache.length),
            past_key_values=self.cache,
            use_cache=True,
        )

    def swap(self, a: int, b: int) -> None:
        """As in `DecodingRows`."""
        self.cache.swap(a, b)

    def resize(self, slots: int) -> None:
        """As in `DecodingRows`."""
        self.cache.resize(slots)

    def clear(self) -> None:
        """As in `DecodingRows`."""
        self.cache.clear()


class PlainRows:
    """One row at a time, on the model's own cache; or, `cached=False`, without any."""

    reuses = False

    def __init__(self, model: nn.Module, slots: int, cached: bool) -> None:
        self.model = model
        self.cached = cached
        self.device = next(model.parameters()).device
        self._ids: list[list[int]] = [[] for _ in range(slots)]
        self._own: list[Any] = [None] * slots

    def prefill(
        self, first: int, suffixes: Sequence[Sequence[int]], starts: Sequence[int]
    ) -> Tensor:
        """As in `DecodingRows`; `starts` are zeros."""
        out = []
        for row, ids in enumerate(suffixes, start=first):
            self._ids[row], self._own[row] = list(ids), None
            out.append(self._read(row, ids))
        return torch.stack(out)

    def decode(self, tokens: Sequence[int], lengths: Sequence[int]) -> Tensor:
        """As in `DecodingRows`."""
        out = []
        for row, token in enumerate(tokens):
            self._ids[row].append(token)
            out.append(self._read(row, [token]))
        return torch.stack(out)

    def _read(self, row: int, new: Sequence[int]) -> Tensor:
        if not self.cached:
            return plain_logits(self.model, self._ids[row])
        tokens = torch.tensor([list(new)], device=self.device)
        whole = torch.ones(1, len(self._ids[row]), dtype=torch.long, device=self.device)
        output = self.model(
            input_ids=tokens, attention_mask=whole, past_key_values=self._own[row], use_cache=True
        )
        self._own[row] = output.past_key_values
        logits: Tensor = output.logits
        return logits[0, -1].float()

    def swap(self, a: int, b: int) -> None:
        """As in `DecodingRows`."""
        for values in (self._ids, self._own):
            values[a], values[b] = values[b], values[a]

    def resize(self, slots: int) -> None:
        """As in `DecodingRows`."""
        del self._ids[slots:], self._own[slots:]

    def clear(self) -> None:
        """As in `DecodingRows`."""
        self._ids = [[] for _ in self._ids]
        self._own = [None] * len(self._own)


@torch.inference_mode()
def make_rows(model: nn.Module, slots: int) -> DecodingRows:
    """The fastest implementation whose logits agree with the model's plain forward."""
    kinds = ([True] if getattr(text_config(model), "layer_types", None) else []) + [False]
    if getattr(text_config(model), "_attn_implementation", "sdpa") in ("sdpa", "eager"):
        for by_type in kinds:
            if agrees(model, SlotRows(model, 3, by_type)):
                return SlotRows(model, slots, by_type)
    return PlainRows(model, slots, cached=agrees(model, PlainRows(model, 3, cached=True)))


@torch.inference_mode()
def agrees(model: nn.Module, rows: DecodingRows) -> bool:
    """Whether rows give the plain forward's logits, for ragged prompts, extended and decoded."""
    config = text_config(model)
    window = getattr(config, "sliding_window", None) or 0
    long = 12 + (window if window <= 64 else 0)
    generator = torch.Generator().manual_seed(0)
    vocabulary = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    lengths = (long, 5, long - 4)
    texts = [torch.randint(vocabulary, (n + 5,), generator=generator).tolist() for n in lengths]
    bound = AGREE.get(next(model.parameters()).dtype, AGREE_HALF)

    def same(logits: Tensor, ends: Sequence[int]) -> bool:
        plain = torch.stack([plain_logits(model, t[:e]) for t, e in zip(texts, ends, strict=True)])
        spread = (plain - plain.mean(dim=1, keepdim=True)).norm(dim=1)
        return bool(((logits - plain).norm(dim=1) <= bound * spread + 1e-6).all())

    try:
        at = list(lengths)
        if not same(rows.prefill(0, [t[:n] for t, n in zip(texts, at, strict=True)], [0] * 3), at):
            return False
        if rows.reuses:
            rows.swap(0, 1)
            rows.swap(1, 0)
            starts, at = [n - 2 for n in at], [n + k for n, k in zip(at, (3, 1, 2), strict=True)]
            parts = [t[a:b] for t, a, b in zip(texts, starts, at, strict=True)]
            if not same(rows.prefill(0, parts, starts), at):
                return False
        for _ in range(2):
            logits = rows.decode([t[n] for t, n in zip(texts, at, strict=True)], at)
            at = [n + 1 for n in at]
            if not same(logits, at):
                return False
    except Exception as error:  # an architecture that takes no such cache or mask: not for us
        if is_out_of_memory(error):
            raise
        return False
    return True


def text_config(model: nn.Module) -> Any:
    """The part of a model's config that describes its text decoder."""
    config: Any = model.config
    return config.get_text_config() if hasattr(config, "get_text_config") else config
