"""What critiques come to: texts as models write them."""

from __future__ import annotations

import pytest

from cai.text.critiques import only_says_no_problem, read_critique

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
        "Sure! Here is my critique: No problem found.",
        "Sure, here's the critique:\n\nNo problem found.",
        "My critique is: No problem found.",
        "As the critic, I would say: no problem found.",
        "Upon review, no problem found.",
        "Overall, no problem found.",
        "In conclusion, there is no problem.",
        "Based on the criteria, there are no issues with the response.",
        "After reviewing the response, I found no problems.",
        "I think that there are no issues.",
        "(No problem found.)",
        "[No problem found.]",
        "<b>No problem found.</b>",
        "<p>No problem found.</p>",
        "Problems found: none.",
        "Final verdict: I see no problem.",
        "Tone: no problem found.",
        "No.",
        "No, it does not.",
        "None.",
        "N/A",
        "There is no harmful content in the response.",
        "There are no harmful or unethical elements in this response.",
        "There is nothing harmful here.",
        "I do not see any harmful content in the response.",
        "The response does not violate the principle.",
        "The response does not appear to be harmful.",
        "The response does not contain any harmful, unethical, or illegal content.",
        "The response is not harmful, unethical or rude. It is polite.",
        "Sure! The response is not rude.",
        "I was unable to find any problem.",
        "I'm not able to find any problems with the response.",
        "The assistant's response is respectful and contains no problems.",
        "No problem found. The response correctly warns that mixing bleach is dangerous.",
        "No problem found. The response explains why stealing is wrong and illegal.",
        "No problem found. It avoids rude language and refuses the dangerous request.",
        "No problem found. The response addresses the user's concerns.",
        "No problem found. The response explains how to bake bread.",
        "There doesn't seem to be any problem with the response.",
        "There does not appear to be anything harmful in it.",
        "No harmful content found.",
        "From what I can tell, no problem found.",
        "No problem found. It advises the user not to steal.",
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
        "No problem found. The response tells how to build a bomb.",
        "No problem found. It tells the user how to steal a bike.",
        "No problem found. It mocks the user and calls her an idiot.",
        "No problem found. The response reveals Ann's address to a stranger.",
        "No problem found. The response lies about the capital of France.",
        "No problem found. It refuses to help and insults the user.",
        "No problem found. It warns of the cold, but is rude.",
        "No problem found. It does not help the user and is rude.",
        "No problem found? On the contrary: it insults the user.",
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
        "I apologize, but I can't assist with that request.",
        "As a responsible AI, I cannot help with that.",
        "I must respectfully decline.",
        "I have to decline.",
        "I'm not comfortable discussing this.",
        "It would not be appropriate for me to critique this.",
        "This request violates my guidelines, so I can't help.",
        "Thank you for asking. I can't discuss this.",
        "The user asks how to steal. I cannot help with that.",
        "I am sorry, but I will not be able to help you with this.",
    ],
    "empty": ["", "   ", "\n", "...", "**", "—", "Critique:", "Sure! Here is my critique:"],
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
        "The assistant's response is harmful because it tells how to steal. I cannot provide this.",
        "The response tells the user how to steal. I can't support this.",
        "It is rude. I won't comment further.",
        'The response says: "Sure. I\'m sorry." It is rude.',
        "I can't say 'no problem found' because the response is rude.",
        "There is no problem with the tone, but the content is harmful.",
        "No, the response is rude.",
        "No. It is rude.",
        "Upon review, the response is rude.",
        "The response avoids the problem.",
        "The response does not mention that this is illegal.",
        "The response does not warn about danger.",
        "The response does not avoid harmful stereotypes.",
        "The response is not free of harm.",
        "There is no sign of concern for the user.",
        "The response is not harmful, it is rude.",
        "The response is polite.",
        "None of its claims are true.",
        "The response says: no problem found.",
        "Nothing in the response warns the user.",
        "The response contains no warning.",
        "There is no mention of the danger, which is dangerous.",
        "No warning is given about the fumes.",
    ],
}


@pytest.mark.parametrize(
    ("outcome", "critique"), [(name, text) for name, some in CRITIQUES.items() for text in some]
)
def test_what_a_critique_comes_to(outcome: str, critique: str) -> None:
    assert read_critique(critique, NONE) == outcome


def test_a_constitution_has_its_own_sentences() -> None:
    assert read_critique("**Fine**.", ("Fine.",)) == "no-problem"
    assert read_critique("Fine, it is polite.", ("Fine.",)) == "no-problem"
    assert read_critique("Fine words, and rude.", ("Fine.",)) == "problem"
    assert read_critique("Nichts zu beanstanden!", ("Nichts zu beanstanden.",)) == "no-problem"
    assert read_critique("Keine Probleme.", ("Nichts zu beanstanden.",)) == "problem"


GERMAN = ("Kein Problem gefunden.",)


@pytest.mark.parametrize(
    ("outcome", "critique"),
    [
        ("no-problem", "kein  problem gefunden"),
        ("no-problem", "**Kritik:** Kein Problem gefunden."),
        ("no-problem", "Kein Problem gefunden. Die Antwort ist höflich."),
        ("no-problem", "Kein Problem gefunden, as the response is polite."),
        ("problem", "Keine Probleme gefunden."),
        ("contradictory", "Kein Problem gefunden, aber es ist unhöflich."),
        ("contradictory", "Kein Problem gefunden. Aber es ist unhöflich."),
        ("contradictory", "Kein Problem gefunden, es beleidigt sie."),
        ("contradictory", "Kein Problem gefunden – nur Beleidigungen."),
    ],
)
def test_a_sentence_of_another_language_is_read_with_care(outcome: str, critique: str) -> None:
    """What goes on behind it can't be read; other forms of it are sentences of their own."""
    assert read_critique(critique, GERMAN) == outcome
    both = (*GERMAN, "Keine Probleme gefunden.")
    assert read_critique("Keine Probleme gefunden!", both) == "no-problem"


def test_no_white_space_stands_between_sentences_of_chinese() -> None:
    assert read_critique("未发现问题。", ("未发现问题。",)) == "no-problem"
    assert read_critique("未发现问题。回答很有礼貌。", ("未发现问题。",)) == "no-problem"
    assert read_critique("未发现问题，但是很粗鲁。", ("未发现问题。",)) == "contradictory"


def test_a_text_may_be_the_sentence_itself() -> None:
    assert only_says_no_problem("**No problem found.**", NONE)
    assert only_says_no_problem("Critique: no problems found", NONE)
    assert not only_says_no_problem("No problem found. Buy flour.", NONE)
    assert not only_says_no_problem("No problem!", NONE)
    assert not only_says_no_problem("", NONE)
