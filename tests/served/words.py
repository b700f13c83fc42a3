"""What the failing server says in a served build, by the request: the same to the same request."""

from __future__ import annotations

import hashlib
import json
from typing import Any

CRITIQUE = "Say whether the response is rude"
REVISION = "Rewrite the response"
QUESTION = "Which response is kinder?"
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x1b[31mred\x9b1m\x08\u202eback\u2066"
"""Clears the screen, sets the title, colours, deletes, and turns the direction of writing."""


def words(asked: dict[str, Any]) -> str:
    """Each response is one of its own, each critique names a problem, each letter is A."""
    last = str(asked["messages"][-1]["content"])
    if QUESTION in last:
        return "(A)"
    if CRITIQUE in last and REVISION not in last:
        return f"It is rude in point {_digest(asked)}."
    return f"Words {_digest(asked)}."


def hostile(asked: dict[str, Any]) -> str:
    """The same with control sequences in every text that is not a letter."""
    text = words(asked)
    return text if text == "(A)" else f"{ESCAPES}{text}{ESCAPES}"


def _digest(asked: dict[str, Any]) -> str:
    body = json.dumps([asked["messages"], asked.get("seed")]).encode()
    return hashlib.blake2b(body, digest_size=4).hexdigest()
