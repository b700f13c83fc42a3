"""The KL divergence to a reference model, estimated from the tokens that were sampled."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cai.losses.masked import zero_outside
from cai.losses.validation import validate_dimensions

LINEAR_FROM = 10.0
"""log π_ref − log π from which k3 continues as its tangent. There it is 22015 nats a token."""


def k3(logprobs: Tensor, reference_logprobs: Tensor, mask: Tensor) -> Tensor:
    """Estimate of the KL to the reference, a token at a time: e^d − d − 1, d = log π_ref − log π.

    logprobs, reference_logprobs: [B, T], of tokens sampled from π; gradient flows through
    logprobs. mask: bool [B, T]; 0 outside it. Returns [B, T], never negative. Above `LINEAR_FROM`
    it continues as its tangent, so that neither it nor its gradient overflows, and the gradient
    still raises a token's probability. Raises `ValueError` if shapes differ.

    k3 of Schulman 2020, "Approximating KL Divergence" (joschu.net/blog/kl-approx.html); the loss
    term of GRPO (Shao et al. 2024, arXiv 2402.03300, equation 4).
    """
    validate_dimensions(2, logprobs=logprobs, reference_logprobs=reference_logprobs, mask=mask)
    d = zero_outside(reference_logprobs - logprobs, mask)
    beyond = (d - LINEAR_FROM).clamp(min=0)
    exponential = torch.exp(d.clamp(max=LINEAR_FROM)) + math.exp(LINEAR_FROM) * beyond
    return exponential - d - 1
