"""Micro-batches: what goes through the model at once, so that it fits into memory.

A batch is cut into micro-batches of so many tokens, and their gradients and metrics add up to the
batch's (gradient accumulation). If memory runs out, the number of tokens is halved and the
batch is done again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from cai.errors import TrainingError
from cai.models.memory import free_cached, is_out_of_memory

T = TypeVar("T")
Metrics: TypeAlias = dict[str, Tensor]
"""A batch's metrics by name, or a micro-batch's share of them: the shares add up."""


def micro_batches(lengths: Sequence[int], tokens: int) -> list[list[int]]:
    """Indices of rows to read together, long ones first: at most `tokens` each, padding counted.

    A longer row stands alone.
    """
    batches: list[list[int]] = []
    width = 0
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        if batches and (len(batches[-1]) + 1) * width <= tokens:
            batches[-1].append(i)
        else:
            width = lengths[i]
            batches.append([i])
    return batches


def sum_metrics(shares: Iterable[Metrics]) -> Metrics:
    """A batch's metrics from its micro-batches' shares."""
    sums: Metrics = {}
    for share in shares:
        for name, value in share.items():
            sums[name] = sums[name] + value if name in sums else value
    return sums


class TokenBudget:
    """Most tokens of one forward pass, padding counted. It changes no result but for dropout."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def split(
        self, lengths: Sequence[int], groups: Sequence[Sequence[int]] | None = None
    ) -> list[list[int]]:
        """The micro-batches of rows of these lengths.

        groups: the rows that may be read together; all of them by default.
        """
        return [
            [group[i] for i in batch]
            for group in groups or [range(len(lengths))]
            for batch in micro_batches([lengths[i] for i in group], self.tokens)
        ]

    def map(
        self,
        work: Callable[[list[int]], T],
        lengths: Sequence[int],
        device: torch.device,
        *,
        groups: Sequence[Sequence[int]] | None = None,
        clear: Callable[[], None] = lambda: None,
    ) -> list[T]:
        """Call `work` on every micro-batch; if memory runs out, on all again with half the tokens.

        work: takes the indices of a micro-batch. lengths: tokens of each row. groups: as in
        `split`. clear: forgets what a failed attempt left, such as gradients. Raises
        `TrainingError` if a single row does not fit into memory.
        """
        while True:
            try:
                return [work(batch) for batch in self.split(lengths, groups)]
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of the handler, which holds on to the failed forward's tensors.
            clear()
            free_cached(device)
            read = [lengths[i] for group in groups or [range(len(lengths))] for i in group]
            longest = max(read)
            if self.tokens <= longest:
                raise TrainingError(
                    f"Out of memory on {device} with a single example of {longest} tokens",
                    hint="Lower --max-length (for PPO --max-new-tokens), or set"
                    " --gradient-checkpointing or --dtype bfloat16.",
                )
            used = min(self.tokens, longest * len(read))
            self.tokens = max(longest, used // 2)
