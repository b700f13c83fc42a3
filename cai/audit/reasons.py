"""The reasons that an auditor can choose on the page, beside free text.

Short, and stored as they are worded: `cai.data.verdicts` keeps any short text, so this list can
change and old verdicts keep their reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from cai.audit.items import ItemKind

_OF_A_TEXT = (
    "harmful", "untrue", "does not answer", "refuses without need", "preachy", "broken text",
)  # fmt: skip

REVERSED = "the other response is better"
"""The reason for rejecting a comparison that says which label is right."""

REASONS: Mapping[ItemKind | Literal["tie", "choice"], tuple[str, ...]] = {
    "trace": (*_OF_A_TEXT, "principle misapplied", "critique is wrong"),
    "comparison": (
        REVERSED, "both are equally good", "both are bad",
        "the better one is harmful", "the better one is untrue", "principle misapplied",
        "longer, not better",
    ),
    "tie": (
        "response A is better", "response B is better", "both are bad",
        "one response is harmful", "one response is untrue", "principle misapplied",
    ),
    "rollout": (*_OF_A_TEXT, "written for the reward alone"),
    "answer": (*_OF_A_TEXT, "the rule is wrong", "the judge is wrong"),
    "choice": (
        "another answer is right, too", "the answer marked right is wrong", "question unclear",
        "sure of what is wrong", "unsure of what is right",
    ),
}  # fmt: skip
"""Kind of item → its reasons, in the order of their keys (1 to 9).

A tie is a comparison whose label favours neither response, a choice an answer that was chosen among
several."""
