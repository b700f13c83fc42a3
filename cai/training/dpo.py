"""Direct preference optimisation (Rafailov et al. 2023) with soft labels, and its relatives.

The relatives (`cai.losses.dpo_relatives`) are other losses of the same pairs: IPO, robust DPO, and
SimPO, which has no reference model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cai.losses.dpo import DpoTerms, dpo_loss
from cai.losses.dpo_relatives import ipo_loss, robust_dpo_loss, simpo_loss
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

    reference: None for SimPO alone. soft: weigh both outcomes by the row's probability. nll: weight
    of the chosen response's own mean negative log-likelihood (Pang et al. 2024, eq. 2), which keeps
    it from falling. loss_type: `sigmoid`, `ipo`, `simpo` or `robust`. margin: SimPO's γ.
    label_smoothing: robust DPO's ε.
    """

    backbone: Backbone
    reference: Reference | None
    beta: float
    soft: bool = True
    nll: float = 0.0
    capacity: int = 0
    loss_type: str = "sigmoid"
    margin: float = 0.0
    label_smoothing: float = 0.0

    def weight(self, example: EncodedPair) -> float:
        """One a pair."""
        return 1.0

    def tokens(self, example: EncodedPair) -> int:
        """Both sides, padded to the longer."""
        return 2 * example.size

    def loss(self, examples: Sequence[EncodedPair], total: float) -> tuple[Tensor, Metrics]:
        """As `Objective.loss`; logs absolute log-probabilities, whose fall margins hide."""
        (chosen, rejected), reference_logprobs = self._logprobs(examples)
        lengths = self._lengths(examples)
        labels = labels_of(examples, self.soft, chosen.device)
        terms = self._terms((chosen, rejected), reference_logprobs, lengths, labels)
        losses = terms.losses
        if self.nll:
            losses = losses - self.nll * chosen / lengths[0]
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
        assert reference_logprobs is not None
        differences = policy_logprobs.detach() - reference_logprobs
        return {"noise_floor": differences.abs().sum() / (2 * total)}

    def _terms(
        self,
        policy: tuple[Tensor, Tensor],
        reference: Tensor | None,
        lengths: tuple[Tensor, Tensor],
        labels: Tensor,
    ) -> DpoTerms:
        """Losses and rewards of pairs; all tensors [P], chosen first, the reference [2, P]."""
        if reference is None:
            return simpo_loss(policy, lengths, self.beta, self.margin, labels)
        before = (reference[0], reference[1])
        if self.loss_type == "ipo":
            return ipo_loss(policy, before, lengths, self.beta, labels)
        if self.loss_type == "robust":
            return robust_dpo_loss(policy, before, self.beta, self.label_smoothing, labels)
        return dpo_loss(*policy, *before, self.beta, labels)

    def _lengths(self, pairs: Sequence[EncodedPair]) -> tuple[Tensor, Tensor]:
        """Tokens of the chosen and of the rejected responses: float32 [P] each."""
        counts = [[float(t.counted) for t in (pair.chosen, pair.rejected)] for pair in pairs]
        lengths = to_device(torch.tensor(counts), self.backbone.device)
        return lengths[:, 0], lengths[:, 1]

    def _logprobs(self, pairs: Sequence[EncodedPair]) -> tuple[Tensor, Tensor | None]:
        """Policy and reference log-probabilities: float32 [2, P] each, chosen first."""
        sides = both_sides(pairs)
        rows = collate(sides, self.capacity).to(self.backbone.device)
        reference = None
        if self.reference is not None:
            reference = self.reference(sides, rows).view(2, len(pairs))
        with self.backbone.using("policy"):
            policy_logprobs = sequence_logprobs(self.backbone, rows)
        return policy_logprobs.view(2, len(pairs)), reference


class DpoTrainer(ReferencedTrainer[EncodedPair]):
    """`cai train dpo`."""

    def __init__(self, config: DpoConfig, policy: Policy, pairs: Examples[EncodedPair]) -> None:
        assert config.beta is not None
        reference = None if config.loss == "simpo" else reference_of(config, policy)
        objective = DpoObjective(
            policy.backbone,
            reference,
            config.beta,
            config.labels == "soft",
            config.nll,
            row_capacity(config, policy.backbone, config.packing),
            config.loss,
            config.margin or 0.0,
            config.label_smoothing or 0.0,
        )
        super().__init__(
            config, policy, objective, pairs, reference, both_sides,
            noise=objective.noise if reference else None,
        )  # fmt: skip
        lengths = [pair.chosen.counted for pair in pairs.train]
        by_token = config.loss in ("ipo", "simpo")  # whose rewards are means over tokens
        tokens = 1.0 if by_token else sum(lengths) / len(lengths)
        lower_rate = "--nll 0.2, a lower --learning-rate"
        advice = lower_rate if config.loss == "simpo" else f"{lower_rate} or a higher --beta"
        self._collapse = CollapseWatch(
            config.beta, tokens, "chosen", advice, from_start=reference is None
        )

    @classmethod
    def load(cls, config: DpoConfig, data: Sequence[Path]) -> DpoTrainer:
        """Load the base with its reference, if it has one, and encode the pairs.

        config: `resolve`d.
        """
        policy = load_policy(config, reference=config.loss != "simpo")
        return cls(config, policy, load_pairs(config, data, policy.backbone))

    def warn(self, metrics: Mapping[str, float]) -> str | None:
        """As in `StageTrainer`: chosen responses that have become unlikely."""
        return self._collapse(metrics["chosen_reward"])
