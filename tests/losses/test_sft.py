"""Cross-entropy on the tokens of responses."""

from __future__ import annotations

import math

import pytest
import torch

from cai.losses.sft import sft_loss


def test_known_value() -> None:
    """Tokens of probability 1/2, 1/4, 1/8: (ln 2 + ln 4 + ln 8) / 3 = 6 ln 2 / 3 = 1.3862944."""
    logprobs = torch.tensor([0.5, 0.25, 0.125]).log()
    assert sft_loss(logprobs, 3).item() == pytest.approx(2 * math.log(2))


def test_parts_of_a_batch_add_up() -> None:
    """Parts of 1 and 3 tokens: (1 + 2 + 3 + 6) / 4 = 3; means of parts would average to 7 / 3."""
    logprobs = -torch.tensor([1.0, 2.0, 3.0, 6.0])
    parts = sft_loss(logprobs[:1], 4) + sft_loss(logprobs[1:], 4)
    assert parts.item() == sft_loss(logprobs, 4).item() == 3


def test_gradient() -> None:
    """−1 / total for every token."""
    logprobs = torch.randn(5, dtype=torch.double, requires_grad=True)
    (gradient,) = torch.autograd.grad(sft_loss(logprobs, 8), logprobs)
    assert gradient.tolist() == [-0.125] * 5


def test_no_token() -> None:
    """A part of the batch without response tokens adds nothing."""
    assert sft_loss(torch.zeros(0), 4).item() == 0


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match=r"logprobs is \[2, 2\].*1 dimension"):
        sft_loss(torch.zeros(2, 2), 4)
    for total in (0, -1, math.nan):
        with pytest.raises(ValueError, match="total is"):
            sft_loss(torch.zeros(2), total)
