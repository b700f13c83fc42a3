"""The KL of distillation: known values, both directions, the k likeliest tokens, gradients."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cai.losses.distill import Direction, distillation_kl


def log(*rows: tuple[float, ...]) -> Tensor:
    return torch.tensor(rows).log()


def random_logprobs(seed: int, rows: int = 5, vocabulary: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, vocabulary, generator=generator, dtype=torch.double).log_softmax(1)


def test_known_values() -> None:
    """p = (½, ¼, ¼), q = (¼, ½, ¼).

    reverse: ½ ln 2 + ¼ ln ½ + 0 = ¼ ln 2 = 0.1732868. forward: ¼ ln ½ + ½ ln 2 + 0, the same.
    p = (¾, ¼), q = (½, ½): reverse ¾ ln 1.5 + ¼ ln ½ = 0.3040988 − 0.1732868 = 0.1308120;
    forward ½ ln ⅔ + ½ ln 2 = ½ ln 4/3 = 0.1438410.
    """
    p, q = log((0.5, 0.25, 0.25)), log((0.25, 0.5, 0.25))
    assert distillation_kl(p, q).item() == pytest.approx(0.25 * math.log(2))
    assert distillation_kl(p, q, "forward").item() == pytest.approx(0.25 * math.log(2))
    p, q = log((0.75, 0.25)), log((0.5, 0.5))
    assert distillation_kl(p, q).item() == pytest.approx(0.1308120, abs=1e-6)
    assert distillation_kl(p, q, "forward").item() == pytest.approx(0.1438410, abs=1e-6)


def test_the_rest_is_one_token() -> None:
    """p = (½, ¼, ⅛, ⅛), q = (⅛, ⅛, ¼, ½), k = 1.

    reverse keeps p's first token: (½, ½) and (⅛, ⅞): ½ ln 4 + ½ ln 4/7 = 0.4133393.
    forward keeps q's likeliest, the last: (½, ½) and (⅛, ⅞), the same number.
    reverse with k = 2: (½, ¼, ¼) and (⅛, ⅛, ¾): ½ ln 4 + ¼ ln 2 + ¼ ln ⅓ = 0.5917808.
    """
    p, q = log((0.5, 0.25, 0.125, 0.125)), log((0.125, 0.125, 0.25, 0.5))
    expected = 0.5 * math.log(4) + 0.5 * math.log(4 / 7)
    assert distillation_kl(p, q, top_k=1).item() == pytest.approx(expected)
    assert distillation_kl(p, q, "forward", top_k=1).item() == pytest.approx(expected)
    two = 0.5 * math.log(4) + 0.25 * math.log(2) + 0.25 * math.log(1 / 3)
    assert distillation_kl(p, q, top_k=2).item() == pytest.approx(two)


@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_k_up_to_the_vocabulary(direction: Direction) -> None:
    """From below, ever closer to the full KL; equal at V − 1, V and beyond, gradients too."""
    p, q = random_logprobs(1).requires_grad_(), random_logprobs(2)
    full = distillation_kl(p, q, direction)
    (slope,) = torch.autograd.grad(full.sum(), p)
    before = torch.zeros(5, dtype=torch.double)
    for k in range(1, 9):
        kept = distillation_kl(p, q, direction, top_k=k)
        assert (kept >= before - 1e-12).all() and (kept <= full + 1e-12).all()
        if k >= 6:
            torch.testing.assert_close(kept, full)
            torch.testing.assert_close(torch.autograd.grad(kept.sum(), p)[0], slope)
        else:
            assert (kept < full - 1e-4).any()
        before = kept.detach()


def test_a_certain_teacher_and_a_tiny_rest() -> None:
    """e^−60 of the probability in the rest is no rounding error of 1 − Σ, and nothing is NaN."""
    p = torch.tensor([[0.0, -60.0, -60.0]]).log_softmax(1).requires_grad_()
    q = torch.tensor([[0.0, -1.0, -50.0]]).log_softmax(1)
    for direction in ("reverse", "forward"):
        value = distillation_kl(p, q, direction, top_k=1)
        (slope,) = torch.autograd.grad(value.sum(), p)
        assert torch.isfinite(value).all() and torch.isfinite(slope).all()
    forward = distillation_kl(p, q, "forward", top_k=1).item()
    rest = 1 / (1 + math.e)  # of q, where p has 2 e^−60
    expected = (1 - rest) * math.log(1 - rest) + rest * (math.log(rest) - math.log(2) + 60)
    assert forward == pytest.approx(expected, rel=1e-4)


def test_of_equal_distributions() -> None:
    """0, and no gradient to the logits, in either direction."""
    scores = torch.tensor([[1.0, -2.0, 0.5]], requires_grad=True)
    target = scores.detach().log_softmax(1)
    for direction in ("reverse", "forward"):
        for k in (None, 1):
            value = distillation_kl(scores.log_softmax(1), target, direction, k)
            assert value.item() == pytest.approx(0, abs=1e-6)
            assert torch.autograd.grad(value.sum(), scores)[0].abs().max() < 1e-6


@pytest.mark.parametrize("k", [None, 3])
@pytest.mark.parametrize("direction", ["reverse", "forward"])
def test_gradients(direction: Direction, k: int | None) -> None:
    scores = torch.randn(
        3, 6, generator=torch.Generator().manual_seed(3), dtype=torch.double
    ).requires_grad_()
    target = random_logprobs(4, 3, 6)
    assert torch.autograd.gradcheck(
        lambda x: distillation_kl(x.log_softmax(1), target, direction, k), scores
    )


def test_what_is_refused() -> None:
    p = random_logprobs(1)
    with pytest.raises(ValueError, match="shapes differ"):
        distillation_kl(p, p[:, :3])
    with pytest.raises(ValueError, match="reverse or forward"):
        distillation_kl(p, p, "backward")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="top_k is 0"):
        distillation_kl(p, p, top_k=0)
