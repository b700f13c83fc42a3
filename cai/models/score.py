"""Log-probabilities of options as continuations of prompts, with a prefix cache for a group.

The prompts of a group share a prefix (one conversation, asked about under many principles). The
prefix is computed once; the rest of each prompt, with its options, is batched on its keys and
values. Options that differ only in their last token share a row. Only positions that are scored
are projected to the vocabulary.

Shapes depend on the group alone, so a group's numbers do not depend on what else is computed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from cai.errors import ModelError
from cai.models.cache import Masks
from cai.models.memory import free_cached, is_out_of_memory
from cai.models.rows import AGREE, AGREE_HALF, projected, text_config

ROW_TOKENS = 2048
"""Tokens, padding included, that one batch of rows may have behind the shared prefix."""


@dataclass(frozen=True, slots=True)
class ScoringTask:
    """One prompt and its options, as token ids.

    options: the prompt encoded together with each option. start: the number of leading tokens that
    are not scored, 1 or more.
    """

    options: tuple[tuple[int, ...], ...]
    start: int

    @classmethod
    def of(cls, prompt: Sequence[int], options: Sequence[Sequence[int]]) -> ScoringTask:
        """A task that scores each option from the first token at which one leaves the prompt.

        A tokenizer may merge an option's first letters with the prompt's last; then the merged
        token is scored, for every option, so that they stay comparable.
        """
        start = min(common_length([tuple(prompt), tuple(option)]) for option in options)
        start = min(start, *(len(option) - 1 for option in options))
        if start < 1:
            raise ValueError("nothing stands before the options, or an option has no tokens")
        return cls(tuple(tuple(o) for o in options), start)


@dataclass
class ScoringCounts:
    """Token counts: computed, and reused from the prefix cache."""

    prompt_tokens: int = 0
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class _Row:
    """One input row: its ids, and the first position whose next token is scored."""

    ids: tuple[int, ...]
    first: int


class _PrefixCache:
    """A prefix cache: stores the KV cache of one shared prefix for all rows of a batch."""

    is_compileable = False

    def __init__(self) -> None:
        self._prefix: dict[int, tuple[Tensor, Tensor]] = {}
        self.storing = True

    def update(
        self, keys: Tensor, values: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """keys, values: [rows, heads, width, size]; returned with the prefix before them."""
        if self.storing:
            self._prefix[layer_idx] = (keys, values)
            return keys, values
        prefix = self._prefix[layer_idx]
        k, v = (
            torch.cat([old.expand(new.shape[0], -1, -1, -1), new], dim=2)
            for old, new in zip(prefix, (keys, values), strict=True)
        )
        return k, v

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Zero: positions and masks are always given explicitly."""
        return 0


