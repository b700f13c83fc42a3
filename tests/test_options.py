"""Ranges of options: stated once, for the command line and for Python."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cai.errors import UsageError
from cai.options import Bounds, broken_bounds, broken_type
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
    ("annotation", "values", "words"),
    [
        ("int", (1, 0), ""),
        ("int", (True, 1.0, "1", None), "a whole number"),
        ("float", (1, 0.5), ""),
        ("float | None", (False, "fast", [1.0]), "a number"),
        ("bool", (1, "yes", None), "true or false"),
        ('Literal["a", "b"]', ("a",), ""),
        ("str | None", (Path("runs/sft"), 3), "text"),
        ("str | None", (None, "x"), ""),
    ],
)
def test_the_type_of_a_setting_in_words(
    annotation: str, values: tuple[Any, ...], words: str
) -> None:
    assert {broken_type(annotation, value) for value in values} == {words}


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
        ({"rounds": "two"}, "rounds is 'two'; it must be a whole number"),
        ({"ties": 1}, "ties is 1; it must be true or false"),
        ({"sft_rows": "first"}, "sft_rows is 'first'; it must be one of last, all"),
        ({"seed": None}, "seed is None; it must be a whole number"),
        ({"sft_share": float("nan")}, "sft_share is nan; it must be a finite number"),
        ({"temperature": "hot"}, "temperature is 'hot'; it must be a number"),
    ],
)
def test_a_build_refuses_settings_out_of_range(values: dict[str, Any], rule: str) -> None:
    with pytest.raises(UsageError, match=rule):
        BuildConfig(**values)
    assert BuildConfig(pairs=0, rounds=0, limit=1, sft_share=1.0, check_gate=0.0).pairs == 0
