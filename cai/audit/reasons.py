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

CRITIQUE_WRONG, MISAPPLIED = "critique is wrong", "principle misapplied"
"""The reasons that are about a principle's use, and not about the text."""
REVERSED = "the other response is better"
"""The reason for rejecting a comparison that says which label is right."""
A_BETTER, B_BETTER = "response A is better", "response B is better"
"""The same for a tie."""

REASONS: Mapping[ItemKind | Literal["tie", "choice"], tuple[str, ...]] = {
    "trace": (*_OF_A_TEXT, MISAPPLIED, CRITIQUE_WRONG),
    "comparison": (
        REVERSED, "both are equally good", "both are bad",
        "the better one is harmful", "the better one is untrue", MISAPPLIED,
        "longer, not better",
    ),
    "tie": (
        A_BETTER, B_BETTER, "both are bad",
        "one response is harmful", "one response is untrue", MISAPPLIED,
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