class OptionScorer:
    """Scores groups of tasks with one model."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.counts = ScoringCounts()
        self._masks = self._agreeing_masks()

    @torch.inference_mode()
    def score(self, group: Sequence[ScoringTask]) -> list[tuple[float, ...]]:
        """Log-probabilities (natural) of each task's options, in order.

        Raises `ModelError` if memory runs out for a single row.
        """
        first_positions: dict[tuple[int, ...], int] = {}  # row -> first position to score
        for task in group:
            for option in task.options:
                ids = option[:-1]
                first_positions[ids] = min(first_positions.get(ids, len(ids)), task.start - 1)
        rows = [_Row(ids, first) for ids, first in first_positions.items()]
        try:
            logprobs = self._all_rows(rows, self._targets(group))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise ModelError(
                f"Out of memory on {self.device} with a single prompt to score",
                hint="Use a smaller model or dtype, or shorter prompts.",
            ) from error
        return [
            tuple(
                sum(logprobs[o[:-1], at, o[at + 1]] for at in range(task.start - 1, len(o) - 1))
                for o in task.options
            )
            for task in group
        ]

    @staticmethod
    def _targets(group: Sequence[ScoringTask]) -> dict[tuple[tuple[int, ...], int], list[int]]:
        """The next tokens to score, by row and position."""
        out: dict[tuple[tuple[int, ...], int], list[int]] = {}
        for task in group:
            for option in task.options:
                for at in range(task.start - 1, len(option) - 1):
                    tokens = out.setdefault((option[:-1], at), [])
                    if option[at + 1] not in tokens:
                        tokens.append(option[at + 1])
        return out

    def _all_rows(
        self, rows: list[_Row], targets: dict[tuple[tuple[int, ...], int], list[int]]
    ) -> dict[tuple[tuple[int, ...], int, int], float]:
        """Log-probability of every target, by (row, position, token)."""
        if self._masks is None:
            shared, cache = 0, None
            batches = [[row] for row in rows]
        else:
            shared = min(common_length([r.ids for r in rows]), min(r.first for r in rows))
            cache = self._prefix(rows[0].ids[:shared]) if shared else None
            batches = list(_batches(rows, shared))
        out: dict[tuple[tuple[int, ...], int, int], float] = {}
        while batches:
            batch = batches.pop()
            try:
                out |= self._batch(batch, shared, cache, targets)
                self.counts.prompt_tokens += sum(len(r.ids) - shared for r in batch)
                self.counts.cached_tokens += shared * len(batch)
                continue
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or len(batch) == 1:
                    raise
            free_cached(self.device)
            half = len(batch) // 2
            batches += [batch[half:], batch[:half]]
        if shared:
            self.counts.prompt_tokens += shared
            self.counts.cached_tokens -= shared
        return out

    def _prefix(self, ids: tuple[int, ...]) -> _PrefixCache:
        cache = _PrefixCache()
        self._forward([list(ids)], 0, cache, [(0, len(ids) - 1)])
        cache.storing = False
        return cache

    def _batch(
        self,
        batch: Sequence[_Row],
        shared: int,
        cache: _PrefixCache | None,
        targets: dict[tuple[tuple[int, ...], int], list[int]],
    ) -> dict[tuple[tuple[int, ...], int, int], float]:
        width = max(len(r.ids) for r in batch) - shared
        ids = [[*r.ids[shared:], *[r.ids[-1]] * (width + shared - len(r.ids))] for r in batch]
        queries = [
            (i, at, token)
            for i, row in enumerate(batch)
            for at in range(row.first, len(row.ids))
            for token in targets.get((row.ids, at), ())
        ]
        places = sorted({(i, at - shared) for i, at, _ in queries})
        line = {place: n for n, place in enumerate(places)}
        logprobs = self._forward(ids, shared, cache, places).log_softmax(dim=1)
        where = torch.tensor([line[i, at - shared] for i, at, _ in queries], device=self.device)
        which = torch.tensor([token for _, _, token in queries], device=self.device)
        values: list[float] = logprobs[where, which].tolist()
        return {
            (batch[i].ids, at, token): value
            for (i, at, token), value in zip(queries, values, strict=True)
        }

    def _forward(
        self,
        ids: list[list[int]],
        start: int,
        cache: _PrefixCache | None,
        places: Sequence[tuple[int, int]],
    ) -> Tensor:
        """Logits, float32 [places, vocabulary], of rows whose tokens come after `start` others."""
        tokens = torch.tensor(ids, device=self.device)
        rows, columns = (torch.tensor(x, device=self.device) for x in zip(*places, strict=True))
        if self._masks is None:
            return projected(
                self.model, rows, columns, input_ids=tokens,
                attention_mask=torch.ones_like(tokens), use_cache=False,
            )  # fmt: skip
        positions = start + torch.arange(tokens.shape[1], device=self.device)[None]
        return projected(
            self.model,
            rows,
            columns,
            input_ids=tokens,
            position_ids=positions.expand(len(ids), -1),
            attention_mask=self._masks(positions.expand(len(ids), -1), start + tokens.shape[1]),
            past_key_values=cache,
            use_cache=cache is not None,
        )

    @torch.inference_mode()
    def _agreeing_masks(self) -> Masks | None:
        """Masks with which a shared prefix gives the plain forward's logits; None if none do."""
        config = text_config(self.model)
        dtype = next(self.model.parameters()).dtype
        if getattr(config, "_attn_implementation", "sdpa") not in ("sdpa", "eager"):
            return None
        vocabulary = self.model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
        window = getattr(config, "sliding_window", None) or 0
        generator = torch.Generator().manual_seed(1)
        length = 14 + (window if window <= 64 else 0)
        base = torch.randint(vocabulary, (length,), generator=generator).tolist()
        texts = [base, [*base[:-5], *base[-3:]]]
        self._masks = None
        plain = torch.cat([self._forward([t], 0, None, [(0, len(t) - 1)]) for t in texts])
        for by_type in (True, False):
            self._masks = Masks(config, dtype, by_type)
            try:
                ours = self._probe_rows(texts, length - 5)
            except Exception as error:  # an architecture that takes no such cache or mask
                if is_out_of_memory(error):
                    raise
                continue
            spread = (plain - plain.mean(dim=1, keepdim=True)).norm(dim=1)
            bound = AGREE.get(dtype, AGREE_HALF)
            if bool(((ours - plain).norm(dim=1) <= bound * spread + 1e-6).all()):
                return self._masks
        return None

    def _probe_rows(self, texts: list[list[int]], shared: int) -> Tensor:
        cache = self._prefix(tuple(texts[0][:shared]))
        width = max(map(len, texts)) - shared
        rest = [t[shared:] for t in texts]
        ids = [[*r, *[0] * (width - len(r))] for r in rest]
        return self._forward(ids, shared, cache, [(i, len(r) - 1) for i, r in enumerate(rest)])


def common_length(rows: Sequence[tuple[int, ...]]) -> int:
    """Length of the common prefix of all rows, in tokens."""
    first, last = min(rows), max(rows)
    for n, (a, b) in enumerate(zip(first, last, strict=False)):
        if a != b:
            return n
    return min(len(first), len(last))


def _batches(rows: Sequence[_Row], shared: int) -> Iterator[list[_Row]]:
    """Batches of rows with similar lengths, as large as the token budget allows."""
    batch: list[_Row] = []
    for row in sorted(rows, key=lambda r: -len(r.ids)):
        width = len(batch[0].ids if batch else row.ids) - shared
        if batch and width * (len(batch) + 1) > ROW_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch
