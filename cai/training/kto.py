"""Kahneman-Tversky optimisation: responses labelled one by one (Ethayarajh et al. 2024).

Departures from the paper (arXiv 2402.01306):

- The responses of z0, the KL estimate, are drawn from all rows by seed, once for each row, rather
  than from the other rows of its batch. So z0 exists in a batch of any size, also of one row, and
  is the mean over the whole batch, however it is cut into micro-batches or over processes.
- Rows have weights of their own, such as that of an auditor's verdict, beside λ_D and λ_U.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cai.data.files import staged
from cai.data.verdicts import NAME as VERDICTS
from cai.data.verdicts import Verdict
from cai.losses.kto import kl_estimate, kto_loss
from cai.models.backbone import Backbone
from cai.training.batches import Batch, Tokens, collate, sequence_logprobs, to_device
from cai.training.config import KtoConfig
from cai.training.examples import Examples
from cai.training.labelled import EncodedLabel, balanced_weights, load_labelled
from cai.training.micro_batches import Metrics, TokenBudget
from cai.training.offline import row_capacity
from cai.training.policy import Policy, load_policy
from cai.training.reference import Reference
from cai.training.referenced import CollapseWatch, ReferencedTrainer, reference_of


@dataclass(frozen=True, slots=True)
class WholeBatch:
    """What the rows of a batch share: z0, and how many of each kind there are."""

    kl: Tensor
    desirable: int
    undesirable: int


@dataclass(slots=True)
class KtoObjective:
    """λ_D (1 − σ(β(Δ − z0))) of desirable responses, λ_U (1 − σ(β(z0 − Δ))) of the others.

    Δ = policy − reference log-probability. z0 is of a whole batch: `look` computes it before
    `loss` reads any part. capacity: tokens of a packed row, 0 for one conversation a row.
    """

    backbone: Backbone
    reference: Reference
    beta: float
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0
    capacity: int = 0
    batch: WholeBatch = field(default_factory=lambda: WholeBatch(torch.tensor(0.0), 0, 0))

    def weight(self, example: EncodedLabel) -> float:
        """One a row: its own weight is a factor of its loss."""
        return 1.0

    def tokens(self, example: EncodedLabel) -> int:
        """All its tokens."""
        return len(example.tokens)

    def look(self, examples: Sequence[EncodedLabel], budget: TokenBudget) -> None:
        """Estimate z0 from the mismatched responses of a whole batch, in all processes."""
        mismatched = [example.mismatched for example in examples]

        def read(some: list[int]) -> Tensor:
            policy, reference = self._logprobs([mismatched[i] for i in some])
            return policy - reference

        lengths = [len(tokens) for tokens in mismatched]
        ratios = budget.rows(read, lengths, self.backbone.device)
        desirable = sum(example.desirable for example in examples)
        self.batch = WholeBatch(kl_estimate(ratios), desirable, len(examples) - desirable)

    def loss(self, examples: Sequence[EncodedLabel], total: float) -> tuple[Tensor, Metrics]:
        """As `Objective.loss`; means of each kind of row are over the whole batch's."""
        policy, reference = self._logprobs([example.tokens for example in examples])
        device = policy.device
        desirable = to_device(torch.tensor([e.desirable for e in examples]), device)
        weights = to_device(torch.tensor([self._weight(e) for e in examples]), device)
        kl = self.batch.kl.to(device)
        terms = kto_loss(policy, reference, desirable, kl, self.beta, weights)
        loss = terms.losses.sum() / total
        metrics = {"loss": loss.detach(), "kl": kl * (len(examples) / total)}
        means: list[Tensor] = []
        for name, count, kind in (
            ("desirable", self.batch.desirable, desirable),
            ("undesirable", self.batch.undesirable, ~desirable),
        ):
            metrics[name] = kind.sum().float()
            if count:  # no mean of nothing
                means.append(torch.where(kind, terms.rewards, 0.0).sum() / count)
                metrics[f"{name}_reward"] = means[-1]
                logprobs = torch.where(kind, policy.detach(), 0.0)
                metrics[f"{name}_logprob"] = logprobs.sum() / count
        if len(means) == 2:
            metrics["margin"] = means[0] - means[1]
        return loss, metrics

    def noise(self, examples: Sequence[EncodedLabel], total: float) -> Metrics:
        """Mean |log π − log π_ref| in nats a response: before the first step, rounding alone."""
        policy, reference = self._logprobs([example.tokens for example in examples])
        return {"noise_floor": (policy.detach() - reference).abs().sum() / total}

    def _weight(self, example: EncodedLabel) -> float:
        kind = self.desirable_weight if example.desirable else self.undesirable_weight
        return kind * example.weight

    def _logprobs(self, conversations: Sequence[Tokens]) -> tuple[Tensor, Tensor]:
        """Policy and reference log-probabilities of responses: float32 [S] each."""
        rows: Batch = collate(conversations, self.capacity).to(self.backbone.device)
        reference = self.reference(conversations, rows)
        with self.backbone.using("policy"):
            return sequence_logprobs(self.backbone, rows), reference


