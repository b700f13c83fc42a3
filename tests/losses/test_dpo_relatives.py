"""IPO, robust DPO, SimPO: known values, soft labels, what each does that DPO does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from cai.losses.dpo import DpoTerms, dpo_loss
from cai.losses.dpo_relatives import ipo_loss, robust_dpo_loss, simpo_loss


def t(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)


POLICY, REFERENCE, LENGTHS = (t(-10), t(-20)), (t(-12), t(-17)), (t(4), t(6))
"""Δ = 2 nats over 4 tokens, and −3 over 6: means 0.5 and −0.5."""


def test_ipo() -> None:
    """h = 0.5 + 0.5 = 1. β = 0.25: (1 − 2)² = 1; β = 0.5: (1 − 1)² = 0. Rewards 0.125, −0.125."""
    terms = ipo_loss(POLICY, REFERENCE, LENGTHS, 0.25)
    assert terms.losses.tolist() == pytest.approx([1.0])
    assert (terms.chosen_rewards.item(), terms.rejected_rewards.item()) == (0.125, -0.125)
    assert ipo_loss(POLICY, REFERENCE, LENGTHS, 0.5).losses.tolist() == pytest.approx([0.0])


def test_ipo_with_soft_labels() -> None:
    """β = 0.25, p = 0.75: 0.75 · (1 − 2)² + 0.25 · (1 + 2)² = 3. The least is at h = (p − ½)/β = 1:
    no gradient."""
    policy = (t(-10).requires_grad_(), t(-20))
    losses = ipo_loss(policy, REFERENCE, LENGTHS, 0.25, t(0.75)).losses
    assert losses.tolist() == pytest.approx([3.0])
    assert torch.autograd.grad(losses.sum(), policy[0])[0].item() == pytest.approx(0, abs=1e-6)


def test_robust_dpo() -> None:
    """β = 0.1: z = 0.1·(2 + 3) = 0.5; −log σ(0.5) = 0.4740770, −log σ(−0.5) = 0.9740770.
    ε = 0.1: (0.9 · 0.4740770 − 0.1 · 0.9740770) / 0.8 = 0.4115770. Rewards 0.2 and −0.3."""
    terms = robust_dpo_loss(POLICY, REFERENCE, 0.1, 0.1)
    assert terms.losses.tolist() == pytest.approx([0.4115770])
    assert terms.chosen_rewards.tolist() == pytest.approx([0.2])
    assert terms.rejected_rewards.tolist() == pytest.approx([-0.3])


def test_robust_dpo_without_flips_is_dpo() -> None:
    dpo = dpo_loss(POLICY[0], POLICY[1], REFERENCE[0], REFERENCE[1], 0.1, t(0.7)).losses
    assert robust_dpo_loss(POLICY, REFERENCE, 0.1, 0.0, t(0.7)).losses.tolist() == pytest.approx(
        dpo.tolist()
    )


def test_flipped_labels_leave_robust_dpo_where_dpo_was_without_them() -> None:
    """A fifth of the labels flipped, ε = 0.2: the mean is DPO's loss on the right labels."""
    flipped = (POLICY[1], POLICY[0]), (REFERENCE[1], REFERENCE[0])
    right, wrong = (
        robust_dpo_loss(policy, reference, 0.1, 0.2).losses.item()
        for policy, reference in ((POLICY, REFERENCE), flipped)
    )
    assert 0.8 * right + 0.2 * wrong == pytest.approx(0.4740770)
    soft = robust_dpo_loss(POLICY, REFERENCE, 0.1, 0.2, t(0.8)).losses.item()
    assert soft == pytest.approx(0.4740770)


