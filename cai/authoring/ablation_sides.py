"""What an ablation reads of a record, with or without a principle: its texts, label and rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cai.audit.flags import trace_flags
from cai.data.counts import is_near_tie
from cai.data.rows import ExportedRow, ExportSettings, ExportTable
from cai.digest import digest
from cai.types import Comparison, Trace


class RowCounts(NamedTuple):
    """Training rows with and without a principle; `gone`: those with it that are not without it,
    or have another text or label there."""

    before: int
    after: int
    gone: int


@dataclass(frozen=True, slots=True)
class RecordSide:
    """What the measures read of a record, with or without a principle.

    said: all texts of a trace, or both texts of a pair and its label. rows: the table of each, and
    a digest of what a trainer reads. final: of a trace. label, probability: of a pair.
    """

    said: object
    rows: frozenset[tuple[ExportTable, str]]
    values: Mapping[str, float]
    label: int = 0
    probability: float = 0.5
    final: str = ""


def record_side(record: Trace | Comparison, settings: ExportSettings) -> RecordSide:
    """The measures of a record, whose rows follow these settings."""
    rows = frozenset(
        (row.table, content_of(row))
        for row in settings.rows(record)
        if isinstance(row, ExportedRow)
    )
    if isinstance(record, Comparison):
        near_tie = is_near_tie(record.probability)
        label = 0 if near_tie else 1 if record.probability > 0.5 else -1
        texts = tuple(response.text for response in record.responses)
        return RecordSide(
            (texts, round(record.probability, 9)), rows, {"near_ties": float(near_tie)}, label,
            record.probability,
        )  # fmt: skip
    rounds = tuple(
        (r.principle_id, r.critique and r.critique.text, r.text, r.guards) for r in record.revisions
    )
    label_of_pair = record.label and round(record.label.probability, 9)
    values = {
        "problems": float(sum(r.outcome == "problem" for r in record.revisions)),
        "revisions": float(sum(r.response is not None for r in record.revisions)),
        "flagged": float(bool(trace_flags(record))),
        "words": float(len(record.final.split())),
    }
    said = (record.response.text, rounds, label_of_pair)
    return RecordSide(said, rows, values, final=record.final)


def content_of(row: ExportedRow) -> str:
    """What a trainer reads of a row, but for the label's probability."""
    read = ("messages", "prompt", "chosen", "rejected", "completion", "label")
    return digest([row.file, {name: row.values[name] for name in read if name in row.values}])


def row_counts(
    sides: Sequence[tuple[RecordSide, RecordSide]],
) -> dict[ExportTable, RowCounts]:
    """Of each table, the rows of all records before and after."""
    before = Counter(table for b, _ in sides for table, _ in b.rows)
    after = Counter(table for _, a in sides for table, _ in a.rows)
    gone = Counter(table for b, a in sides for table, _ in b.rows - a.rows)
    return {t: RowCounts(before[t], after[t], gone[t]) for t in sorted(before | after)}
