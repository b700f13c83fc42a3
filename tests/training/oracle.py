"""What the trainers ought to compute, in plain loops over transformers' own forward pass.

One conversation at a time, without padding, chunks or masks, and with none of cai's losses, batches
or readers: a test that compares a trainer with these functions pins how its parts are connected.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from cai.models.backbone import Backbone
from cai.models.heads import ScalarHead
from cai.training.batches import Tokens
from cai.training.rollout import Response


def token_logprobs(
    bone: Backbone, adapter: str | None, ids: Sequence[int], first: int, temperature: float = 1.0
) -> Tensor:
    """log softmax(logits / T) at each of the tokens from `first` on: [len(ids) - first]."""
    with bone.using(adapter):
        logits = bone.inner(input_ids=torch.tensor([list(ids)])).logits[0].float()
    logprobs = (logits / temperature).log_softmax(-1)
    return torch.stack([logprobs[t - 1, ids[t]] for t in range(first, len(ids))])


def hidden_states(bone: Backbone, adapter: str | None, ids: Sequence[int]) -> Tensor:
    """What the output layer reads at each token: [T, H]."""
    with bone.using(adapter):
        out = bone.inner(input_ids=torch.tensor([list(ids)]), output_hidden_states=True)
    hidden: Tensor = out.hidden_states[-1][0]
    return hidden


def sequence_logprob(bone: Backbone, adapter: str | None, tokens: Tokens) -> Tensor:
    """Sum of the log-probabilities of the tokens that count."""
    logprobs = token_logprobs(bone, adapter, tokens.ids, 1)
    return torch.stack(
        [logprobs[t - 1] for t, counts in enumerate(tokens.response) if counts]
    ).sum()


def score(bone: Backbone, head: ScalarHead, tokens: Tokens) -> Tensor:
    """w · h + b at the last token."""
    return hidden_states(bone, "policy", tokens.ids)[-1].float() @ head.weight + head.bias


def log_sigmoid(x: Tensor) -> Tensor:
    """−ln(1 + e^−x)."""
    return -torch.log1p(torch.exp(-x))


def gradients(loss: Tensor, parameters: Mapping[str, nn.Parameter]) -> dict[str, Tensor]:
    """The loss's gradient for each parameter."""
    values = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
    return {
        name: torch.zeros_like(parameter) if gradient is None else gradient
        for (name, parameter), gradient in zip(parameters.items(), values, strict=True)
    }


# -- PPO ------------------------------------------------------------------------------------------


class Read(NamedTuple):
    """One response under a policy: log π of its tokens and the values before them, [L] each."""

    logprobs: Tensor
    values: Tensor


def read(
    bone: Backbone, head: ScalarHead, adapter: str | None, response: Response, temperature: float
) -> Read:
    """A response as it was drawn, at the temperature it was drawn with."""
    ids = (*response.prompt.ids, *response.ids)
    first = len(response.prompt.ids)
    hidden = hidden_states(bone, adapter, ids)
    values = [hidden[t - 1].float() @ head.weight + head.bias for t in range(first, len(ids))]
    return Read(token_logprobs(bone, adapter, ids, first, temperature), torch.stack(values))


class Taught(NamedTuple):
    """What a rollout teaches of one response: [L] each, and the sum of its rewards."""

    advantages: list[float]
    returns: list[float]
    reward: float


def taught(
    old: Read, reference: Read, worth: float, kl_coef: float, gamma: float, lam: float
) -> Taught:
    """A_t = δ_t + γλ A_{t+1}, δ_t = r_t + γ V_{t+1} − V_t; r_t = −coef · (log π − log π_ref),
    and `worth` on top at the last token."""
    logprobs, reference_logprobs, values = (
        x.tolist() for x in (old.logprobs, reference.logprobs, old.values)
    )
    rewards = [-kl_coef * (p - q) for p, q in zip(logprobs, reference_logprobs, strict=True)]
    rewards[-1] += worth
    advantages, following = [0.0] * len(rewards), 0.0
    for t in reversed(range(len(rewards))):
        next_value = values[t + 1] if t + 1 < len(rewards) else 0.0
        following = rewards[t] + gamma * next_value - values[t] + gamma * lam * following
        advantages[t] = following
    returns = [a + v for a, v in zip(advantages, values, strict=True)]
    return Taught(advantages, returns, sum(rewards))


def whitened(rows: Sequence[Sequence[float]]) -> list[list[float]]:
    """All numbers of all rows with mean 0 and (unbiased) variance 1."""
    flat = [x for row in rows for x in row]
    mean = sum(flat) / len(flat)
    variance = sum((x - mean) ** 2 for x in flat) / (len(flat) - 1)
    return [[(x - mean) / math.sqrt(variance + 1e-8) for x in row] for row in rows]


def ppo_loss(
    now: Sequence[Read],
    old: Sequence[Read],
    advantages: Sequence[Sequence[float]],
    returns: Sequence[Sequence[float]],
    clip: float,
    value_clip: float,
    value_coef: float,
) -> Tensor:
    """Mean over all tokens of −min(ρA, clip(ρ)A) + c · ½ max((V − R)², (V_clipped − R)²)."""
    terms = []
    for new, was, gains, targets in zip(now, old, advantages, returns, strict=True):
        for t in range(len(gains)):
            ratio = torch.exp(new.logprobs[t] - was.logprobs[t])
            bounded = torch.clamp(ratio, 1 - clip, 1 + clip)
            policy = -torch.minimum(ratio * gains[t], bounded * gains[t])
            low, high = was.values[t] - value_clip, was.values[t] + value_clip
            within = torch.clamp(new.values[t], low, high)
            errors = (new.values[t] - targets[t]) ** 2, (within - targets[t]) ** 2
            terms.append(policy + value_coef * 0.5 * torch.maximum(*errors))
    return torch.stack(terms).mean()
