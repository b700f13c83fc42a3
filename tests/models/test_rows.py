"""Slots compute what the plain forward computes, on every architecture; else they are not used."""

from __future__ import annotations

import copy
import random
from typing import Any

import pytest
import torch

from cai.models.cache import Masks, SlotCache, causal_mask
from cai.models.rows import PlainRows, SlotRows, agrees, make_rows, plain_logits
from tests.models.tiny import ARCHITECTURES, UNUSUAL, VOCABULARY, tiny


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_slots_serve_well_known_architectures(name: str) -> None:
    """Ragged prompts, kept prefixes, swapped rows, a grown cache, 20 steps past any window."""
    model, rng = tiny(name), random.Random(name)
    rows = make_rows(model, 3)
    assert isinstance(rows, SlotRows)
    rows.cache.room = 16
    texts = [[rng.randrange(VOCABULARY) for _ in range(60)] for _ in range(3)]
    at = [9, 21, 14]
    with torch.inference_mode():
        rows.prefill(0, [t[:n] for t, n in zip(texts, at, strict=True)], [0, 0, 0])
        rows.swap(0, 2)
        texts[0], texts[2], at = texts[2], texts[0], at[::-1]
        rows.prefill(1, [texts[1][17:25], texts[2][5:30]], [17, 5])
        at = [at[0], 25, 30]
        for _ in range(20):
            logits = rows.decode([t[n] for t, n in zip(texts, at, strict=True)], at)
            at = [n + 1 for n in at]
            plain = torch.stack(
                [plain_logits(model, t[:n]) for t, n in zip(texts, at, strict=True)]
            )
            assert torch.allclose(logits, plain, atol=2e-4), name


@pytest.mark.parametrize("name", UNUSUAL)
def test_other_architectures_get_plain_rows(name: str) -> None:
    assert isinstance(make_rows(tiny(name), 2), PlainRows)


@pytest.mark.parametrize("cached", [True, False])
def test_plain_rows_agree(cached: bool) -> None:
    assert agrees(tiny("mistral-window"), PlainRows(tiny("mistral-window"), 3, cached=cached))


def test_a_missing_window_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check can fail: without its sliding window the model computes something else."""
    rows = SlotRows(tiny("mistral-window"), 3, by_type=False)
    assert agrees(tiny("mistral-window"), rows)
    rows = SlotRows(tiny("mistral-window"), 3, by_type=False)
    rows.masks.window = None
    assert not agrees(tiny("mistral-window"), rows)


def test_a_wrong_position_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    aim = SlotCache.aim
    monkeypatch.setattr(
        SlotCache, "aim", lambda self, first, starts, w, d: aim(self, first, starts, w, d) + 1
    )
    assert not agrees(tiny(), SlotRows(tiny(), 3, by_type=False))


def test_masks_by_hand() -> None:
    """Queries at 2 and 3 of 5 keys: 0-2 and 0-3; with a window of 2 only 1-2 and 2-3."""
    positions = torch.tensor([[2, 3]])
    assert causal_mask(positions, 5).int().tolist() == [[[[1, 1, 1, 0, 0], [1, 1, 1, 1, 0]]]]
    assert causal_mask(positions, 5, 2).int().tolist() == [[[[0, 1, 1, 0, 0], [0, 0, 1, 1, 0]]]]


def test_eager_attention_gets_an_additive_mask() -> None:
    """Eager attention adds its mask: a boolean one would be silently wrong there."""
    config: Any = copy.deepcopy(tiny("gemma2").config)
    config._attn_implementation = "eager"
    mask = Masks(config, torch.float32, by_type=True)(torch.tensor([[1]]), 3)["full_attention"]
    assert mask.tolist() == [[[[0.0, 0.0, torch.finfo(torch.float32).min]]]]
