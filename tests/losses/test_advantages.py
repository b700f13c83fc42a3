"""The reward of each token, and GAE against the sum it stands for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from cai.losses.advantages import gae, token_rewards


def prefix_mask(lengths: list[int], width: int) -> Tensor:
    return torch.arange(width) < torch.tensor(lengths)[:, None]


def test_token_rewards() -> None:
    """kl_coef 0.1. Row 0 (3 tokens): −0.1·(−1 − −2) = −0.1, −0.1·(−3 − −1) = 0.2, then
    −0.1·(−2 − −2) + 5 = 5. Row 1 (1 token): −0.1·(−4 − −1) − 3 = −2.7, and nothing behind it."""
    logprobs = torch.tensor([[-1.0, -3, -2], [-4, -7, -7]])
    reference = torch.tensor([[-2.0, -1, -2], [-1, -9, -9]])
    out = token_rewards(logprobs, reference, torch.tensor([5.0, -3]), prefix_mask([3, 1], 3), 0.1)
    assert out.flatten().tolist() == pytest.approx([-0.1, 0.2, 5, -2.7, 0, 0])


def test_a_row_without_tokens_gets_nothing() -> None:
    mask = prefix_mask([0, 2], 2)
    out = token_rewards(torch.zeros(2, 2), torch.zeros(2, 2), torch.tensor([9.0, 1]), mask, 0.5)
    assert out.tolist() == [[0, 0], [0, 1]]
    empty = torch.zeros(2, 0)
    assert token_rewards(empty, empty, torch.ones(2), empty.bool(), 0.5).shape == (2, 0)


def test_the_last_counted_token_behind_a_prompt_and_a_gap() -> None:
    """The score looks for the last True, wherever the others stand."""
    mask = torch.tensor([[False, True, True, False], [True, False, True, False]])
    zero = torch.zeros(2, 4)
    out = token_rewards(zero, zero, torch.tensor([3.0, 4]), mask, 0.1)
    assert out.tolist() == [[0, 0, 3, 0], [0, 0, 4, 0]]


def test_padding_reaches_no_reward() -> None:
    """−∞ − −∞ is NaN: outside the mask it is 0."""
    logprobs = torch.tensor([[-1.0, -math.inf]])
    out = token_rewards(logprobs, logprobs, torch.tensor([2.0]), prefix_mask([1], 2), 0.1)
    assert out.tolist() == [[2, 0]]


def test_gae_by_hand() -> None:
    """γ = 0.9, λ = 0.5, rewards 1, 0, 2, values 0.5, 1, −1, then padding that must not count.

    δ_2 = 2 + 0 − (−1) = 3; δ_1 = 0 + 0.9·(−1) − 1 = −1.9; δ_0 = 1 + 0.9·1 − 0.5 = 1.4.
    A_2 = 3; A_1 = −1.9 + 0.45·3 = −0.55; A_0 = 1.4 + 0.45·(−0.55) = 1.1525.
    Returns A + V: 1.6525, 0.45, 2.
    """
    rewards = torch.tensor([[1.0, 0, 2, 50]])
    values = torch.tensor([[0.5, 1, -1, 70]])
    advantages, returns = gae(rewards, values, prefix_mask([3], 4), gamma=0.9, lam=0.5)
    assert advantages.flatten().tolist() == pytest.approx([1.1525, -0.55, 3, 0])
    assert returns.flatten().tolist() == pytest.approx([1.6525, 0.45, 2, 0])


def test_lambda_one_is_the_return_minus_the_value() -> None:
    """γ = λ = 1: returns are the rewards to come, 3, 2, 2 (equation 18 of the paper)."""
    rewards = torch.tensor([[1.0, 0, 2]])
    values = torch.tensor([[0.3, -4, 9]])
    advantages, returns = gae(rewards, values, prefix_mask([3], 3), 1.0, 1.0)
    assert returns.flatten().tolist() == pytest.approx([3, 2, 2])
    assert advantages.flatten().tolist() == pytest.approx([2.7, 6, -7])


def test_lambda_zero_is_one_step() -> None:
    """λ = 0: δ itself, 1 − 4 − 0.3 = −3.3, 0 + 9 + 4 = 13, 2 − 9 = −7 (equation 17)."""
    rewards = torch.tensor([[1.0, 0, 2]])
    values = torch.tensor([[0.3, -4, 9]])
    advantages, _ = gae(rewards, values, prefix_mask([3], 3), 1.0, 0.0)
    assert advantages.flatten().tolist() == pytest.approx([-3.3, 13, -7])


def literal(
    rewards: Tensor, values: Tensor, length: int, gamma: float, lam: float, start: int = 0
) -> list[float]:
    """Σ_l (γλ)^l δ_{t+l}, δ_t = r_t + γ·V_{t+1} − V_t, of one row: equation 16 word for word."""
    r, v = rewards.tolist(), [*values.tolist()[:length], 0.0]
    out = [0.0] * len(r)
    for t in range(start, length):
        for step in range(length - t):
            delta = r[t + step] + gamma * v[t + step + 1] - v[t + step]
            out[t] += (gamma * lam) ** step * delta
    return out


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.97, 0.8), (0.5, 1.0), (1.0, 0.0)])
def test_gae_is_the_double_sum(gamma: float, lam: float) -> None:
    generator = torch.Generator().manual_seed(3)
    lengths, width = [9, 1, 0, 5, 8], 9
    rewards, values = torch.randn(2, 5, width, generator=generator, dtype=torch.double)
    advantages, returns = gae(rewards, values, prefix_mask(lengths, width), gamma, lam)
    for row, length in enumerate(lengths):
        expected = literal(rewards[row], values[row], length, gamma, lam)
        assert advantages[row].tolist() == pytest.approx(expected, abs=1e-12)
        whole = [a + v for a, v in zip(expected, values[row].tolist(), strict=True)]
        assert returns[row, :length].tolist() == pytest.approx(whole[:length], abs=1e-12)
        assert not returns[row, length:].any()


def test_gae_behind_a_prompt() -> None:
    """Rows may hold their prompt in front: it gets nothing and changes nothing."""
    generator = torch.Generator().manual_seed(4)
    rewards, values = torch.randn(2, 1, 7, generator=generator, dtype=torch.double)
    mask = torch.tensor([[False, False, True, True, True, False, False]])
    advantages, returns = gae(rewards, values, mask, 0.9, 0.7)
    expected = literal(rewards[0], values[0], 5, 0.9, 0.7, start=2)
    assert advantages[0].tolist() == pytest.approx(expected, abs=1e-12)
    assert not returns[~mask].any()


@pytest.mark.parametrize("bad", [1e30, math.inf, math.nan])
def test_what_stands_outside_changes_nothing(bad: float) -> None:
    mask = prefix_mask([2, 3], 4)
    rewards, values = torch.ones(2, 4), torch.full((2, 4), 0.5)
    clean = gae(rewards, values, mask, 1.0, 0.95)
    dirty = gae(rewards.masked_fill(~mask, bad), values.masked_fill(~mask, bad), mask, 1.0, 0.95)
    assert torch.equal(clean[0], dirty[0])
    assert torch.equal(clean[1], dirty[1])


def test_constants_for_the_losses() -> None:
    """No gradient flows to values or logprobs through rewards, advantages and returns."""
    one = torch.ones(1, 2, requires_grad=True)
    mask = prefix_mask([2], 2)
    rewards = token_rewards(one, one, torch.ones(1), mask, 0.1)
    assert not any(x.requires_grad for x in (rewards, *gae(one, one, mask, 1.0, 0.95)))


def test_what_is_refused() -> None:
    x, mask = torch.zeros(2, 3), prefix_mask([3, 2], 3)
    with pytest.raises(ValueError, match=r"scores \[2, 1\].*one a row"):
        token_rewards(x, x, torch.zeros(2, 1), mask, 0.1)
    with pytest.raises(ValueError, match=r"scores \[1\]"):
        token_rewards(x, x, torch.zeros(1), mask, 0.1)
    with pytest.raises(ValueError, match=r"reference_logprobs \[1, 3\]"):
        token_rewards(x, x[:1], torch.zeros(2), mask, 0.1)
    with pytest.raises(ValueError, match=r"torch\.bool"):
        token_rewards(x, x, torch.zeros(2), mask.long(), 0.1)
    with pytest.raises(ValueError, match=r"values \[2, 1\]"):
        gae(x, x[:, :1], mask, 1.0, 0.95)
    with pytest.raises(ValueError, match="2 dimension"):
        gae(x[0], x[0], mask[0], 1.0, 0.95)
    with pytest.raises(ValueError, match=r"torch\.bool"):
        gae(x, x, mask.float(), 1.0, 0.95)
    holes = torch.tensor([[True, True, True], [True, False, True]])
    with pytest.raises(ValueError, match="row 1 of the mask"):
        gae(x, x, holes, 1.0, 0.95)
