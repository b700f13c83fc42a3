"""Divergences from hidden states, against plain autograd through full logits."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import pytest
import torch
from torch import Tensor

from cai.losses.distill import distillation_kl
from cai.models.divergences import Divergence, token_divergences
from cai.models.logprobs import Head
from tests.models.test_logprobs import HEADS, normal

KINDS: dict[str, Divergence] = {
    "reverse": distillation_kl,
    "forward": partial(distillation_kl, direction="forward"),
    "top 5": partial(distillation_kl, top_k=5),
}
OTHER = Head(normal(50, 8, seed=7))
"""The teacher's: in full training its head is not the policy's."""


def plain(hidden: Tensor, head: Head, temperature: float) -> Tensor:
    """Log-probabilities by full logits."""
    out = (hidden @ head.weight.T + (0 if head.bias is None else head.bias)) * head.scale
    if head.softcap is not None:
        out = head.softcap * torch.tanh(out / head.softcap)
    return torch.log_softmax(out / temperature, -1)


@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("chunk", [1, 3, 7, None])
@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("kind", KINDS)
def test_values_and_gradients_are_plain_autograds(
    kind: str, name: str, chunk: int | None, trained: bool
) -> None:
    head = HEADS[name]
    if trained:
        weight = head.weight.clone().requires_grad_()
        bias = None if head.bias is None else head.bias.clone().requires_grad_()
        head = Head(weight, bias, head.softcap, head.scale)
    hidden, teacher = normal(7, 8, seed=2).requires_grad_(), normal(7, 8, seed=3)
    weights = torch.linspace(-1, 2, 7)
    inputs = [hidden, *((t for t in (head.weight, head.bias) if t is not None) if trained else ())]

    ours = token_divergences(hidden, head, teacher, OTHER, KINDS[kind], 0.8, chunk)
    theirs = KINDS[kind](plain(hidden, head, 0.8), plain(teacher, OTHER, 0.8))
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-6)
    gradients = torch.autograd.grad((weights * ours).sum(), inputs)
    expected = torch.autograd.grad((weights * theirs).sum(), inputs)
    torch.testing.assert_close(gradients, expected, rtol=1e-5, atol=2e-6)


def test_the_teacher_takes_no_gradient() -> None:
    """Neither its hidden states nor its head, where a careless caller left them trainable."""
    hidden, teacher = normal(4, 8).requires_grad_(), normal(4, 8, seed=1).requires_grad_()
    weight = normal(50, 8, seed=7).requires_grad_()
    for head in (HEADS["plain"], Head(normal(50, 8).requires_grad_())):
        out = token_divergences(hidden, head, teacher, Head(weight), distillation_kl)
        out.sum().backward()
        assert hidden.grad is not None and teacher.grad is None and weight.grad is None


def test_nothing_of_the_size_of_the_logits_is_kept() -> None:
    """A frozen head keeps [N, H] for the backward pass: 20 · 8 numbers, not 20 · 50.

    A chunk's own graph is gone when the chunk is done.
    """

    class Kept:
        def __init__(self, tensor: Tensor) -> None:
            self.tensor = tensor

    saved: weakref.WeakSet[Kept] = weakref.WeakSet()

    def pack(tensor: Tensor) -> Kept:
        kept = Kept(tensor)
        saved.add(kept)
        return kept

    hidden = normal(20, 8).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda kept: kept.tensor):
        out = token_divergences(
            hidden, HEADS["all"], normal(20, 8, seed=1), OTHER, distillation_kl, chunk=4
        )
    gc.collect()
    assert [kept.tensor.numel() for kept in saved] == [160]
    out.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype: torch.dtype) -> None:
    hidden = normal(9, 8, seed=2).to(dtype).requires_grad_()
    teacher = normal(9, 8, seed=3).to(dtype)
    head = Head(normal(50, 8).to(dtype))
    ours = token_divergences(hidden, head, teacher, head, distillation_kl)
    exact_hidden, wide = hidden.detach().float().requires_grad_(), Head(head.weight.float())
    exact = distillation_kl(plain(exact_hidden, wide, 1.0), plain(teacher.float(), wide, 1.0))
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, exact, rtol=0.02, atol=0.05)
    (slope,) = torch.autograd.grad(ours.sum(), hidden)
    (expected,) = torch.autograd.grad(exact.sum(), exact_hidden)
    assert slope.dtype == dtype
    torch.testing.assert_close(slope.float(), expected, rtol=0, atol=0.1)


def test_no_position_and_no_gradient() -> None:
    none = normal(0, 8)
    assert token_divergences(none, OTHER, none, OTHER, distillation_kl).shape == (0,)
    with torch.no_grad():
        hidden = normal(3, 8).requires_grad_()
        out = token_divergences(hidden, OTHER, normal(3, 8), OTHER, distillation_kl)
    assert not out.requires_grad


def test_what_is_refused() -> None:
    h = normal(3, 8)
    with pytest.raises(ValueError, match="temperature"):
        token_divergences(h, OTHER, h, OTHER, distillation_kl, temperature=0.0)
    with pytest.raises(ValueError, match="3 and 2 tokens"):
        token_divergences(h, OTHER, h[:2], OTHER, distillation_kl)
