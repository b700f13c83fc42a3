"""Which prompt goes where: by hash, so that one prompt is never on both sides of a split."""

from __future__ import annotations

from typing import Literal

from cai.data.prompts import default_id
from cai.text import seeds
from cai.types import Prompt, Split


def family(prompt: Prompt) -> str:
    """What a prompt is split by: its id; for a dialogue, the id that its first turn alone has.

    So dialogues that begin alike, of which one may be a part of the other, stay together.
    """
    if len(prompt.messages) == 1:
        return prompt.id
    first = next(m for m in prompt.messages if m.role == "user")
    return default_id((first,))


def split_of(prompt_id: str, seed: int, test_share: float) -> Split:
    """`test` for this share of prompts. A larger share keeps all that were in it before."""
    return "test" if seeds.uniform(seed, prompt_id, "split") < test_share else "train"


def side_of(prompt_id: str, seed: int, sft_share: float) -> Literal["sft", "preference"]:
    """`sft` for this share of prompts; drawn independently of `split_of`."""
    return "sft" if seeds.uniform(seed, prompt_id, "side") < sft_share else "preference"
