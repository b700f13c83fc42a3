"""The feedback stage: which of two responses is better, as a probability.

`letters` follows Bai et al. 2022, section 4.1: the judge picks (A) or (B), and the label is the
normalised probability of the two letters; with chain of thought (section 4.3) it reasons first and
the probability is clamped. Departures: both orders are asked and their logits averaged, since
judges favour a position (Lee et al. 2023, section 2.1); a pair may be judged under every principle,
and where verdicts are averaged their logits are capped softly. A lone verdict is the label.

`pointwise` is ours: under a principle, how likely is it that a critique of this response finds no
problem? The preference is the difference of the two logits. There is no position to be biased by,
and all principles share the prefix of conversation and response.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

from cai.constitution import messages
from cai.digest import digest
from cai.pipeline.pointwise import capped_logit, no_problem_scores, pointwise_judgements
from cai.pipeline.steps import Ask, Draws, Steps, ask_scores, generations, scores
from cai.stats import logit, sigmoid
from cai.text import seeds
from cai.types import (
    Comparison,
    Constitution,
    Generate,
    Generation,
    Judgement,
    Member,
    Messages,
    Prompt,
    Score,
    Scores,
)


def compare(
    prompt: Prompt, pair: int, constitution: Constitution, draws: Draws
) -> Steps[Comparison]:
    """Sample two responses and have the judge compare them under this pair's principles."""
    sides = tuple(
        Generate(prompt.messages, draws.sampling(prompt, "pair", pair, side)) for side in (0, 1)
    )
    first, second = generations((yield Ask("generator", "pair", sides)))
    judgements: tuple[Judgement, ...] = ()
    members = judging_principles(prompt, pair, constitution, draws.seed)
    if first.text != second.text:
        judge = _pointwise if constitution.feedback.judging == "pointwise" else _letters
        texts = _Pair(prompt, pair, first.text, second.text)
        judgements = yield from judge(texts, constitution, draws, members)
    return make_comparison(prompt, pair, constitution, members, (first, second), judgements)


def make_comparison(
    prompt: Prompt,
    pair: int,
    constitution: Constitution,
    members: Sequence[Member],
    responses: tuple[Generation, Generation],
    judgements: tuple[Judgement, ...],
) -> Comparison:
    """The comparison that judgements under some principles amount to."""
    p_ab = p_ba = None
    if constitution.feedback.judging == "letters" and judgements:
        p_ab = _mean(constitution, members, [(j, [j.p_first]) for j in judgements])
        swapped = [(j, [j.p_first_swapped]) for j in judgements if j.p_first_swapped is not None]
        p_ba = _mean(constitution, members, swapped) if swapped else None
    steps = [*(r.key for r in responses), *(s.key for j in judgements for s in j.scores)]
    return Comparison(
        id="c-" + digest([prompt.id, pair, [m.principle.id for m in members], steps])[:16],
        prompt=prompt,
        pair=pair,
        responses=responses,
        judgements=judgements,
        probability=preference(constitution, members, judgements),
        mode=constitution.feedback.judging,
        p_ab=p_ab,
        p_ba=p_ba,
    )


def judging_principles(
    prompt: Prompt, pair: int, constitution: Constitution, seed: int
) -> tuple[Member, ...]:
    """The principles that a pair is judged under: all, or some drawn by weight."""
    members = constitution.phase("rl")
    count = constitution.feedback.principles_per_pair
    if count == "all":
        return members
    remaining = {m.principle.id: m for m in members}
    out: list[Member] = []
    while remaining and len(out) < count:
        weights = {name: m.weight for name, m in remaining.items()}
        name = seeds.draw(weights, seed, prompt.id, "judge", pair, len(out))
        out.append(remaining.pop(name))
    return tuple(out)


def preference(
    constitution: Constitution, members: Sequence[Member], judgements: Sequence[Judgement]
) -> float:
    """The soft label of a pair: the principles' verdicts as one probability.

    Their logits are averaged by weight, both orders counting half each. A principle that was drawn
    alone needs no weight: the average is its verdict. 0.5 without judgements.
    """
    if not judgements:
        return 0.5
    orders = [
        (j, [j.p_first] if j.p_first_swapped is None else [j.p_first, j.p_first_swapped])
        for j in judgements
    ]
    p = _mean(constitution, members, orders)
    if constitution.feedback.clamp:
        low, high = constitution.feedback.clamp
        p = min(max(p, low), high)
    return p


def _mean(
    constitution: Constitution,
    members: Sequence[Member],
    verdicts: Sequence[tuple[Judgement, Sequence[float]]],
) -> float:
    """The mean of the verdicts' logits over orders and by weight, as a probability.

    Several letter verdicts are capped here; pointwise logits were capped response by response.
    """
    several = sum(len(orders) for _, orders in verdicts) > 1
    letters = constitution.feedback.judging == "letters"
    to_logit = capped_logit if letters and several else logit
    weight = {m.principle.id: m.weight for m in members}
    total = sum(weight[j.principle_id] for j, _ in verdicts)
    mean = sum(
        weight[j.principle_id] * math.fsum(map(to_logit, orders)) / len(orders)
        for j, orders in verdicts
    )
    return sigmoid(mean / total / constitution.feedback.temperature)


