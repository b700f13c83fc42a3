"""Distillation: how far a student's next-token distributions are from a teacher's.

Both directions of the Kullback-Leibler divergence, over the whole vocabulary or over the k
likeliest tokens and one bucket for the rest.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from cai.losses.validation import validate_dimensions, validate_positive

Direction: TypeAlias = Literal["reverse", "forward"]


def distillation_kl(
    student_logprobs: Tensor,
    teacher_logprobs: Tensor,
    direction: Direction = "reverse",
    top_k: int | None = None,
) -> Tensor:
    """KL between two next-token distributions at each of N positions: [N], in nats.

    reverse: Σ_v p(v)·(log p(v) − log q(v)), p the student's distribution and q the teacher's
    (Gu et al. 2023, arXiv 2306.08543; Ye et al. 2026, arXiv 2602.12275, equation 2). forward: with
    p and q exchanged (Hinton et al. 2015, arXiv 1503.02531). Agarwal et al. 2024 (arXiv 2306.13649)
    compare both on the student's own responses.

    student_logprobs, teacher_logprobs: [N, V], normalised; the teacher's must take no gradient.
    top_k: keep the k likeliest tokens of p, the distribution that the mean is taken under, and add
    up all others in one bucket. Merging tokens can only lower a KL, so this is a lower bound, and
    equal to the full KL where k is V or V − 1.

    Raises `ValueError` if shapes differ, for another direction, and for a top_k below 1.
    """
    validate_dimensions(2, student_logprobs=student_logprobs, teacher_logprobs=teacher_logprobs)
    if direction == "reverse":
        p, q = student_logprobs, teacher_logprobs
    elif direction == "forward":
        p, q = teacher_logprobs, student_logprobs
    else:
        raise ValueError(f"the direction is {direction!r}: it must be reverse or forward")
    if top_k is not None:
        validate_positive("top_k", top_k)
        if top_k < p.shape[1]:
            top = p.detach().topk(top_k, dim=1).indices
            p, q = _with_rest(p, top), _with_rest(q, top)
    return torch.sum(p.exp() * (p - q), dim=1)


def _with_rest(logprobs: Tensor, top: Tensor) -> Tensor:
    """The log-probabilities of some tokens, and of all others together: [N, k + 1].

    The rest is added up from its own tokens. As 1 − Σ it would be rounding where the k tokens have
    nearly all of the probability.
    """
    rest = logprobs.scatter(1, top, -torch.inf).logsumexp(dim=1, keepdim=True)
    return torch.cat([logprobs.gather(1, top), rest], dim=1)
