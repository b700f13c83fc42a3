"""The scalar head: float32 from any dtype, seeded, saved as safetensors bytes."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load

from cai.errors import ModelError
from cai.models.heads import ScalarHead


def test_known_value() -> None:
    """w = (1, 2, 3), b = 0.5: (1, 0, −1) gives 1 − 3 + 0.5 = −1.5."""
    head = ScalarHead(3)
    head.load_state_dict({"weight": torch.tensor([1.0, 2, 3]), "bias": torch.tensor(0.5)})
    assert head(torch.tensor([1.0, 0, -1])).item() == -1.5
    assert head(torch.zeros(2, 5, 3)).shape == (2, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_scores_are_float32(dtype: torch.dtype) -> None:
    """Under autocast too: 256 + 1 is lost in bfloat16."""
    head = ScalarHead(2, std=0.0)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([256.0, 1.0]))
    hidden = torch.ones(1, 2, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = head(hidden)
    assert scores.dtype == torch.float32
    assert scores.item() == 257.0


def test_the_start() -> None:
    """std is 1 / √(H + 1) = 0.1 for H = 99; 0 gives scores of 0."""
    same, other = ScalarHead(99, seed=1), ScalarHead(99, seed=2)
    assert torch.equal(same.weight, ScalarHead(99, seed=1).weight)
    assert not torch.equal(same.weight, other.weight)
    assert float(same.weight.detach().std()) == pytest.approx(0.1, rel=0.2)
    assert ScalarHead(9, std=0.0)(torch.ones(9)).item() == 0.0


def test_the_global_state_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    ScalarHead(4, seed=9)
    assert torch.equal(torch.rand(1), expected)


def test_bytes_come_back() -> None:
    head = ScalarHead(5, seed=1)
    with torch.no_grad():
        head.bias.fill_(0.25)
    data = head.state()
    assert data == head.state()
    assert load(data).keys() == {"weight", "bias"}
    again = ScalarHead(5, seed=2)
    again.load(data)
    hidden = torch.randn(3, 5)
    assert torch.equal(again(hidden), head(hidden))
    assert again.state() == data


@pytest.mark.parametrize("data", [ScalarHead(4).state(), b"not a head", b""])
def test_bytes_that_do_not_fit_are_told(data: bytes) -> None:
    head = ScalarHead(5)
    with torch.no_grad():
        head.bias.fill_(0.25)
    before = head.state()
    with pytest.raises(ModelError, match="not a head for hidden states of size 5"):
        head.load(data)
    assert head.state() == before
