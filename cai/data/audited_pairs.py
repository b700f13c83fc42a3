"""Pairs with the label that an auditor gave them, in place of the one they were built with."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from cai.data.audited import rejection_reason
from cai.data.messages import RowError
from cai.data.training_rows import PairRow, TrainingRowFormat
from cai.data.verdicts import Verdict


def audited_shape(
    shape: TrainingRowFormat[PairRow],
    verdicts: Mapping[str, Verdict],
    reversed_by: Collection[str],
) -> TrainingRowFormat[PairRow]:
    """A format of pairs, read with the auditors' labels.

    verdicts: those that decide, by record. A row whose comparison was accepted is read as it is,
    and the other way around where it was rejected for one of the reasons in `reversed_by`. `read`
    raises `RowError` for all other rows, those of revisions too: a verdict on a trace does not say
    which of its texts is better.
    """

    def read(row: dict[str, Any], source: str) -> PairRow:
        pair = shape.read(row, source)
        verdict = verdicts.get(str(row.get("comparison_id") or ""))
        if verdict is None:
            raise RowError("not audited: no auditor accepted or rejected its comparison")
        if verdict.verdict == "accept":
            return pair
        if not set(verdict.reasons) & set(reversed_by):
            raise RowError(rejection_reason(verdict))
        margin = None if pair.margin is None else -pair.margin
        return replace(
            pair, chosen=pair.rejected, rejected=pair.chosen, probability=None, margin=margin
        )

    return replace(shape, read=read)
