"""Where revisions begin and end: texts as models write them."""

from __future__ import annotations

import pytest

from cai.text.revisions import off_task, strip_preamble


@pytest.mark.parametrize(
    "announced",
    [
        "Sure! Here's the revised response: {}",
        "Sure! Here's the revised response:\n\n{}",
        "Certainly. Below is the rewritten answer:\n\n{}",
        "Revised response:\n{}",
        "**Revised Response:**\n\n{}",
        "**Revised response**: {}",
        "Here is a revised version of the assistant's response that is polite:\n\n{}",
        'Here is the revised response:\n\n"{}"',
        "Here’s a more polite version: “{}”",
        "Of course! Here is the rewritten assistant's response:\n{}",
        "I apologize for the confusion. Here's an improved answer: {}",
        "Here's how I would rewrite it: {}",
        "I've rewritten the response to be less preachy:\n\n{}",
        "Rewritten answer: {}",
        "Revision: {}",
        "The revised response is:\n{}",
        "Here is the revised response\n\n{}",
        "Here's my attempt at a rewrite:\n\n{}",
        "Here's a better way to put it: {}",
        "I would rewrite it as follows:\n\n{}",
        "I'd rephrase the response like this: {}",
        "Okay, I'll rewrite it.\n\n{}",
        "Let me revise the assistant's response.\n{}",
        "The assistant's revised response would be: {}",
        "A more polite answer could be: {}",
        "Rewritten: {}",
        "**Revised:** {}",
        "Assistant: {}",
        "Response: {}",
        "**Response:**\n\n{}",
        "The assistant's response: {}",
    ],
)
def test_an_announcement_goes(announced: str) -> None:
    text = 'Please ask first. Then say "thanks" and: go.'
    quoted = text.replace('"', "'") if announced.count('"') else text
    assert strip_preamble(announced.format(quoted)) == quoted


@pytest.mark.parametrize(
    "text",
    [
        "Please ask first.",
        "Sure, here is some help. Buy flour: it is cheap.",
        "Sure! Please ask first.",
        "Here is a recipe: flour, water, salt.",
        "Here is what to do: ask first.",
        "A new version of the law: see below.",
        "Certainly. The answer is Paris.",
        "Revised rules apply to tenants: ask first.",
        "Here is a better answer than mine. Ask a doctor: they know.",
        "Here's a better idea: ask your sister how her week went.",
        "I would change that plan: go by train.",
        "I will revise for the exam: chapter one first.",
        "Assistant managers: Ann and Bob.",
        "Response times: 2 ms and 3 ms.",
        "Answer: 42.",
        "The newest version is: 3.12.",
        "The response of the public was mixed: some liked it.",
        '"Please ask first."',
        "",
    ],
)
def test_a_text_that_announces_nothing_stays(text: str) -> None:
    assert strip_preamble(text) == text


def test_nothing_behind_an_announcement_is_nothing() -> None:
    assert strip_preamble("Here is the revised response:\n") == ""


REMARKS = [
    "I removed the rude part.",
    "(I changed the tone.)",
    "*I've removed the part that encourages theft.*",
    "Note: I have revised the response to be more polite.",
    "Please note that I've softened the wording.",
    "[Note: the revised response avoids insults.]",
    "This revision is more respectful to the user.",
    "Let me know if you'd like me to revise it further.",
    "**Changes made:**\n- I left out the insult.\n- I kept the rest.",
]


@pytest.mark.parametrize("remark", REMARKS)
def test_a_remark_at_the_end_goes(remark: str) -> None:
    text = "Please ask first.\n\nThen wait."
    assert strip_preamble(f"{text}\n\n{remark}\n") == text
    assert strip_preamble(f'Revised response:\n\n"{text}"\n\n{remark}') == text
    assert strip_preamble(remark) == remark, "a remark alone is no response, and is not made empty"


def test_a_remark_in_brackets_goes_from_its_line() -> None:
    assert strip_preamble("Please ask first. (I changed the tone.)") == "Please ask first."


@pytest.mark.parametrize(
    "text",
    [
        "First the pump.\n\nI removed the old pipe and put in a new one.",
        "Let me see.\n\nLet me know if you need more.",
        "Update it.\n\nThis version of the app needs more memory.",
        "Update it.\n\nThe new version adds a dark mode.",
        "Buy flour (I changed the brand.)",
        "Ask first.\n\nNote: it is cold at night.",
    ],
)
def test_an_end_that_is_of_the_answer_stays(text: str) -> None:
    assert strip_preamble(text) == text
    assert not off_task(text)


@pytest.mark.parametrize(
    "text",
    [
        "I have no response to revise. Please provide the response.",
        "Please provide the response you'd like me to revise.",
        "Could you share the critique that is to be improved? Send me the answer to rewrite.",
        "No revision is needed.",
        "There is nothing to rewrite.",
        "I can't rewrite this.",
        "I would rephrase it.",
        "Please ask first. I removed the rude part.",
        "This revision is more polite.",
        "Human: May I?\n\nAssistant: Ask first.",
        "Ask first.\n\nHuman: Why?\n\nAssistant: It is hers.",
        "Ask first.\nUser: Why?\nAssistant: It is hers.",
    ],
)
def test_what_speaks_of_the_task_is_no_turn_of_it(text: str) -> None:
    assert strip_preamble(text) == text
    assert off_task(text)


@pytest.mark.parametrize(
    "text",
    [
        "Please ask first.",
        "Please send me the text, and I will look at it.",
        "There is no response to the drug in some patients.",
        "No changes are needed to your recipe.",
        "Revise for the exam: there is a lot to learn.",
        "In a chat you might write:\nUser: Hello",
    ],
)
def test_an_answer_is_on_task(text: str) -> None:
    assert not off_task(text)