class _Pair(NamedTuple):
    """A pair of responses to judge, with its number among the prompt's pairs."""

    prompt: Prompt
    number: int
    first: str
    second: str


def _pointwise(
    pair: _Pair, constitution: Constitution, draws: Draws, members: Sequence[Member]
) -> Steps[tuple[Judgement, ...]]:
    """Per principle: σ(cap(logit P(no problem | first)) − cap(logit P(no problem | second)))."""
    sides: list[tuple[Scores, ...]] = []
    thoughts: list[tuple[Generation, ...]] = []
    for side, text in enumerate((pair.first, pair.second)):
        requests = no_problem_scores(pair.prompt, constitution, members, text)
        side_scores, thought = yield from ask_scores(
            Ask("judge", "judgement", requests), pair.prompt, draws, pair.number, side
        )
        sides.append(side_scores)
        thoughts.append(thought)
    return pointwise_judgements(members, (sides[0], sides[1]), (thoughts[0], thoughts[1]))


class _OrderVerdict(NamedTuple):
    """A verdict under one principle in one order: `p` that the response shown as (A) is better."""

    p: float
    scores: tuple[Scores, ...]
    reasoning: tuple[Generation, ...]


def _letters(
    pair: _Pair, constitution: Constitution, draws: Draws, members: Sequence[Member]
) -> Steps[tuple[Judgement, ...]]:
    """Per principle: the normalised probability of the two letters.

    Against position bias, both orders are asked where the constitution says so.
    """
    in_order = yield from _one_order(pair, 0, constitution, draws, members)
    swapped: Sequence[_OrderVerdict | None] = [None] * len(members)
    if constitution.feedback.both_orders:
        swapped = yield from _one_order(pair, 1, constitution, draws, members)
    return tuple(
        Judgement(
            member.principle.id,
            member.principle.version,
            view.p,
            1 - other.p if other else None,
            view.scores + (other.scores if other else ()),
            view.reasoning + (other.reasoning if other else ()),
        )
        for member, view, other in zip(members, in_order, swapped, strict=True)
    )


def _one_order(
    pair: _Pair, order: int, constitution: Constitution, draws: Draws, members: Sequence[Member]
) -> Steps[list[_OrderVerdict]]:
    """Ask every principle with the first response as (A), or in order 1 with the second."""
    a, b = (pair.first, pair.second) if order == 0 else (pair.second, pair.first)
    questions = [
        messages.comparison(constitution, m.principle, pair.prompt.messages, a, b) for m in members
    ]
    reasoning: Sequence[tuple[Generation, ...]] = [()] * len(members)
    if constitution.feedback.chain_of_thought:
        places = [(pair.number, order, m.principle.id) for m in members]
        samples = constitution.feedback.reasoning_samples
        reasoning = yield from _reason(pair.prompt, draws, questions, places, samples)
    if constitution.feedback.chain_of_thought:
        group = tuple(
            Score(conversation, messages.ANSWERS, messages.after_reasoning(g.text), g.reasoning)
            for conversation, chains in zip(questions, reasoning, strict=True)
            for g in chains
        )
        answers = scores((yield Ask("judge", "judgement", group)))
    else:
        group = tuple(Score(c, messages.ANSWERS, messages.ANSWER_PREFILL) for c in questions)
        answers, thoughts = yield from ask_scores(
            Ask("judge", "judgement", group), pair.prompt, draws, pair.number, order
        )
        reasoning = [(thought,) for thought in thoughts] or reasoning
    remaining = iter(answers)
    verdicts = []
    for chains in reasoning:
        sample_answers = tuple(itertools.islice(remaining, max(1, len(chains))))
        verdicts.append(_OrderVerdict(_first_letter(sample_answers), sample_answers, chains))
    return verdicts


def _reason(
    prompt: Prompt,
    draws: Draws,
    questions: Sequence[Messages],
    places: Sequence[tuple[object, ...]],
    samples: int,
) -> Steps[tuple[tuple[Generation, ...], ...]]:
    """Sample the judge's chain of thought, `samples` times for each question."""
    stop = (messages.REASONING_STOP,)
    group = tuple(
        Generate(conversation, draws.sampling(prompt, "reasoning", *place, n, stop=stop))
        for conversation, place in zip(questions, places, strict=True)
        for n in range(samples)
    )
    chains = generations((yield Ask("judge", "reasoning", group)))
    return tuple(chains[i : i + samples] for i in range(0, len(chains), samples))


def _first_letter(answers: Sequence[Scores]) -> float:
    """Mean over samples of p(A) / (p(A) + p(B))."""
    return math.fsum(sigmoid(s.logprobs[0] - s.logprobs[1]) for s in answers) / len(answers)
