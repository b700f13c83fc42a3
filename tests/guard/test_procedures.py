"""What a guard does to an answer, step by step: every reply and probability is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from cai.errors import UsageError
from cai.guard.answer import answer_of
from cai.guard.config import GuardConfig
from cai.guard.procedures import GuardOutcome, Ranking, guarded
from cai.guard.request import AnswerRequest, RequestDraws
from cai.pipeline.pointwise import capped_logit
from cai.pipeline.steps import Ask
from cai.types import Constitution, Generate, Messages, Request, Result, Score, Scores
from tests.factories import constitution, generation, play, prompt

Reply = Callable[[Ask, Request], Result]
RULES = constitution("rude", "vague")


def no_problem(p: float, key: str) -> Scores:
    return Scores((math.log(p),), ("No problem found.",), "critic", "", 5, key)


def replies(
    answers: Sequence[str],
    clean: Mapping[str, Mapping[str, float]],
    critique: str = "It is rude.",
    revisions: Sequence[str] = (),
) -> Reply:
    """Answers in order; P(no problem) by text and principle; every critique says the same."""
    texts, fixed = iter(answers), iter(revisions)

    def reply(ask: Ask, request: Request) -> Result:
        if isinstance(request, Score):
            text, asked = request.messages[1].content, request.messages[-1].content
            name = next(n for n in ("rude", "vague") if n in asked)
            return no_problem(clean[text][name], f"{text}/{name}")
        if ask.stage == "critique":
            return generation(critique)
        return generation(next(fixed if ask.stage == "revision" else texts))

    return reply


def run(
    config: GuardConfig,
    reply: Reply,
    rules: Constitution = RULES,
    ranking: Ranking | None = None,
    **asked: Any,
) -> tuple[GuardOutcome, list[Ask]]:
    request = AnswerRequest(prompt().messages, **asked)
    draws = RequestDraws(request=request, temperature=1.0)
    return play(guarded(request.seed_prompt(), rules, draws, config, ranking), reply)


# -- filter ----------------------------------------------------------------------------------------


def test_a_filter_sends_what_no_principle_objects_to() -> None:
    outcome, asked = run(
        GuardConfig(mode="filter"), replies(["Fine."], {"Fine.": {"rude": 0.9, "vague": 0.5}})
    )
    assert (outcome.text, outcome.trace.withheld) == ("Fine.", None)
    assert [ask.stage for ask in asked] == ["response", "check"]
    assert answer_of(outcome, 0.0).interventions == ()


def test_a_filter_withholds_what_is_below_the_threshold_under_one_principle() -> None:
    outcome, _ = run(
        GuardConfig(mode="filter", threshold=0.6, refusal="No."),
        replies(["So-so."], {"So-so.": {"rude": 0.9, "vague": 0.59}}),
    )
    answer = answer_of(outcome, 0.0)
    assert (answer.text, answer.finish_reason, answer.changed) == ("No.", "content_filter", True)
    (intervention,) = answer.interventions
    assert (intervention.kind, intervention.principle_id) == ("withheld", "vague")
    assert intervention.reason == "vague: 0.59 is below 0.6"
    assert answer.original.text == outcome.trace.response.text == "So-so."
    assert answer.principles == pytest.approx({"rude": 0.9, "vague": 0.59})


def test_a_filter_may_revise_under_the_principle_that_is_failed_worst() -> None:
    """Round by round: rude at first (0.1), then vague (0.2), then neither."""
    clean = {
        "Bad.": {"rude": 0.1, "vague": 0.3},
        "Kind.": {"rude": 0.9, "vague": 0.2},
        "Kind and exact.": {"rude": 0.9, "vague": 0.8},
    }
    config = GuardConfig(mode="filter", below="revise")
    reply = replies(["Bad."], clean, revisions=["Kind.", "Kind and exact."])
    outcome, asked = run(config, reply)
    stages = ["response", "check", "critique", "revision", "check", "critique", "revision", "check"]
    assert [ask.stage for ask in asked] == stages
    assert outcome.text == "Kind and exact."
    kinds = [(i.kind, i.principle_id) for i in answer_of(outcome, 0.0).interventions]
    assert kinds == [("revised", "rude"), ("revised", "vague")]


def test_what_revision_does_not_mend_is_withheld() -> None:
    clean = {text: {"rude": 0.1, "vague": 0.9} for text in ("Bad.", "Still bad.")}
    config = GuardConfig(mode="filter", below="revise", rounds=1)
    rules = replace(RULES, plan=replace(RULES.plan, rounds=1))
    outcome, _ = run(config, replies(["Bad."], clean, revisions=["Still bad."]), rules)
    assert outcome.text == config.refusal
    assert [i.kind for i in answer_of(outcome, 0.0).interventions] == ["revised", "withheld"]


# -- revise ----------------------------------------------------------------------------------------

ONE_ROUND = replace(RULES, plan=replace(RULES.plan, rounds=1, draw="fixed"))
CLEAN = {text: {"rude": 0.9, "vague": 0.4} for text in ("Bad.", "Better.")}


def test_the_revision_is_sent() -> None:
    outcome, _ = run(GuardConfig(), replies(["Bad."], CLEAN, revisions=["Better."]), ONE_ROUND)
    answer = answer_of(outcome, 1.5)
    assert (answer.text, answer.original.text, answer.finish_reason) == ("Better.", "Bad.", "stop")
    assert [(i.kind, i.principle_id) for i in answer.interventions] == [("revised", "rude")]
    # The answer, the critique, the revision (3 read and 2 written each), and two scores of 5 read.
    assert (answer.tokens.prompt, answer.tokens.response) == (3 * 3 + 2 * 5, 3 * 2)
    assert (answer.answer_tokens.prompt, answer.answer_tokens.response) == (3, 2)


def test_with_a_threshold_the_final_check_decides() -> None:
    outcome, _ = run(
        GuardConfig(threshold=0.5), replies(["Bad."], CLEAN, revisions=["Better."]), ONE_ROUND
    )
    assert outcome.trace.withheld is not None
    assert outcome.trace.withheld.reason == "vague: 0.4 is below 0.5"


LEAK = "The assistant's response is rude."


@pytest.mark.parametrize(
    ("on_failure", "sent", "kind"),
    [("closed", "I can't help with that.", "withheld"), ("open", "Bad.", "replaced")],
)
def test_an_unusable_revision_is_never_sent(on_failure: Any, sent: str, kind: str) -> None:
    clean = CLEAN | {LEAK: {"rude": 0.9, "vague": 0.9}}
    outcome, _ = run(
        GuardConfig(on_failure=on_failure), replies(["Bad."], clean, revisions=[LEAK]), ONE_ROUND
    )
    answer = answer_of(outcome, 0.0)
    assert answer.text == sent
    assert answer.interventions[-1].kind == kind
    assert "point-of-view" in answer.interventions[-1].reason
    assert outcome.trace.final == LEAK  # kept for auditors


@pytest.mark.parametrize(
    ("on_failure", "sent"), [("closed", "I can't help with that."), ("open", "Bad.")]
)
def test_a_critic_without_a_verdict_is_a_failure(on_failure: Any, sent: str) -> None:
    reply = replies(["Bad."], CLEAN, critique="I'm sorry, but I can't assist with that.")
    outcome, _ = run(GuardConfig(on_failure=on_failure), reply, ONE_ROUND)
    answer = answer_of(outcome, 0.0)
    assert answer.text == sent
    assert "unreviewed" in answer.interventions[-1].reason
    assert bool(answer.failure) == (on_failure == "open")


def test_an_answer_that_was_cut_is_sent_as_it_is() -> None:
    def reply(ask: Ask, request: Request) -> Result:
        if isinstance(request, Score):
            return no_problem(0.9, str(request.messages[-1]))
        return generation("A long", finish="length")

    outcome, _ = run(GuardConfig(mode="filter"), reply)
    assert (outcome.text, answer_of(outcome, 0.0).finish_reason) == ("A long", "length")


# -- best of n -------------------------------------------------------------------------------------

THREE = ["Bad.", "Good.", "Middling."]
RATED = {
    "Bad.": {"rude": 0.1, "vague": 0.5},
    "Good.": {"rude": 0.8, "vague": 0.9},
    "Middling.": {"rude": 0.5, "vague": 0.5},
}


def test_the_best_of_n_by_the_constitution() -> None:
    """Score: the mean of the capped logits. p(Good over Bad) = σ of the scores' difference."""
    outcome, asked = run(GuardConfig(mode="best-of-n", n=3), replies(THREE, RATED))
    assert outcome.text == "Good."
    assert outcome.first.text == "Bad."
    assert [c.responses[1].text for c in outcome.comparisons] == ["Bad.", "Middling."]
    score = {
        text: (capped_logit(p["rude"]) + capped_logit(p["vague"])) / 2 for text, p in RATED.items()
    }
    for comparison in outcome.comparisons:
        x = score["Good."] - score[comparison.responses[1].text]
        assert comparison.probability == pytest.approx(1 / (1 + math.exp(-x)))
    assert [ask.stage for ask in asked] == ["response", *["judgement"] * 3]
    (chosen,) = answer_of(outcome, 0.0).interventions
    assert chosen.kind == "chosen"


