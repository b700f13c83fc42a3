"""From a principle to the exact messages that a model reads, stage by stage.

The only place where templates are rendered for a model; `cai render` prints what comes out here.
Each stage extends the conversation of the stage before, so a backend can keep its cache.
"""

from __future__ import annotations

from cai.constitution.templates import render
from cai.types import Constitution, Message, Messages, Principle

ANSWERS = ("A", "B")
"""The letters of a comparison, scored as the next token after `ANSWER_PREFILL`."""

ANSWER_PREFILL = "("
REASONING_STOP = "The answer is"
"""Where a judge that thinks aloud is stopped, to be scored instead."""


def critique(constitution: Constitution, principle: Principle, conversation: Messages) -> Messages:
    """Ask the critic about the last assistant turn of `conversation`."""
    turn = _critique_turn(constitution, principle)
    return (*_fewshot(constitution, principle), *conversation, turn)


def exchange(
    constitution: Constitution,
    principle: Principle,
    conversation: Messages,
    critique_text: str | None,
) -> Messages:
    """`conversation` with the critique and the request to revise behind it.

    `critique_text` None is a direct revision, asked for without a critique.
    """
    middle: Messages = ()
    if critique_text is not None:
        turn = _critique_turn(constitution, principle)
        middle = (turn, Message("assistant", critique_text))
    return (*conversation, *middle, _revision_turn(constitution, principle, critique_text))


def revision(
    constitution: Constitution,
    principle: Principle,
    conversation: Messages,
    critique_text: str | None,
) -> Messages:
    """Ask for a better response, in the light of the critique where there is one."""
    asked = exchange(constitution, principle, conversation, critique_text)
    return (*_fewshot(constitution, principle), *asked)


def comparison(
    constitution: Constitution, principle: Principle, prompt: Messages, first: str, second: str
) -> Messages:
    """Ask the judge which response is better: `first` stands as (A), `second` as (B)."""
    templates = constitution.templates
    reasoned = constitution.feedback.chain_of_thought
    text = render(
        templates.compare_cot if reasoned else templates.compare,
        {
            "principle": principle.title,
            "question": principle.comparison_question.strip(),
            "conversation": transcript(prompt),
            "response_a": first,
            "response_b": second,
        },
    )
    return (Message("user", text),)


def after_reasoning(reasoning: str) -> str:
    """The assistant's words up to the letter, once it has thought aloud."""
    return f"{reasoning.strip()} {REASONING_STOP}: {ANSWER_PREFILL}".lstrip()


def transcript(messages: Messages) -> str:
    """A conversation as plain text: `Human: …`, `Assistant: …`, a blank line between turns."""
    names = {"system": "System", "user": "Human", "assistant": "Assistant"}
    return "\n\n".join(f"{names[m.role]}: {m.content}" for m in messages)


def _critique_turn(constitution: Constitution, principle: Principle) -> Message:
    variables = {
        "principle": principle.title,
        "critique_request": principle.critique_request.strip(),
        "no_problem": constitution.no_problem[0],
    }
    return Message("user", render(constitution.templates.critique, variables))


def _revision_turn(
    constitution: Constitution, principle: Principle, critique_text: str | None
) -> Message:
    variables = {
        "principle": principle.title,
        "critique_request": principle.critique_request.strip(),
        "revision_request": principle.revision_request.strip(),
        "critique": critique_text,
    }
    return Message("user", render(constitution.templates.revise, variables))


def _fewshot(constitution: Constitution, principle: Principle) -> Messages:
    """The principle's first examples as earlier turns in the very format of the stages."""
    out: list[Message] = []
    for example in principle.examples[: constitution.plan.fewshot]:
        shown = (Message("user", example.prompt), Message("assistant", example.response))
        critique_text = example.critique if constitution.plan.critique else None
        out += exchange(constitution, principle, shown, critique_text)
        out.append(Message("assistant", example.revision))
    return tuple(out)
