"""What a guard does to an answer, as procedures in the style of a build's.

`revise` is the supervised stage of a build at answer time. `best_of_n` draws n answers and takes
the best (Nakano et al. 2021, section 3.2), by a reward model or by the constitution's pointwise
judgement. `filter_answer` asks for each principle how likely the critic finds no problem. Each ends
in a trace whose text is sent, or in one whose text is withheld.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple, TypeAlias

from cai.data.sft import candidates
from cai.guard.config import GuardConfig
from cai.guard.request import RequestDraws
from cai.pipeline.compare import make_comparison
from cai.pipeline.pointwise import no_problem_scores, pointwise_judgements, response_score
from cai.pipeline.revise import (
    RoundStart,
    check_response,
    make_trace,
    revise,
    revision_round,
)
from cai.pipeline.steps import Ask, Steps, ask_scores, generations
from cai.stats import sigmoid
from cai.types import (
    Check,
    Comparison,
    Constitution,
    Generate,
    Generation,
    Judgement,
    Message,
    Messages,
    Principle,
    Prompt,
    Revision,
    Scores,
    Trace,
    Withheld,
)

Ranking: TypeAlias = Callable[[Messages, Sequence[str]], Sequence[float]]
"""A score for each response to a conversation, as a reward model gives it: higher is better, and
σ(a - b) is the probability that a is the better one."""

ACCEPTED_GUARDS = frozenset(("truncated",))
"""Guards of a build that hold back no answer: a sender may ask for few tokens."""


class GuardOutcome(NamedTuple):
    """What came of a request: its trace, the answers that were passed over, and the failure.

    first: the answer that would have been sent without a guard. failure: what critic or reviser
    failed at, where the answer was sent all the same.
    """

    trace: Trace
    first: Generation
    comparisons: tuple[Comparison, ...] = ()
    failure: str = ""

    @property
    def text(self) -> str:
        """The text that is sent."""
        return self.trace.withheld.text if self.trace.withheld else self.trace.final


def guarded(
    prompt: Prompt,
    constitution: Constitution,
    draws: RequestDraws,
    config: GuardConfig,
    ranking: Ranking | None = None,
) -> Steps[GuardOutcome]:
    """The procedure of a guard's mode, under the constitution of `guard_rules`.

    ranking: of best-of-n, where the constitution does not judge.
    """
    if config.mode == "best-of-n":
        return best_of_n(prompt, constitution, draws, config, ranking)
    if config.mode == "filter":
        return filter_answer(prompt, constitution, draws, config)
    return revise_answer(prompt, constitution, draws, config)


def revise_answer(
    prompt: Prompt, constitution: Constitution, draws: RequestDraws, config: GuardConfig
) -> Steps[GuardOutcome]:
    """Critique and revise the answer by the constitution's plan, then require what may be sent."""
    trace = yield from revise(prompt, constitution, draws)
    return require_sendable(GuardOutcome(trace, trace.response), config)


def filter_answer(
    prompt: Prompt, constitution: Constitution, draws: RequestDraws, config: GuardConfig
) -> Steps[GuardOutcome]:
    """Check the answer under every principle; below the threshold it is revised or withheld.

    Each round revises under the principle that the text then fails worst, and is checked anew.
    """
    sampling = draws.sampling(prompt, "response")
    (response,) = generations(
        (yield Ask("generator", "response", (Generate(prompt.messages, sampling),)))
    )
    revisions: list[Revision] = []
    text = response.text
    checks = yield from check_response(prompt, constitution, draws, text)
    rounds = constitution.plan.rounds if config.below == "revise" else 0
    for number in range(rounds):
        worst = _worst(checks, config.least)
        if worst is None:
            break
        start = RoundStart(prompt, response.text, (*prompt.messages, Message("assistant", text)))
        principle = _principle(constitution, worst.principle_id)
        revision = yield from revision_round(constitution, draws, start, number, principle)
        revisions.append(revision)
        if revision.text is None:
            break
        text = revision.text
        checks = yield from check_response(prompt, constitution, draws, text)
    trace = make_trace(prompt, response, revisions, checks)
    return require_sendable(GuardOutcome(trace, response), config)


