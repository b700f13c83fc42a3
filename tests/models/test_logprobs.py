"""Log-probabilities of tokens against arithmetic by hand and against plain autograd."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from cai.errors import ModelError
from cai.models.logprobs import Head, head_of, logits, token_logprobs
from tests.models.fresh import backbone
from tests.models.tiny import tiny


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


HEADS = {
    "plain": Head(normal(50, 8)),
    "bias": Head(normal(50, 8), bias=normal(50, seed=1)),
    "softcap": Head(normal(50, 8), softcap=2.0),
    "all": Head(normal(50, 8), normal(50, seed=1), softcap=3.0, scale=0.7),
}
"""Softcaps low enough to bend most logits, whose spread is √8."""


def plain(hidden: Tensor, head: Head, targets: Tensor, temperature: float) -> Tensor:
    """The formula, by autograd through full logits."""
    out = (hidden @ head.weight.T + (0 if head.bias is None else head.bias)) * head.scale
    if head.softcap is not None:
        out = head.softcap * torch.tanh(out / head.softcap)
    return torch.log_softmax(out / temperature, -1)[torch.arange(len(targets)), targets]


def test_known_values() -> None:
    """h = (1, 2), W = [[ln 2, 0], [0, ln 2]]: logits ln 2 and 2 ln 2, so p = 2/6 and 4/6.

    d log p_0 / dh = W₀ − Σ p_j W_j = ln 2 · (1 − 1/3, −2/3) = ln 2 · (2/3, −2/3).
    At temperature 2 the logits halve: p = √2 / (√2 + 2), and the slope halves too:
    ln 2 / 2 · (1 − p, −(1 − p)).
    """
    hidden = torch.tensor([[1.0, 2.0]], requires_grad=True)
    head = Head(torch.eye(2) * math.log(2))
    out = token_logprobs(hidden, head, torch.tensor([0]))
    out.sum().backward()
    assert out.item() == pytest.approx(math.log(1 / 3))
    assert hidden.grad is not None
    assert hidden.grad[0].tolist() == pytest.approx([2 / 3 * math.log(2), -2 / 3 * math.log(2)])

    hidden.grad = None
    out = token_logprobs(hidden, head, torch.tensor([0]), temperature=2.0)
    out.sum().backward()
    p = math.sqrt(2) / (math.sqrt(2) + 2)
    assert out.item() == pytest.approx(math.log(p))
    slope = math.log(2) / 2 * (1 - p)
    assert hidden.grad is not None and hidden.grad[0].tolist() == pytest.approx([slope, -slope])


@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "trained"])
@pytest.mark.parametrize("chunk", [1, 3, 7, None])
@pytest.mark.parametrize("name", HEADS)
def test_values_and_gradients_are_plain_autograds(
    name: str, chunk: int | None, trained: bool
) -> None:
    head = HEADS[name]
    if trained:
        weight = head.weight.clone().requires_grad_()
        bias = None if head.bias is None else head.bias.clone().requires_grad_()
        head = Head(weight, bias, head.softcap, head.scale)
    hidden = normal(7, 8, seed=2).requires_grad_()
    targets = torch.tensor([0, 49, 3, 3, 17, 0, 20])
    weights = torch.linspace(-1, 2, 7)
    inputs = [hidden, *((t for t in (head.weight, head.bias) if t is not None) if trained else ())]

    ours = token_logprobs(hidden, head, targets, 0.8, chunk)
    theirs = plain(hidden, head, targets, 0.8)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    gradients = torch.autograd.grad((weights * ours).sum(), inputs)
    expected = torch.autograd.grad((weights * theirs).sum(), inputs)
    torch.testing.assert_close(gradients, expected, rtol=1e-5, atol=1e-5)


def test_all_logits_of_a_head() -> None:
    """softcap 2, scale 3: 2 tanh(3 (1 · 0.5 + 0.1) / 2) = 2 tanh 0.9."""
    head = Head(torch.tensor([[0.5]]), torch.tensor([0.1]), softcap=2.0, scale=3.0)
    assert logits(torch.ones(1, 1), head).item() == pytest.approx(2 * math.tanh(0.9))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_float32_close_to_the_exact(dtype: torch.dtype) -> None:
    hidden = normal(9, 8, seed=2).to(dtype).requires_grad_()
    head = Head(normal(50, 8).to(dtype))
    targets = torch.arange(9)
    ours = token_logprobs(hidden, head, targets)
    assert ours.dtype == torch.float32
    exact_hidden = hidden.detach().float().requires_grad_()
    exact = plain(exact_hidden, Head(head.weight.float()), targets, 1.0)
    torch.testing.assert_close(ours, exact, rtol=0, atol=0.05)
    (ours_gradient,) = torch.autograd.grad(ours.sum(), hidden)
    (exact_gradient,) = torch.autograd.grad(exact.sum(), exact_hidden)
    assert ours_gradient.dtype == dtype
    torch.testing.assert_close(ours_gradient.float(), exact_gradient, rtol=0, atol=0.05)


def test_a_float32_head_on_lower_hidden_states() -> None:
    """As autocast gives them; the head's dtype is what counts, and gradients come back lower."""
    hidden = normal(4, 8).to(torch.bfloat16).requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = token_logprobs(hidden, HEADS["plain"], torch.arange(4))
    expected = plain(hidden.detach().float(), HEADS["plain"], torch.arange(4), 1.0)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-5)
    out.sum().backward()
    assert hidden.grad is not None and hidden.grad.dtype == torch.bfloat16


