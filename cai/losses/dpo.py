"""Direct preference optimisation (Rafailov et al. 2023, arXiv 2305.18290)."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from cai.losses.reward import bradley_terry_loss
from cai.losses.validation import validate_dimensions, validate_positive


class DpoTerms(NamedTuple):
    """Losses and implicit rewards of a batch of pairs; rewards are detached, for logging only."""

    losses: Tensor
    """[P]"""
    chosen_rewards: Tensor
    """[P], β·(log π(chosen) − log π_ref(chosen))"""
    rejected_rewards: Tensor
    """[P], the same of rejected"""


def dpo_loss(
    policy_chosen: Tensor,
    policy_rejected: Tensor,
    reference_chosen: Tensor,
    reference_rejected: Tensor,
    beta: float,
    probabilities: Tensor | None = None,
) -> DpoTerms:
    """DPO loss of each pair: −log σ(z) with z = β·[Δ(chosen) − Δ(rejected)], Δ = log π − log π_ref.

    The four tensors: [P], log-probability of a whole response (a sum over its tokens, in nats).
    beta: strength of the pull to the reference, above 0. probabilities: [P] in 0 to 1, that chosen
    is the better response: p·(−log σ(z)) + (1−p)·(−log σ(−z)); None is p = 1.
    Raises `ValueError` if shapes differ and for a beta that is not above 0.

    The paper's equation 7: the Bradley-Terry loss of the implicit rewards (its section 4). Soft
    labels are those of conservative DPO (Mitchell 2023), where ε = 1 − p, with a p of its own for
    each pair.
    """
    validate_dimensions(
        1,
        policy_chosen=policy_chosen,
        policy_rejected=policy_rejected,
        reference_chosen=reference_chosen,
        reference_rejected=reference_rejected,
    )
    validate_positive("beta", beta)
    chosen_rewards = beta * (policy_chosen - reference_chosen)
    rejected_rewards = beta * (policy_rejected - reference_rejected)
    losses = bradley_terry_loss(chosen_rewards, rejected_rewards, probabilities)
    return DpoTerms(losses, chosen_rewards.detach(), rejected_rewards.detach())
