"""Renders the exact messages that a model reads, stage by stage.

The only place where templates are rendered for a model; `cai render` prints the result. Each stage
extends the conversation of the stage before, so that a backend can reuse its KV cache.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from cai.constitution.templates import render
from cai.content import shipped_source
from cai.types import Constitution, DocumentKind, Message, Messages, Principle

ANSWERS = ("A", "B")
"""The letters of a comparison, scored as the next token after `ANSWER_PREFILL`."""

ANSWER_PREFILL = "("
REASONING_STOP = "The answer is"
"""The stop string of a judge's chain of thought, after which the letters are scored."""


def critique(constitution: Constitution, principle: Principle, conversation: Messages) -> Messages:
    """The request for a critique of the last assistant turn of `conversation`."""
    turn = _critique_turn(constitution, principle)
    return (*_fewshot(constitution, principle), *conversation, turn)


def exchange(
    constitution: Constitution,
    principle: Principle,
    conversation: Messages,
    critique_text: str | None,
) -> Messages:
    """`conversation`, followed by the critique and the request for a revision.

    critique_text: None for a direct revision, without a critique.
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
    """The request for a revision of the response, after the critique if there is one."""
    conversation = exchange(constitution, principle, conversation, critique_text)
    return (*_fewshot(constitution, principle), *conversation)


def comparison(
    constitution: Constitution, principle: Principle, prompt: Messages, first: str, second: str
) -> Messages:
    """The question to the judge which response is better: `first` is (A), `second` is (B)."""
    templates = constitution.templates
    reasoning = constitution.feedback.chain_of_thought
    text = render(
        templates.compare_cot if reasoning else templates.compare,
        {
            "principle": principle.title,
            "question": principle.comparison_question.strip(),
            "conversation": transcript(prompt),
            "response_a": first,
            "response_b": second,
            "why": _reason(constitution, principle),
        },
    )
    return (Message("user", text),)


def contrast(
    constitution: Constitution, principle: Principle, prompt: Messages, *, follow: bool
) -> Messages:
    """The prompt with an instruction to follow the principle, or to do the opposite.

    Only the user's last turn differs from the prompt, and the two sides differ in the instruction
    alone, so that the responses differ in little else (Yang et al. 2023, section 3.1).
    """
    wording = principle.contrast
    text = render(
        constitution.templates.contrast,
        {
            "prompt": prompt[-1].content,
            "follow": follow,
            "principle": principle.title,
            "wording": None if wording is None else wording.follow if follow else wording.oppose,
        },
    )
    return (*prompt[:-1], Message("user", text))


def taught(
    constitution: Constitution, principles: Sequence[Principle], prompt: Messages
) -> Messages:
    """The prompt as a teacher reads it in distillation: behind a system message with principles.

    The prompt's own system message, if it begins with one, follows in the same turn.
    """
    text = teaching_text(constitution, principles)
    if prompt and prompt[0].role == "system":
        return (Message("system", f"{text}\n\n{prompt[0].content}"), *prompt[1:])
    return (Message("system", text), *prompt)


def teaching_text(constitution: Constitution, principles: Sequence[Principle]) -> str:
    """The system message of a teacher: these principles, by their titles."""
    source = constitution.templates.teach or shipped_source("teach")
    return render(source, {"principles": tuple(p.title for p in principles)}).strip()


def document(
    constitution: Constitution, principle: Principle, kind: DocumentKind, *, with_why: bool
) -> Messages:
    """The request for a document about a principle. with_why: show its reason, if it has one."""
    text = render(
        constitution.templates.document or shipped_source("document"),
        {
            "principle": principle.title.rstrip("."),
            "kind": kind,
            "critique_request": principle.critique_request,
            "question": principle.comparison_question,
            "why": _on_lines(principle.why) if with_why else "",
        },
    )
    return (Message("user", text.strip()),)


def after_reasoning(reasoning: str) -> str:
    """The assistant's chain of thought, up to the letter of its answer."""
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
        "why": _reason(constitution, principle),
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
        "why": _reason(constitution, principle),
    }
    return Message("user", render(constitution.templates.revise, variables))


def _reason(constitution: Constitution, principle: Principle) -> str:
    """The principle's reason, for the templates; empty where models don't read it."""
    return _on_lines(principle.why) if constitution.show_why else ""


def _on_lines(text: str) -> str:
    """A text with a line for each paragraph: a file wraps them for people."""
    paragraphs = re.split(r"\n\s*\n", text.strip())
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _fewshot(constitution: Constitution, principle: Principle) -> Messages:
    """The principle's few-shot examples as earlier turns, in the format of the stages."""
    out: list[Message] = []
    for example in principle.examples[: constitution.plan.fewshot]:
        turns = (Message("user", example.prompt), Message("assistant", example.response))
        critique_text = example.critique if constitution.plan.critique else None
        out += exchange(constitution, principle, turns, critique_text)
        out.append(Message("assistant", example.revision))
    return tuple(out)
