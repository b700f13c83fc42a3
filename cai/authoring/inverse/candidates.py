"""Candidates: principles made of proposed rules, or taken from files, and how all of them judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from cai.authoring.importer import unique_ids
from cai.authoring.inverse.proposals import OPENING, RuleProposal
from cai.authoring.reasons import TO_BE_SAID
from cai.digest import digest
from cai.types import Constitution, Member, Principle

_WORDS_OF_ID = 5


@dataclass(frozen=True, slots=True)
class PrincipleCandidate:
    """A principle that may explain labels.

    proposal: what it was made of; None for a principle of a file.
    """

    principle: Principle
    proposal: RuleProposal | None = None


def candidates_of(
    proposals: Sequence[RuleProposal], principles: Sequence[Principle], name: str, model: str
) -> list[PrincipleCandidate]:
    """The candidates: the principles as they are, then one for each rule.

    name: the first part of the ids of new principles. model: who proposed them.
    """
    lasts = unique_ids(
        [
            " ".join(p.rule.removeprefix(OPENING).split()[:_WORDS_OF_ID])
            for p in proposals
        ]
    )  # fmt: skip
    new = [
        PrincipleCandidate(_principle(proposal, f"{name}.{last}", model), proposal)
        for proposal, last in zip(proposals, lasts, strict=True)
    ]
    return [*map(PrincipleCandidate, principles), *new]


def _principle(proposal: RuleProposal, name: str, model: str) -> Principle:
    rule = proposal.rule
    count = len(proposal.pairs)
    wordings = (
        f"Identify any way in which the assistant's last response breaks this rule: {rule}.",
        "Please rewrite the assistant's response so that it keeps this rule, and change nothing"
        f" else: {rule}.",
        f"Which response keeps this rule better: {rule}?",
    )
    return Principle(
        id=name,
        version="0.1.0",
        title=rule,
        why=f"A draft: {model} proposed it to explain why the better response was chosen in"
        f" {count} pair{'' if count == 1 else 's'} of responses. {TO_BE_SAID}",
        critique_request=wordings[0],
        revision_request=wordings[1],
        comparison_question=wordings[2],
        source="cai propose principles",
        tags=("draft",),
        digest=digest([rule, *wordings]),
    )


def judging_constitution(
    constitution: Constitution,
    candidates: Sequence[PrincipleCandidate],
    judging: Literal["letters", "pointwise"],
) -> Constitution:
    """The constitution's templates and settings, with all candidates as its principles.

    Letters are asked in both orders, whatever the constitution says: `chosen` stands first, and a
    judge that favours a position would seem to explain labels.
    """
    feedback = replace(
        constitution.feedback,
        mode=judging,
        principles_per_pair="all",
        both_orders=True,
    )
    members = tuple(Member(candidate.principle) for candidate in candidates)
    return replace(constitution, members=members, feedback=feedback)