def test_the_best_of_n_by_a_reward_model() -> None:
    """σ(2 - 0.5) that the best is better than the first: Bradley-Terry."""

    def reward(conversation: Messages, texts: Sequence[str]) -> list[float]:
        assert conversation == prompt().messages
        return [{"Bad.": 0.5, "Good.": -1.0, "Middling.": 2.0}[text] for text in texts]

    config = GuardConfig(mode="best-of-n", n=3)
    outcome, asked = run(config, replies(THREE, RATED), ranking=reward)
    assert outcome.text == "Middling."
    assert outcome.comparisons[0].probability == pytest.approx(1 / (1 + math.exp(-1.5)))
    assert [ask.stage for ask in asked] == ["response"]  # the constitution is not asked


def test_equal_answers_are_judged_once_and_drawn_greedily_there_is_one() -> None:
    config = GuardConfig(mode="best-of-n", n=3)
    outcome, asked = run(config, replies(["Good."] * 3, RATED))
    assert outcome.comparisons == () and len(asked) == 2
    _, asked = run(config, replies(["Good."], RATED), temperature=0.0)
    assert len(asked[0].group) == 1


def test_the_first_of_n_is_what_the_model_says_alone() -> None:
    """Its seed is that of a filter's only answer, so that the difference is the guard's."""
    _, of_n = run(GuardConfig(mode="best-of-n", n=3), replies(THREE, RATED), seed=5)
    _, alone = run(GuardConfig(mode="filter"), replies(THREE, RATED), seed=5)
    seeds = [r.sampling.seed for r in of_n[0].group if isinstance(r, Generate)]
    assert len(set(seeds)) == 3
    assert alone[0].group[0] == of_n[0].group[0]


