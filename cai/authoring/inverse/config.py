"""Settings of `cai propose principles`."""

from __future__ import annotations

from dataclasses import dataclass

from cai.decoding import BOUNDS
from cai.evaluation.config import SampledText
from cai.options import option

REQUESTS = 20
"""Pairs that the critic is shown, where no principles are given."""


@dataclass(frozen=True, slots=True)
class InverseConfig(SampledText):
    """Settings of `cai propose principles`. Raises `UsageError` for a value out of range."""

    limit: int | None = option(
        None, "Use at most N pairs, drawn by the seed.", least=1, metavar="N"
    )
    requests: int | None = option(
        None,
        "Pairs that the critic is shown, one at a time, to propose rules.  [default:"
        f" {REQUESTS}, or 0 with --from]",
        least=0,
        metavar="N",
    )
    rules: int = option(3, "Rules that the critic is asked for about a pair.", least=1, metavar="N")
    candidates: int = option(
        20, "Proposals that are judged, those made most often.", least=1, metavar="N"
    )
    most: int = option(5, "Principles to choose, at most.", least=1, metavar="N")
    gain: float = option(
        0.01,
        "Least share of the labels by which another principle has to add to those chosen.",
        least=0,
        most=1,
        metavar="SHARE",
    )
    temperature: float | None = option(
        None,
        "Sampling temperature of the proposals.  [default: the model's own, else 1]",
        **BOUNDS["temperature"],
    )
    top_p: float | None = option(
        None,
        "Sample from the most likely tokens that together have this probability."
        "  [default: the model's own, else 1]",
        **BOUNDS["top_p"],
    )
    max_new_tokens: int = option(256, "Longest list of rules, in tokens.", least=1)
    max_reasoning_tokens: int = option(
        1024, "Longest reasoning before an answer, in tokens, for models that reason.", least=1
    )
    seed: int = option(0, "Random seed: of the parts, the pairs shown and the proposals.")
