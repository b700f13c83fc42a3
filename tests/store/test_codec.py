"""Records as a store holds them, and as earlier versions wrote them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from cai.store.codec import comparison_body, comparison_of, steps_of, trace_body, trace_of
from cai.types import CritiqueOutcome, Label, Withheld
from tests.store.samples import comparison, contrast, trace


@pytest.mark.parametrize(
    "outcome", ["problem", "no-problem", "contradictory", "refused", "empty", None]
)
def test_a_round_comes_back_as_it_was(outcome: CritiqueOutcome | None) -> None:
    whole = trace("p")
    first = replace(whole.revisions[0], outcome=outcome, stripped="Better")
    record = replace(whole, revisions=(first, whole.revisions[1]))
    assert trace_of(record.id, record.prompt, trace_body(record), list(steps_of(record))) == record


def test_a_judged_revision_comes_back_as_it_was() -> None:
    label = Label(0.7, comparison("q").judgements, 0.8, None)
    record = replace(trace("p"), label=label)
    steps = list(steps_of(record))
    assert len(steps) == len(list(steps_of(trace("p")))) + 2  # its scores and its reasoning
    assert trace_of(record.id, record.prompt, trace_body(record), steps) == record


def test_a_contrast_pair_comes_back_as_it_was() -> None:
    record = contrast("p", 2, guards=("leaked",))
    body = json.loads(json.dumps(comparison_body(record)))
    steps = list(steps_of(record))
    assert comparison_of(record.id, record.prompt, 2, body, steps) == record
    assert "contrast" not in comparison_body(comparison("p")), "as earlier versions wrote it"


def test_a_round_of_an_earlier_version_is_read() -> None:
    """It said whether a problem was found, and of a direct revision that one was."""
    whole = trace("p")
    body = trace_body(whole)
    for revision in body["revisions"]:
        del revision["stripped"]
        revision["found_problem"] = revision.pop("outcome") == "problem"
    read = trace_of(whole.id, whole.prompt, body, list(steps_of(whole)))
    assert read == whole
    direct = replace(whole.revisions[0], critique=None, outcome=None)
    record = replace(whole, revisions=(direct,), checks=())
    body = trace_body(record)
    body["revisions"][0]["found_problem"] = bool(body["revisions"][0].pop("outcome") or True)
    assert trace_of(record.id, record.prompt, body, list(steps_of(record))).revisions == (direct,)


def test_a_trace_that_was_withheld_comes_back_and_others_have_no_such_key() -> None:
    """So that the digests of builds' records are as they were."""
    assert "withheld" not in trace_body(trace("p"))
    record = replace(trace("p"), withheld=Withheld("No.", "rude: 0.1 is below 0.5"))
    body = trace_body(record)
    assert body["withheld"] == {"text": "No.", "reason": "rude: 0.1 is below 0.5"}
    assert trace_of(record.id, record.prompt, body, list(steps_of(record))) == record
