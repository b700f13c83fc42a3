"""One response by itself: under each principle, how likely is a critique of it to find no problem?

The final check and pointwise judging ask this. All principles share the prefix of conversation and
response.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cai.constitution import messages
from cai.stats import logit, sigmoid
from cai.types import (
    Constitution,
    Generation,
    Judgement,
    Member,
    Message,
    Prompt,
    Score,
    Scores,
)

LOGIT_CAP = 5.0
"""Logits are capped softly before they are averaged, 5 tanh(x / 5), so that one very confident
principle or order does not outweigh the others. Pointwise judging caps the logit of each response's
"no problem", judging by letters that of each verdict. A hard clip would make two responses equal
that both fail a principle; the soft cap still shows, a little, which one fails it worse."""


def no_problem_scores(
    prompt: Prompt, constitution: Constitution, members: Sequence[Member], response: str
) -> tuple[Score, ...]:
    """The requests for how likely a critique of a response finds no problem, a principle each."""
    conversation = (*prompt.messages, Message("assistant", response))
    return tuple(
        Score(messages.critique(constitution, m.principle, conversation), constitution.no_problem)
        for m in members
    )


def response_score(members: Sequence[Member], scores: Sequence[Scores]) -> float:
    """How good a response is: its capped logits of "no problem", averaged by the members' weights.

    The difference of two responses' scores is the logit of the preference between them, under a
    constitution whose feedback has temperature 1 and no clamp.
    """
    logits = [m.weight * capped_logit(s.mass) for m, s in zip(members, scores, strict=True)]
    return math.fsum(logits) / math.fsum(m.weight for m in members)


def pointwise_judgements(
    members: Sequence[Member],
    sides: tuple[Sequence[Scores], Sequence[Scores]],
    thoughts: tuple[Sequence[Generation], Sequence[Generation]],
) -> tuple[Judgement, ...]:
    """The verdicts on two responses from the scores of each, under the members in order.

    thoughts: the judge's reasoning before each score; empty for one that does not reason.
    """
    out = []
    for number, (member, a, b) in enumerate(zip(members, *sides, strict=True)):
        p = sigmoid(capped_logit(a.mass) - capped_logit(b.mass))
        principle = member.principle
        reasoning = tuple(thought[number] for thought in thoughts if thought)
        out.append(Judgement(principle.id, principle.version, p, None, (a, b), reasoning))
    return tuple(out)


def capped_logit(p: float) -> float:
    """5 tanh(logit(p) / 5)."""
    return LOGIT_CAP * math.tanh(logit(p) / LOGIT_CAP)


def probability_of(capped: float) -> float:
    """The probability whose capped logit this is; 0 or 1 at the cap and beyond it."""
    if abs(capped) >= LOGIT_CAP:
        return float(capped > 0)
    return sigmoid(LOGIT_CAP * math.atanh(capped / LOGIT_CAP))
