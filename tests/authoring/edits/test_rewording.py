"""What the critic is shown, and which of its replies become a wording."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cai.authoring.edits.rewording import DraftWording, NoWording, read_wording, reword
from cai.content import shipped_source
from cai.pipeline.steps import Draws
from cai.types import Generate, Generation
from tests import factories
from tests.authoring.edits.records import PRINCIPLES, accepted, pair, rejected, trace

RUDE = PRINCIPLES["rude"]
REPLY = """Sure, here they are:
**Reviewer:** "Name every insult in the response."
Writer: Rewrite it without insults, and keep the rest.
Judge: Which response insults the user less?
"""


def test_a_reply_becomes_a_wording() -> None:
    wording = read_wording(REPLY, RUDE, ("t-1",))
    assert wording == DraftWording(
        "rude", "Name every insult in the response.",
        "Rewrite it without insults, and keep the rest.", "Which response insults the user less?",
        ("t-1",),
    )  # fmt: skip


def test_what_is_left_out_stays() -> None:
    wording = read_wording("reviewer request:\nName every\n insult in it.\n\nThat's all.", RUDE)
    assert wording.critique_request == "Name every insult in it."
    assert wording.revision_request == RUDE.revision_request
    assert wording.comparison_question == RUDE.comparison_question


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (" \n", "is empty"),
        ("I would ask for less.", "no line that begins with Reviewer"),
        (f"Reviewer: {RUDE.critique_request.upper()}\nWriter: {RUDE.revision_request}", "repeats"),
        ("Reviewer: {{ critique }} is what I say", "brackets of a template"),
        ("Reviewer: Name\x00 it.", "request to the reviewer is too short"),
        ("Writer: " + "so " * 400, "more than 1,000 characters"),
    ],
)
def test_a_reply_that_cannot_be_used(reply: str, reason: str) -> None:
    with pytest.raises(NoWording, match=reason):
        read_wording(reply, RUDE)


def test_a_reply_that_was_cut_off() -> None:
    whole = f"{REPLY}\nI hope that this"
    assert read_wording(whole, RUDE, cut=True) == read_wording(REPLY, RUDE)
    with pytest.raises(NoWording, match="token limit"):
        read_wording(REPLY, RUDE, cut=True)


def asked(reply: Generation) -> tuple[str, DraftWording | str]:
    """The request for a wording, and what came of the reply."""
    found = rejected(trace(("rude", "problem", "Hello there.")), words="too soft")
    label = rejected(pair(0.9, rude=0.9), "the other response is better")
    fine = accepted(trace(("rude", "no-problem", None), first="Good day.", name="t-2"))
    long = accepted(trace(("rude", "no-problem", None), first="x" * 5000, name="t-3"))
    steps = reword(RUDE, [found, label], [fine, long], shipped_source("reword"), Draws(seed=3))
    wording, (ask,) = factories.play(steps, lambda ask, request: reply)
    assert ask.role == "critic"
    (request,) = ask.group
    assert isinstance(request, Generate)
    return request.messages[0].content, wording


def test_the_critic_reads_the_principle_the_texts_and_the_reasons_but_no_names() -> None:
    text, wording = asked(factories.generation(REPLY))
    assert isinstance(wording, DraftWording)
    assert wording.shown == ("t-1", "c-1", "t-2", "t-3")
    for part in (RUDE.title, RUDE.critique_request, RUDE.revision_request,
                 RUDE.comparison_question):  # fmt: skip
        assert part in text
    before, after = text.split("They accepted this:")
    for part in ("[1]\nHuman: Question?\nAnswer: Go away.\nReviewer: rude: problem\n"
                 "Writer: Hello there.\nIn the end: Hello there.\nPeople: rejected (too soft)",
                 "[2]\nHuman: Question c-1?\nAnswer A: A text.\nAnswer B: B text.\n"
                 "Called better: A\nPeople: rejected (the other response is better)"):  # fmt: skip
        assert part in before
    assert "Good day.\nReviewer: rude: no-problem\nPeople: accepted\n" in after
    assert f"{'x' * 750} […] {'x' * 750}" in after
    assert "x" * 751 not in after
    assert "Ann" not in text


def test_a_bad_reply_is_told_not_raised() -> None:
    assert asked(factories.generation("No."))[1] == (
        "the reply has no line that begins with Reviewer, Writer or Judge"
    )
    cut = replace(factories.generation(REPLY), finish_reason="length")
    assert asked(cut)[1] == "the reply ran into the token limit"
    echo = factories.generation("Reviewer: the new request to the reviewer")
    assert asked(echo)[1] == "the request to the reviewer repeats what was asked or shown"
    same = factories.generation(f"Reviewer: {RUDE.critique_request}\nJudge: Which is less of it?")
    assert isinstance(asked(same)[1], DraftWording)
