"""k3 by hand, and far from the reference, where e^d overflows."""

from __future__ import annotations

import math

import pytest
import torch

from cai.losses.kl import LINEAR_FROM, k3


def test_by_hand() -> None:
    """d = log π_ref − log π: −1 − (−2) = 1: e − 2; 0: 0; −2 − (−1) = −1: 1/e. The gradient by
    log π is 1 − e^d: 1 − e, 0, 1 − 1/e."""
    logprobs = torch.tensor([[-2.0, -1, -1]], requires_grad=True)
    reference = torch.tensor([[-1.0, -1, -2]])
    out = k3(logprobs, reference, torch.ones(1, 3, dtype=torch.bool))
    assert out.flatten().tolist() == pytest.approx([math.e - 2, 0, 1 / math.e])
    (gradient,) = torch.autograd.grad(out.sum(), logprobs)
    assert gradient.flatten().tolist() == pytest.approx([1 - math.e, 0, 1 - 1 / math.e])


def test_its_mean_is_the_kl() -> None:
    """Over tokens drawn from π it is an unbiased estimate: Σ π·k3 = Σ π log(π / π_ref)."""
    policy, reference = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.4, 0.5, 0.1])
    mask = torch.ones(1, 3, dtype=torch.bool)
    estimates = k3(policy.log()[None], reference.log()[None], mask)
    exact = (policy * (policy / reference).log()).sum()
    assert (policy * estimates[0]).sum().item() == pytest.approx(exact.item(), abs=1e-6)


@pytest.mark.parametrize("distance", [LINEAR_FROM - 1e-4, LINEAR_FROM + 1e-4, 50.0, 1000.0])
def test_far_from_the_reference(distance: float) -> None:
    """e^89 overflows in float32. Beyond the bound value and gradient stay finite, the value grows,
    and the gradient still raises the token's probability (is negative)."""
    logprobs = torch.tensor([[-distance]], requires_grad=True)
    out = k3(logprobs, torch.zeros(1, 1), torch.ones(1, 1, dtype=torch.bool))
    (gradient,) = torch.autograd.grad(out.sum(), logprobs)
    assert math.isfinite(out.item()) and out.item() > math.exp(9.99)
    edge = math.exp(LINEAR_FROM)
    assert gradient.item() == pytest.approx(1 - math.exp(min(distance, LINEAR_FROM)), rel=1e-3)
    expected = edge * (1 + max(0.0, distance - LINEAR_FROM)) - distance - 1
    assert out.item() == pytest.approx(expected, rel=1e-3)


def test_padding_reaches_neither_value_nor_gradient() -> None:
    logprobs = torch.tensor([[-1.0, -math.inf]], requires_grad=True)
    mask = torch.tensor([[True, False]])
    out = k3(logprobs, torch.tensor([[-2.0, math.nan]]), mask)
    (gradient,) = torch.autograd.grad(out.sum(), logprobs)
    assert out[0, 1] == 0 and gradient[0].isfinite().all() and gradient[0, 1] == 0
