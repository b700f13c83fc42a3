"""Bradley-Terry: hard and soft labels, margins, centering, extreme scores."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cai.losses.reward import bradley_terry_loss, centering_loss


def t(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)


def test_hard_labels() -> None:
    """Differences 0, 1, −1: ln(1 + e^−d) = ln 2 = 0.6931472, ln(1 + e^−1) = 0.3132617, and
    ln(1 + e) = 1.3132617."""
    losses = bradley_terry_loss(t(1, 2, 0), t(1, 1, 1))
    assert losses.tolist() == pytest.approx([0.6931472, 0.3132617, 1.3132617])


def test_soft_labels() -> None:
    """d = 1, p = 0.75: 0.75 · 0.3132617 + 0.25 · 1.3132617 = 0.5632617. p = 0: 1.3132617."""
    losses = bradley_terry_loss(t(2, 2, 2), t(1, 1, 1), probabilities=t(0.75, 0, 1))
    assert losses.tolist() == pytest.approx([0.5632617, 1.3132617, 0.3132617])


def test_margins() -> None:
    """d = 2 − 0 − 1 = 1: 0.3132617. With p = 0.75 as above: 0.5632617."""
    assert bradley_terry_loss(t(2), t(0), margins=t(1)).item() == pytest.approx(0.3132617)
    both = bradley_terry_loss(t(2), t(0), t(0.75), t(1))
    assert both.item() == pytest.approx(0.5632617)


def test_probability_one_is_the_hard_label() -> None:
    chosen, rejected = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    soft = bradley_terry_loss(chosen, rejected, torch.ones(50))
    assert torch.equal(soft, bradley_terry_loss(chosen, rejected))


def test_the_best_difference_is_the_logit_of_the_probability() -> None:
    """The gradient is σ(d) − p: 0 at d = logit(0.8) = ln 4."""
    chosen = t(math.log(4)).double().requires_grad_()
    loss = bradley_terry_loss(chosen, t(0).double(), t(0.8).double())
    (gradient,) = torch.autograd.grad(loss.sum(), chosen)
    assert gradient.item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("probability", [None, 0.0, 0.3, 1.0])
def test_extreme_scores_in_float32(probability: float | None) -> None:
    """At ±1e4 the loss is (1−p)·|d| where chosen leads and p·|d| where it trails; the gradient
    σ(d) − p is 1 − p and −p."""
    p = 1.0 if probability is None else probability
    chosen = t(1e4, 0, 5e3, -5e3).requires_grad_()
    rejected = t(0, 1e4, -5e3, 5e3)
    soft = None if probability is None else torch.full((4,), p)
    losses = bradley_terry_loss(chosen, rejected, soft)
    assert losses.dtype == torch.float32
    high, low = (1 - p) * 1e4, p * 1e4
    assert losses.tolist() == pytest.approx([high, low, high, low])
    (gradient,) = torch.autograd.grad(losses.sum(), chosen)
    assert gradient.tolist() == pytest.approx([1 - p, -p, 1 - p, -p], abs=1e-6)


def test_centering() -> None:
    """(1 + 2)² = 9, (−1 + 1)² = 0; the gradient is 2·(chosen + rejected) = 6 and 0."""
    chosen = t(1, -1).requires_grad_()
    losses = centering_loss(chosen, t(2, 1))
    assert losses.tolist() == [9, 0]
    assert torch.autograd.grad(losses.sum(), chosen)[0].tolist() == [6, 0]


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(4, 6, generator=generator, dtype=torch.double)
    chosen, rejected, p, margins = inputs[0], inputs[1], inputs[2].sigmoid(), inputs[3]
    scores = (chosen.requires_grad_(), rejected.requires_grad_())
    assert torch.autograd.gradcheck(bradley_terry_loss, scores)
    assert torch.autograd.gradcheck(lambda a, b: bradley_terry_loss(a, b, p, margins), scores)
    assert torch.autograd.gradcheck(centering_loss, scores)


def test_shapes_that_would_broadcast() -> None:
    two, three, column = torch.zeros(2), torch.zeros(3), torch.zeros(2, 1)
    with pytest.raises(ValueError, match=r"chosen \[2\], rejected \[3\]"):
        bradley_terry_loss(two, three)
    with pytest.raises(ValueError, match=r"probabilities \[2, 1\]"):
        bradley_terry_loss(two, two, probabilities=column)
    with pytest.raises(ValueError, match=r"margins \[1\]"):
        bradley_terry_loss(two, two, margins=torch.zeros(1))
    with pytest.raises(ValueError, match="1 dimension"):
        bradley_terry_loss(column, column)
    with pytest.raises(ValueError, match="rejected"):
        centering_loss(two, column)
