"""The reference model: the policy's log-probabilities are compared with its own (DPO).

In float32 they are computed once, before the run, and cached under a digest of all that they
depend on. In half precision a log-probability depends on the shape of the batch that it is read
in, by some hundredths of a nat a response, which is as much as the first steps teach. So there the
reference is read in every step, in the policy's own rows: the same kernels on the same shapes, so
that a policy that has not moved has a margin of exactly 0. That costs a forward pass a step, in
place of the pass over all rows before the run.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from cai.digest import digest
from cai.errors import Interrupted
from cai.models.backbone import Backbone
from cai.training.batches import Batch, Tokens, collate, sequence_logprobs, to_device
from cai.training.checkpoint import load_tensors, save_tensors
from cai.training.micro_batches import TokenBudget
from cai.training.trainer import OnProgress

_SAVE_SECONDS = 30.0
"""Between writes of what the reference has read so far."""


class Reference(Protocol):
    """Gives the reference model's log-probabilities of responses."""

    def prepare(self, conversations: Sequence[Tokens], progress: OnProgress) -> None:
        """Get ready for these. progress: takes the conversations read so far, and all."""

    def read(self, conversations: Sequence[Tokens]) -> None:
        """Get ready for these few, without a cache."""

    def __call__(self, conversations: Sequence[Tokens], rows: Batch) -> Tensor:
        """Log-probability of each conversation's response: float32 [S], in nats.

        rows: the conversations in the batch that the policy reads.
        """


@dataclass(frozen=True, slots=True)
class LiveReference:
    """Reads the reference beside the policy, in the same rows. adapter: None for the base alone."""

    backbone: Backbone
    adapter: str | None

    def prepare(self, conversations: Sequence[Tokens], progress: OnProgress) -> None:
        """Nothing is read ahead."""

    def read(self, conversations: Sequence[Tokens]) -> None:
        """Nothing is read ahead."""

    @torch.no_grad()
    def __call__(self, conversations: Sequence[Tokens], rows: Batch) -> Tensor:
        """As in `Reference`."""
        with self.backbone.using(self.adapter):
            return sequence_logprobs(self.backbone, rows)


class StoredReference:
    """Reads the reference once, and keeps what it read in a cache.

    adapter: None for the base alone. identity: digest of the base's and the adapter's weights.
    cache: the folder of the cache.
    """

    def __init__(
        self,
        backbone: Backbone,
        adapter: str | None,
        identity: str,
        micro_tokens: int,
        cache: Path,
    ) -> None:
        self.backbone = backbone
        self.adapter = adapter
        self.identity = identity
        self.micro_tokens = micro_tokens
        self.cache = cache
        self._logprobs: dict[Tokens, float] = {}

    def prepare(self, conversations: Sequence[Tokens], progress: OnProgress) -> None:
        """Read these conversations, or take their log-probabilities from the cache.

        Raises `Interrupted` after Ctrl-C; what was read until then is kept.
        """
        rows = [(tokens.ids, tokens.counted) for tokens in conversations]
        name = digest({"reference": self.identity, "dtype": "float32", "rows": rows})
        file = self.cache / f"{name}.safetensors"
        if file.is_file():
            logprobs = load_tensors(file)[0]["logprobs"]
        else:
            partial = file.with_suffix(".partial.safetensors")
            logprobs = self._read(conversations, partial, progress)
            save_tensors(file, {"logprobs": logprobs}, {})
            partial.unlink(missing_ok=True)
        self._logprobs.update(zip(conversations, logprobs.tolist(), strict=True))

    def read(self, conversations: Sequence[Tokens]) -> None:
        """Read these conversations; the cache is neither used nor written."""
        logprobs = self._read(conversations, None, lambda done, total: None)
        self._logprobs.update(zip(conversations, logprobs.tolist(), strict=True))

    def __call__(self, conversations: Sequence[Tokens], rows: Batch) -> Tensor:
        """As in `Reference`; `KeyError` for a conversation that it was not prepared for."""
        logprobs = torch.tensor([self._logprobs[tokens] for tokens in conversations])
        return to_device(logprobs, self.backbone.device)

    @torch.no_grad()
    def _read(
        self, conversations: Sequence[Tokens], partial: Path | None, progress: OnProgress
    ) -> Tensor:
        """Log-probability of each conversation's response: float32 [S], on the CPU.

        partial: keeps what was read before a stop, so that it is not read again.
        """
        backbone = self.backbone
        backbone.train(False)
        logprobs = torch.full((len(conversations),), math.nan)
        if partial and partial.is_file():
            logprobs = load_tensors(partial)[0]["logprobs"]
        unread = logprobs.isnan().nonzero().flatten().tolist()
        saved = time.monotonic()

        def read(batch: list[int]) -> None:
            nonlocal saved
            places = [unread[i] for i in batch]
            rows = collate([conversations[i] for i in places]).to(backbone.device)
            with backbone.using(self.adapter):
                logprobs[places] = sequence_logprobs(backbone, rows).cpu()
            progress(len(conversations) - int(logprobs.isnan().sum()), len(conversations))
            if partial and time.monotonic() - saved > _SAVE_SECONDS:
                save_tensors(partial, {"logprobs": logprobs}, {})
                saved = time.monotonic()

        lengths = [len(conversations[i].ids) for i in unread]
        try:
            TokenBudget(self.micro_tokens).map(read, lengths, backbone.device)
        except KeyboardInterrupt:
            if partial is None:
                raise
            save_tensors(partial, {"logprobs": logprobs}, {})
            raise Interrupted(
                "Stopped while the reference reads; what it has read is kept.",
                hint="Run the same command again to go on.",
            ) from None
        return logprobs


def make_reference(
    backbone: Backbone, adapter: str | None, identity: str, micro_tokens: int, cache: Path
) -> Reference:
    """A stored reference in float32, a live one in half precision; arguments as there."""
    if backbone.dtype == torch.float32:
        return StoredReference(backbone, adapter, identity, micro_tokens, cache)
    return LiveReference(backbone, adapter)
