"""Audited records by hand: what a critic said of a text, and what an auditor says of that."""

from __future__ import annotations

from typing import TypeAlias

from cai.authoring.edits.faults import AuditedRecord
from cai.data.verdicts import Verdict
from cai.types import Comparison, CritiqueOutcome, Judgement, Message, Prompt, Revision, Trace
from tests import factories

Round: TypeAlias = tuple[str, CritiqueOutcome, str | None]
"""Principle, outcome of its critique, revised text."""
PRINCIPLES = {
    "rude": factories.principle("rude"),
    "harm": factories.principle(
        "harm", title="Do no harm", critique_request="Name what is harmful or dangerous."
    ),
}


def verdict(decision: str, *reasons: str, words: str = "", author: str = "Ann") -> Verdict:
    return Verdict(
        "key", "record", "run", decision, author, "2026-01-01T10:00:00+00:00",  # type: ignore[arg-type]
        reason=words, reasons=reasons,
    )  # fmt: skip


def round_(
    number: int, principle: str, outcome: CritiqueOutcome | None, text: str | None = None
) -> Revision:
    critique = factories.generation(f"{principle}: {outcome}") if outcome else None
    revised = None if text is None else factories.generation(text)
    return Revision(number, principle, "1.0.0", critique, outcome, revised)


def trace(
    *rounds: Round, first: str = "Go away.", name: str = "t-1",
    prompt: str = "Question?",
) -> Trace:  # fmt: skip
    return Trace(
        name,
        Prompt(f"p-{name}", (Message("user", prompt),)),
        factories.generation(first),
        tuple(round_(n, *one) for n, one in enumerate(rounds)),
    )


def pair(probability: float = 0.9, name: str = "c-1", **judged: float) -> Comparison:
    """judged: principle → probability that A is better."""
    return Comparison(
        name,
        Prompt(f"p-{name}", (Message("user", f"Question {name}?"),)),
        0,
        (factories.generation("A text."), factories.generation("B text.")),
        tuple(Judgement(p, "1.0.0", value, None, ()) for p, value in judged.items()),
        probability,
        "pointwise",
    )


def rejected(record: Trace | Comparison, *reasons: str, words: str = "") -> AuditedRecord:
    return AuditedRecord(record, (verdict("reject", *reasons, words=words),))


def accepted(record: Trace | Comparison) -> AuditedRecord:
    return AuditedRecord(record, (verdict("accept"),))
