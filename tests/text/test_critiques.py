"""What critiques come to, and where revisions begin: texts as models write them."""

from __future__ import annotations

import pytest

from cai.text.critiques import read_critique, strip_preamble

NONE = ("No problem found.", "I see no problem.")

CRITIQUES = {
    "no-problem": [
        "No problem found.",
        "no problem found",
        "  No problem   found. The response is polite.",
        "I see no problem.",
        "**No problem found.**",
        "*No problem found*",
        "`No problem found.`",
        '"No problem found."',
        "“No problem found.”",
        "'No problem found.'",
        "- No problem found.",
        "1. No problem found.",
        "> No problem found!",
        "### No problem found",
        "Critique: No problem found.",
        "**Critique:** No problem found.",
        'Answer: "No problem found."',
        "Critique:\n\nNo problem found.",
        "no problems found.",
        "No problem found: the answer is kind.",
        "No problem found in the last response.",
        "No problem found, as the assistant is polite.",
        "The response is polite and correct. No problem found.",
        "The response is polite, not rude. No problem found.",
        "The answer declines but offers help.\n\n**No problem found.**",
        "There is no problem with this response.",
        "There are no issues here.",
        "I found no specific problems in the assistant's response.",
        "No issues were identified.",
        "I can't find any problem.",
        "I did not identify any issues with the response.",
        "I see nothing wrong.",
        "You can't find a problem.",
        "The assistant's last response is not a problem.",
        "The last response was not dangerous or put someone in danger.",
        "The assistant's last response did not invade anybody's privacy or help to spy on people.",
        "The assistant's last response is not harmful, unethical, or helps the user to do wrong.",
        "It isn't rude. It does not insult the user.",
        "No, no problem found.",
        "there is no problem found.",
        "The last response to the above query is no problem found.",
        "The user's last response is a no problem found.",
        "No problem found. There is no harmful content, and it avoids being rude.",
    ],
    "contradictory": [
        "No problem found, but it is rude.",
        "No problem found, except that it is rude.",
        "No problem found. However, it mocks the user.",
        "No problem found. The response is rude.",
        "It is rude. No problem found.",
        "**No problem found.**\n\nBut the assistant insults the user.",
        "There are no issues, although the tone is dismissive.",
        "The response encourages violence. No problem found.",
    ],
    "refused": [
        "I'm sorry, but I can't help with that.",
        "I’m sorry, I cannot assist with that request.",
        "I can't help with that.",
        "I cannot provide a critique of this response.",
        "As an AI language model, I am unable to evaluate this.",
        "Sorry. I won't discuss this.",
        "Unfortunately, I can't engage with this conversation.",
        "I'm not able to comment on that.",
        "I do not feel comfortable answering.",
        "I'm sorry.",
        "No comment.",
        "I'm sorry for any confusion. I'm here to assist you with your garden.",
        "You're right, I'm not sure what you're talking about.",
    ],
    "empty": ["", "   ", "\n", "...", "**", "—"],
    "problem": [
        "The response is rude.",
        "It is rude.",
        "No problem foundation was laid.",
        "There is no concern for the user's privacy in this response.",
        "There is no problem statement in the answer, which is evasive.",
        "I'm sorry, but the response is rude and insults the user.",
        "Sorry to say, the answer encourages theft.",
        "I can't help but notice that the response is rude.",
        'The assistant says "I can\'t help with that", which is evasive.',
        "The response should have said that there is no problem with asking.",
        "If there is no such problem, answer only: the response is harmful.",
        "The response is not polite.",
        "The response is not helpful and is rude.",
        "It is not harmful and it is evasive.",
        "The response does not answer the question.",
        "It is not wrong, but it lectures the user.",
        "The response is not harmful. It is evasive.",
        "The response is not careful enough and may hurt people.",
        "The user may find no problem with it, yet it is illegal.",
    ],
}


@pytest.mark.parametrize(
    ("outcome", "critique"), [(name, text) for name, some in CRITIQUES.items() for text in some]
)
def test_what_a_critique_comes_to(outcome: str, critique: str) -> None:
    assert read_critique(critique, NONE) == outcome


def test_a_constitution_has_its_own_sentences() -> None:
    assert read_critique("**Fine**.", ("Fine.",)) == "no-problem"
    assert read_critique("Fine words, and rude.", ("Fine.",)) == "problem"
    assert read_critique("Nichts zu beanstanden!", ("Nichts zu beanstanden.",)) == "no-problem"
    assert read_critique("Keine Probleme.", ("Nichts zu beanstanden.",)) == "problem"


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
        "The response of the public was mixed: some liked it.",
        '"Please ask first."',
        "",
    ],
)
def test_a_text_that_announces_nothing_stays(text: str) -> None:
    assert strip_preamble(text) == text


def test_nothing_behind_an_announcement_is_nothing() -> None:
    assert strip_preamble("Here is the revised response:\n") == ""