def test_simpo() -> None:
    """β = 2: rewards 2·(−10)/4 = −5 and 2·(−20)/6 = −6.6667, a lead of 1.6667; γ = 1:
    −log σ(0.6667) = 0.4143703; without γ: −log σ(1.6667) = 0.1730080."""
    terms = simpo_loss(POLICY, LENGTHS, 2.0, 1.0)
    assert terms.losses.tolist() == pytest.approx([0.4143703])
    assert terms.chosen_rewards.item() == pytest.approx(-5)
    assert terms.rejected_rewards.item() == pytest.approx(-6.666667)
    assert simpo_loss(POLICY, LENGTHS, 2.0, 0.0).losses.tolist() == pytest.approx([0.1730080])


def test_simpo_with_soft_labels() -> None:
    """p = 0.75: 0.75 · 0.4143703 + 0.25 · (−log σ(−1.6667 − 1) = 2.7339) = 0.9942 — the other side,
    were it the better one, would have to lead by γ, too. A tie is even at a lead of 0."""
    soft = simpo_loss(POLICY, LENGTHS, 2.0, 1.0, t(0.75)).losses.item()
    assert soft == pytest.approx(0.75 * 0.4143703 + 0.25 * 2.7338666, abs=1e-5)
    even = (t(-4).requires_grad_(), t(-6))
    losses = simpo_loss(even, LENGTHS, 2.0, 1.0, t(0.5)).losses
    assert torch.autograd.grad(losses.sum(), even[0])[0].item() == pytest.approx(0, abs=1e-7)


LOSSES: dict[str, Callable[[Tensor, Tensor, Tensor | None], DpoTerms]] = {
    "ipo": lambda a, b, p: ipo_loss((a, b), (b * 0.3, a * 0.2), (a**2 + 1, b**2 + 1), 0.3, p),
    "robust": lambda a, b, p: robust_dpo_loss((a, b), (b * 0.3, a * 0.2), 0.3, 0.2, p),
    "simpo": lambda a, b, p: simpo_loss((a, b), (t(3, 4).to(a), t(5, 2).to(a)), 2.0, 0.7, p),
}


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_and_rewards(name: str) -> None:
    """Gradients by finite differences; rewards carry none; p = 1 is the hard label."""
    generator = torch.Generator().manual_seed(2)
    a, b, p = torch.randn(3, 2, generator=generator, dtype=torch.double)
    a.requires_grad_()
    b.requires_grad_()
    for labels in (None, p.sigmoid()):
        assert torch.autograd.gradcheck(lambda x, y: LOSSES[name](x, y, labels).losses, (a, b))  # noqa: B023
    terms = LOSSES[name](a, b, None)
    assert terms.losses.requires_grad
    assert not terms.chosen_rewards.requires_grad and not terms.rejected_rewards.requires_grad
    assert torch.equal(LOSSES[name](a, b, torch.ones_like(p)).losses, terms.losses)


def test_what_is_refused() -> None:
    two, one = torch.zeros(2), torch.zeros(1)
    for beta in (0.0, -1.0):
        with pytest.raises(ValueError, match="beta is"):
            ipo_loss((two, two), (two, two), (two + 1, two + 1), beta)
        with pytest.raises(ValueError, match="beta is"):
            robust_dpo_loss((two, two), (two, two), beta, 0.1)
        with pytest.raises(ValueError, match="beta is"):
            simpo_loss((two, two), (two + 1, two + 1), beta, 0.1)
    with pytest.raises(ValueError, match="shapes differ"):
        ipo_loss((two, two), (two, one), (two, two), 0.1)
    with pytest.raises(ValueError, match="shapes differ"):
        robust_dpo_loss((two, one), (two, two), 0.1, 0.1)
    with pytest.raises(ValueError, match="shapes differ"):
        simpo_loss((two, two), (two, one), 0.1, 0.1)
    with pytest.raises(ValueError, match=r"probabilities \[1\]"):
        simpo_loss((two, two), (two + 1, two + 1), 0.1, 0.1, one)
    for wrong in (0.5, -0.1, 1.0):
        with pytest.raises(ValueError, match=r"must be 0 to below 0\.5"):
            robust_dpo_loss((two, two), (two, two), 0.1, wrong)
