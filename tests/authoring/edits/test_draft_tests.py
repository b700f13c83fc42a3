"""Tests out of rejected records: the text, what should have been found, and who says so."""

from __future__ import annotations

from dataclasses import replace

from cai.authoring.edits.draft_tests import accepted_test, as_values, draft_tests
from cai.authoring.edits.faults import AuditedRecord, faults_of
from cai.types import Message, PrincipleTest, Prompt
from tests.authoring.edits.records import PRINCIPLES, accepted, pair, rejected, trace

LONG = "Wash it. Dry it. Take the red one."


def drafted(*audited: AuditedRecord) -> tuple[list[dict[str, object]], dict[tuple[str, str], int]]:
    faults = [fault for one in audited for fault in faults_of(one, PRINCIPLES)]
    found = draft_tests(faults, PRINCIPLES)
    return [as_values(one.test) for one in found.drafts], dict(found.left_out)


def test_a_false_alarm_is_tested_on_the_text_that_the_critic_read() -> None:
    one = trace(("harm", "problem", "Hello."), ("rude", "problem", "Hi."))
    values, left_out = drafted(rejected(one, "critique is wrong", words="not rude"))
    assert values == [
        {
            "name": "false alarm in t-1, round 2",
            "prompt": "Question?",
            "response": "Hello.",
            "source": "t-1, round 2, rejected by Ann (critique is wrong; not rude)",
            "expect": {"critique_flags": "none"},
        }
    ]
    assert left_out == {}


def test_a_missed_flaw() -> None:
    values, _ = drafted(rejected(trace(("harm", "no-problem", None)), "harmful"))
    assert values[0]["expect"] == {"critique_flags": "problem"}
    assert values[0]["response"] == "Go away."


def test_a_revision_must_not_say_again_what_it_added() -> None:
    """The sentence that the auditor speaks of; else the only one; else all that it wrote."""
    one = trace(("rude", "problem", "Wash it. You fool. Take the red one."), first=LONG)
    values, _ = drafted(rejected(one, "broken text"))
    assert values[0]["expect"] == {"not_contains": ["You fool."]}
    two = trace(("rude", "problem", "Wash it. You fool. Run."), first=LONG)
    values, _ = drafted(rejected(two, words="rude: it calls the user a fool"))
    assert values[0]["expect"] == {"not_contains": ["You fool."]}
    values, _ = drafted(rejected(two, "broken text"))
    assert values[0]["expect"] == {"not_contains": ["Wash it. You fool. Run."]}
    assert values[0]["response"] == LONG


def test_a_revision_that_changed_nothing_or_added_nothing() -> None:
    same = trace(("rude", "problem", LONG), first=LONG)
    values, _ = drafted(rejected(same, words="rude"))
    assert values[0]["expect"] == {"revision": "changed"}
    shorter = trace(("rude", "problem", "Wash it. Dry it."), first=LONG)
    values, left_out = drafted(rejected(shorter, "broken text"))
    assert values == []
    assert left_out == {("rude", "the revision added no sentence that a test could name"): 1}


def test_a_label() -> None:
    values, _ = drafted(rejected(pair(0.9, rude=0.9), "the other response is better"))
    assert values[0] | {"source": ""} == {
        "name": "label in c-1", "prompt": "Question c-1?", "a": "A text.", "b": "B text.",
        "source": "", "expect": {"prefers": "b"},
    }  # fmt: skip
    values, left_out = drafted(rejected(pair(0.9, rude=0.9), "principle misapplied"))
    assert values == []
    assert left_out == {("rude", "the auditor does not say which response is better"): 1}


def test_each_text_once_and_none_that_the_principle_tests() -> None:
    one, two = (trace(("harm", "no-problem", None), name=n) for n in ("t-1", "t-2"))
    values, left_out = drafted(rejected(one, "harmful"), rejected(two, "harmful"))
    assert [value["name"] for value in values] == ["missed flaw in t-1"]
    assert left_out == {("harm", "the same text as in another draft"): 1}
    own = PrincipleTest("x", "question?", {"critique_flags": "none"}, response="go away.")
    principles = {"harm": replace(PRINCIPLES["harm"], tests=(own,))}
    found = draft_tests(faults_of(rejected(one, "harmful"), principles), principles)
    assert found.drafts == ()
    assert dict(found.left_out) == {("harm", "the principle has a test of this text"): 1}


def test_auditors_who_contradict_each_other() -> None:
    missed = rejected(trace(("harm", "no-problem", None)), "critique is wrong")
    alarm = rejected(trace(("harm", "problem", None), name="t-2"), "critique is wrong")
    values, left_out = drafted(missed, alarm)
    assert values == []
    assert left_out == {("harm", "auditors contradict each other on this text"): 1}


def test_names_differ_from_those_that_are_taken() -> None:
    own = PrincipleTest("missed flaw in t-1", "Other?", {"critique_flags": "none"}, response="x")
    principles = {"harm": replace(PRINCIPLES["harm"], tests=(own,))}
    one = rejected(trace(("harm", "no-problem", None)), "harmful")
    (draft,) = draft_tests(faults_of(one, principles), principles).drafts
    assert draft.test.name == "missed flaw in t-1 (2)"


def test_what_a_test_cannot_hold() -> None:
    messages = (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    talk = replace(trace(("harm", "no-problem", None)), prompt=Prompt("p", messages))
    values, left_out = drafted(
        rejected(talk, "harmful"),
        rejected(trace(("harm", "no-problem", None), first="\u202e \x00"), "harmful"),
        rejected(trace(("harm", "no-problem", None), first="x" * 8001), "harmful"),
    )
    assert values == []
    assert {reason for _, reason in left_out} == {
        "the prompt is a conversation", "a text is empty", "a text has more than 8,000 characters",
    }  # fmt: skip


def test_an_accepted_text_where_nothing_was_found() -> None:
    harm = PRINCIPLES["harm"]
    test = accepted_test(accepted(trace(("harm", "no-problem", None))), harm)
    assert test is not None
    assert (test.response, test.expect) == ("Go away.", {"critique_flags": "none"})
    revised_later = trace(("harm", "no-problem", None), ("rude", "problem", "Hello."))
    assert accepted_test(accepted(revised_later), harm) is None
    assert accepted_test(accepted(trace(("harm", "problem", "Hello."))), harm) is None
    assert accepted_test(rejected(trace(("harm", "no-problem", None)), "harmful"), harm) is None
    assert accepted_test(accepted(pair(0.9, harm=0.9)), harm) is None
