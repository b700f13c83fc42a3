"""Sums, means, variances and whitening of the values that count."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cai.losses.masked import (
    masked_mean,
    masked_sum,
    masked_variance,
    whiten,
    zero_outside,
)

VALUES = torch.tensor([[1.0, 2.0, 99.0], [3.0, 6.0, -99.0]])
MASK = torch.tensor([[True, True, False], [True, True, False]])
ALL: list[Callable[[Tensor, Tensor], Tensor]] = [
    zero_outside,
    masked_sum,
    masked_mean,
    masked_variance,
    whiten,
]


def test_sums_and_means() -> None:
    """1 + 2 = 3 and 3 + 6 = 9 by row, 12 in all, 12 / 4 = 3; columns 1 + 3, 2 + 6, nothing."""
    assert zero_outside(VALUES, MASK).tolist() == [[1, 2, 0], [3, 6, 0]]
    assert masked_sum(VALUES, MASK).item() == 12
    assert masked_sum(VALUES, MASK, dim=1).tolist() == [3, 9]
    assert masked_sum(VALUES, MASK, dim=0).tolist() == [4, 8, 0]
    assert masked_mean(VALUES, MASK).item() == 3


def test_the_variance_is_unbiased() -> None:
    """Mean 3: (4 + 1 + 0 + 9) / (4 − 1) = 14 / 3."""
    assert masked_variance(VALUES, MASK).item() == pytest.approx(14 / 3)


def test_whitening() -> None:
    """(−2, −1, 0, 3) / √(14/3) = (−2, −1, 0, 3) · 0.4629100, 0 outside the mask."""
    scale = 1 / math.sqrt(14 / 3)
    out = whiten(VALUES, MASK)
    assert out.flatten().tolist() == pytest.approx([-2 * scale, -scale, 0, 0, 3 * scale, 0])
    assert masked_mean(out, MASK).item() == pytest.approx(0, abs=1e-6)
    assert masked_variance(out, MASK).item() == pytest.approx(1)


def test_few_values() -> None:
    """Of none the mean is 0; one value has variance 0, and whitens to 0."""
    none, one = torch.zeros(2, 3, dtype=torch.bool), torch.zeros(2, 3, dtype=torch.bool)
    one[1, 0] = True
    for function in ALL:
        assert not function(VALUES, none).any()
    assert masked_mean(VALUES, one).item() == 3
    assert masked_variance(VALUES, one).item() == 0
    assert whiten(VALUES, one)[1, 0].item() == 0


def test_equal_values_whiten_to_nothing() -> None:
    """Variance 0: (v − v) / √(0 + 1e-8) = 0."""
    same = torch.full((2, 3), 2.5)
    assert not whiten(same, MASK).any()


@pytest.mark.parametrize("function", ALL)
@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan])
def test_what_stands_outside_changes_nothing(
    function: Callable[[Tensor, Tensor], Tensor], bad: float
) -> None:
    values = VALUES.clone()
    values[:, 2] = bad
    values.requires_grad_()
    out = function(values, MASK)
    assert torch.equal(out, function(VALUES, MASK))
    (gradient,) = torch.autograd.grad(
        (out * torch.arange(1, out.numel() + 1).view_as(out)).sum(), values
    )
    assert gradient.isfinite().all()
    assert not gradient[:, 2].any()


@pytest.mark.parametrize("function", ALL)
def test_gradients(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    values = VALUES.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: function(v, MASK), values)


@pytest.mark.parametrize("function", ALL)
def test_shapes_and_masks_that_do_not_fit(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    with pytest.raises(ValueError, match=r"values \[2, 3\], mask \[2, 1\]"):
        function(VALUES, MASK[:, :1])
    with pytest.raises(ValueError, match=r"torch\.bool"):
        function(VALUES, MASK.float())
