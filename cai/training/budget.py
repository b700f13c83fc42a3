"""How many tokens go through the model at once: halved where memory runs out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from cai.errors import TrainingError
from cai.models.memory import free_cached, is_out_of_memory

T = TypeVar("T")


class TokenBudget:
    """Most tokens of one forward pass, padding counted. It changes no result but for dropout."""

    def __init__(self, tokens: int) -> None:
        self.tokens = tokens

    def spend(
        self,
        work: Callable[[], T],
        lengths: Sequence[int],
        device: torch.device,
        clear: Callable[[], None] = lambda: None,
    ) -> T:
        """Do work that keeps to `tokens`; again with half of them where memory ran out.

        lengths: tokens of each example that the work reads. clear: forgets what a failed try left.
        Raises `TrainingError` where memory does not do for one example.
        """
        while True:
            try:
                return work()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            # Outside of the handler, which holds on to the failed forward's tensors.
            clear()
            free_cached(device)
            longest = max(lengths)
            if self.tokens <= longest:
                raise TrainingError(
                    f"Out of memory on {device} with a single example of {longest} tokens",
                    hint="Lower --max-length (for PPO --max-new-tokens), or set"
                    " --gradient-checkpointing or --dtype bfloat16.",
                )
            used = min(self.tokens, longest * len(lengths))
            self.tokens = max(longest, used // 2)
