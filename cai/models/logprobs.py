"""Log-probabilities of tokens straight from hidden states, without materialising all logits.

Logits [positions, vocabulary] in float32 are the largest tensor of any trainer, so positions are
projected in chunks. With a frozen head, as under LoRA, the gradient to the hidden states is
computed in the same pass and stored in place of the logits; with a trained head, each chunk is
recomputed in the backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from cai.errors import ModelError
from cai.models.rows import text_config

CHUNK_CPU = 128
CHUNK = 512
"""Positions projected at once: enough to fill a CPU's cache, or a GPU."""


@dataclass(frozen=True, slots=True)
class Head:
    """How hidden states become logits: softcap · tanh(scale · (W h + b) / softcap).

    weight: [V, H]. bias: [V] or None. softcap: None for no cap. scale: a factor of the logits.
    """

    weight: Tensor
    bias: Tensor | None = None
    softcap: float | None = None
    scale: float = 1.0

    @property
    def trained(self) -> bool:
        """Whether weight or bias takes a gradient."""
        return self.weight.requires_grad or (self.bias is not None and self.bias.requires_grad)


def head_of(model: nn.Module) -> Head:
    """The head of a transformers causal language model, tied or not.

    Reads `final_logit_softcapping` (Gemma), `logit_scale` (Cohere) and `logits_scaling` (Granite)
    from its config. Raises `ModelError` where the head is no plain linear layer.
    """
    layer = model.get_output_embeddings()  # type: ignore[operator]
    if not isinstance(layer, nn.Linear):
        raise ModelError(
            f"The output layer of {type(model).__name__} is a {type(layer).__name__}, not linear",
            hint="Train another base model, or keep lm_head out of the adapter's targets.",
        )
    config = text_config(model)
    scale = getattr(config, "logit_scale", None) or 1.0
    scale /= getattr(config, "logits_scaling", None) or 1.0
    return Head(layer.weight, layer.bias, getattr(config, "final_logit_softcapping", None), scale)


def logits(hidden: Tensor, head: Head) -> Tensor:
    """Logits of some positions. hidden: [N, H]. Returns float32 [N, V], differentiable."""
    out = nn.functional.linear(hidden.to(head.weight.dtype), head.weight, head.bias).float()
    out = out * head.scale
    return out if head.softcap is None else head.softcap * torch.tanh(out / head.softcap)


def chunk_size(device: torch.device, chunk: int | None = None) -> int:
    """Positions to project at once on a device: `chunk`, where it is given."""
    return chunk or (CHUNK_CPU if device.type == "cpu" else CHUNK)


def token_logprobs(
    hidden: Tensor,
    head: Head,
    targets: Tensor,
    temperature: float = 1.0,
    chunk: int | None = None,
) -> Tensor:
    """log p(target) at each position, under softmax(logits / temperature).

    hidden: [N, H], after the final norm, at the positions that predict the targets. targets: int64
    [N], each an id of the vocabulary. chunk: positions at once. Returns float32 [N].
    Buffers hold chunk · V floats (twice that below float32, once more under a softcap); the
    gradient to `hidden` is exact, up to the rounding of hidden's dtype.
    """
    if temperature <= 0:
        raise ValueError("temperature must be above 0")
    hidden = hidden.to(head.weight.dtype)
    size = chunk_size(hidden.device, chunk)
    if head.trained and torch.is_grad_enabled():
        parts = [
            checkpoint(
                _plain, hidden[at : at + size], head, targets[at : at + size], temperature,
                use_reentrant=False,
            )
            for at in range(0, max(len(hidden), 1), size)
        ]  # fmt: skip
        return torch.cat(parts)
    needs_gradient = torch.is_grad_enabled() and hidden.requires_grad
    out: Tensor = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden, head, targets, temperature, size, needs_gradient
    )
    return out


def _plain(hidden: Tensor, head: Head, targets: Tensor, temperature: float) -> Tensor:
    scores = torch.log_softmax(logits(hidden, head) / temperature, dim=-1)
    return scores.gather(1, targets[:, None]).squeeze(1)


class _TokenLogprobs(torch.autograd.Function):
    """With x = scale (W h + b), z = softcap tanh(x / softcap) / T, and p = softmax(z):

    log p_t = z_t − log Σ exp z, and its gradient to h is
    Wᵀ [(1_t − p) · (1 − tanh²(x / softcap))] · scale / T, a row of numbers for each position.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        head: Head,
        targets: Tensor,
        temperature: float,
        chunk: int,
        needs_gradient: bool,
    ) -> Tensor:
        count, vocabulary = len(hidden), len(head.weight)
        out = hidden.new_empty(count, dtype=torch.float32)
        slopes = torch.empty_like(hidden) if needs_gradient else None
        narrow = hidden.new_empty(min(chunk, count), vocabulary)
        wide = narrow if narrow.dtype == torch.float32 else narrow.float()
        for start in range(0, count, chunk):
            part = slice(start, start + chunk)
            rows, target = hidden[part], targets[part, None]
            low, z = narrow[: len(rows)], wide[: len(rows)]
            torch.mm(rows, head.weight.t(), out=low)
            if head.bias is not None:
                low += head.bias
            if z is not low:
                z.copy_(low)
            z *= head.scale
            bend = _softcap(z, head.softcap) if head.softcap is not None else None
            z /= temperature
            target_logits = z.gather(1, target)
            top = z.amax(dim=1, keepdim=True)
            total = z.sub_(top).exp_().sum(dim=1, keepdim=True)
            out[part] = (target_logits - top - total.log()).squeeze(1)
            if slopes is None:
                continue
            z.div_(-total).scatter_add_(1, target, torch.ones_like(target_logits))
            if bend is not None:
                z *= bend
            z *= head.scale / temperature
            if z is not low:
                low.copy_(z)
            torch.mm(low, head.weight, out=slopes[part])
        if slopes is not None:
            ctx.save_for_backward(slopes)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (slopes,) = ctx.saved_tensors
        return (slopes * gradient[:, None]).to(slopes.dtype), None, None, None, None, None


def _softcap(x: Tensor, cap: float) -> Tensor:
    """Caps x [n, V] in place; returns the derivative, 1 − tanh²."""
    x.div_(cap).tanh_()
    bend = 1 - x * x
    x *= cap
    return bend
