"""Seeds: every random choice is a function of (run seed, prompt id, stage, round).

Nothing here keeps state, so batch size, order, worker count and restarts change no draw.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping


def derive(*parts: object) -> int:
    """A 63-bit seed from the parts; parts are separated, so ("a", "bc") and ("ab", "c") differ."""
    text = "\x1f".join(f"{type(p).__name__}:{p}" for p in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def uniform(*parts: object) -> float:
    """A draw from [0, 1) that depends on the parts alone (53 random bits)."""
    return (derive(*parts) >> 10) / (1 << 53)


def draw(weights: Mapping[str, float], *parts: object) -> str:
    """One of the names, with probability in proportion to its weight.

    An exponential race (Efraimidis and Spirakis 2006): each name runs for -ln(u) / weight with a
    u of its own, and the first to arrive is drawn. So adding, removing or reweighting one name
    changes no draw between the others, and an edited constitution keeps most of its finished work.
    """
    if not weights or min(weights.values()) <= 0:
        raise ValueError("draw() needs at least one name, and weights above zero")
    return min(weights, key=lambda name: (_arrival(weights[name], uniform(*parts, name)), name))


def _arrival(weight: float, u: float) -> float:
    return -math.log1p(-u) / weight
