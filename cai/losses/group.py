"""Advantages of groups: several responses to each prompt, compared with one another.

They take the place of a value function: the baseline of a response is what the others of its prompt
were paid. No gradient flows through them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

Baseline: TypeAlias = Literal["leave-one-out", "group-mean"]
Scale: TypeAlias = Literal["none", "group", "batch"]

EPSILON = 1e-4
"""Added to a standard deviation that advantages are divided by, as in TRL."""


@torch.no_grad()
def group_advantages(rewards: Tensor, baseline: Baseline, scale: Scale = "none") -> Tensor:
    """The advantage of each response over the others to its prompt: [P, k].

    rewards: [P, k], of k responses to each of P prompts; k is at least 2. baseline: the mean of a
    response's k − 1 others, A_i = r_i − Σ_{j≠i} r_j / (k − 1), or the mean of all k, A_i = r_i −
    mean r; the first is k / (k − 1) times the second. scale: what the advantages are divided by:
    nothing, or the standard deviation of the rewards of the group or of the batch, plus `EPSILON`.
    A group of equal rewards has exactly 0. Raises `ValueError` for a group of one.

    Leave-one-out: Ahmadian et al. 2024 (arXiv 2402.14740), section 2.3; Kool et al. 2019. Group
    mean and standard deviation: GRPO (Shao et al. 2024, arXiv 2402.03300, section 4.1.2). Group
    mean without division: Dr. GRPO (Liu et al. 2025, arXiv 2503.20783), since dividing weighs up
    prompts on which nearly all responses are paid alike. Batch: Hu et al. 2025 (arXiv 2501.03262).
    """
    k = _group_size(rewards)
    centred = _centred(rewards)
    advantages = centred * (k / (k - 1)) if baseline == "leave-one-out" else centred
    if scale == "none":
        return advantages
    std = rewards.std(dim=1, keepdim=True) if scale == "group" else rewards.std()
    return advantages / (std + EPSILON)


@torch.no_grad()
def part_advantages(parts: Tensor, weights: Tensor) -> Tensor:
    """Advantages of rewards with several parts, each normalised in its group by itself: [P, k].

    A_i = Σ_m w_m (r_mi − mean_m) / (std_m + ε), then the same once more over the whole batch. So a
    part that varies little, or is measured in small units, counts as much as its weight says. A
    group in which no part varies has exactly 0.

    parts: [P, k, M], of k responses to each of P prompts; k is at least 2. weights: [M].
    Raises `ValueError` for a group of one, and if the weights do not fit.

    GDPO (Liu et al. 2026, arXiv 2601.05242).
    """
    _group_size(parts)
    if weights.shape != parts.shape[2:]:
        raise ValueError(f"weights {list(weights.shape)} do not fit parts {list(parts.shape)}")
    normalised = _centred(parts) / (parts.std(dim=1, keepdim=True) + EPSILON)
    total = (normalised * weights).sum(dim=2)
    scaled = (total - total.mean()) / (total.std() + EPSILON)
    return torch.where(_constant(parts).all(dim=2), 0.0, scaled)


def _centred(rewards: Tensor) -> Tensor:
    """Rewards less the mean of their group: [P, k, …]."""
    centred = rewards - rewards.mean(dim=1, keepdim=True)
    return torch.where(_constant(rewards), 0.0, centred)  # whose mean may be off by rounding


def _constant(rewards: Tensor) -> Tensor:
    """Whether all rewards of a group are equal: bool [P, 1, …]."""
    return (rewards == rewards[:, :1]).all(dim=1, keepdim=True)


def _group_size(rewards: Tensor) -> int:
    """Responses of each group. Raises `ValueError` for fewer than two."""
    if rewards.ndim < 2 or rewards.shape[1] < 2:
        raise ValueError(f"rewards are {list(rewards.shape)}: a group needs at least two responses")
    return rewards.shape[1]