# -- what a request asks for -----------------------------------------------------------------------


def test_answers_and_revisions_are_sampled_as_asked_and_critiques_as_set() -> None:
    reply = replies(["Bad."], CLEAN, revisions=["Better."])
    asked = {"temperature": 0.2, "top_p": 0.5, "max_new_tokens": 7, "stop": ("END",)}
    _, asks = run(GuardConfig(), reply, ONE_ROUND, None, **asked)
    by_stage = {
        ask.stage: request.sampling
        for ask in asks
        for request in ask.group
        if isinstance(request, Generate)
    }
    for stage in ("response", "revision"):
        sampling = by_stage[stage]
        values = sampling.temperature, sampling.top_p, sampling.max_new_tokens, sampling.stop
        assert values == (0.2, 0.5, 7, ("END",))
    assert (by_stage["critique"].temperature, by_stage["critique"].stop) == (1.0, ())
    assert by_stage["critique"].max_new_tokens == 256


def test_equal_requests_are_drawn_alike_with_a_seed_alone() -> None:
    one, other = (AnswerRequest(prompt().messages, seed=3) for _ in range(2))
    assert one.seed_prompt() == other.seed_prompt() and one.trace_id != other.trace_id
    one, other = (AnswerRequest(prompt().messages) for _ in range(2))
    assert one.seed_prompt() != other.seed_prompt()


@pytest.mark.parametrize(
    "values",
    [
        {"mode": "revize"}, {"n": 1, "mode": "best-of-n"}, {"threshold": 1.5}, {"timeout": 0},
        {"n": 3}, {"below": "revise"}, {"rounds": 1, "mode": "filter"}, {"refusal": " "},
    ],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(values: Any) -> None:
    with pytest.raises(UsageError):
        GuardConfig(**values)
