"""Which prompt goes where: by hash, so that one prompt is never on both sides of a split."""

from __future__ import annotations

from typing import Literal

from cai.text import seeds
from cai.types import Split


def split_of(prompt_id: str, seed: int, test_share: float) -> Split:
    """`test` for this share of prompts. A larger share keeps all that were in it before."""
    return "test" if seeds.uniform(seed, prompt_id, "split") < test_share else "train"


def side_of(prompt_id: str, seed: int, sft_share: float) -> Literal["sft", "preference"]:
    """`sft` for this share of prompts; drawn independently of `split_of`."""
    return "sft" if seeds.uniform(seed, prompt_id, "side") < sft_share else "preference"
