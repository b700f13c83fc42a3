"""Ranges of options: stated once, for the command line and for Python."""

from __future__ import annotations

from typing import Any

import pytest

from cai.errors import UsageError
from cai.options import Bounds, broken_bounds
from cai.pipeline.config import BuildConfig


@pytest.mark.parametrize(
    ("bounds", "inside", "outside", "rule"),
    [
        ({"least": 1}, 1, 0, "1 or more"),
        ({"above": 0}, 0.1, 0, "above 0"),
        ({"least": 0, "most": 1}, 1, 1.1, "0 or more and at most 1"),
        ({"above": 0, "most": 1}, 1, 0, "above 0 and at most 1"),
        ({"least": 0}, 0, float("nan"), "0 or more"),
        ({"least": 0, "below": 1}, 0.9, 1, "0 or more and below 1"),
    ],
)
def test_a_range_in_words(bounds: Bounds, inside: float, outside: float, rule: str) -> None:
    assert broken_bounds(inside, bounds) == ""
    assert broken_bounds(outside, bounds) == rule


@pytest.mark.parametrize(
    ("values", "rule"),
    [
        ({"pairs": -1}, "pairs is -1; it must be 0 or more"),
        ({"rounds": -1}, "rounds is -1; it must be 0 or more"),
        ({"limit": 0}, "limit is 0; it must be 1 or more"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0; it must be 1 or more"),
        ({"test_share": 1.5}, "test_share is 1.5; it must be 0 or more and at most 1"),
        ({"check_gate": -0.1}, "check_gate is -0.1; it must be 0 or more and at most 1"),
        ({"top_p": 0.0}, "top_p is 0.0; it must be above 0 and at most 1"),
        ({"temperature": "hot"}, "temperature is hot; it must be a number"),
    ],
)
def test_a_build_refuses_settings_out_of_range(values: dict[str, Any], rule: str) -> None:
    with pytest.raises(UsageError, match=rule):
        BuildConfig(**values)
    assert BuildConfig(pairs=0, rounds=0, limit=1, sft_share=1.0, check_gate=0.0).pairs == 0
