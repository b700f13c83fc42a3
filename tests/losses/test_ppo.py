"""PPO's clipped losses: every branch by hand, masks, parts of a batch, extreme values."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cai.losses.ppo import policy_loss, sequence_policy_loss, value_loss

CLIP = 0.2


def ratios(*numbers: float) -> Tensor:
    """Log-probabilities whose ratio to 0 is given: [1, T]."""
    return torch.tensor([numbers]).log()


def test_policy_loss_on_every_branch() -> None:
    """ε = 0.2, total 4; −min(ratio·A, clip(ratio)·A) of each token:

    ratio 1.5, A  1: −min(1.5, 1.2)   = −1.2 (clipped)
    ratio 1.5, A −1: −min(−1.5, −1.2) =  1.5
    ratio 0.5, A  2: −min(1.0, 1.6)   = −1.0
    ratio 0.5, A −1: −min(−0.5, −0.8) =  0.8 (clipped)
    Sum 0.1, loss 0.025; half of them clipped; mean ratio 4 / 4 = 1;
    ½·(ln 1.5)² = 0.0822010 twice and ½·(ln 0.5)² = 0.2402265 twice: mean 0.1612138.
    """
    logprobs = ratios(1.5, 1.5, 0.5, 0.5).requires_grad_()
    advantages = torch.tensor([[1.0, -1, 2, -1]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    terms = policy_loss(logprobs, torch.zeros(1, 4), advantages, mask, CLIP, total=4)
    assert terms.loss.item() == pytest.approx(0.025)
    assert terms.clip_fraction.item() == 0.5
    assert terms.ratio.item() == pytest.approx(1)
    assert terms.approximate_kl.item() == pytest.approx(0.1612138)
    (gradient,) = torch.autograd.grad(terms.loss, logprobs)
    """−A·ratio / total where not clipped: 1.5 / 4 and −2·0.5 / 4."""
    assert gradient.flatten().tolist() == pytest.approx([0, 0.375, -0.25, 0])


def test_at_the_old_policy() -> None:
    """Ratio 1: the loss is −ΣA / total, its gradient the policy gradient −A / total."""
    logprobs = torch.tensor([[-1.0, -2], [-3, -4]], requires_grad=True)
    advantages = torch.tensor([[1.0, 2], [3, -10]])
    mask = torch.tensor([[True, True], [True, False]])
    terms = policy_loss(logprobs, logprobs.detach(), advantages, mask, CLIP, total=3)
    assert terms.loss.item() == pytest.approx(-2)
    assert (terms.clip_fraction.item(), terms.approximate_kl.item(), terms.ratio.item()) == (
        0,
        0,
        1,
    )
    (gradient,) = torch.autograd.grad(terms.loss, logprobs)
    assert gradient.flatten().tolist() == pytest.approx([-1 / 3, -2 / 3, -1, 0])


def test_value_loss_on_every_branch() -> None:
    """Clip 0.2 about old values of 1, total 4; ½·max((V − R)², (V_clipped − R)²) of each token:

    V 1.1, R 2: not clipped,         ½·0.9²              = 0.405
    V 1.5, R 2: V_clipped 1.2, ½·max(0.25, 0.64)         = 0.320 (clipped)
    V 1.5, R 0: V_clipped 1.2, ½·max(2.25, 1.44)         = 1.125
    V 0.5, R 0: V_clipped 0.8, ½·max(0.25, 0.64)         = 0.320 (clipped)
    Sum 2.17, loss 0.5425; half of them clipped.
    """
    values = torch.tensor([[1.1, 1.5, 1.5, 0.5]], requires_grad=True)
    returns = torch.tensor([[2.0, 2, 0, 0]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    terms = value_loss(values, torch.ones(1, 4), returns, mask, CLIP, total=4)
    assert terms.loss.item() == pytest.approx(0.5425)
    assert terms.clip_fraction.item() == 0.5
    (gradient,) = torch.autograd.grad(terms.loss, values)
    """(V − R) / total where not clipped: −0.9 / 4 and 1.5 / 4."""
    assert gradient.flatten().tolist() == pytest.approx([-0.225, 0, 0.375, 0])


def batch(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Three rows of six: new, old and target, and a mask of lengths 6, 2 and 4."""
    generator = torch.Generator().manual_seed(5)
    new, noise, target = torch.randn(3, 3, 6, generator=generator, dtype=dtype)
    mask = torch.arange(6) < torch.tensor([[6], [2], [4]])
    return new, new + 0.3 * noise, target, mask


