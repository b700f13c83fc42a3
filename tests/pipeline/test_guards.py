"""Each guard trips on its own fault and on nothing else."""

from __future__ import annotations

import pytest

from cai.pipeline.guards import GUARDS, guard
from tests.factories import generation, prompt

BEFORE = "Sure, take the bag and run."
CRITIQUE = "The response helps the user to steal a bag, which is against the law."

CASES = {
    "empty": " … ",
    "unchanged": "Sure,  take the bag and RUN.",
    "leaked": "Here is a revised version: ask first.",
    "point-of-view": "The assistant's response should ask first.",
    "loop": "you should ask the owner first and " * 3,
}


@pytest.mark.parametrize(("name", "text"), CASES.items())
def test_each_guard_trips_alone(name: str, text: str) -> None:
    assert guard(prompt(), BEFORE, BEFORE, CRITIQUE, generation(text)) == (name,)


def test_a_repeated_critique_is_a_leak() -> None:
    text = f"Ask first. {CRITIQUE}"
    assert guard(prompt(), BEFORE, BEFORE, CRITIQUE, generation(text)) == ("leaked",)
    assert guard(prompt(), BEFORE, BEFORE, None, generation(text)) == ()


@pytest.mark.parametrize(
    "text",
    [
        "I am not using a weapon. No weapon found.",  # the critique, too short for a sentence of it
        "I am not using any weapon. No weapon found.",  # 7 of 8 words of each, in their order
    ],
)
def test_a_critique_in_place_of_a_revision_is_a_leak(text: str) -> None:
    critique = "I am not using a weapon. No weapon found."
    assert guard(prompt(), BEFORE, BEFORE, critique, generation(text)) == ("leaked",)


@pytest.mark.parametrize(
    "text",
    [
        "I have no response to revise. Please provide the response.",
        "Human: May I?\n\nAssistant: Ask first.",
        "Ask first. I removed the rude part.",
        "**No problem found.**",
    ],
)
def test_what_is_of_the_task_is_a_leak(text: str) -> None:
    sentences = ("No problem found.",)
    guards = guard(prompt(), BEFORE, BEFORE, None, generation(text), sentences)
    assert guards == ("leaked",)


def test_what_the_user_asked_for_is_no_leak() -> None:
    """A prompt for an edit, without the text: the response asked for it before the revision."""
    before = "Hey, show me your answer to edit."
    text = "Please share your answer to edit."
    assert guard(prompt(), before, before, None, generation(text)) == ()


@pytest.mark.parametrize(
    "text",
    [
        "Here's a better idea: ask your sister how her week went.",
        "Here is a revised budget: 500 for rent.",
        "The response of plants to light is called phototropism.",
        "The response time is 2 ms.",
        "The model response time is 2 ms.",
        "I like the critique of pure reason.",
    ],
)
def test_a_response_on_such_things_is_one(text: str) -> None:
    assert guard(prompt(), BEFORE, BEFORE, None, generation(text)) == ()


@pytest.mark.parametrize(
    "text",
    [
        "This response does not meet the request for privacy.",
        "The last response is related to having options in a situation.",
        "The response tells you that you need more details.",
        "The response to the user is rude.",
    ],
)
def test_a_statement_about_the_response_is_no_response(text: str) -> None:
    assert guard(prompt(), BEFORE, BEFORE, None, generation(text)) == ("point-of-view",)
    about = "I got no response from them, so I would write again and ask politely."
    assert guard(prompt(), BEFORE, BEFORE, None, generation(about)) == ()


def test_a_truncated_revision() -> None:
    assert guard(prompt(), BEFORE, BEFORE, CRITIQUE, generation("Ask the", finish="length")) == (
        "truncated",
    )


def test_a_refusal_is_guarded_on_benign_prompts_alone() -> None:
    refusal = generation("I can't help with that.")
    assert guard(prompt(benign=True), BEFORE, BEFORE, CRITIQUE, refusal) == ("refusal-added",)
    assert guard(prompt(), BEFORE, BEFORE, CRITIQUE, refusal) == ()
    assert guard(prompt(benign=True), "No comment.", "No comment.", CRITIQUE, refusal) == ()


def test_a_refusal_that_an_earlier_round_added_is_still_one() -> None:
    polished = generation("I can't help with that, sorry.")
    before = "I can't help with that."
    assert guard(prompt(benign=True), BEFORE, before, CRITIQUE, polished) == ("refusal-added",)


def test_a_good_revision_passes() -> None:
    assert (
        guard(prompt(), BEFORE, BEFORE, CRITIQUE, generation("Please ask the owner first.")) == ()
    )


def test_every_guard_is_tested_and_explained() -> None:
    assert set(CASES) | {"truncated", "refusal-added", "unreviewed"} == set(GUARDS)
