"""Responses that are labelled one by one, for KTO: desirable or not, each by itself.

A label is a row's own (`label` or `kto_tag`, as TRL and LLaMA-Factory have it); that of its side in
a pair, of which `chosen` is desirable; or an auditor's verdict on the response, which takes the
place of either.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from cai.data.audited import rejection_reason
from cai.data.counts import is_near_tie
from cai.data.messages import RowError, read_truth
from cai.data.row_values import read_names, read_number
from cai.data.training_rows import (
    PAIR_SHAPES,
    SFT_SHAPES,
    UNSTATED_ORIGIN,
    PairRow,
    SftRow,
    TrainingRowFormat,
)
from cai.data.verdicts import Verdict
from cai.text.validation import escape_surrogates
from cai.types import Messages, SetAside

FINAL = "final"
"""The origin of a label that a trace's final check gave its final response."""
_LABELS = ("label", "kto_tag")


@dataclass(frozen=True, slots=True)
class LabelledRow:
    """A response to a prompt, and whether it is desirable. `source` is `file:line`.

    weight: how much the row counts in the loss, above 0. origin: `final`, `first` or `comparison`
    in rows that a build labelled pointwise; a pair's own origin; `given` where none is stated.
    principle_ids: those that decided. probability: that no principle is broken, where a build's
    critic gave it. trace: the id of the trace whose final response this is, so
    that an auditor's verdict on the trace is one on this response; else empty. verdict: the
    auditor's, where it decided the label.
    """

    id: str
    prompt: Messages
    response: Messages
    desirable: bool
    weight: float
    origin: str
    principle_ids: tuple[str, ...]
    source: str
    probability: float | None = None
    trace: str = ""
    verdict: Verdict | None = None


def _labelled(
    read: Callable[[dict[str, Any], str], SftRow],
) -> Callable[[dict[str, Any], str], tuple[LabelledRow, ...]]:
    """A reader of one labelled response, made of the reader of the same row without its label."""

    def reader(row: dict[str, Any], source: str) -> tuple[LabelledRow, ...]:
        labels = {key: read_truth(row, key) for key in _LABELS}
        stated = {label for label in labels.values() if label is not None}
        if not stated:
            raise RowError("no label: the row has neither label nor kto_tag")
        if len(stated) > 1:
            raise RowError("two labels: label and kto_tag differ")
        weight = read_number(row, "weight")
        if weight is not None and weight <= 0:
            raise RowError(f"wrong weight: {weight:g} is not above 0")
        learned = read({k: v for k, v in row.items() if k not in (*_LABELS, "weight")}, source)
        origin = read_names(row, "origin")[0] if row.get("origin") else UNSTATED_ORIGIN
        final = origin == FINAL and isinstance(row.get("trace_id"), str)
        return (
            LabelledRow(
                id=learned.id,
                prompt=learned.prompt,
                response=learned.messages[-1:],
                desirable=stated.pop(),
                weight=1.0 if weight is None else weight,
                origin=origin,
                principle_ids=read_names(row, "principle_ids"),
                source=source,
                probability=read_number(row, "probability"),
                trace=row["trace_id"] if final else "",
            ),
        )

    return reader


def _sides(row: dict[str, Any], source: str) -> tuple[LabelledRow, ...]:
    """Both responses of a pair: the better one is desirable."""
    pair: PairRow = PAIR_SHAPES[0].read(row, source)
    if pair.probability == 0.5:
        raise RowError("tie: by its probability, neither response is the better one")
    revised = pair.origin == "revision" and isinstance(row.get("trace_id"), str)
    return tuple(
        LabelledRow(
            f"{pair.id}.{side}", pair.prompt, response, side == "chosen", 1.0, pair.origin,
            pair.principle_ids, source, None,
            row["trace_id"] if revised and side == "chosen" else "",
        )
        for side, response in (("chosen", pair.chosen), ("rejected", pair.rejected))
    )  # fmt: skip


LABEL_SHAPES: tuple[TrainingRowFormat[tuple[LabelledRow, ...]], ...] = (
    TrainingRowFormat(PAIR_SHAPES[0].keys, _sides),
    *(
        TrainingRowFormat(shape.keys, _labelled(shape.read))
        for shape in SFT_SHAPES
        if shape.keys != PAIR_SHAPES[0].keys
    ),
)
"""Known formats; a file is read in the first one whose keys its first valid row has."""


def decided(
    rows: tuple[LabelledRow, ...], verdicts: Mapping[str, Verdict], weight: float
) -> list[LabelledRow | SetAside]:
    """The labels of one row of a file, after auditors.

    verdicts: trace id → the verdict on its final response. weight: of a label that a verdict gives.
    Where the final response of a pair was rejected, nothing is known of the other one, which is set
    aside; so is a near tie that no auditor decided.
    """
    out: list[LabelledRow | SetAside] = []
    given = [verdicts.get(row.trace) for row in rows]
    rejected = next((v for v in given if v is not None and v.verdict == "reject"), None)
    for row, verdict in zip(rows, given, strict=True):
        if verdict is not None:
            accepted = verdict.verdict == "accept"
            out.append(replace(row, desirable=accepted, weight=weight, verdict=verdict))
        elif row.probability is not None and is_near_tie(row.probability):
            p = row.probability
            out.append(SetAside(row.source, f"near tie: no problem has the probability {p:.3f}"))
        elif rejected is not None:
            reason = f"the other side of a pair: {rejection_reason(rejected)}"
            out.append(SetAside(row.source, escape_surrogates(reason)))
        else:
            out.append(row)
    return out