def test_nothing_of_the_size_of_the_logits_is_kept() -> None:
    """A frozen head keeps [N, H] for the backward pass: 20 · 8 numbers, not 20 · 50."""
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    hidden = normal(20, 8).requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        token_logprobs(hidden, HEADS["all"], torch.zeros(20, dtype=torch.long), chunk=4)
    assert sizes == [160]


def test_no_gradient_is_computed_where_none_is_wanted() -> None:
    targets = torch.zeros(3, dtype=torch.long)
    assert not token_logprobs(normal(3, 8), HEADS["plain"], targets).requires_grad
    with torch.no_grad():
        hidden = normal(3, 8).requires_grad_()
        assert not token_logprobs(hidden, HEADS["plain"], targets).requires_grad


@pytest.mark.parametrize("trained", [False, True])
def test_no_positions_at_all(trained: bool) -> None:
    hidden = torch.zeros(0, 8, requires_grad=True)
    head = Head(normal(50, 8).requires_grad_(trained))
    out = token_logprobs(hidden, head, torch.zeros(0, dtype=torch.long))
    assert out.shape == (0,)
    out.sum().backward()


def test_large_logits_stay_finite() -> None:
    """Logits 1000 and 0: log p = 0 and −1000, and slopes p_other · (w_t − w_other)."""
    hidden = torch.ones(2, 1, requires_grad=True)
    head = Head(torch.tensor([[1000.0], [0.0]]))
    out = token_logprobs(hidden, head, torch.tensor([0, 1]))
    out.sum().backward()
    assert out.tolist() == [0.0, -1000.0]
    assert hidden.grad is not None
    assert hidden.grad.flatten().tolist() == [0.0, -1000.0]


def test_a_temperature_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0"):
        token_logprobs(normal(1, 8), HEADS["plain"], torch.zeros(1, dtype=torch.long), 0.0)


def test_heads_of_models() -> None:
    phi, gemma, llama = (head_of(tiny(name)) for name in ("phi", "gemma2", "llama"))
    assert phi.bias is not None and phi.softcap is None
    assert gemma.softcap == 30.0
    assert llama.bias is None and llama.scale == 1.0 and not llama.trained


def test_a_head_that_is_not_linear_is_told() -> None:
    model = backbone().model
    model.lm_head = nn.Sequential(model.lm_head)
    with pytest.raises(ModelError, match="output layer of LlamaForCausalLM is a Sequential"):
        head_of(model)
