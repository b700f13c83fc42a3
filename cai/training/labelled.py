"""Labelled responses as tokens, each with a mismatched one, and the weights that balance them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from cai.data.audited import decided_records
from cai.data.labelled_rows import LabelledRow
from cai.data.training import read_labelled, training_files
from cai.data.verdicts import Verdict
from cai.errors import DataError, PromptError
from cai.models.backbone import Backbone
from cai.training.batches import Tokens, encode_tokens
from cai.training.config import KtoConfig
from cai.training.examples import Examples, load_examples, loses_reasoning, row_name

_TRIES = 64
"""Draws of another row, before one with another prompt is taken without a draw."""
_MOST = 4.0 / 3.0
"""The largest ratio that `balanced_weights` leaves: the paper's."""


@dataclass(frozen=True, slots=True)
class EncodedLabel:
    """A prompt with a response that is desirable or not, as tokens.

    id: what messages call the row. mismatched: the prompt with a response to another prompt, for
    the KL estimate. The rest is the row's own, as in `LabelledRow`.
    """

    id: str
    tokens: Tokens
    mismatched: Tokens
    desirable: bool
    weight: float = 1.0
    verdict: Verdict | None = None


def load_labelled(
    config: KtoConfig, data: Sequence[Path], backbone: Backbone
) -> Examples[EncodedLabel]:
    """The labelled responses of files, to train on and held out, each with a mismatched one.

    Raises `DataError` if no row can be used, and if all rows to train on have one label or one
    prompt.
    """
    limit = config.longest(backbone.context)
    seen: set[str] = set()

    def encode(row: LabelledRow) -> list[EncodedLabel]:
        tokens = encode_tokens(backbone.encoder, (*row.prompt, *row.response), limit)
        if not tokens.counted:
            raise PromptError("empty: the response has no token")
        seen.add(row.trace)
        # its mismatched response is drawn once all rows are read
        return [EncodedLabel(row_name(row), tokens, tokens, row.desirable, row.weight, row.verdict)]

    def loses(row: LabelledRow) -> bool:
        return loses_reasoning(backbone, row.response, "learn")

    files = training_files(data, "labels")
    read = partial(read_labelled, verdict_weight=config.verdict_weight)
    rows = load_examples(config, files, read, encode, lambda row: row.id, loses)
    counts = {
        "desirable": sum(row.desirable for row in rows.train),
        "undesirable": sum(not row.desirable for row in rows.train),
        "labelled by auditors": sum(row.verdict is not None for row in rows.train),
    }
    _require_both(counts["desirable"], counts["undesirable"])
    if config.limit is None:  # which leaves out rows that verdicts are about
        records = decided_records((*files.train, *files.test))
        counts["verdicts without a row"] = len(records - seen)
    return replace(
        rows,
        train=with_mismatches(rows.train, rows.train, config.seed, limit),
        test=with_mismatches(rows.test, rows.train, config.seed, limit),
        counts={name: count for name, count in counts.items() if count},
    )


def _require_both(desirable: int, undesirable: int) -> None:
    if not desirable or not undesirable:
        kind = "desirable" if desirable else "undesirable"
        raise DataError(
            f"All {desirable + undesirable} rows to train on are {kind}: nothing tells them apart",
            hint="KTO needs responses of both kinds. Give more data, such as a run's folder beside"
            " the file; if a critic labelled them, look at the run with: cai audit report",
        )


def with_mismatches(
    rows: Sequence[EncodedLabel], others: Sequence[EncodedLabel], seed: int, limit: int
) -> list[EncodedLabel]:
    """The rows, each with its prompt before a response to another prompt.

    The response is drawn from those of `others`, by seed, and cut off at `limit` tokens of prompt
    and response. Raises `DataError` where there is no other prompt.
    """
    draws = random.Random(f"mismatch/{seed}")
    first = next(iter(others), None)
    second = next((o for o in others if first and _prompt(o) != _prompt(first)), None)
    if first is None or second is None:
        raise DataError(
            "All rows to train on have the same prompt, and the KL divergence is estimated from"
            " responses to other prompts",
            hint="Give rows of two prompts at least.",
        )

    def mismatched(row: EncodedLabel) -> Tokens:
        prompt = _prompt(row)
        drawn = (others[draws.randrange(len(others))] for _ in range(_TRIES))
        other = next((o for o in drawn if _prompt(o) != prompt), None)
        other = other or (first if _prompt(first) != prompt else second)
        response = other.tokens.ids[_start(other) :]
        return Tokens.counted_from((*row.tokens.ids[: _start(row)], *response)[:limit], _start(row))

    return [replace(row, mismatched=mismatched(row)) for row in rows]


def _start(row: EncodedLabel) -> int:
    """The index of the first token of its response."""
    return row.tokens.borders[0]


def _prompt(row: EncodedLabel) -> bytes:
    """The tokens of its prompt, packed."""
    return row.tokens.packed[: 4 * _start(row)]


def balanced_weights(
    desirable: float,
    undesirable: float,
    desirable_weight: float | None = None,
    undesirable_weight: float | None = None,
) -> tuple[float, float]:
    """λ_D and λ_U: what is None is set so that neither kind of row outweighs the other.

    desirable, undesirable: how many rows there are of each kind, by their weights; above 0.
    Ethayarajh et al. 2024 (arXiv 2402.01306, section 4.2) advise λ_D·n_D / (λ_U·n_U) in 1 to 4/3.
    Equal weights stay equal where they keep to that; else the rarer kind's is raised to the nearer
    bound.
    """
    if desirable_weight is not None and undesirable_weight is not None:
        return desirable_weight, undesirable_weight
    ratio = desirable / undesirable
    relative = min(max(1.0, 1.0 / ratio), _MOST / ratio)  # λ_D / λ_U
    if desirable_weight is not None:
        return desirable_weight, desirable_weight / relative
    if undesirable_weight is not None:
        return undesirable_weight * relative, undesirable_weight
    return (relative, 1.0) if relative >= 1.0 else (1.0, 1.0 / relative)
