"""How a report writes its numbers, in HTML and in Markdown alike."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

_NOTHING = 1e-6  # what is smaller is rounding of sums that are 0


def number(value: float | None, kind: str = "") -> str:
    """A value of a measure: shares in percent, others in three digits."""
    if value is None or not math.isfinite(value):
        return "–"
    value = 0.0 if abs(value) < _NOTHING else value
    text = f"{value:.0%}" if kind == "share" else f"{value:.3g}"
    return text.replace("-", "−", 1) if text.startswith("-") else text


def interval(low: float | None, high: float | None, kind: str = "") -> str:
    """`6%–51%`; empty where there is none."""
    if low is None or high is None:
        return ""
    return f"{number(low, kind)}–{number(high, kind)}"


def estimate(row: Mapping[str, Any] | None, kind: str = "") -> str:
    """`20% (6%–51%)` of a row with value, low and high; a dash without one."""
    if row is None:
        return "–"
    ends = interval(row["low"], row["high"], kind)
    return number(row["value"], kind) + (f" ({ends})" if ends else "")


def change(row: Mapping[str, Any], kind: str = "") -> str:
    """`+10 pp (−31 to +48)`: of shares in percentage points."""
    unit = " pp" if kind == "share" else ""
    text = signed(row["change"], kind) + unit
    if row["low"] is None or row["high"] is None:
        return text
    return f"{text} ({signed(row['low'], kind)} to {signed(row['high'], kind)})"


def signed(value: float | None, kind: str = "") -> str:
    """With its sign; of shares times a hundred."""
    if value is None or not math.isfinite(value):
        return "–"
    text = f"{100 * value:+.0f}" if kind == "share" else f"{value:+.2g}"
    return "0" if text in ("+0", "-0") else text.replace("-", "−", 1) if value < 0 else text


def p_value(value: float | None) -> str:
    """`p 0.008`; `not tested` without one."""
    if value is None:
        return "not tested"
    return "p < 0.001" if value < 0.001 else f"p {value:.2g}"


def verdict(row: Mapping[str, Any], alpha: float) -> str:
    """better, worse or changed beyond chance; else `within chance`."""
    p = row["adjusted_p"]
    if p is None or p >= alpha:
        return "within chance"
    return {True: "better", False: "worse", None: "changed"}[row["better"]]


def plain(value: float | None) -> str:
    """Two digits after the point, such as Cohen's κ; `undefined` without a value."""
    return "undefined" if value is None else f"{value:.2f}".replace("-", "−")


def seconds(value: float) -> str:
    """`53 s`, `12 min`, `3.4 h`."""
    if value < 100:
        return f"{value:.0f} s"
    return f"{value / 60:.0f} min" if value < 6000 else f"{value / 3600:.1f} h"
