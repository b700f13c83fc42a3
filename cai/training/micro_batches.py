"""Micro-batches: what goes through the model at once, so that it fits into memory.

A batch is cut into micro-batches of so many tokens, and their gradients and metrics add up to the
batch's (gradient accumulation). If memory runs out, the number of tokens is halved and the
batch is done again.

Where a run has several processes (`cai.training.processes`), each takes its share of the batch's
rows, in nearly equal parts by tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias, TypeVar

import torch
from torch import Tensor

from cai.errors import TrainingError
from cai.models.memory import free_cached, is_out_of_memory
from cai.training.processes import world

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


def process_shares(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Indices of the rows that each of so many processes reads: nearly as many tokens each.

    The longest row that is left goes to whoever has the fewest tokens. The first process has a row
    if any has.
    """
    parts: list[list[int]] = [[] for _ in range(size)]
    tokens = [0] * size
    for i in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        least = min(range(size), key=lambda rank: (tokens[rank], rank))
        parts[least].append(i)
        tokens[least] += lengths[i]
    return [sorted(part) for part in parts]


def sum_metrics(shares: Iterable[Metrics]) -> Metrics:
    """A batch's metrics from its micro-batches' shares, in all processes."""
    sums: Metrics = {}
    for share in shares:
        for name, value in share.items():
            sums[name] = sums[name] + value if name in sums else value
    return world().sum_metrics(sums)


class TokenBudget:
    """Most tokens of one forward pass, padding counted. It changes no result but for dropout."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def split(
        self,
        lengths: Sequence[int],
        groups: Sequence[Sequence[int]] | None = None,
        rank: int | None = None,
    ) -> list[list[int]]:
        """The micro-batches of rows of these lengths, of those that a process reads.

        groups: the rows that may be read together; all of them by default. rank: of the process;
        this one by default.
        """
        rank = world().rank if rank is None else rank
        return [
            [group[i] for i in batch]
            for whole in groups or [range(len(lengths))]
            for group in [_share(whole, lengths, rank)]
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
        idle: Callable[[list[int]], object] | None = None,
    ) -> list[T]:
        """Call `work` on every micro-batch; if memory runs out, on all again with half the tokens.

        work: takes the indices of a micro-batch. lengths: tokens of each row. groups: as in
        `split`. clear: forgets what a failed attempt left, such as gradients. idle: makes the
        passes of `work` where they must not count; `work` itself by default, whose result is
        dropped then. Sharded weights are gathered by all processes together, so that one with fewer
        micro-batches than others makes up for them. Raises `TrainingError` if a single row does not
        fit into memory.
        """
        while True:
            short = False
            try:
                results = [work(batch) for batch in self.split(lengths, groups)]
                for batch in self._idle_batches(lengths, groups):
                    (idle or work)(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                short = True
            if short and world().sharded:  # the others wait in the middle of their own pass
                raise TrainingError(
                    f"Out of memory on {device} at {self.tokens} tokens",
                    hint="With --parallel fsdp micro-batches are not halved: lower --micro-tokens.",
                )
            if not world().any(short):
                return results
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

    def accumulate(
        self,
        loss: Callable[[list[int]], tuple[Tensor, Metrics]],
        lengths: Sequence[int],
        device: torch.device,
        *,
        groups: Sequence[Sequence[int]] | None = None,
        clear: Callable[[], None] = lambda: None,
    ) -> Metrics:
        """Accumulate the gradients of micro-batches in this process; returns the batch's metrics.

        loss: returns a micro-batch's share of the loss and of the metrics. Other arguments as in
        `map`. `Optimizer.clip` sums the gradients over processes.
        """

        def backward(batch: list[int]) -> Metrics:
            share, metrics = loss(batch)
            share.backward()  # type: ignore[no-untyped-call]
            return {name: value.detach() for name, value in metrics.items()}

        def idle(batch: list[int]) -> None:
            (loss(batch)[0] * 0.0).backward()  # type: ignore[no-untyped-call]

        return sum_metrics(
            self.map(backward, lengths, device, groups=groups, clear=clear, idle=idle)
        )

    def rows(
        self,
        read: Callable[[list[int]], Tensor],
        lengths: Sequence[int],
        device: torch.device,
        *,
        shape: tuple[int, ...] = (),
        groups: Sequence[Sequence[int]] | None = None,
        clear: Callable[[], None] = lambda: None,
    ) -> Tensor:
        """What `read` returns for all rows, read by all processes: float32 [rows, *shape].

        read: takes the indices of a micro-batch; returns [micro-batch, *shape]. Other arguments as
        in `map`.
        """

        def work(batch: list[int]) -> tuple[list[int], Tensor]:
            return batch, read(batch)

        out = torch.zeros(len(lengths), *shape, device=device)
        for batch, values in self.map(work, lengths, device, groups=groups, clear=clear):
            out[batch] = values
        return world().sum(out)

    def _idle_batches(
        self, lengths: Sequence[int], groups: Sequence[Sequence[int]] | None
    ) -> list[list[int]]:
        """Micro-batches that this process reads in vain, so that all make the same passes."""
        if not world().sharded:
            return []
        counts = [len(self.split(lengths, groups, rank)) for rank in range(world().size)]
        row = min(
            (i for group in groups or [range(len(lengths))] for i in group),
            key=lambda i: lengths[i],
        )
        return [[row]] * (max(counts) - counts[world().rank])


def _share(group: Sequence[int], lengths: Sequence[int], rank: int) -> Sequence[int]:
    """The rows of a group that a process reads."""
    size = world().size
    if size == 1:
        return group
    return [group[i] for i in process_shares([lengths[i] for i in group], size)[rank]]
