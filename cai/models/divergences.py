"""Divergences of two models' next-token distributions, without materialising all logits.

As in `cai.models.logprobs`: hidden states are projected a chunk of positions at a time. Under a
frozen head the gradient to the student's hidden states is computed in the same pass, so that
nothing of the vocabulary's size is kept for the backward pass; under a trained head each chunk is
computed again there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from cai.models.logprobs import Head, chunk_size, logits

Divergence: TypeAlias = Callable[[Tensor, Tensor], Tensor]
"""Takes log-probabilities of student and teacher, [n, V] each; returns [n], differentiable."""


def token_divergences(
    hidden: Tensor,
    head: Head,
    teacher_hidden: Tensor,
    teacher_head: Head,
    divergence: Divergence,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> Tensor:
    """The divergence of student and teacher at each position: float32 [N].

    hidden, teacher_hidden: [N, H] each, after the final norm, at the positions that predict the
    same N tokens. Distributions are softmax(logits / temperature) on both sides. chunk: positions
    at once. The teacher takes no gradient, whatever its tensors say. Buffers hold a few times
    chunk · V floats.
    """
    if temperature <= 0:
        raise ValueError("temperature must be above 0")
    if len(hidden) != len(teacher_hidden):
        raise ValueError(f"student and teacher have {len(hidden)} and {len(teacher_hidden)} tokens")

    def between(student: Tensor, teacher: Tensor) -> Tensor:
        with torch.no_grad():
            target = torch.log_softmax(logits(teacher, teacher_head) / temperature, dim=-1)
        return divergence(torch.log_softmax(logits(student, head) / temperature, dim=-1), target)

    size = chunk_size(hidden.device, chunk)
    teacher_hidden = teacher_hidden.detach()
    if head.trained and torch.is_grad_enabled():
        parts = [
            checkpoint(
                between, hidden[at : at + size], teacher_hidden[at : at + size],
                use_reentrant=False,
            )
            for at in range(0, max(len(hidden), 1), size)
        ]  # fmt: skip
        return torch.cat(parts)
    needs_gradient = torch.is_grad_enabled() and hidden.requires_grad
    out: Tensor = _TokenDivergences.apply(  # type: ignore[no-untyped-call]
        hidden, teacher_hidden, between, size, needs_gradient
    )
    return out


class _TokenDivergences(torch.autograd.Function):
    """Each position's divergence depends on its own hidden state alone, so the gradient of a
    chunk's sum is a row of numbers for each position: all that the backward pass needs."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        teacher_hidden: Tensor,
        between: Divergence,
        chunk: int,
        needs_gradient: bool,
    ) -> Tensor:
        out = hidden.new_empty(len(hidden), dtype=torch.float32)
        slopes = torch.empty_like(hidden) if needs_gradient else None
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            with torch.set_grad_enabled(needs_gradient):
                rows = hidden[part].detach().requires_grad_(needs_gradient)
                values = between(rows, teacher_hidden[part])
                if slopes is not None:
                    (slopes[part],) = torch.autograd.grad(values.sum(), rows)
            out[part] = values.detach()
        if slopes is not None:
            ctx.save_for_backward(slopes)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return (slopes * gradient[:, None]).to(slopes.dtype), None, None, None, None
