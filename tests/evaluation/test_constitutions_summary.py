"""What two constitutions prefer, summed up: also where a number has no value."""

from __future__ import annotations

import json

from cai.data.training_rows import PairRow
from cai.evaluation.constitutions import ConstitutionsCompared, PairVerdicts
from cai.types import Message

ROW = PairRow(
    id="p", prompt=(Message("user", "Hi"),), chosen=(Message("assistant", "Hello."),),
    rejected=(Message("assistant", "Go away."),), probability=1.0, margin=None, origin="given",
    principle_ids=(), source="p",
)  # fmt: skip


def test_undefined_numbers_are_null() -> None:
    """Both prefer `chosen` in all pairs: κ is 0/0. One pair is near a tie for one of them."""
    pairs = [PairVerdicts(ROW, 0.9, 0.8, {}, {}), PairVerdicts(ROW, 0.9, 0.5, {}, {})]
    summary = ConstitutionsCompared(pairs, []).summary()
    assert (summary["agree"], summary["decided"], summary["kappa"]) == (1.0, 1, None)
    json.dumps(summary, allow_nan=False)


def test_two_that_decide_nothing() -> None:
    summary = ConstitutionsCompared([PairVerdicts(ROW, 0.5, 0.5, {}, {})], []).summary()
    assert (summary["agree"], summary["decided"]) == (None, 0)
    assert summary["first_with_labels"]["value"] is None
    json.dumps(summary, allow_nan=False)
