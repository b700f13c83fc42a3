"""From scores to advantages: the reward of each token, and generalised advantage estimation.

No gradient flows through: advantages and returns are constants in the policy and value losses.
"""

from __future__ import annotations

import torch
from torch import Tensor

from cai.losses.masked import zero_outside
from cai.losses.validation import validate_dimensions, validate_mask


@torch.no_grad()
def token_rewards(
    logprobs: Tensor, reference_logprobs: Tensor, scores: Tensor, mask: Tensor, kl_coef: float
) -> Tensor:
    """The reward of each token: a KL penalty, and the score at the last one. [B, T]

    Each token: −kl_coef·(log π − log π_ref); the last one also gets the score.

    logprobs, reference_logprobs: [B, T], of the sampled tokens. scores: [B], of whole responses.
    mask: bool [B, T], the response's tokens, its end token included where it wrote one.
    A row's score stands at its last counted token; a row without any gets nothing. 0 outside the
    mask. Raises `ValueError` if shapes differ.

    Ziegler et al. 2019 (arXiv 1909.08593), equation 2, a token at a time as in Ouyang et al. 2022,
    equation 2. TRL puts the score one position behind the end token where there is room; here no
    reward stands outside the mask.
    """
    validate_dimensions(2, logprobs=logprobs, reference_logprobs=reference_logprobs, mask=mask)
    if scores.shape != logprobs.shape[:1]:
        raise ValueError(
            f"scores {list(scores.shape)} do not fit logprobs {list(logprobs.shape)}: one a row"
        )
    kl = zero_outside(logprobs - reference_logprobs, mask)
    tokens_remaining = mask.flip(1).cumsum(1).flip(1)
    last = mask & (tokens_remaining == 1)
    return -kl_coef * kl + torch.where(last, scores[:, None], 0.0)


@torch.no_grad()
def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (GAE): the advantages A and the returns A + V, [B, T] each.

    A_t = Σ_l (γλ)^l δ_{t+l} with δ_t = r_t + γ·V_{t+1} − V_t.

    rewards, values: [B, T]; V_t is the value before token t is chosen. mask: bool [B, T], one
    stretch of counted tokens a row, padded on the right. Outside it rewards and values count as 0,
    so V is 0 behind the last token (a truncated response ends there too), and both results are 0.
    gamma: discount. lam: λ, from 0 (one step: low variance) to 1 (the whole return: no bias).
    Raises `ValueError` if shapes differ and for a row that counts in two stretches, whose
    values would not follow one another.

    Schulman et al. 2016 (arXiv 1506.02438), equation 16, by the recursion A_t = δ_t + γλ·A_{t+1}.
    """
    validate_dimensions(2, rewards=rewards, values=values, mask=mask)
    validate_mask(mask)
    _validate_one_stretch(mask)
    rewards, values = zero_outside(rewards, mask), zero_outside(values, mask)
    following = torch.zeros_like(values)
    following[:, :-1] = values[:, 1:]
    deltas = rewards + gamma * following - values
    advantages = torch.zeros_like(deltas)
    advantage = deltas.new_zeros(deltas.shape[0])
    for t in reversed(range(deltas.shape[1])):
        advantage = deltas[:, t] + gamma * lam * advantage
        advantages[:, t] = advantage
    advantages = zero_outside(advantages, mask)
    return advantages, advantages + values


def _validate_one_stretch(mask: Tensor) -> None:
    before = torch.zeros_like(mask)
    before[:, 1:] = mask[:, :-1]
    stretches = (mask & ~before).sum(1)
    rows = (stretches > 1).nonzero().flatten().tolist()
    if rows:
        raise ValueError(f"row {rows[0]} of the mask counts in more than one stretch")
