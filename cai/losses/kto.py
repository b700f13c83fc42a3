"""Kahneman-Tversky optimisation: responses that are labelled one by one, without pairs.

Ethayarajh et al. 2024 (arXiv 2402.01306), section 4.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cai.losses.validation import (
    validate_dimensions,
    validate_mask,
    validate_positive,
    validate_shapes,
)


class KtoTerms(NamedTuple):
    """Losses and implicit rewards of a batch of responses; rewards are detached, for logging."""

    losses: Tensor
    """[N]"""
    rewards: Tensor
    """[N], β·(log π − log π_ref)"""


def kto_loss(
    policy: Tensor,
    reference: Tensor,
    desirable: Tensor,
    kl: Tensor,
    beta: float,
    weights: Tensor | None = None,
) -> KtoTerms:
    """KTO loss of each response, with Δ = log π − log π_ref:

    w·(1 − σ(β·(Δ − z0))) of a desirable one, w·(1 − σ(β·(z0 − Δ))) of an undesirable one.

    policy, reference: [N], log-probability of a whole response (a sum over its tokens, in nats).
    desirable: bool [N]. kl: z0, a scalar of `kl_estimate`; no gradient flows through it. beta: how
    fast a response's loss saturates as it departs from the reference, above 0. weights: [N], w
    of each (λ_D or λ_U in the paper, times a row's own weight); None is 1.
    Raises `ValueError` if shapes differ, for a `desirable` that is not boolean, a `kl` that is not
    a scalar, and a beta that is not above 0.

    The paper's loss is λ_y − v(x, y), its value function v being λ_y times the logistic function.
    """
    tensors = {"policy": policy, "reference": reference}
    validate_dimensions(1, **tensors, **({} if weights is None else {"weights": weights}))
    validate_shapes(policy=policy, desirable=desirable)
    validate_mask(desirable)
    validate_dimensions(0, kl=kl)
    validate_positive("beta", beta)
    ratios = policy - reference
    gains = beta * (ratios - kl.detach())
    losses = torch.sigmoid(torch.where(desirable, -gains, gains))
    if weights is not None:
        losses = weights * losses
    return KtoTerms(losses, (beta * ratios).detach())


def kl_estimate(ratios: Tensor) -> Tensor:
    """z0, the KL divergence of policy from reference in nats a response: max(0, mean Δ), a scalar.

    ratios: [M], Δ = log π − log π_ref of mismatched pairs: prompts with responses to other prompts.
    0 if there is none, so that no NaN arises. Biased, but nothing has to be sampled (the
    paper's section 4.1). Raises `ValueError` for another shape.
    """
    validate_dimensions(1, ratios=ratios)
    return (ratios.detach().sum() / max(1, len(ratios))).clamp(min=0.0)