class KtoTrainer(ReferencedTrainer[EncodedLabel]):
    """`cai train kto`."""

    def __init__(self, config: KtoConfig, policy: Policy, rows: Examples[EncodedLabel]) -> None:
        reference = reference_of(config, policy)
        sums = {
            kind: sum(row.weight for row in rows.train if row.desirable == kind)
            for kind in (True, False)
        }
        self._weights = balanced_weights(
            sums[True], sums[False], config.desirable_weight, config.undesirable_weight
        )
        objective = KtoObjective(
            policy.backbone,
            reference,
            config.beta,
            *self._weights,
            row_capacity(config, policy.backbone, config.packing),
        )
        super().__init__(
            config, policy, objective, rows, reference, _read_by_reference,
            noise=objective.noise, before_batch=objective.look,
        )  # fmt: skip
        self.notes = list(_notes(rows.counts, self._weights, config.verdict_weight))
        lengths = [row.tokens.counted for row in rows.train if row.desirable]
        mean = sum(lengths) / len(lengths)
        advice = "a lower --learning-rate, a higher --beta or a higher --desirable-weight"
        self._collapse = CollapseWatch(config.beta, mean, "desirable", advice)

    @classmethod
    def load(cls, config: KtoConfig, data: Sequence[Path]) -> KtoTrainer:
        """Load the base with its reference, and encode the rows. config: `resolve`d."""
        policy = load_policy(config, reference=True)
        return cls(config, policy, load_labelled(config, data, policy.backbone))

    def warn(self, metrics: Mapping[str, float]) -> str | None:
        """As in `StageTrainer`: desirable responses that have become unlikely."""
        return self._collapse(metrics.get("desirable_reward"))

    def attach(self, folder: Path) -> None:
        """As in `StageTrainer`: write which labels are auditors' verdicts, and whose."""
        judged = [(row, row.verdict) for row in (*self.train, *self.test) if row.verdict]
        if judged:
            with staged(folder, VERDICTS) as staging, staging.lines(VERDICTS) as file:
                for row, verdict in judged:
                    file.write(_verdict_values(row, verdict))

    def save(self, folder: Path) -> dict[str, Any]:
        """As in `StageTrainer`: the policy; the results are the noise floor and the weights."""
        results = super().save(folder)
        names = ("desirable_weight", "undesirable_weight")
        rounded = (round(weight, 6) for weight in self._weights)
        return {**results, **dict(zip(names, rounded, strict=True))}


def _read_by_reference(rows: Sequence[EncodedLabel]) -> list[Tokens]:
    """The responses, then the mismatched ones."""
    return [row.tokens for row in rows] + [row.mismatched for row in rows]


def _verdict_values(row: EncodedLabel, verdict: Verdict) -> dict[str, Any]:
    """A row whose label an auditor decided, and the verdict by its key."""
    return {
        "row": row.id,
        "desirable": row.desirable,
        "weight": row.weight,
        "item": verdict.item,
        "record": verdict.record,
        "author": verdict.author,
    }


def _notes(counts: Mapping[str, int], weights: tuple[float, float], own: float) -> list[str]:
    desirable, undesirable = weights
    notes = [
        f"labels: {counts['desirable']} desirable (weight {desirable:.3g}),"
        f" {counts['undesirable']} undesirable (weight {undesirable:.3g})."
    ]
    if judged := counts.get("labelled by auditors"):
        notes.append(f"verdicts: auditors decided the labels of {judged} rows (weight {own:g}).")
    if lacking := counts.get("verdicts without a row"):
        notes.append(
            f"verdicts: {lacking} more label nothing here. They are on comparisons, and so about"
            " which response is better, or on responses that are in no row."
        )
    return notes
