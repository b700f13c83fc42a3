"""The supervised stage: response, then (critique, revision) a round (Bai et al. 2022, section 3.1).

Departures from the paper: a critique that finds nothing can end its round without a revision
(`skip_revision_if`), so that a good response is not rewritten for its own sake; after the last
round every principle is asked once more (`check`), so that a later principle which undid an
earlier one shows. A critique that is no verdict (a refusal, a contradiction, nothing at all) asks
for no revision: its round leaves the response alone and marks it `unreviewed`, or, where every
round revises, revises it as if there had been no critique. A reviser that announces its revision,
or tells at its end what was changed, is taken at its word: the announcement and the remark go.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from cai.constitution import messages
from cai.constitution.plans import serving_in
from cai.digest import digest
from cai.pipeline.guards import guard
from cai.pipeline.steps import Ask, Draws, Steps, generations, scored
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
    Score,
    Trace,
)


def revise(prompt: Prompt, constitution: Constitution, draws: Draws) -> Steps[Trace]:
    """Answer a prompt, then critique and revise the answer, one drawn principle a round."""
    sampling = draws.sampling(prompt, "response")
    (response,) = generations(
        (yield Ask("generator", "response", (Generate(prompt.messages, sampling),)))
    )
    conversation: Messages = (*prompt.messages, Message("assistant", response.text))
    revisions: list[Revision] = []
    for number, principle in enumerate(drawn(prompt, constitution, draws.seed)):
        shown = _Shown(prompt, response.text, conversation)
        revision = yield from _round(constitution, draws, shown, number, principle)
        revisions.append(revision)
        if revision.response is not None:
            conversation = _seen_next(prompt, constitution, conversation, principle, revision)
    final = conversation[-1].content
    checks: tuple[Check, ...] = ()
    if constitution.plan.check:
        checks = yield from _check(prompt, constitution, draws, final)
    trace_id = _trace_id(prompt, response, revisions, checks)
    return Trace(trace_id, prompt, response, tuple(revisions), checks)


def drawn(prompt: Prompt, constitution: Constitution, seed: int) -> tuple[Principle, ...]:
    """The principle of each round, as the plan says; independent of every other prompt."""
    members, plan = constitution.phase("sl"), constitution.plan
    if plan.draw == "all":
        return tuple(m.principle for m in members)
    if plan.draw == "fixed":
        return tuple(m.principle for m in members[: plan.rounds])
    left = {m.principle.id: m for m in members}
    out: list[Principle] = []
    for number in range(plan.rounds):
        serving = [m for m in serving_in(members, number + 1) if m.principle.id in left]
        weights = {m.principle.id: _weight(m, plan.draw) for m in serving}
        name = seeds.draw(weights, seed, prompt.id, "principle", number)
        out.append(left[name].principle)
        if not plan.with_replacement:
            del left[name]
        if not left:
            break
    return tuple(out)


def _weight(member: Member, draw: str) -> float:
    return member.weight if draw == "weighted" else 1.0


class _Shown(NamedTuple):
    """What a round starts from: the conversation that ends with the response as it stands."""

    prompt: Prompt
    first: str
    conversation: Messages


def _round(
    constitution: Constitution, draws: Draws, shown: _Shown, number: int, principle: Principle
) -> Steps[Revision]:
    """One critique and, where it found something, one revision."""
    prompt, first, conversation = shown
    before, plan = conversation[-1].content, constitution.plan
    critique: Generation | None = None
    outcome: CritiqueOutcome | None = None
    if plan.critique:
        critique = yield from critiqued(
            constitution, draws, prompt, conversation, number, principle
        )
        outcome = read_critique(critique.text, constitution.no_problem)
    round_ = Revision(number, principle.id, principle.version, critique, outcome, None)
    if not round_.found_problem and plan.skip_revision_if == "critique_none":
        return round_ if outcome == "no-problem" else replace(round_, guards=("unreviewed",))
    said = _shown_critique(round_)
    asked = messages.revision(constitution, principle, conversation, said)
    sampling = draws.sampling(prompt, "revision", number)
    (revised,) = generations((yield Ask("generator", "revision", (Generate(asked, sampling),))))
    text = strip_preamble(revised.text)
    written = replace(revised, text=text)
    guards = guard(prompt, first, before, said, written, constitution.no_problem)
    if outcome != "problem":  # nothing was named, so keeping the text is right
        guards = tuple(g for g in guards if g != "unchanged")
    stripped = None if text == revised.text else text
    return replace(round_, response=revised, guards=guards, stripped=stripped)


def critiqued(
    constitution: Constitution,
    draws: Draws,
    prompt: Prompt,
    conversation: Messages,
    number: int,
    principle: Principle,
) -> Steps[Generation]:
    """Ask the critic about the last response of a conversation."""
    asked = messages.critique(constitution, principle, conversation)
    sampling = draws.sampling(prompt, "critique", number)
    (critique,) = generations((yield Ask("critic", "critique", (Generate(asked, sampling),))))
    return critique


def _shown_critique(revision: Revision) -> str | None:
    """The critique as later turns show it: None where there was none, or it was no verdict."""
    verdict = revision.outcome in ("problem", "no-problem")
    return revision.critique.text if revision.critique and verdict else None


def _seen_next(
    prompt: Prompt,
    constitution: Constitution,
    conversation: Messages,
    principle: Principle,
    revision: Revision,
) -> Messages:
    """What the next round is shown: the revision as the response, or the whole exchange."""
    assert revision.text is not None
    latest = Message("assistant", revision.text)
    if constitution.plan.history == "replace":
        return (*prompt.messages, latest)
    said = _shown_critique(revision)
    return (*messages.exchange(constitution, principle, conversation, said), latest)


def _check(
    prompt: Prompt, constitution: Constitution, draws: Draws, final: str
) -> Steps[tuple[Check, ...]]:
    """Ask every principle once more about the final response: one prefix, a suffix each."""
    conversation = (*prompt.messages, Message("assistant", final))
    asked = tuple(
        Score(
            messages.critique(constitution, member.principle, conversation),
            constitution.no_problem,
        )
        for member in constitution.members
    )
    found, _ = yield from scored(Ask("critic", "check", asked), prompt, draws)
    ids = (member.principle.id for member in constitution.members)
    return tuple(Check(i, s) for i, s in zip(ids, found, strict=True))


def _trace_id(
    prompt: Prompt, response: Generation, revisions: list[Revision], checks: tuple[Check, ...]
) -> str:
    """A name that depends on all that happened, and on nothing else."""
    steps = [response.key]
    for r in revisions:
        steps += [g.key if g else "" for g in (r.critique, r.response)]
    steps += [c.scores.key for c in checks]
    return "t-" + digest([prompt.id, [r.principle_id for r in revisions], steps])[:16]
