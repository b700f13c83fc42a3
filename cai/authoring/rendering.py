"""Renders the exact messages of each stage under a principle."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from cai.constitution import messages
from cai.types import Constitution, Message, Messages, Principle

RenderedStage: TypeAlias = Literal["critique", "revise", "compare", "follow", "oppose"]
STAGES: tuple[RenderedStage, ...] = ("critique", "revise", "compare", "follow", "oppose")
"""`follow` and `oppose` are the two sides of a contrast pair."""


@dataclass(frozen=True, slots=True)
class StageTexts:
    """The texts to render a stage with; the defaults are placeholders in brackets."""

    prompt: str
    response: str = "[response]"
    critique: str = "[critique]"
    other: str = "[other response]"


def stage_messages(
    stage: RenderedStage, rules: Constitution, rule: Principle, texts: StageTexts
) -> tuple[Messages, str]:
    """A stage's messages, and the prefill of the answer.

    Raises `ContentError` or `PromptError` if a template can't be filled.
    """
    prompt = (Message("user", texts.prompt),)
    conversation = (*prompt, Message("assistant", texts.response))
    if stage == "critique":
        return messages.critique(rules, rule, conversation), ""
    if stage == "revise":
        critique = texts.critique if rules.plan.critique else None
        return messages.revision(rules, rule, conversation, critique), ""
    if stage in ("follow", "oppose"):
        return messages.contrast(rules, rule, prompt, follow=stage == "follow"), ""
    prefill = "" if rules.feedback.chain_of_thought else messages.ANSWER_PREFILL
    return messages.comparison(rules, rule, prompt, texts.response, texts.other), prefill
