"""Sums, means and whitening of the values that count.

Values outside the mask are replaced, not multiplied by 0: an infinity or a NaN there reaches
neither a result nor a gradient. The mean of no value is 0, and so is the variance of fewer than
two, since an empty part of a batch must add nothing.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cai.losses.validation import validate_mask, validate_shapes

EPSILON = 1e-8
"""Added to the variance in whitening, as lm-human-preferences and TRL do."""


def zero_outside(values: Tensor, mask: Tensor) -> Tensor:
    """The values inside the mask, 0 outside.

    values: any shape. mask: bool, the same shape. Raises `ValueError` if they do not fit.
    """
    validate_shapes(values=values, mask=mask)
    validate_mask(mask)
    return torch.where(mask, values, 0.0)


def masked_sum(values: Tensor, mask: Tensor, dim: int | None = None) -> Tensor:
    """Sum of the counted values: a scalar, or without the dimension `dim`.

    values: any shape. mask: bool, the same shape. Raises `ValueError` if they do not fit.
    """
    counted = zero_outside(values, mask)
    return counted.sum() if dim is None else counted.sum(dim)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of the counted values, a scalar; 0 if none counts.

    values: any shape. mask: bool, the same shape. Raises `ValueError` if they do not fit.
    """
    return masked_sum(values, mask) / mask.sum().clamp(min=1)


def masked_variance(values: Tensor, mask: Tensor) -> Tensor:
    """Unbiased variance of the n counted values, a scalar: sum (x − mean)² / (n − 1).

    values: any shape. mask: bool, the same shape. 0 if fewer than two count.
    Raises `ValueError` if the shapes do not fit.
    """
    centred = zero_outside(values, mask) - masked_mean(values, mask)
    return masked_sum(centred**2, mask) / (mask.sum() - 1).clamp(min=1)


def whiten(values: Tensor, mask: Tensor) -> Tensor:
    """The counted values with mean 0 and variance 1; 0 outside the mask (advantages in PPO).

    values: any shape. mask: bool, the same shape. A lone value becomes 0.
    Raises `ValueError` if the shapes do not fit.
    Huang et al. 2024 (arXiv 2403.17031), on advantage whitening.
    """
    centred = zero_outside(values, mask) - masked_mean(values, mask)
    return zero_outside(centred * torch.rsqrt(masked_variance(values, mask) + EPSILON), mask)