@pytest.mark.parametrize("loss", [policy_loss, value_loss])
def test_parts_of_a_batch_add_up(loss: type) -> None:
    """Losses and gradients of rows add up to those of the batch, whatever their lengths."""
    new, old, target, mask = batch(torch.double)
    new.requires_grad_()
    whole = loss(new, old, target, mask, CLIP, 12).loss
    rows = [slice(0, 1), slice(1, 3)]
    parts = sum(loss(new[r], old[r], target[r], mask[r], CLIP, 12).loss for r in rows)
    assert parts.item() == pytest.approx(whole.item(), abs=1e-12)
    a, b = torch.autograd.grad(whole, new)[0], torch.autograd.grad(parts, new)[0]
    assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("loss", [policy_loss, value_loss])
@pytest.mark.parametrize("bad", [1e30, math.inf, -math.inf, math.nan])
def test_what_stands_outside_changes_nothing(loss: type, bad: float) -> None:
    """The gradient is taken at the bad values themselves: a mask before them would hide a NaN."""
    *tensors, mask = batch()
    clean = loss(*tensors, mask, CLIP, 12)
    for spoilt in ([0], [1], [2], [0, 1, 2]):
        inputs = [x.masked_fill(~mask, bad) if i in spoilt else x for i, x in enumerate(tensors)]
        inputs[0].requires_grad_()
        dirty = loss(*inputs, mask, CLIP, 12)
        assert all(torch.equal(x, y) for x, y in zip(clean, dirty, strict=True))
        (gradient,) = torch.autograd.grad(dirty.loss, inputs[0])
        assert gradient.isfinite().all()
        assert not gradient[~mask].any()
        inputs[0].requires_grad_(False)


@pytest.mark.parametrize("loss", [policy_loss, value_loss])
def test_nothing_counts(loss: type) -> None:
    """A part without counted tokens adds 0, with gradient 0."""
    new, old, target, mask = batch()
    new.requires_grad_()
    terms = loss(new, old, target, torch.zeros_like(mask), CLIP, 12)
    assert terms.loss.item() == 0
    assert terms.clip_fraction.item() == 0
    assert not torch.autograd.grad(terms.loss, new)[0].any()


def test_a_ratio_that_would_overflow() -> None:
    """e^200 is ∞ in float32. A > 0: clipped at 1.2, gradient 0 and not 0·∞. A < 0: the ratio stops
    at e^20 = 4.8516520e8. Log ratio −200: ratio 0. Values stay finite, the KL sees the truth:
    ½·200² = 20000."""
    logprobs = torch.tensor([[0.0, 0, -200, -200]], requires_grad=True)
    old = torch.tensor([[-200.0, -200, 0, 0]])
    advantages = torch.tensor([[1.0, -1, 1, -1]])
    mask = torch.ones(1, 4, dtype=torch.bool)
    terms = policy_loss(logprobs, old, advantages, mask, CLIP, total=1)
    assert terms.loss.item() == pytest.approx(-1.2 + math.exp(20) + 0 + 0.8)
    assert terms.approximate_kl.item() == pytest.approx(20_000)
    (gradient,) = torch.autograd.grad(terms.loss, logprobs)
    assert gradient.tolist() == [[0, 0, 0, 0]]


def test_only_the_loss_carries_gradient() -> None:
    new, old, target, mask = batch()
    new.requires_grad_()
    for loss in (policy_loss, value_loss):
        first, *others = loss(new, old, target, mask, CLIP, 12)
        assert first.requires_grad
        assert not any(x.requires_grad for x in others)


