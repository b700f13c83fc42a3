"""Records as a store holds them, and as earlier versions wrote them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cai.store.codec import steps_of, trace_body, trace_of
from cai.types import CritiqueOutcome
from tests.store.samples import trace


@pytest.mark.parametrize(
    "outcome", ["problem", "no-problem", "contradictory", "refused", "empty", None]
)
def test_a_round_comes_back_as_it_was(outcome: CritiqueOutcome | None) -> None:
    whole = trace("p")
    first = replace(whole.revisions[0], outcome=outcome, stripped="Better")
    made = replace(whole, revisions=(first, whole.revisions[1]))
    assert trace_of(made.id, made.prompt, trace_body(made), list(steps_of(made))) == made


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
    made = replace(whole, revisions=(direct,), checks=())
    body = trace_body(made)
    body["revisions"][0]["found_problem"] = bool(body["revisions"][0].pop("outcome") or True)
    assert trace_of(made.id, made.prompt, body, list(steps_of(made))).revisions == (direct,)
