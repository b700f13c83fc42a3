"""The feedback stage with known numbers."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cai.pipeline.compare import compare, judging_principles
from cai.pipeline.steps import Ask, Draws
from cai.stats import sigmoid
from cai.types import Feedback, Generate, Member, Request, Result, Score, Scores
from tests.factories import constitution, generation, last, play, principle, prompt, scores

DRAWS = Draws(seed=3)


def answerer(letters: dict[str, float], texts: tuple[str, str] = ("good", "bad")) -> object:
    """Two responses; a judge that gives `letters[text]` as the log-odds of (A) when it reads A."""
    sides = iter(texts)

    def answer(ask: Ask, request: Request) -> Result:
        if ask.stage == "pair":
            return generation(next(sides))
        if ask.stage == "reasoning":
            return generation("(A) is kind.")
        assert isinstance(request, Score)
        shown = last(request).split("(A) ")[1].split("\n")[0]
        return scores(letters[shown], 0.0, key=f"{shown}:{last(request)[-20:]}{request.prefill}")

    return answer


def test_letters_in_both_orders() -> None:
    """First order: log-odds 2 for (A) = first. Swapped: log-odds -1 for (A) = second, so +1 for
    the first. Capped, 5 tanh(0.4) = 1.89974 and 5 tanh(0.2) = 0.98688. Mean 1.44331: 0.80897.
    """
    rules = constitution("rude", feedback=Feedback(mode="letters"))
    outcome, asks = play(compare(prompt(), 0, rules, DRAWS), answerer({"good": 2.0, "bad": -1.0}))  # type: ignore[arg-type]
    (judgement,) = outcome.judgements
    assert judgement.p_first == pytest.approx(sigmoid(2))
    assert judgement.p_first_swapped == pytest.approx(sigmoid(1))
    assert outcome.probability == pytest.approx(0.80897, abs=1e-5)
    assert (outcome.p_ab, outcome.p_ba) == pytest.approx((sigmoid(2), sigmoid(1)))
    assert not judgement.flipped
    assert [a.stage for a in asks] == ["pair", "judgement", "judgement"]
    assert asks[1].group[0].prefill == "("
    assert [g.text for g in outcome.responses] == ["good", "bad"]


def test_a_judge_that_always_says_a_is_a_flip_and_a_tie() -> None:
    rules = constitution("rude", feedback=Feedback(mode="letters"))
    outcome, _ = play(compare(prompt(), 0, rules, DRAWS), answerer({"good": 2.0, "bad": 2.0}))  # type: ignore[arg-type]
    assert outcome.judgements[0].flipped
    assert outcome.probability == pytest.approx(0.5)


def test_a_saturated_principle_does_not_decide_alone() -> None:
    """Log-odds 18 under "rude", -3 and -3 under "vague" and "harmful". Uncapped the mean is
    (18 - 6) / 3 = 4, 0.982. Capped, 5 tanh(3.6) = 4.99254 and 5 tanh(-0.6) = -2.68525 twice: mean
    (4.99254 - 5.37050) / 3 = -0.12599: σ = 0.46854, so the two outvote the one.
    """
    feedback = Feedback(mode="letters", both_orders=False)
    rules = constitution("rude", "vague", "harmful", feedback=feedback)
    sides = iter(("good", "bad"))

    def answer(ask: Ask, request: Request) -> Result:
        if ask.stage == "pair":
            return generation(next(sides))
        return scores(18.0 if "rude" in last(request) else -3.0, 0.0)

    outcome, _ = play(compare(prompt(), 0, rules, DRAWS), answer)
    assert outcome.probability == pytest.approx(0.46854, abs=1e-5)
    assert outcome.judgements[0].p_first == pytest.approx(sigmoid(18)), "kept as it was given"


def test_one_order() -> None:
    rules = constitution("rude", feedback=Feedback(mode="letters", both_orders=False))
    outcome, asks = play(compare(prompt(), 0, rules, DRAWS), answerer({"good": 2.0}))  # type: ignore[arg-type]
    assert outcome.judgements[0].p_first_swapped is None
    assert outcome.probability == pytest.approx(sigmoid(2))
    assert len(asks) == 2


def test_reasoning_comes_first_and_the_label_is_clamped() -> None:
    feedback = Feedback(
        mode="letters", chain_of_thought=True, reasoning_samples=2, clamp=(0.4, 0.6)
    )
    rules = constitution("rude", "vague", feedback=feedback)
    outcome, asks = play(compare(prompt(), 0, rules, DRAWS), answerer({"good": 9.0, "bad": -9.0}))  # type: ignore[arg-type]
    assert outcome.probability == 0.6
    # Orders are shown before the clamp: two principles of log-odds 9, capped 5 tanh(1.8) = 4.73403.
    assert outcome.p_ab == pytest.approx(0.99129, abs=1e-5)
    assert [a.stage for a in asks] == ["pair", *["reasoning", "judgement"] * 2]
    assert len(asks[1].group) == 4
    assert asks[2].group[0].prefill == "(A) is kind. The answer is: ("
    assert len({g.sampling.seed for a in asks for g in a.group if a.stage == "reasoning"}) == 8  # type: ignore[union-attr]
    assert len(outcome.judgements[0].reasoning) == 4


def test_a_judge_that_thinks_reasons_once_for_a_question() -> None:
    """With chain of thought its answer is the rationale: scored behind it and behind its thinking,
    which is not asked for again."""
    feedback = Feedback(mode="letters", chain_of_thought=True, reasoning_samples=2)
    rules = constitution("rude", feedback=feedback)
    draws = Draws(seed=3, reasoners=frozenset({"judge"}))
    plain = answerer({"good": 2.0, "bad": -1.0})

    def answer(ask: Ask, request: Request) -> Result:
        if ask.stage != "reasoning":
            return plain(ask, request)  # type: ignore[operator, no-any-return]
        assert isinstance(request, Generate)
        return replace(generation("(A) is kind."), reasoning=f"Hm {request.sampling.seed}.")

    outcome, asks = play(compare(prompt(), 0, rules, draws), answer)
    assert [a.stage for a in asks] == ["pair", *["reasoning", "judgement"] * 2]
    for thinking, judging in (asks[1:3], asks[3:5]):
        seeds = [g.sampling.seed for g in thinking.group if isinstance(g, Generate)]
        behind = [s for s in judging.group if isinstance(s, Score)]
        assert [s.reasoning for s in behind] == [f"Hm {seed}." for seed in seeds]
        assert {s.prefill for s in behind} == {"(A) is kind. The answer is: ("}
    assert len(outcome.judgements[0].reasoning) == 4


def test_pointwise_is_the_difference_of_two_logits() -> None:
    """P(no problem) 0.8 for the first and 0.5 for the second under "rude": logits 1.38629 and 0.
    Capped, 5 tanh(1.38629 / 5) = 1.35183 and 0: σ(1.35183) = 0.79443. Under "vague" 0.5 and 0.5:
    0.5. The mean of 1.35183 and 0 is 0.67592: σ = 0.66283.
    """
    table = {
        ("good", "rude"): 0.8,
        ("bad", "rude"): 0.5,
        ("good", "vague"): 0.5,
        ("bad", "vague"): 0.5,
    }
    sides = iter(("good", "bad"))

    def answer(ask: Ask, request: Request) -> Result:
        if ask.stage == "pair":
            return generation(next(sides))
        name = "rude" if "rude" in last(request) else "vague"
        return scores(math.log(table[request.messages[-2].content, name]))

    rules = constitution("rude", "vague", feedback=Feedback(mode="pointwise"))
    outcome, asks = play(compare(prompt(), 0, rules, DRAWS), answer)
    assert [j.p_first for j in outcome.judgements] == pytest.approx([0.79443, 0.5], abs=1e-5)
    assert {j.p_first_swapped for j in outcome.judgements} == {None}
    assert (outcome.p_ab, outcome.p_ba) == (None, None)
    assert outcome.probability == pytest.approx(0.66283, abs=1e-5)
    assert [len(a.group) for a in asks] == [2, 2, 2]


def test_pointwise_sums_the_phrases_and_caps() -> None:
    """0.3 + 0.2 = 0.5 has logit 0; that of 1, kept 1e-9 below, is 20.72, capped
    5 tanh(4.1446) = 4.99749: σ = 0.99329.
    """
    sides = iter(("good", "bad"))

    def answer(ask: Ask, request: Request) -> Result:
        if ask.stage == "pair":
            return generation(next(sides))
        if request.messages[-2].content == "good":
            return scores(0.0, -40.0)
        return scores(math.log(0.3), math.log(0.2))

    rules = constitution("rude", feedback=Feedback(mode="pointwise"))
    outcome, _ = play(compare(prompt(), 0, rules, DRAWS), answer)
    assert outcome.probability == pytest.approx(0.99329, abs=1e-5)


def test_a_sentence_that_begins_with_another_is_not_added_to_it() -> None:
    """P("No problem found") = 0.5 holds P("No problem found.") = 0.4; P("All is well.") = 0.1 is
    another: 0.6 against 0.5 + 0. Logits 0.40547 and 0, capped 0.40458: σ = 0.59979. Added up they
    would be 1.0 and 0.9. The mass is the mean of 0.6 and 0.5.
    """
    sides = iter(("good", "bad"))
    options = ("No problem found", "No problem found.", "All is well.")
    masses = {"good": (0.5, 0.4, 0.1), "bad": (0.5, 0.4, 1e-30)}

    def answer(ask: Ask, request: Request) -> Result:
        if ask.stage == "pair":
            return generation(next(sides))
        assert isinstance(request, Score) and request.options == options
        logprobs = tuple(map(math.log, masses[request.messages[-2].content]))
        return Scores(logprobs, options, "model", "rendered", 3, "key")

    rules = constitution("rude", feedback=Feedback(mode="pointwise"), no_problem=options)
    outcome, _ = play(compare(prompt(), 0, rules, DRAWS), answer)
    assert outcome.probability == pytest.approx(0.59979, abs=1e-5)
    assert outcome.mass == pytest.approx(0.55)


@pytest.mark.parametrize(
    ("options", "mass"),
    [
        (("A", "B"), 0.7),
        (("No problem", "No problem found."), 0.5),
        (("No problem.", "No problems."), 0.7),  # neither goes on from the other
        (("No problem.", "No problem."), 0.2),  # the same twice, which real scores are too
    ],
)
def test_mass(options: tuple[str, str], mass: float) -> None:
    """0.5 and 0.2, added up where one is not the other with more behind it."""
    scores = Scores((math.log(0.5), math.log(0.2)), options, "model", "rendered", 3)
    assert scores.mass == pytest.approx(mass)


def test_pointwise_tells_two_failures_apart() -> None:
    """P(no problem) of 0.0025 and 0.0003, logits -5.98896 and -8.11143. Capped 5 tanh(-1.19779) =
    -4.16490 and 5 tanh(-1.62229) = -4.62478: σ(0.45988) = 0.61298. A clip at 5 would call it even.
    """
    sides = iter(("bad", "worse"))
    table = {"bad": 0.0025, "worse": 0.0003}

    def answer(ask: Ask, request: Request) -> Result:
        if ask.stage == "pair":
            return generation(next(sides))
        return scores(math.log(table[request.messages[-2].content]))

    rules = constitution("rude", feedback=Feedback(mode="pointwise"))
    outcome, _ = play(compare(prompt(), 0, rules, DRAWS), answer)
    assert outcome.probability == pytest.approx(0.61298, abs=1e-5)


def test_weights_and_temperature() -> None:
    """Log-odds 2 with weight 3 and -2 with weight 1, capped ±5 tanh(0.4) = ±1.89974: mean 0.94987;
    temperature 2 halves it: σ(0.47494) = 0.61655.
    """
    members = (Member(principle("rude"), 3.0), Member(principle("vague"), 1.0))
    feedback = Feedback(mode="letters", both_orders=False, temperature=2.0)
    rules = constitution(members=members, feedback=feedback)
    sides = iter(("good", "bad"))

    def answer(ask: Ask, request: Request) -> Result:
        if ask.stage == "pair":
            return generation(next(sides))
        return scores(2.0 if "rude" in last(request) else -2.0, 0.0)

    outcome, _ = play(compare(prompt(), 0, rules, DRAWS), answer)
    assert outcome.probability == pytest.approx(0.61655, abs=1e-5)
    assert outcome.p_ab == outcome.probability, "one order: its label is the label"
    assert outcome.p_ba is None


def test_identical_responses_are_not_judged() -> None:
    rules = constitution("rude")
    outcome, asks = play(compare(prompt(), 0, rules, DRAWS), answerer({}, ("same", "same")))  # type: ignore[arg-type]
    assert outcome.judgements == () and outcome.probability == 0.5
    assert len(asks) == 1


def test_judges_are_drawn_for_each_pair() -> None:
    rules = constitution(*"abcd", feedback=Feedback(principles_per_pair=2))
    draws = {
        tuple(m.principle.id for m in judging_principles(prompt(), pair, rules, 0))
        for pair in range(400)
    }
    assert len(draws) == 4 * 3
    assert all(len(set(pair)) == 2 for pair in draws)
