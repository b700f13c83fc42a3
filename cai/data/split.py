"""Splits of prompts by a hash of their family, so that no family is on both sides of a split."""

from __future__ import annotations

from typing import Literal

from cai.digest import digest
from cai.text import seeds
from cai.types import Messages, Split


def family(messages: Messages) -> str:
    """The family of a conversation: a digest of its first user turn, case and white space folded.

    Ids, system turns and later turns do not matter, so a question, the same question under another
    system prompt and every dialogue that begins with it belong to one family. All splits of the
    project (train and test, SFT and preferences, held-out rows) divide families.
    """
    first = next(m.content for m in messages if m.role == "user")
    return digest(folded(first).casefold())


def folded(text: str) -> str:
    """The text with runs of white space as one space, and none at its ends."""
    return " ".join(text.split())


def split_of(family: str, seed: int, test_share: float) -> Split:
    """`test` for this share of families; a larger share contains every smaller one."""
    return "test" if seeds.uniform(seed, family, "split") < test_share else "train"


def side_of(family: str, seed: int, sft_share: float) -> Literal["sft", "preference"]:
    """`sft` for this share of families; drawn independently of `split_of`."""
    return "sft" if seeds.uniform(seed, family, "side") < sft_share else "preference"
