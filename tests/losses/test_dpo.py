"""DPO: known values, soft labels, rewards without gradient."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cai.losses.dpo import dpo_loss


def t(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)


def test_known_values() -> None:
    """β = 0.1. First pair: rewards 0.1·(−10 − −12) = 0.2 and 0.1·(−20 − −17) = −0.3, z = 0.5,
    loss ln(1 + e^−0.5) = 0.4740770. Second: 0.1·(−5 − −4) = −0.1 and 0.1·(−6 − −8) = 0.2,
    z = −0.3, loss ln(1 + e^0.3) = 0.8543552."""
    terms = dpo_loss(t(-10, -5), t(-20, -6), t(-12, -4), t(-17, -8), beta=0.1)
    assert terms.chosen_rewards.tolist() == pytest.approx([0.2, -0.1])
    assert terms.rejected_rewards.tolist() == pytest.approx([-0.3, 0.2])
    assert terms.losses.tolist() == pytest.approx([0.4740770, 0.8543552])


def test_soft_labels() -> None:
    """z = 0.5 as above, p = 0.7: 0.7 · 0.4740770 + 0.3 · ln(1 + e^0.5) = 0.3318539 + 0.3 ·
    0.9740770 = 0.6240770."""
    terms = dpo_loss(t(-10), t(-20), t(-12), t(-17), 0.1, probabilities=t(0.7))
    assert terms.losses.tolist() == pytest.approx([0.6240770])


def test_at_the_reference() -> None:
    """A policy that is its reference: rewards 0, loss ln 2, gradient −β/2 and β/2."""
    chosen, rejected = t(-3, -8).requires_grad_(), t(-4, -2).requires_grad_()
    terms = dpo_loss(chosen, rejected, t(-3, -8), t(-4, -2), beta=0.2)
    assert terms.losses.tolist() == pytest.approx([math.log(2)] * 2)
    assert not terms.chosen_rewards.any()
    assert not terms.rejected_rewards.any()
    gradients = torch.autograd.grad(terms.losses.sum(), (chosen, rejected))
    assert gradients[0].tolist() == pytest.approx([-0.1] * 2)
    assert gradients[1].tolist() == pytest.approx([0.1] * 2)


def test_rewards_carry_no_gradient() -> None:
    terms = dpo_loss(t(-1).requires_grad_(), t(-2).requires_grad_(), t(-1), t(-2), 0.1)
    assert terms.losses.requires_grad
    assert not terms.chosen_rewards.requires_grad
    assert not terms.rejected_rewards.requires_grad


def test_extreme_values_in_float32() -> None:
    """z = ±1e4: losses 0 and 1e4 with hard labels, halves of 1e4 with p = 0.5; no NaN."""
    policy = t(0, -1e5).requires_grad_()
    arguments = (policy, t(-1e5, 0), t(0, 0), t(0, 0), 0.1)
    hard = dpo_loss(*arguments).losses
    assert hard.tolist() == pytest.approx([0, 1e4])
    assert dpo_loss(*arguments, t(0.5, 0.5)).losses.tolist() == pytest.approx([5e3, 5e3])
    assert torch.autograd.grad(hard.sum(), policy)[0].tolist() == pytest.approx([0, -0.1])


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(2)
    a, b, c, d, p = torch.randn(5, 4, generator=generator, dtype=torch.double)
    policy = (a.requires_grad_(), b.requires_grad_())
    for labels in (None, p.sigmoid()):
        assert torch.autograd.gradcheck(
            lambda x, y, labels=labels: dpo_loss(x, y, c, d, 0.3, labels).losses, policy
        )


def test_what_is_refused() -> None:
    two, column = torch.zeros(2), torch.zeros(2, 1)
    with pytest.raises(ValueError, match=r"reference_rejected \[2, 1\]"):
        dpo_loss(two, two, two, column, 0.1)
    with pytest.raises(ValueError, match="1 dimension"):
        dpo_loss(column, column, column, column, 0.1)
    with pytest.raises(ValueError, match=r"probabilities \[1\]"):
        dpo_loss(two, two, two, two, 0.1, torch.ones(1))
    with pytest.raises(ValueError, match="beta is 0"):
        dpo_loss(two, two, two, two, 0)