@pytest.mark.parametrize("loss", [policy_loss, value_loss])
def test_gradients(loss: type) -> None:
    new, old, target, mask = batch(torch.double)
    new.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: loss(x, old, target, mask, CLIP, 12).loss, new)


@pytest.mark.parametrize("loss", [policy_loss, value_loss])
def test_what_is_refused(loss: type) -> None:
    x, mask = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    for wrong in (x[:, :1], x[:1], x[0]):
        for at in range(3):
            arguments = [x, x, x]
            arguments[at] = wrong
            with pytest.raises(ValueError, match="shapes differ"):
                loss(*arguments, mask, CLIP, 6)
    with pytest.raises(ValueError, match=r"mask \[2, 1\]"):
        loss(x, x, x, mask[:, :1], CLIP, 6)
    with pytest.raises(ValueError, match=r"torch\.bool"):
        loss(x, x, x, mask.float(), CLIP, 6)
    with pytest.raises(ValueError, match="2 dimension"):
        loss(x[0], x[0], x[0], mask[0], CLIP, 6)
    with pytest.raises(ValueError, match="total is 0"):
        loss(x, x, x, mask, CLIP, 0)
    with pytest.raises(ValueError, match="clip is 0"):
        loss(x, x, x, mask, 0, 6)


def test_an_upper_bound_of_its_own() -> None:
    """ε = 0.2, ε' = 0.4: ratio 1.3 with A 1 is within, 1.5 is clipped at 1.4; ratio 0.5 with A −1
    is clipped at 0.8 as before. −1.3 − 1.4 + 0.8 = −1.9."""
    logprobs = ratios(1.3, 1.5, 0.5).requires_grad_()
    advantages = torch.tensor([[1.0, 1, -1]])
    mask = torch.ones(1, 3, dtype=torch.bool)
    terms = policy_loss(logprobs, torch.zeros(1, 3), advantages, mask, CLIP, total=1, clip_high=0.4)
    assert terms.loss.item() == pytest.approx(-1.9)
    (gradient,) = torch.autograd.grad(terms.loss, logprobs)
    assert gradient.flatten().tolist() == pytest.approx([-1.3, 0, 0])


def test_a_whole_response_is_one_action() -> None:
    """Ratios of the tokens 1.5 and 0.5: of the response 0.75, clipped at 0.8 for A −1, so −(−0.8);
    1.1 alone (one token counts), A 2: −2.2. Loss (0.8 − 2.2) / 2 = −0.7. The gradient of each
    counted token of a response is the same, −A·ratio / total: 0 where clipped, −2.2 / 2."""
    logprobs = torch.tensor([[1.5, 0.5], [1.1, 7.0]]).log().requires_grad_()
    mask = torch.tensor([[True, True], [True, False]])
    advantages = torch.tensor([-1.0, 2])
    terms = sequence_policy_loss(logprobs, torch.zeros(2, 2), advantages, mask, CLIP, total=2)
    assert terms.loss.item() == pytest.approx(-0.7)
    assert terms.clip_fraction.item() == 0.5
    assert terms.ratio.item() == pytest.approx((0.75 + 1.1) / 2)
    (gradient,) = torch.autograd.grad(terms.loss, logprobs)
    assert gradient.flatten().tolist() == pytest.approx([0, 0, -1.1, 0])


def test_a_long_response_does_not_overflow() -> None:
    """100 tokens of log ratio 5: e^500 is infinite; the clip discards it, and no NaN is left."""
    logprobs = torch.full((1, 100), -1.0, requires_grad=True)
    mask = torch.ones(1, 100, dtype=torch.bool)
    old = torch.full((1, 100), -6.0)
    terms = sequence_policy_loss(logprobs, old, torch.tensor([1.0]), mask, CLIP, total=1)
    (gradient,) = torch.autograd.grad(terms.loss, logprobs)
    assert terms.loss.item() == pytest.approx(-1.2) and gradient.eq(0).all()
    with pytest.raises(ValueError, match="one a row"):
        sequence_policy_loss(logprobs, old, torch.ones(2), mask, CLIP, total=1)
