"""Settings of `cai propose edits`."""

from __future__ import annotations

from dataclasses import dataclass

from cai.decoding import BOUNDS
from cai.evaluation.config import SampledText
from cai.options import option


@dataclass(frozen=True, slots=True)
class EditsConfig(SampledText):
    """Settings of `cai propose edits`. Raises `UsageError` for a value out of range."""

    examples: int = option(
        4,
        "Rejected texts of a principle that the critic is shown, and accepted ones.",
        least=1,
        metavar="N",
    )
    limit: int = option(
        40,
        "Held-out prompts that the proof builds on, and held-out texts of a principle that it"
        " critiques.",
        least=1,
        metavar="N",
    )
    temperature: float | None = option(
        None,
        "Sampling temperature of the wordings.  [default: the model's own, else 1]",
        **BOUNDS["temperature"],
    )
    top_p: float | None = option(
        None,
        "Sample from the most likely tokens that together have this probability."
        "  [default: the model's own, else 1]",
        **BOUNDS["top_p"],
    )
    max_new_tokens: int = option(384, "Longest answer with wordings, in tokens.", least=1)
    max_reasoning_tokens: int = option(
        1024, "Longest reasoning before an answer, in tokens, for models that reason.", least=1
    )
    seed: int = option(
        0, "Random seed: of what is held out, of what is shown, of the wordings and of the proof."
    )
