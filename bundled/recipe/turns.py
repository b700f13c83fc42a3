"""The turns of a training document, and the words in which the engine sends them.

`CRITIQUE_SUFFIX`, `REVISION_SUFFIX` and the comparison layouts are those of
`constitution/templates/`; a test holds them to each other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from cai.miniature.world import critic
from cai.miniature.world.requests import WorldRequest
from cai.miniature.world.responses import WorldResponse

TurnRole: TypeAlias = Literal["system", "user", "assistant", "text"]
Layout: TypeAlias = Literal["after", "before", "both"]
CRITIQUE_SUFFIX = f"\n\nIf there is no such problem, answer only: {critic.NO_PROBLEM}"
REVISION_SUFFIX = "\n\nAnswer with the revised response only."
CONVERSATION_LEAD = "Consider the following conversation between a human and an assistant:"
COMPARISON_END = " Answer with (A) or (B)."
REASONING_END = (
    " Say for each response what speaks for and against it, then answer with (A) or (B)."
)


@dataclass(frozen=True, slots=True)
class Mark:
    """Labels at a point of a text, for the auxiliary losses.

    `end` counts characters in the turn's text. Where a response ends, `flaws` are its flaws, and
    where a sentence of it ends, `so_far` are those said up to there; where a principle ends,
    `asked` are the flaws it is about. `violates` says whether the response at hand breaks the
    principle at hand. Where a statement of fact ends, the user's or the assistant's, `untrue` says
    whether it is wrong. None stands for what is not known there.
    """

    end: int
    so_far: frozenset[str] | None = None
    flaws: frozenset[str] | None = None
    asked: frozenset[str] | None = None
    violates: bool | None = None
    untrue: bool | None = None


@dataclass(frozen=True, slots=True)
class DocumentTurn:
    """One turn of a training document.

    `kind` decides the loss weights: `context` is hardly learned, `sample` is what the base model
    says, `shown` is a response that only serves what follows it. A `text` stands alone, in no
    conversation.
    """

    role: TurnRole
    text: str
    kind: Literal["context", "sample", "shown", "critique", "revision", "verdict", "reasoning"]
    marks: tuple[Mark, ...] = ()


Document: TypeAlias = list[DocumentTurn]


def response_marks(response: WorldResponse) -> tuple[Mark, ...]:
    """The marks of a response: its flaws up to each part, and at its end all of them."""
    *before, (end, flaws) = response.flaws_so_far
    marks = [Mark(place, so_far=so_far) for place, so_far in before]
    if response.statement:
        statement_end = response.text.index(response.statement) + len(response.statement)
        marks.append(Mark(statement_end, untrue=response.core == "mislead"))
    return (*marks, Mark(end, flaws=flaws))


def request_marks(request: WorldRequest) -> tuple[Mark, ...]:
    """The marks of a request: whether the claim that it makes is wrong."""
    if not request.claim:
        return ()
    end = request.text.index(request.claim) + len(request.claim)
    return (Mark(end, untrue=request.question == "false"),)


def critique_turn(request: str) -> str:
    """A critique request as the engine sends it."""
    return request + CRITIQUE_SUFFIX


def revision_turn(request: str) -> str:
    """A revision request as the engine sends it."""
    return request + REVISION_SUFFIX


def comparison_text(
    conversation: str,
    question: str,
    first: str,
    second: str,
    layout: Layout,
    reasoned: bool = False,
) -> str:
    """A comparison as the templates `compare*.j2` render it."""
    end = REASONING_END if reasoned else COMPARISON_END
    responses = f"Responses:\n(A) {first}\n(B) {second}"
    if layout == "after":
        return f"{CONVERSATION_LEAD}\n\n{conversation}\n\n{responses}\n\n{question}{end}"
    head = f"{CONVERSATION_LEAD}\n\n{conversation}\n\n{question}\n\n{responses}\n\n"
    return head + (f"{question}{end}" if layout == "both" else end.strip())


def conversation_text(turns: Sequence[tuple[str, str]], request: str) -> str:
    """Earlier (user, assistant) pairs and the request, as a judge reads them."""
    lines = [f"Human: {user}\n\nAssistant: {assistant}" for user, assistant in turns]
    return "\n\n".join([*lines, f"Human: {request}"])
