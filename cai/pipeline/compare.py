"""The feedback stage: which of two responses is better, as a probability.

`letters` follows Bai et al. 2022, section 4.1: the judge picks (A) or (B), and the label is the
normalised probability of the two letters; with chain of thought (section 4.3) it reasons first and
the probability is clamped. Departures: both orders are asked and their logits averaged, since
judges favour a position (Lee et al. 2023, section 2.1); a pair may be judged under every principle.

`pointwise` is ours: under a principle, how likely is it that a critique of this response finds no
problem? The preference is the difference of the two logits. There is no position to be biased by,
and all principles share the prefix of conversation and response.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from cai.constitution import messages
from cai.digest import digest
from cai.pipeline.steps import Ask, Draws, Steps, generations, scores
from cai.text import seeds
from cai.types import (
    Comparison,
    Constitution,
    Generate,
    Generation,
    Judgement,
    Member,
    Message,
    Messages,
    Prompt,
    Score,
    Scores,
)

LOGIT_BOUND = 5.0
"""One response's pointwise logit is clipped to ±5 (0.7 % to 99.3 %), so that one principle of which
the judge is very sure does not silence the others."""


def compare(
    prompt: Prompt, pair: int, constitution: Constitution, draws: Draws
) -> Steps[Comparison]:
    """Sample two responses and judge them under the principles drawn for this pair."""
    sides = tuple(
        Generate(prompt.messages, draws.sampling(prompt, "pair", pair, side)) for side in (0, 1)
    )
    first, second = generations((yield Ask("generator", "pair", sides)))
    judgements: tuple[Judgement, ...] = ()
    members = judges(prompt, pair, constitution, draws.seed)
    if first.text != second.text:
        judge = _pointwise if constitution.feedback.mode == "pointwise" else _letters
        judgements = yield from judge(prompt, pair, constitution, draws, members, first, second)
    probability = preference(constitution, members, judgements)
    steps = [first.key, second.key, *(s.key for j in judgements for s in j.scores)]
    return Comparison(
        id="c-" + digest([prompt.id, pair, [m.principle.id for m in members], steps])[:16],
        prompt=prompt,
        pair=pair,
        responses=(first, second),
        judgements=judgements,
        probability=probability,
        mode=constitution.feedback.mode,
    )


def judges(prompt: Prompt, pair: int, constitution: Constitution, seed: int) -> tuple[Member, ...]:
    """The principles that judge a pair: all, or some drawn by weight without replacement."""
    members = constitution.phase("rl")
    wanted = constitution.feedback.principles_per_pair
    if wanted == "all":
        return members
    left = {m.principle.id: m for m in members}
    out: list[Member] = []
    while left and len(out) < wanted:
        weights = {name: m.weight for name, m in left.items()}
        name = seeds.draw(weights, seed, prompt.id, "judge", pair, len(out))
        out.append(left.pop(name))
    return tuple(out)


def preference(
    constitution: Constitution, members: Sequence[Member], judgements: Sequence[Judgement]
) -> float:
    """One probability from the principles' verdicts: their logits averaged by weight.

    Both orders count half each. With one principle drawn its weight was spent in the draw, so
    the average is the verdict itself. 0.5 where nothing was judged.
    """
    if not judgements:
        return 0.5
    weight = {m.principle.id: m.weight for m in members}
    total = sum(weight[j.principle_id] for j in judgements)
    mean = sum(weight[j.principle_id] * _verdict(j) for j in judgements) / total
    p = sigmoid(mean / constitution.feedback.temperature)
    if constitution.feedback.clamp:
        low, high = constitution.feedback.clamp
        p = min(max(p, low), high)
    return p


def _verdict(judgement: Judgement) -> float:
    orders = [judgement.p_first]
    if judgement.p_first_swapped is not None:
        orders.append(judgement.p_first_swapped)
    return sum(logit(p) for p in orders) / len(orders)


def _pointwise(
    prompt: Prompt,
    pair: int,
    constitution: Constitution,
    draws: Draws,
    members: Sequence[Member],
    first: Generation,
    second: Generation,
) -> Steps[tuple[Judgement, ...]]:
    """Per principle: σ(logit P(no problem | first) − logit P(no problem | second))."""
    del pair, draws  # nothing is drawn
    sides: list[tuple[Scores, ...]] = []
    for response in (first, second):
        conversation = (*prompt.messages, Message("assistant", response.text))
        asked = tuple(
            Score(
                messages.critique(constitution, m.principle, conversation), constitution.no_problem
            )
            for m in members
        )
        sides.append(scores((yield Ask("judge", "judgement", asked))))
    out = []
    for member, a, b in zip(members, *sides, strict=True):
        p = sigmoid(_no_problem(a) - _no_problem(b))
        principle = member.principle
        out.append(Judgement(principle.id, principle.version, p, p, (a, b)))
    return tuple(out)


def _no_problem(found: Scores) -> float:
    """Logit of the probability that the critique is one of the `no_problem` sentences, clipped."""
    p = math.fsum(math.exp(x) for x in found.logprobs)
    return min(max(logit(min(p, 1.0)), -LOGIT_BOUND), LOGIT_BOUND)


def _letters(
    prompt: Prompt,
    pair: int,
    constitution: Constitution,
    draws: Draws,
    members: Sequence[Member],
    first: Generation,
    second: Generation,
) -> Steps[tuple[Judgement, ...]]:
    """Per principle and order: the normalised probability of the two letters."""
    feedback = constitution.feedback
    orders = ((first, second), (second, first))[: 2 if feedback.both_orders else 1]
    answered: list[list[tuple[float, tuple[Scores, ...], tuple[Generation, ...]]]] = []
    for order, (a, b) in enumerate(orders):
        asked = [
            messages.comparison(constitution, m.principle, prompt.messages, a.text, b.text)
            for m in members
        ]
        reasoning: tuple[tuple[Generation, ...], ...] = ((),) * len(members)
        if feedback.chain_of_thought:
            seeds_at = [(pair, order, m.principle.id) for m in members]
            samples = feedback.reasoning_samples
            reasoning = yield from _reason(prompt, draws, asked, seeds_at, samples)
        plain = (messages.ANSWER_PREFILL,)
        group = tuple(
            Score(conversation, messages.ANSWERS, prefill)
            for conversation, said in zip(asked, reasoning, strict=True)
            for prefill in (tuple(messages.after_reasoning(g.text) for g in said) or plain)
        )
        found = scores((yield Ask("judge", "judgement", group)))
        each = len(found) // len(members)
        parts = [found[i : i + each] for i in range(0, len(found), each)]
        answered.append(
            [(_first_letter(s), s, said) for s, said in zip(parts, reasoning, strict=True)]
        )
    out = []
    for member, *views in zip(members, *answered, strict=True):
        (p, found, said), *swapped = views
        p_swapped = None
        for q, more, also in swapped:
            p_swapped, found, said = 1.0 - q, found + more, said + also
        principle = member.principle
        out.append(Judgement(principle.id, principle.version, p, p_swapped, found, said))
    return tuple(out)


def _reason(
    prompt: Prompt,
    draws: Draws,
    asked: Sequence[Messages],
    seeds_at: Sequence[tuple[object, ...]],
    samples: int,
) -> Steps[tuple[tuple[Generation, ...], ...]]:
    """Let the judge think aloud, `samples` times for each question."""
    stop = (messages.REASONING_STOP,)
    group = tuple(
        Generate(conversation, draws.sampling(prompt, "reasoning", *place, n, stop=stop))
        for conversation, place in zip(asked, seeds_at, strict=True)
        for n in range(samples)
    )
    said = generations((yield Ask("judge", "reasoning", group)))
    return tuple(said[i : i + samples] for i in range(0, len(said), samples))


def _first_letter(found: Sequence[Scores]) -> float:
    """Mean over samples of p(A) / (p(A) + p(B))."""
    return math.fsum(sigmoid(s.logprobs[0] - s.logprobs[1]) for s in found) / len(found)


def sigmoid(x: float) -> float:
    """1 / (1 + e^-x), safe for large |x|."""
    return 1.0 / (1.0 + math.exp(-x)) if x >= 0 else math.exp(x) / (1.0 + math.exp(x))


def logit(p: float) -> float:
    """ln(p / (1 - p)); probabilities are kept 1e-9 away from 0 and 1."""
    p = min(max(p, 1e-9), 1 - 1e-9)
    return math.log(p / (1 - p))
