"""KTO: known values, the KL estimate, weights, no gradient through z0."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from cai.losses.kto import kl_estimate, kto_loss


def t(*numbers: float) -> Tensor:
    return torch.tensor(numbers, dtype=torch.float32)


BOTH = torch.tensor([True, False])


def test_known_values() -> None:
    """β = 0.1, z0 = 2. Desirable: Δ = −10 + 15 = 5, 1 − σ(0.1·(5 − 2)) = 1 − σ(0.3) = 0.4255575.
    Undesirable: Δ = −20 + 26 = 6, 1 − σ(0.1·(2 − 6)) = 1 − σ(−0.4) = 0.5986877.
    Rewards 0.1·5 and 0.1·6."""
    terms = kto_loss(t(-10, -20), t(-15, -26), BOTH, torch.tensor(2.0), beta=0.1)
    assert terms.losses.tolist() == pytest.approx([0.4255575, 0.5986877])
    assert terms.rewards.tolist() == pytest.approx([0.5, 0.6])


def test_weights() -> None:
    """The same, times 1.5 and 0.25: 0.6383362 and 0.1496719."""
    weights = t(1.5, 0.25)
    terms = kto_loss(t(-10, -20), t(-15, -26), BOTH, torch.tensor(2.0), 0.1, weights)
    assert terms.losses.tolist() == pytest.approx([0.6383362, 0.1496719])


def test_at_the_reference() -> None:
    """Δ = z0 = 0: both losses are 1 − σ(0) = 1/2, and their gradients −β/4 and β/4."""
    policy = t(-3, -8).requires_grad_()
    terms = kto_loss(policy, t(-3, -8), BOTH, torch.tensor(0.0), beta=0.2)
    assert terms.losses.tolist() == pytest.approx([0.5, 0.5])
    (gradient,) = torch.autograd.grad(terms.losses.sum(), policy)
    assert gradient.tolist() == pytest.approx([-0.05, 0.05])


def test_the_kl_estimate() -> None:
    """(3 − 1 + 4) / 3 = 2; a mean of −1 is no divergence: 0. Nor is that of nothing: 0, not NaN."""
    assert kl_estimate(t(3, -1, 4)).item() == pytest.approx(2)
    assert kl_estimate(t(1, -3)).item() == 0
    assert kl_estimate(t()).item() == 0
    assert kl_estimate(t(5)).shape == ()


def test_no_gradient_flows_through_z0() -> None:
    policy = t(-1, -2).requires_grad_()
    kl = (policy * 3).sum() ** 2
    losses = kto_loss(policy, t(-2, -1), BOTH, kl, 0.1).losses
    fixed = kto_loss(policy, t(-2, -1), BOTH, kl.detach(), 0.1).losses
    (ours,), (theirs,) = (torch.autograd.grad(x.sum(), policy) for x in (losses, fixed))
    assert torch.equal(ours, theirs)
    assert not kl_estimate(policy).requires_grad
    assert not kto_loss(policy, t(0, 0), BOTH, kl, 0.1).rewards.requires_grad


def test_extreme_values_in_float32() -> None:
    """β·(Δ − z0) = ±1e4: losses 0 and 1, gradients 0; no NaN."""
    policy = t(1e5, -1e5, 1e5, -1e5).requires_grad_()
    desirable = torch.tensor([True, True, False, False])
    losses = kto_loss(policy, torch.zeros(4), desirable, torch.tensor(0.0), 0.1).losses
    assert losses.tolist() == [0, 1, 1, 0]
    assert torch.autograd.grad(losses.sum(), policy)[0].tolist() == [0, 0, 0, 0]


def test_gradients() -> None:
    generator = torch.Generator().manual_seed(2)
    policy, reference, weights = torch.randn(3, 4, generator=generator, dtype=torch.double)
    desirable = torch.tensor([True, False, False, True])
    kl = torch.tensor(0.3, dtype=torch.double)
    assert torch.autograd.gradcheck(
        lambda x: kto_loss(x, reference, desirable, kl, 0.7, weights.exp()).losses,
        policy.requires_grad_(),
    )


def test_what_is_refused() -> None:
    two, zero = torch.zeros(2), torch.tensor(0.0)
    with pytest.raises(ValueError, match=r"reference \[1\]"):
        kto_loss(two, torch.zeros(1), BOTH, zero, 0.1)
    with pytest.raises(ValueError, match=r"desirable \[3\]"):
        kto_loss(two, two, torch.ones(3, dtype=torch.bool), zero, 0.1)
    with pytest.raises(ValueError, match="True counts"):
        kto_loss(two, two, two, zero, 0.1)
    with pytest.raises(ValueError, match=r"kl is \[2\]"):
        kto_loss(two, two, BOTH, two, 0.1)
    with pytest.raises(ValueError, match=r"weights \[1\]"):
        kto_loss(two, two, BOTH, zero, 0.1, torch.ones(1))
    with pytest.raises(ValueError, match="beta is 0"):
        kto_loss(two, two, BOTH, zero, 0)
    with pytest.raises(ValueError, match="1 dimension"):
        kl_estimate(zero)
