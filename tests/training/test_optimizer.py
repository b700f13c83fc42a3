"""Rates by hand, AdamW's step by hand, and a state that goes on."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from cai.training.optimizer import Optimizer, Schedule


def test_rates() -> None:
    """Ten steps, two of warm-up: 1/2 and 1 of the peak, then down from 1 to 1/8 in eight steps.

    Step 6 is half of the way: 1/2 under both; step 9 is 7/8: 1/8, or (1 + cos 7π/8) / 2.
    """
    kinds = {kind: Schedule(kind, 2.0, 10, 0.2) for kind in ("cosine", "linear", "constant")}
    for schedule in kinds.values():
        assert [schedule.rate(s) for s in (0, 1, 2)] == [1.0, 2.0, 2.0]
    assert kinds["linear"].rate(6) == pytest.approx(1.0)
    assert kinds["cosine"].rate(6) == pytest.approx(1.0)
    assert kinds["linear"].rate(9) == pytest.approx(0.25)
    assert kinds["cosine"].rate(9) == pytest.approx(1 + math.cos(7 * math.pi / 8))
    assert kinds["constant"].rate(9) == 2.0
    assert Schedule("cosine", 1.0, 1, 0.1).rate(0) == 1.0


def test_first_step_of_adamw_moves_by_the_rate() -> None:
    """m̂ / √v̂ of a first step is the gradient's sign: 1 − 0.1 = 0.9, and −2 + 0.1 = −1.9."""
    weight = nn.Parameter(torch.tensor([1.0, -2.0]))
    updates = Optimizer({"w": weight}, Schedule("constant", 0.1, 5, 0.0))
    (weight * torch.tensor([3.0, -4.0])).sum().backward()
    assert updates.clip().item() == pytest.approx(5.0)  # √(9 + 16), then clipped to 1
    assert weight.grad is not None
    assert weight.grad.tolist() == pytest.approx([0.6, -0.8], abs=1e-5)
    updates.step(0)
    assert weight.tolist() == pytest.approx([0.9, -1.9], abs=1e-5)
    assert weight.grad is None


def test_a_restored_state_goes_on_bit_for_bit() -> None:
    def run(steps: range, updates: Optimizer, weight: nn.Parameter) -> None:
        for step in steps:
            (weight.sin() * (step + 1)).sum().backward()
            updates.clip()
            updates.step(step)

    def fresh() -> tuple[nn.Parameter, Optimizer]:
        weight = nn.Parameter(torch.arange(4.0))
        return weight, Optimizer({"w": weight}, Schedule("linear", 0.1, 8, 0.1), 0.01)

    straight, updates = fresh()
    run(range(8), updates, straight)
    first, updates = fresh()
    run(range(3), updates, first)
    copies = {name: value.clone() for name, value in updates.tensors().items()}
    second, later = fresh()
    later.restore(copies)
    run(range(3, 8), later, second)
    assert torch.equal(second, straight)
    assert not torch.equal(first, straight)
