"""What an adapter can hold beside its data, by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from cai.cli.capacity_text import capacity_lines
from cai.models.backbone import LoraSettings
from cai.training.capacity import capacity_of
from tests.models.fresh import backbone
from tests.models.tiny import SHAPE


def trainer(signals: int, signal: str = "token", **options: Any) -> Any:
    """What `capacity_of` reads of a trainer: r 2 on the queries of a tiny Llama."""
    bone = backbone(**options)
    if not bone.full:
        bone.add_adapter("policy", LoraSettings(r=2, alpha=4, targets=("q_proj",)), seed=1)
        bone.add_adapter("value", LoraSettings(r=8, alpha=4, targets=("v_proj",)), seed=1)
    bone.train_only(*bone.adapters)
    return SimpleNamespace(backbone=bone, workload=SimpleNamespace(signal=signal, signals=signals))


def test_two_bits_a_parameter_against_one_a_token() -> None:
    """A [2, H] and B [H, 2] in each layer: 4·H·layers parameters, twice that in bits."""
    trained = 4 * SHAPE["hidden_size"] * SHAPE["num_hidden_layers"]
    fits = capacity_of(trainer(2 * trained))
    assert fits is not None
    assert (fits.trained, fits.bits, fits.needed) == (trained, 2.0 * trained, 2.0 * trained)
    assert not fits.too_small, "of the value model's adapter nothing is counted"
    more = capacity_of(trainer(2 * trained + 1))
    assert more is not None and more.too_small
    assert more.rank_for_all(2) == 3  # ⌈2 · (1 + 1/2·trained)⌉
    three = capacity_of(trainer(6 * trained))
    assert three is not None and three.rank_for_all(2) == 6


def test_no_capacity_in_full_training() -> None:
    assert capacity_of(trainer(5, full=True)) is None


@pytest.mark.parametrize(
    ("signal", "words"),
    [("token", "1 a token that the loss is on"), ("row", "1 a row"), ("response", "1 a response")],
)
def test_the_lines(signal: str, words: str) -> None:
    small = capacity_of(trainer(10**6, signal))
    assert small is not None
    lines = dict(capacity_lines(small, 2))
    assert f"the data asks for 1,000,000 at most ({words})" in lines["capacity"]
    assert f"--lora-r {small.rank_for_all(2)} would hold it" in lines["capacity"]
    assert "embed_tokens (" in lines["adapter"] and " more" in lines["adapter"]
    assert "experts" not in lines
    large = capacity_of(trainer(10, signal))
    assert large is not None and "too small" not in dict(capacity_lines(large, 2))["capacity"]
