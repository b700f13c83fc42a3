"""Advantages of groups, by hand, and the groups that have nothing to compare."""

from __future__ import annotations

import math

import pytest
import torch

from cai.losses.group import EPSILON, group_advantages, part_advantages


def test_leave_one_out() -> None:
    """Rewards 1, 2, 6: baselines (2 + 6)/2 = 4, (1 + 6)/2 = 3.5, (1 + 2)/2 = 1.5, so the
    advantages are −3, −1.5 and 4.5. Another group does not change them."""
    rewards = torch.tensor([[1.0, 2, 6], [100, 50, 0]])
    out = group_advantages(rewards, "leave-one-out")
    assert out[0].tolist() == pytest.approx([-3, -1.5, 4.5])
    assert out[1].tolist() == pytest.approx([75, 0, -75])


def test_the_mean_of_the_group() -> None:
    """Mean 3: −2, −1, 3; their squares add up to 14, so the standard deviation is √(14/2) = √7."""
    rewards = torch.tensor([[1.0, 2, 6]])
    assert group_advantages(rewards, "group-mean").tolist() == [[-2, -1, 3]]
    scaled = group_advantages(rewards, "group-mean", "group")
    unit = math.sqrt(7) + EPSILON
    assert scaled[0].tolist() == pytest.approx([-2 / unit, -1 / unit, 3 / unit])


def test_the_batch_has_one_unit() -> None:
    """Groups 0, 2 and 10, 20: mean 8, squares 64 + 36 + 4 + 144 = 248, std √(248/3)."""
    rewards = torch.tensor([[0.0, 2], [10, 20]])
    unit = math.sqrt(248 / 3) + EPSILON
    out = group_advantages(rewards, "group-mean", "batch")
    assert out.flatten().tolist() == pytest.approx([-1 / unit, 1 / unit, -5 / unit, 5 / unit])


@pytest.mark.parametrize("scale", ["none", "group", "batch"])
@pytest.mark.parametrize("baseline", ["leave-one-out", "group-mean"])
def test_a_group_of_equal_rewards_is_exactly_zero(baseline: str, scale: str) -> None:
    """0.1 three times has a mean that is off by rounding; the advantage is not."""
    rewards = torch.tensor([[0.1, 0.1, 0.1], [0.0, 0.0, 1.0]])
    out = group_advantages(rewards, baseline, scale)  # type: ignore[arg-type]
    assert out[0].tolist() == [0, 0, 0] and out[1].abs().min() > 0.1
    values = rewards[:, :, None]
    by_part = part_advantages(values, torch.ones(1))
    assert by_part[0].tolist() == [0, 0, 0] and by_part[1].abs().min() > 0.1


def test_each_part_is_normalised_by_itself() -> None:
    """Two principles, the second a thousand times as loud. Of two values that differ by d,
    (r − mean) / std is ±(d/2) / (d/√2) = ±√½, whatever d is.

    In group 0 they disagree: √½ − √½ = 0 twice. In group 1 they agree: ±√2. Over the batch the mean
    is 0 and the squares are 0, 0, 2, 2: std √(4/3), and √2 / √(4/3) = √1.5. By the plain sum the
    second principle alone would decide group 0.
    """
    parts = torch.tensor([[[1.0, 0], [0, 1000]], [[1, 1000], [0, 0]]])
    out = part_advantages(parts, torch.ones(2))
    assert out.flatten().tolist() == pytest.approx(
        [0, 0, math.sqrt(1.5), -math.sqrt(1.5)], abs=1e-3
    )
    summed = group_advantages(parts.sum(dim=2), "group-mean")
    assert summed[0].tolist() == pytest.approx([-499.5, 499.5])


def test_weights_of_parts_count() -> None:
    """Weights 3 and 1, in disagreement: ±(3 − 1)·√½, by the sign of the heavier one. The only group
    is the batch, so the last step makes ±√½ of it again."""
    parts = torch.tensor([[[1.0, 0], [0, 1]]])
    out = part_advantages(parts, torch.tensor([3.0, 1.0]))
    assert out.flatten().tolist() == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)], abs=1e-3)


def test_a_part_that_never_varies_changes_nothing() -> None:
    parts = torch.tensor([[[1.0, 7], [0, 7]], [[1, 7], [0, 7]]])
    alone = part_advantages(parts[:, :, :1], torch.ones(1))
    assert part_advantages(parts, torch.ones(2)).equal(alone)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="at least two responses"):
        group_advantages(torch.zeros(3, 1), "leave-one-out")
    with pytest.raises(ValueError, match="do not fit"):
        part_advantages(torch.zeros(2, 2, 3), torch.ones(2))


def test_no_gradient_flows() -> None:
    rewards = torch.tensor([[1.0, 2]], requires_grad=True)
    assert not group_advantages(rewards, "leave-one-out").requires_grad
    assert not part_advantages(rewards[:, :, None], torch.ones(1)).requires_grad
