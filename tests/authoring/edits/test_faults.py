"""What a rejection says of the principles that took part."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cai.audit.reasons import A_BETTER, B_BETTER, CRITIQUE_WRONG, MISAPPLIED, REASONS, REVERSED
from cai.authoring.edits.faults import AuditedRecord, audited_records, faults_of
from cai.types import Comparison, ContrastPair, Trace
from tests.authoring.edits.records import (
    PRINCIPLES,
    Round,
    accepted,
    pair,
    rejected,
    trace,
    verdict,
)

FOUND: Round = ("rude", "problem", "Hello.")
NONE: Round = ("harm", "no-problem", None)


def faults(one: AuditedRecord) -> list[tuple[str, str, int | None]]:
    return [(f.principle, f.kind, f.round) for f in faults_of(one, PRINCIPLES)]


@pytest.mark.parametrize(
    ("record", "reasons", "words", "expected"),
    [
        # about the critique: which of several rounds is meant has to be said
        (trace(FOUND), (CRITIQUE_WRONG,), "", [("rude", "false alarm", 0)]),
        (trace(NONE), (CRITIQUE_WRONG,), "", [("harm", "missed flaw", 0)]),
        (trace(FOUND, NONE), (CRITIQUE_WRONG,), "", []),
        (trace(FOUND, NONE), (CRITIQUE_WRONG,), "so rude", [("rude", "false alarm", 0)]),
        (trace(FOUND, NONE), (CRITIQUE_WRONG,), "see harm", [("harm", "missed flaw", 1)]),
        (trace(FOUND, NONE), (MISAPPLIED,), "", [("rude", "false alarm", 0)]),
        # about the text: whoever wrote it, or read it and found nothing
        (trace(NONE), ("harmful",), "", [("harm", "missed flaw", 0)]),
        (trace(NONE), ("untrue",), "", []),
        (trace(NONE), (), "", []),
        (trace(FOUND, NONE), ("harmful",), "", [("harm", "missed flaw", 1)]),
        (trace(NONE, FOUND), ("harmful",), "", [("rude", "revision", 1)]),
        (trace(FOUND), (), "", []),
        (trace(FOUND), ("untrue",), "", [("rude", "revision", 0)]),
        (trace(FOUND, first="Hello. Go."), ("untrue",), "", []),
        (trace(FOUND, first="Hello. Go."), ("broken text",), "", [("rude", "revision", 0)]),
        (trace(FOUND, first="Hello. Go."), (), "still rude", [("rude", "revision", 0)]),
        (trace(("rude", "problem", "Go away.")), (), "rude", [("rude", "revision", 0)]),
    ],
)
def test_a_trace(
    record: Trace, reasons: tuple[str, ...], words: str, expected: list[tuple[str, str, int]]
) -> None:
    assert faults(rejected(record, *reasons, words=words)) == expected
    assert faults(accepted(record)) == []


def test_flags_bear_a_reason_out() -> None:
    """The second round made a refusal of half an answer."""
    kept = "Sure. Take the blue kettle."
    refused = "I can't help with that. Take the blue kettle."
    one = trace(("harm", "no-problem", None), ("rude", "problem", refused), first=kept)
    assert faults(rejected(one, "refuses without need")) == [("rude", "revision", 1)]
    assert faults(rejected(one, "untrue")) == []
    already = trace(("rude", "problem", refused), first="I can't do that. Take the blue kettle.")
    assert faults(rejected(already, "refuses without need")) == []


def test_an_id_says_more_than_a_word() -> None:
    """Both principles are described, one is named."""
    named = {f"a.{n}": replace(p, id=f"a.{n}") for n, p in PRINCIPLES.items()}
    one = trace(("a.rude", "no-problem", None), ("a.harm", "no-problem", None))

    def blamed(words: str) -> list[str]:
        return [fault.principle for fault in faults_of(rejected(one, words=words), named)]

    assert blamed("dangerous and rudely put") == ["a.rude", "a.harm"]
    assert blamed("dangerous and rude: it is for a.harm to find") == ["a.harm"]
    assert blamed("it is for a.harmless to find") == ["a.harm"]  # no id, but a word in common


@pytest.mark.parametrize(
    ("record", "reasons", "words", "expected"),
    [
        (pair(0.9, rude=0.9, harm=0.2), (REVERSED,), "", [("rude", 1)]),
        (pair(0.1, rude=0.9, harm=0.2), (REVERSED,), "", [("harm", 0)]),
        (pair(0.9, rude=0.9, harm=0.8), (REVERSED,), "", []),
        (pair(0.9, rude=0.9, harm=0.8), (REVERSED,), "dangerous", [("harm", 1)]),
        (pair(0.9, rude=0.9, harm=0.52), (MISAPPLIED,), "", [("rude", None)]),
        (pair(0.52, rude=0.9, harm=0.1), (B_BETTER,), "", [("rude", 1)]),
        (pair(0.52, rude=0.9, harm=0.1), (A_BETTER,), "", [("harm", 0)]),
        (pair(0.52, rude=0.9, harm=0.1), ("both are bad",), "", []),
    ],
)
def test_a_pair(
    record: Comparison, reasons: tuple[str, ...], words: str, expected: list[tuple[str, int | None]]
) -> None:
    found = faults_of(rejected(record, *reasons, words=words), PRINCIPLES)
    assert [(f.principle, f.better) for f in found] == expected
    assert {f.kind for f in found} <= {"label"}


def test_a_contrast_pair_is_about_its_principle() -> None:
    made = ContrastPair("rude", "1.0.0", ("be kind", "be rude"))
    one = replace(pair(1.0), mode="contrast", contrast=made)
    (fault,) = faults_of(rejected(one, REVERSED), PRINCIPLES)
    assert (fault.principle, fault.better) == ("rude", 1)


def test_one_rejection_is_enough_and_all_their_reasons_count() -> None:
    record = trace(FOUND, NONE)
    verdicts = [
        verdict("accept", author="Ben"),
        verdict("reject", author="Ann"),
        verdict("reject", CRITIQUE_WRONG, words="harm", author="Cleo"),
        verdict("unsure", "untrue", author="Dan"),
    ]
    stored = [replace(v, record="t-1") for v in verdicts]
    (one,) = audited_records([("key", record)], stored)
    assert one.rejected
    assert one.told == "rejected by Ann, Cleo (critique is wrong; harm)"
    assert one.told_without_names == "rejected (critique is wrong; harm)"
    assert faults(one) == [("harm", "missed flaw", 1)]


def test_verdicts_on_other_texts_do_not_count() -> None:
    own = replace(verdict("reject"), record="t-1")
    assert audited_records([("other key", trace(FOUND))], [own]) == []
    assert audited_records([("key", trace(FOUND))], [replace(own, record="t-2")]) == []
    assert audited_records([("key", trace(FOUND))], [replace(own, verdict="unsure")]) == []


def test_the_reasons_are_those_of_the_page() -> None:
    assert {CRITIQUE_WRONG, MISAPPLIED} < set(REASONS["trace"])
    assert {REVERSED, MISAPPLIED} < set(REASONS["comparison"])
    assert {A_BETTER, B_BETTER} < set(REASONS["tie"])
