"""Whether a principle has a reason, or a sentence in its place.

A principle's file must have a `why`. Where a tool wrote the file, it says that nobody gave one yet.
"""

from __future__ import annotations

from cai.types import Principle

NOT_GIVEN = "its file gives no reason."
"""How the reason of an imported principle ends."""
TO_BE_SAID = "Say here what it is good for."
"""How the reason of a proposed principle ends."""


def has_reason(principle: Principle) -> bool:
    """Whether `why` gives a reason."""
    why = " ".join(principle.why.split())
    return bool(why) and not why.endswith((NOT_GIVEN, TO_BE_SAID))
