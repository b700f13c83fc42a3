"""The supervised stage: a response, then rounds of critique and revision.

From Bai et al. 2022, section 3.1. Departures from the paper:

- A critique that names no problem can end its round without a revision (`skip_revision_if`), so
  that a good response is not rewritten for no reason.
- After the last round the critic checks the response under every principle (`check`), which shows
  where a later revision undid an earlier one.
- A critique without a verdict (a refusal, a contradiction, an empty text) leads to no revision: the
  response is marked `unreviewed`. Where every round revises, it is revised without a critique.
- A preamble that announces the revision and a closing remark about the changes are removed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from cai.constitution import messages
from cai.constitution.plans import eligible_members
from cai.digest import digest
from cai.pipeline.guards import guard
from cai.pipeline.pointwise import no_problem_scores
from cai.pipeline.steps import Ask, Draws, Steps, ask_scores, generations
from cai.text import seeds
from cai.text.critiques import read_critique
from cai.text.revisions import strip_preamble
from cai.types import (
    Check,
    Constitution,
    CritiqueOutcome,
    Generate,
    Generation,
    Member,
    Message,
    Messages,
    Principle,
    Prompt,
    Revision,
    Trace,
)


def revise(prompt: Prompt, constitution: Constitution, draws: Draws) -> Steps[Trace]:
    """Answer a prompt, then critique and revise the answer under one drawn principle a round."""
    sampling = draws.sampling(prompt, "response")
    (response,) = generations(
        (yield Ask("generator", "response", (Generate(prompt.messages, sampling),)))
    )
    conversation: Messages = (*prompt.messages, Message("assistant", response.text))
    revisions: list[Revision] = []
    for number, principle in enumerate(draw_principles(prompt, constitution, draws.seed)):
        start = RoundStart(prompt, response.text, conversation)
        revision = yield from revision_round(constitution, draws, start, number, principle)
        revisions.append(revision)
        if revision.response is not None:
            conversation = _next_conversation(
                prompt, constitution, conversation, principle, revision
            )
    final = conversation[-1].content
    checks: tuple[Check, ...] = ()
    if constitution.plan.check:
        checks = yield from check_response(prompt, constitution, draws, final)
    return make_trace(prompt, response, revisions, checks)


def draw_principles(prompt: Prompt, constitution: Constitution, seed: int) -> tuple[Principle, ...]:
    """The principle of each round, by the plan; the draw does not depend on other prompts.

    Removing a principle that was not drawn changes nothing. Without replacement, removing one that
    was drawn shifts the draws of the later rounds of that prompt.
    """
    members, plan = constitution.phase("sl"), constitution.plan
    if plan.draw == "all":
        return tuple(m.principle for m in members)
    if plan.draw == "fixed":
        return tuple(m.principle for m in members[: plan.rounds])
    remaining = {m.principle.id: m for m in members}
    principles: list[Principle] = []
    for number in range(plan.rounds):
        eligible = [m for m in eligible_members(members, number + 1) if m.principle.id in remaining]
        weights = {m.principle.id: _weight(m, plan.draw) for m in eligible}
        name = seeds.draw(weights, seed, prompt.id, "principle", number)
        principles.append(remaining[name].principle)
        if not plan.with_replacement:
            del remaining[name]
        if not remaining:
            break
    return tuple(principles)


def _weight(member: Member, draw: str) -> float:
    return member.weight if draw == "weighted" else 1.0


class RoundStart(NamedTuple):
    """The input of a round: a conversation that ends with the current response."""

    prompt: Prompt
    first: str
    conversation: Messages


def revision_round(
    constitution: Constitution, draws: Draws, start: RoundStart, number: int, principle: Principle
) -> Steps[Revision]:
    """One critique and, if it names a problem, one revision."""
    prompt, first, conversation = start
    before, plan = conversation[-1].content, constitution.plan
    critique: Generation | None = None
    outcome: CritiqueOutcome | None = None
    if plan.critique:
        critique = yield from critique_response(
            constitution, draws, prompt, conversation, number, principle
        )
        outcome = read_critique(critique.text, constitution.no_problem)
    round_ = Revision(number, principle.id, principle.version, critique, outcome, None)
    if not round_.found_problem and plan.skip_revision_if == "critique_none":
        return round_ if outcome == "no-problem" else replace(round_, guards=("unreviewed",))
    critique_text = _critique_in_history(round_)
    request = messages.revision(constitution, principle, conversation, critique_text)
    sampling = draws.sampling(prompt, "revision", number)
    (generation,) = generations(
        (yield Ask("generator", "revision", (Generate(request, sampling),)))
    )
    text = strip_preamble(generation.text)
    revision = replace(generation, text=text)
    guards = guard(prompt, first, before, critique_text, revision, constitution.no_problem)
    if outcome != "problem":  # with no problem named, an unchanged text is right
        guards = tuple(g for g in guards if g != "unchanged")
    stripped = None if text == generation.text else text
    return replace(round_, response=generation, guards=guards, stripped=stripped)


def critique_response(
    constitution: Constitution,
    draws: Draws,
    prompt: Prompt,
    conversation: Messages,
    number: int,
    principle: Principle,
) -> Steps[Generation]:
    """The critique of a conversation's last response, by the critic."""
    request = messages.critique(constitution, principle, conversation)
    sampling = draws.sampling(prompt, "critique", number)
    (critique,) = generations((yield Ask("critic", "critique", (Generate(request, sampling),))))
    return critique


def _critique_in_history(revision: Revision) -> str | None:
    """The critique as later turns show it; None without one, or without a verdict in it."""
    verdict = revision.outcome in ("problem", "no-problem")
    return revision.critique.text if revision.critique and verdict else None


def _next_conversation(
    prompt: Prompt,
    constitution: Constitution,
    conversation: Messages,
    principle: Principle,
    revision: Revision,
) -> Messages:
    """The next round's conversation: ends with the revision, with or without the exchange."""
    assert revision.text is not None
    latest = Message("assistant", revision.text)
    if constitution.plan.history == "replace":
        return (*prompt.messages, latest)
    critique_text = _critique_in_history(revision)
    return (*messages.exchange(constitution, principle, conversation, critique_text), latest)


def check_response(
    prompt: Prompt, constitution: Constitution, draws: Draws, final: str
) -> Steps[tuple[Check, ...]]:
    """Score the final response under every principle; the requests share one prefix."""
    requests = no_problem_scores(prompt, constitution, constitution.members, final)
    scores, _ = yield from ask_scores(Ask("critic", "check", requests), prompt, draws)
    ids = (member.principle.id for member in constitution.members)
    return tuple(Check(i, s) for i, s in zip(ids, scores, strict=True))


def make_trace(
    prompt: Prompt,
    response: Generation,
    revisions: Sequence[Revision] = (),
    checks: tuple[Check, ...] = (),
) -> Trace:
    """The trace of a prompt. Its id is a digest of its prompt, principles and steps."""
    steps = [response.key]
    for r in revisions:
        steps += [g.key if g else "" for g in (r.critique, r.response)]
    steps += [c.scores.key for c in checks]
    trace_id = "t-" + digest([prompt.id, [r.principle_id for r in revisions], steps])[:16]
    return Trace(trace_id, prompt, response, tuple(revisions), checks)