def best_of_n(
    prompt: Prompt,
    constitution: Constitution,
    draws: RequestDraws,
    config: GuardConfig,
    ranking: Ranking | None = None,
) -> Steps[GuardOutcome]:
    """Draw n answers and take the one with the highest score; the first of equals."""
    members = constitution.phase("rl")
    answers = yield from _draw_answers(prompt, draws, config.n)
    texts = tuple(dict.fromkeys(answer.text for answer in answers))
    judgements: dict[str, _ResponseJudgement] = {}
    if ranking is None or config.least > 0:
        judgements = yield from _judge_each(prompt, constitution, draws, texts)
    if ranking is None:
        scores = {text: response_score(members, judgements[text].scores) for text in texts}
    else:
        scores = dict(zip(texts, ranking(prompt.messages, texts), strict=True))
    best = max(answers, key=lambda answer: scores[answer.text])
    comparisons: list[Comparison] = []
    for answer in _each_text_once(answers, without=best):
        verdicts: tuple[Judgement, ...] = ()
        if ranking is None:
            a, b = judgements[best.text], judgements[answer.text]
            sides = (a.scores, b.scores), (a.reasoning, b.reasoning)
            verdicts = pointwise_judgements(members, *sides)
        pair = best, answer
        comparison = make_comparison(
            prompt, len(comparisons), constitution, members, pair, verdicts
        )
        if ranking is not None:
            p = sigmoid(scores[best.text] - scores[answer.text])
            comparison = replace(comparison, probability=p)
        comparisons.append(comparison)
    checks: tuple[Check, ...] = ()
    if best.text in judgements:
        pairs = zip(members, judgements[best.text].scores, strict=True)
        checks = tuple(Check(member.principle.id, score) for member, score in pairs)
    trace = make_trace(prompt, best, (), checks)
    return require_sendable(GuardOutcome(trace, answers[0], tuple(comparisons)), config)


def _draw_answers(prompt: Prompt, draws: RequestDraws, n: int) -> Steps[tuple[Generation, ...]]:
    """n answers, the first as a model without a guard draws it; one where all would be the same."""
    first = draws.sampling(prompt, "response")
    count = 1 if first.temperature == 0 else n
    others = [draws.sampling(prompt, "response", number) for number in range(1, count)]
    group = tuple(Generate(prompt.messages, sampling) for sampling in (first, *others))
    return generations((yield Ask("generator", "response", group)))


class _ResponseJudgement(NamedTuple):
    """The judge's scores of a response, and its reasoning before each."""

    scores: tuple[Scores, ...]
    reasoning: tuple[Generation, ...]


def _judge_each(
    prompt: Prompt, constitution: Constitution, draws: RequestDraws, texts: Sequence[str]
) -> Steps[dict[str, _ResponseJudgement]]:
    """The judge's scores of each text under the principles that judge."""
    out: dict[str, _ResponseJudgement] = {}
    for number, text in enumerate(texts):
        requests = no_problem_scores(prompt, constitution, constitution.phase("rl"), text)
        ask = Ask("judge", "judgement", requests)
        scores, reasoning = yield from ask_scores(ask, prompt, draws, "best-of-n", number)
        out[text] = _ResponseJudgement(scores, reasoning)
    return out


def require_sendable(outcome: GuardOutcome, config: GuardConfig) -> GuardOutcome:
    """Withhold the final text where it may not be sent.

    An unusable text (see `cai.pipeline.guards`) is a failure: closed, it is withheld; open, the
    latest usable text stands, else the first. A text below the threshold is withheld either way.
    """
    trace, failure = outcome.trace, ""
    final = candidates(trace)[-1]
    if faults := [guard for guard in final.guards if guard not in ACCEPTED_GUARDS]:
        failure = f"guarded: {', '.join(faults)}"
        if config.on_failure == "closed":
            return _withhold(outcome, config.refusal, failure)
        usable = [c.text for c in candidates(trace) if not set(c.guards) - ACCEPTED_GUARDS]
        text = usable[-1] if usable else trace.response.text
        if text != trace.final:
            return _withhold(outcome, text, failure)._replace(failure=failure)
    if worst := _worst(trace.checks, config.least):
        reason = f"{worst.principle_id}: {worst.scores.mass:.3g} is below {config.least:g}"
        return _withhold(outcome, config.refusal, reason)
    return outcome._replace(failure=failure)


def _withhold(outcome: GuardOutcome, text: str, reason: str) -> GuardOutcome:
    return outcome._replace(trace=replace(outcome.trace, withheld=Withheld(text, reason)))


def _worst(checks: Sequence[Check], least: float) -> Check | None:
    """The check with the least probability of "no problem", where it is below `least`."""
    worst = min(checks, key=lambda check: check.scores.mass, default=None)
    return worst if worst is not None and worst.scores.mass < least else None


def _principle(constitution: Constitution, principle_id: str) -> Principle:
    return next(m.principle for m in constitution.members if m.principle.id == principle_id)


def _each_text_once(answers: Sequence[Generation], without: Generation) -> list[Generation]:
    by_text = {answer.text: answer for answer in reversed(answers)}
    return [a for a in answers if a is by_text[a.text] and a.text != without.text]
