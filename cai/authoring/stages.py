"""The exact messages of each stage under a principle, from texts that are given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from cai.constitution import messages
from cai.types import Constitution, Message, Messages, Principle

RenderedStage: TypeAlias = Literal["critique", "revise", "compare"]
STAGES: tuple[RenderedStage, ...] = ("critique", "revise", "compare")


@dataclass(frozen=True, slots=True)
class StageTexts:
    """What people and models said; a text in brackets stands for one that is not known."""

    prompt: str
    response: str = "[response]"
    critique: str = "[critique]"
    other: str = "[other response]"


def stage_messages(
    stage: RenderedStage, rules: Constitution, rule: Principle, texts: StageTexts
) -> tuple[Messages, str]:
    """A stage's messages, and the words with which the answer begins.

    Raises `ContentError` or `PromptError` where a template can't be filled.
    """
    asked = (Message("user", texts.prompt),)
    answered = (*asked, Message("assistant", texts.response))
    if stage == "critique":
        return messages.critique(rules, rule, answered), ""
    if stage == "revise":
        said = texts.critique if rules.plan.critique else None
        return messages.revision(rules, rule, answered, said), ""
    prefill = "" if rules.feedback.chain_of_thought else messages.ANSWER_PREFILL
    return messages.comparison(rules, rule, asked, texts.response, texts.other), prefill
