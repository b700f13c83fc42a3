"""Direct preference optimisation (Rafailov et al. 2023), with soft labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cai.losses.dpo import dpo_loss
from cai.models.backbone import Backbone
from cai.training.batches import collate, sequence_logprobs, to_device
from cai.training.config import DpoConfig
from cai.training.examples import Examples
from cai.training.micro_batches import Metrics
from cai.training.offline import row_capacity
from cai.training.pairs import EncodedPair, both_sides, labels_of, load_pairs, pair_accuracy
from cai.training.policy import Policy, load_policy
from cai.training.reference import Reference
from cai.training.referenced import CollapseWatch, ReferencedTrainer, reference_of


@dataclass(frozen=True, slots=True)
class DpoObjective:
    """−log σ(β (Δ chosen − Δ rejected)), Δ = policy − reference log-probability (eq. 7).

    soft: weigh both outcomes by the row's probability. nll: weight of the chosen response's own
    mean negative log-likelihood (Pang et al. 2024, eq. 2), which keeps it from falling.
    """

    backbone: Backbone
    reference: Reference
    beta: float
    soft: bool = True
    nll: float = 0.0
    capacity: int = 0

    def weight(self, example: EncodedPair) -> float:
        """One a pair."""
        return 1.0

    def tokens(self, example: EncodedPair) -> int:
        """Both sides, padded to the longer."""
        return 2 * example.size

    def loss(self, examples: Sequence[EncodedPair], total: float) -> tuple[Tensor, Metrics]:
        """As `Objective.loss`; logs absolute log-probabilities, whose fall margins hide."""
        (chosen, rejected), reference_logprobs = self._logprobs(examples)
        labels = labels_of(examples, self.soft, chosen.device)
        reference_chosen, reference_rejected = reference_logprobs
        terms = dpo_loss(chosen, rejected, reference_chosen, reference_rejected, self.beta, labels)
        losses = terms.losses
        if self.nll:
            counted = to_device(torch.tensor([p.chosen.counted for p in examples]), chosen.device)
            losses = losses - self.nll * chosen / counted
        loss = losses.sum() / total
        margins = terms.chosen_rewards - terms.rejected_rewards
        return loss, {
            "loss": loss.detach(),
            "accuracy": pair_accuracy(margins, labels).sum() / total,
            "margin": margins.sum() / total,
            "chosen_logprob": chosen.detach().sum() / total,
            "rejected_logprob": rejected.detach().sum() / total,
            "chosen_reward": terms.chosen_rewards.sum() / total,
            "rejected_reward": terms.rejected_rewards.sum() / total,
        }

    def noise(self, examples: Sequence[EncodedPair], total: float) -> Metrics:
        """Mean |log π − log π_ref| in nats a response: before the first step, rounding alone."""
        policy_logprobs, reference_logprobs = self._logprobs(examples)
        differences = policy_logprobs.detach() - reference_logprobs
        return {"noise_floor": differences.abs().sum() / (2 * total)}

    def _logprobs(self, pairs: Sequence[EncodedPair]) -> tuple[Tensor, Tensor]:
        """Policy and reference log-probabilities: float32 [2, P] each, chosen first."""
        sides = both_sides(pairs)
        rows = collate(sides, self.capacity).to(self.backbone.device)
        reference_logprobs = self.reference(sides, rows)
        with self.backbone.using("policy"):
            policy_logprobs = sequence_logprobs(self.backbone, rows)
        return policy_logprobs.view(2, len(pairs)), reference_logprobs.view(2, len(pairs))


class DpoTrainer(ReferencedTrainer[EncodedPair]):
    """`cai train dpo`."""

    def __init__(self, config: DpoConfig, policy: Policy, pairs: Examples[EncodedPair]) -> None:
        reference = reference_of(config, policy)
        capacity = row_capacity(config, policy.backbone, config.packing)
        objective = DpoObjective(
            policy.backbone, reference, config.beta, config.labels == "soft", config.nll, capacity
        )
        super().__init__(
            config, policy, objective, pairs, reference, both_sides, noise=objective.noise
        )
        lengths = [pair.chosen.counted for pair in pairs.train]
        advice = "--nll 0.2, a lower --learning-rate or a higher --beta"
        self._collapse = CollapseWatch(config.beta, sum(lengths) / len(lengths), "chosen", advice)

    @classmethod
    def load(cls, config: DpoConfig, data: Sequence[Path]) -> DpoTrainer:
        """Load the base with its reference, and encode the pairs. config: `resolve`d."""
        policy = load_policy(config, reference=True)
        return cls(config, policy, load_pairs(config, data, policy.backbone))

    def warn(self, metrics: Mapping[str, float]) -> str | None:
        """As in `StageTrainer`: chosen responses that have become unlikely."""
        return self._collapse(metrics["chosen_reward"])
