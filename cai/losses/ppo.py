"""Proximal policy optimisation: the clipped losses of policy and value.

Where this departs from Schulman et al. 2017 (arXiv 1707.06347): a loss is a sum over counted tokens
divided by `total`; the value loss is clipped (Huang et al. 2024, arXiv 2403.17031), and the ratio
is capped at e^20, far outside of any clip, so that it can't overflow.

The mask is applied twice: at the end, for the sum, and to what is trained before anything is made
of it, since a gradient of 0 times an infinity in the padding would be NaN.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from cai.losses.masked import masked_mean, masked_sum, zero_outside
from cai.losses.validation import validate_dimensions, validate_positive

MAX_LOG_RATIO = 20.0
"""Cap of log π − log π_old. An infinite ratio that the clip discards still gives a NaN
gradient, since 0·∞ is one."""


class PolicyTerms(NamedTuple):
    """The policy loss, through which gradient flows, and metrics for logging only."""

    loss: Tensor
    """scalar: sum over counted tokens / total"""
    clip_fraction: Tensor
    """scalar: share of counted tokens where the clipped objective is the lower one"""
    approximate_kl: Tensor
    """scalar: mean over counted tokens of ½·(log π − log π_old)², in nats a token"""
    ratio: Tensor
    """scalar: mean over counted tokens of π / π_old"""


class ValueTerms(NamedTuple):
    """The value loss, through which gradient flows, and metrics for logging only."""

    loss: Tensor
    """scalar: sum over counted tokens / total"""
    clip_fraction: Tensor
    """scalar: share of counted tokens where the clipped error is the larger one"""


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clip: float,
    total: float,
    clip_high: float | None = None,
) -> PolicyTerms:
    """Clipped policy loss: Σ −min(ratio·A, clip(ratio, 1−ε, 1+ε')·A) / total, ratio = π / π_old.

    logprobs, old_logprobs, advantages: [B, T], of the sampled tokens; only logprobs are trained.
    mask: bool [B, T]. clip: ε, above 0. clip_high: ε', above 0; ε by default. total: counted tokens
    of the whole, accumulated batch; where advantages were multiplied by a weight of each token, the
    sum of the weights.
    Raises `ValueError` if shapes differ and for a clip or total that is not above 0.

    Schulman et al. 2017, equation 7; a wider upper bound is DAPO's (Yu et al. 2025, arXiv
    2503.14476, section 3.1). approximate_kl is k2 of Schulman 2020, "Approximating KL
    Divergence" (joschu.net/blog/kl-approx.html): biased, but never negative and of low variance,
    as in lm-human-preferences and TRL. k1, the mean of (old − new), may fall below 0.
    """
    validate_dimensions(
        2, logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, mask=mask
    )
    log_ratio = zero_outside(logprobs - old_logprobs, mask)
    ratio, unclipped, clipped = _objectives(log_ratio, advantages, clip, clip_high, total)
    loss = -masked_sum(torch.minimum(unclipped, clipped), mask) / total
    with torch.no_grad():
        clip_fraction = masked_mean((clipped < unclipped).to(ratio.dtype), mask)
        approximate_kl = masked_mean(0.5 * log_ratio**2, mask)
        return PolicyTerms(loss, clip_fraction, approximate_kl, masked_mean(ratio, mask))


def sequence_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    clip: float,
    total: float,
    clip_high: float | None = None,
) -> PolicyTerms:
    """Clipped policy loss with whole responses as actions, ratio = Π_t π / π_old over the tokens.

    advantages: [B], of responses. total: responses of the whole, accumulated batch. Other arguments
    and errors as in `policy_loss`; clip_fraction and ratio are means over responses.

    Ahmadian et al. 2024 (arXiv 2402.14740), section 2.3, who model the whole response as one
    action; with the clipped ratio, as TRL's `RLOOTrainer` has it.
    """
    validate_dimensions(2, logprobs=logprobs, old_logprobs=old_logprobs, mask=mask)
    if advantages.shape != logprobs.shape[:1]:
        raise ValueError(
            f"advantages {list(advantages.shape)} do not fit logprobs {list(logprobs.shape)}:"
            " one a row"
        )
    log_ratio = zero_outside(logprobs - old_logprobs, mask)
    whole = log_ratio.sum(dim=1)
    ratio, unclipped, clipped = _objectives(whole, advantages, clip, clip_high, total)
    loss = -torch.minimum(unclipped, clipped).sum() / total
    with torch.no_grad():
        clip_fraction = (clipped < unclipped).to(ratio.dtype).mean()
        approximate_kl = masked_mean(0.5 * log_ratio**2, mask)
        return PolicyTerms(loss, clip_fraction, approximate_kl, ratio.mean())


def _objectives(
    log_ratio: Tensor, advantages: Tensor, clip: float, clip_high: float | None, total: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The ratio, and the objective without and with the clip."""
    clip_high = clip if clip_high is None else clip_high
    validate_positive("clip", clip)
    validate_positive("clip_high", clip_high)
    validate_positive("total", total)
    ratio = log_ratio.clamp(max=MAX_LOG_RATIO).exp()
    return ratio, ratio * advantages, ratio.clamp(1 - clip, 1 + clip_high) * advantages


def value_loss(
    values: Tensor,
    old_values: Tensor,
    returns: Tensor,
    mask: Tensor,
    clip: float,
    total: float,
) -> ValueTerms:
    """Clipped value loss: Σ ½·max((V − R)², (V_clipped − R)²) / total.

    V_clipped is V within ± clip of the old value.

    values, old_values, returns: [B, T]; only values are trained. mask: bool [B, T]. clip: in the
    unit of a value, above 0. total: counted tokens of the whole, accumulated batch.
    Raises `ValueError` if shapes differ and for a clip or total that is not above 0.

    Huang et al. 2024, on value loss clipping; first in OpenAI's baselines.
    """
    validate_dimensions(2, values=values, old_values=old_values, returns=returns, mask=mask)
    validate_positive("clip", clip)
    validate_positive("total", total)
    values = zero_outside(values, mask)
    unclipped = (values - returns) ** 2
    within = torch.clamp(values, old_values - clip, old_values + clip)
    clipped = (within - returns) ** 2
    loss = 0.5 * masked_sum(torch.maximum(unclipped, clipped), mask) / total
    with torch.no_grad():
        return ValueTerms(loss, masked_mean((clipped > unclipped).to(values.dtype), mask))
