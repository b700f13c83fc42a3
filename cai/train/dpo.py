"""Direct preference optimisation (Rafailov et al. 2023), with soft labels.

The reference's log-probabilities do not change in a run: they are computed once, before it, and
kept under a digest of all that they depend on.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cai.digest import digest
from cai.errors import Interrupted
from cai.losses.dpo import dpo_loss
from cai.models.backbone import Backbone
from cai.train.batches import Tokens, lay_out, moved, pieces, sequence_logprobs
from cai.train.budget import TokenBudget
from cai.train.checkpoint import load_tensors, save_tensors
from cai.train.pairs import Pair, both_sides, labels_of, right
from cai.train.rows import Metrics

_KEPT_EVERY = 30.0
"""Seconds between writes of what the reference has read."""


@dataclass(frozen=True, slots=True)
class Referenced:
    """A pair, and the reference's log-probability of each of its responses, in nats."""

    pair: Pair
    chosen: float
    rejected: float

    @property
    def id(self) -> str:
        """The row's id."""
        return self.pair.id


@dataclass(frozen=True, slots=True)
class DpoObjective:
    """−log σ(β (Δ chosen − Δ rejected)), Δ = policy − reference log-probability (eq. 7).

    soft: weigh both outcomes by the row's probability. nll: weight of the chosen response's own
    mean negative log-likelihood (Pang et al. 2024, eq. 2), which keeps it from falling.
    """

    backbone: Backbone
    beta: float
    soft: bool = True
    nll: float = 0.0
    capacity: int = 0

    def weight(self, example: Referenced) -> float:
        """One a pair."""
        return 1.0

    def tokens(self, example: Referenced) -> int:
        """Both sides, padded to the longer."""
        return 2 * example.pair.size

    def loss(self, examples: Sequence[Referenced], total: float) -> tuple[Tensor, Metrics]:
        """As `Objective.loss`; logs absolute log-probabilities, whose fall margins hide."""
        pairs = [e.pair for e in examples]
        rows = lay_out(both_sides(pairs), self.capacity).to(self.backbone.device)
        with self.backbone.using("policy"):
            chosen, rejected = sequence_logprobs(self.backbone, rows).chunk(2)
        reference = torch.tensor(
            [[e.chosen for e in examples], [e.rejected for e in examples]], dtype=chosen.dtype
        )
        labels = labels_of(pairs, self.soft, chosen.device)
        known = moved(reference, chosen.device)
        terms = dpo_loss(chosen, rejected, known[0], known[1], self.beta, labels)
        losses = terms.losses
        if self.nll:
            counted = moved(torch.tensor([p.chosen.counted for p in pairs]), chosen.device)
            losses = losses - self.nll * chosen / counted
        loss = losses.sum() / total
        margins = terms.chosen_rewards - terms.rejected_rewards
        return loss, {
            "loss": loss.detach(),
            "accuracy": right(margins, labels).sum() / total,
            "margin": margins.sum() / total,
            "chosen_logprob": chosen.detach().sum() / total,
            "rejected_logprob": rejected.detach().sum() / total,
            "chosen_reward": terms.chosen_rewards.sum() / total,
            "rejected_reward": terms.rejected_rewards.sum() / total,
        }


@torch.no_grad()
def reference_logprobs(
    backbone: Backbone,
    pairs: Sequence[Pair],
    adapter: str | None,
    identity: str,
    micro_tokens: int,
    cache: Path,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> list[Referenced]:
    """Each pair with the reference's log-probabilities, from the cache where they are known.

    adapter: the reference, None for the base alone. identity: digest of the base and of the
    adapter's weights. tell: called with the conversations done and all.
    """
    sides = both_sides(pairs)
    name = digest({"reference": identity, "rows": [(s.ids, s.counted) for s in sides]})
    file = cache / f"{name}.safetensors"
    if file.is_file():
        found = load_tensors(file)[0]["logprobs"]
    else:
        partial = file.with_suffix(".partial.safetensors")
        found = _logprobs(backbone, sides, adapter, micro_tokens, partial, tell)
        save_tensors(file, {"logprobs": found}, {})
        partial.unlink(missing_ok=True)
    chosen, rejected = found.tolist()[: len(pairs)], found.tolist()[len(pairs) :]
    return [Referenced(*item) for item in zip(pairs, chosen, rejected, strict=True)]


def _logprobs(
    backbone: Backbone,
    sides: Sequence[Tokens],
    adapter: str | None,
    micro_tokens: int,
    partial: Path,
    tell: Callable[[int, int], None],
) -> Tensor:
    """Log-probability of each conversation's response: float32 [S], on the CPU.

    partial: keeps what was read before a stop, so that it is not read again.
    """
    backbone.train(False)
    lengths, budget = [len(side.ids) for side in sides], TokenBudget(micro_tokens)
    found = torch.full((len(sides),), math.nan)
    if partial.is_file():
        found = load_tensors(partial)[0]["logprobs"]

    def work() -> Tensor:
        kept = time.monotonic()
        left = found.isnan().nonzero().flatten().tolist()
        for piece in pieces([lengths[i] for i in left], budget.tokens):
            places = [left[i] for i in piece]
            rows = lay_out([sides[i] for i in places]).to(backbone.device)
            with backbone.using(adapter):
                found[places] = sequence_logprobs(backbone, rows).cpu()
            tell(len(sides) - int(found.isnan().sum()), len(sides))
            if time.monotonic() - kept > _KEPT_EVERY:
                save_tensors(partial, {"logprobs": found}, {})
                kept = time.monotonic()
        return found

    try:
        return budget.spend(work, lengths, backbone.device)
    except KeyboardInterrupt:
        save_tensors(partial, {"logprobs": found}, {})
        raise Interrupted(
            "Stopped while the reference reads; what it has read is kept.",
            hint="Run the same command again to go on.",
        ) from None


class CollapseWatch:
    """Warns once where the chosen responses have become much less likely than to the reference.

    DPO can widen the margin while both sides fall (Pal et al. 2024): the model then says neither.
    What is watched is β·Δ of the chosen responses, which compares the same rows under both, as the
    mean of the last few batches: one alone may hold an odd row.
    """

    FALL = 0.5
    """Nats a token below the reference at which it warns."""
    BATCHES = 4

    def __init__(self, beta: float, tokens_per_response: float) -> None:
        self._unit = beta * tokens_per_response
        self._falls: deque[float] = deque(maxlen=self.BATCHES)
        self.warned = False

    def __call__(self, chosen_reward: float) -> str | None:
        """A warning, the first time that it is due; takes a batch's mean β·Δ."""
        self._falls.append(-chosen_reward / self._unit)
        fall = sum(self._falls) / len(self._falls)
        if self.warned or len(self._falls) < self.BATCHES or fall < self.FALL:
            return None
        self.warned = True
        return (
            f"The chosen responses are {fall:.2f} nats a token less likely than to the reference:"
            " the model may say neither. Try --nll 0.2, a lower --learning-rate or a higher --beta."
        )
