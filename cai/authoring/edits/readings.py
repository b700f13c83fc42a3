"""How often what a principle took part in was rejected, and whether that is more often than else.

Responses and labels are counted apart: they are rejected for different reasons, and a principle may
take part in many of the one and few of the other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cai.authoring.edits.faults import AuditedRecord, FaultKind, PrincipleFault
from cai.evaluation.paired import holm
from cai.stats import Proportion, fisher
from cai.types import Comparison

FEWEST = 5
"""Records that must have been read with a principle, and as many without it, to compare them."""
LEVEL = 0.05
RejectionWord: TypeAlias = Literal["rejected more often", "no clear difference", "too few read"]


@dataclass(frozen=True, slots=True)
class RejectedShare:
    """The records of one kind that a principle took part in.

    rejected: of those that auditors read, and `others` the same of the records without the
    principle. p_value: one-sided, that the principle's are rejected more often than the others
    (Fisher), adjusted for the number of principles that are compared (Holm); None where too few
    were read.
    """

    rejected: Proportion
    others: Proportion
    p_value: float | None

    @property
    def word(self) -> RejectionWord:
        """What the p-value says."""
        if self.p_value is None:
            return "too few read"
        return "rejected more often" if self.p_value < LEVEL else "no clear difference"


@dataclass(frozen=True, slots=True)
class PrincipleReading:
    """What auditors made of the records of a principle.

    faults: of which kind, where a rejection is about this principle. unclear: rejections that it
    took part in, and that don't say which principle is meant. reasons: of both, as the page or the
    auditor words them.
    """

    principle: str
    responses: RejectedShare
    labels: RejectedShare
    reasons: Counter[str]
    faults: Counter[FaultKind]
    unclear: int


def readings(
    audited: Sequence[AuditedRecord],
    faults: Mapping[str, Sequence[PrincipleFault]],
    principles: Iterable[str],
) -> list[PrincipleReading]:
    """One for each principle that took part in a record that was read, in the order given.

    faults: record id → what was concluded from its rejection.
    """
    names = [n for n in principles if any(n in one.principles for one in audited)]
    traces = [one for one in audited if not isinstance(one.record, Comparison)]
    pairs = [one for one in audited if isinstance(one.record, Comparison)]
    responses, labels = _shares(traces, names), _shares(pairs, names)
    out = []
    for name in names:
        rejected = [one for one in audited if one.rejected and name in one.principles]
        kinds = Counter(
            fault.kind for one in rejected for fault in faults[one.id] if fault.principle == name
        )
        reasons = Counter(
            reason for one in rejected
            if not faults[one.id] or any(fault.principle == name for fault in faults[one.id])
            for reason in _reasons(one)
        )  # fmt: skip
        unclear = sum(not faults[one.id] for one in rejected)
        out.append(
            PrincipleReading(name, responses[name], labels[name], reasons, kinds, unclear)
        )  # fmt: skip
    return out


def _shares(audited: Sequence[AuditedRecord], names: Sequence[str]) -> dict[str, RejectedShare]:
    counts = {}
    for name in names:
        own = [one.rejected for one in audited if name in one.principles]
        others = [one.rejected for one in audited if name not in one.principles]
        counts[name] = Proportion(sum(own), len(own)), Proportion(sum(others), len(others))
    p_values = holm([
        fisher(own, others) if min(own.n, others.n) >= FEWEST else None
        for own, others in counts.values()
    ])  # fmt: skip
    return {
        name: RejectedShare(own, others, p_value)
        for (name, (own, others)), p_value in zip(counts.items(), p_values, strict=True)
    }


def _reasons(audited: AuditedRecord) -> list[str]:
    reasons = sorted(audited.reasons)
    return [*reasons, audited.words] if audited.words else reasons or ["no reason given"]
