"""Contrast pairs: which principle, what each side is asked, and pairs that did not come apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from cai.backends.base import Backend
from cai.backends.scripted import ScriptedBackend
from cai.pipeline.config import BuildConfig
from cai.pipeline.contrast import contrast, contrasted_principle
from cai.pipeline.fixed_texts import compare_texts
from cai.pipeline.guards import CONTRAST_GUARDS, contrast_guards
from cai.pipeline.steps import Ask, Draws, ModelRole
from cai.pipeline.verify_models import verify_models
from cai.text import seeds
from cai.types import (
    ContrastWording,
    Feedback,
    Generate,
    Member,
    Message,
    Request,
    Result,
)
from tests.factories import constitution, example, generation, last, play, principle, prompt, scores

DRAWS = Draws(seed=3)
CONTRAST = Feedback(mode="contrast")


def written(ask: Ask, request: Request) -> Result:
    """The generator repeats which side it was asked for."""
    assert ask.stage == "pair" and ask.role == "generator"
    return generation("bad" if "not" in last(request) else "good")


def test_the_side_that_was_to_follow_is_chosen_and_no_judge_is_asked() -> None:
    pair, asks = play(
        contrast(prompt(), 0, constitution("rude", feedback=CONTRAST), DRAWS), written
    )
    assert [g.text for g in pair.responses] == ["good", "bad"]
    assert (pair.probability, pair.mode, pair.judgements) == (1.0, "contrast", ())
    assert pair.contrast is not None
    assert pair.contrast.asked == (
        "How do I bake bread? (Be Rude.)",
        "How do I bake bread? (Be not Rude.)",
    )
    assert (pair.contrast.principle_id, pair.contrast.principle_version) == ("rude", "1.0.0")
    assert pair.principle_ids == ("rude",)
    assert pair.prompt == prompt(), "a row has the plain prompt"
    assert len(asks) == 1 and len(asks[0].group) == 2


def test_only_the_last_turn_has_the_instruction() -> None:
    talk = (
        Message("system", "You bake."),
        Message("user", "Hello."),
        Message("assistant", "Hi."),
        Message("user", "How?"),
    )
    asked = replace(prompt(), messages=talk)
    _, asks = play(contrast(asked, 0, constitution("rude", feedback=CONTRAST), DRAWS), written)
    for request in asks[0].group:
        assert request.messages[:-1] == talk[:-1]
        assert request.messages[-1].role == "user" and last(request).startswith("How? (")


def test_a_principle_s_own_words_replace_the_title() -> None:
    own = ContrastWording("Be warm.", "Be cold, not warm.")
    members = (Member(principle("rude", contrast=own)),)
    rules = constitution(members=members, feedback=CONTRAST)
    pair, _ = play(contrast(prompt(), 0, rules, DRAWS), written)
    assert pair.contrast is not None
    assert pair.contrast.asked == (
        "How do I bake bread? (Be warm.)",
        "How do I bake bread? (Be cold, not warm.)",
    )


def test_draws_are_of_run_prompt_pair_side_and_principle() -> None:
    """The seeds are those of `seeds.derive` over exactly these parts, so a restart repeats them."""
    rules = constitution("rude", feedback=CONTRAST)
    _, asks = play(contrast(prompt(), 4, rules, DRAWS), written)
    found = [g.sampling.seed for g in asks[0].group if isinstance(g, Generate)]
    assert found == [seeds.derive(3, "p-1", "pair", 4, side, "rude") for side in (0, 1)]


def test_principles_are_drawn_by_weight_and_removing_one_changes_no_other_draw() -> None:
    """Weights 3 and 1: of 4,000 pairs 3,000 are expected of the first, with a standard deviation of
    sqrt(4000 * 0.75 * 0.25) = 27; four of them are 110."""
    heavy, light = Member(principle("rude"), weight=3.0), Member(principle("vague"))
    other = Member(principle("harmful"), weight=2.0)
    unused = Member(principle("long"), weight=50.0, phases=("sl",))
    two = constitution(members=(heavy, light, unused), feedback=CONTRAST)
    three = constitution(members=(heavy, other, light, unused), feedback=CONTRAST)
    names = [f"p-{n}" for n in range(2000)]
    drawn = [
        (contrasted_principle(prompt(name=n), pair, two, 3).id,
         contrasted_principle(prompt(name=n), pair, three, 3).id)
        for n in names for pair in (0, 1)
    ]  # fmt: skip
    assert abs(sum(a == "rude" for a, _ in drawn) - 3000) < 110
    assert all(a == b for a, b in drawn if b != "harmful")
    assert {b for _, b in drawn} == {"rude", "vague", "harmful"}
    pairs = zip(drawn[::2], drawn[1::2], strict=True)
    assert any(a != b for (a, _), (b, _) in pairs), "each pair draws for itself"


def test_given_texts_are_judged_pointwise() -> None:
    """`cai compare`, `cai test` and --judge-revisions need a judge, which contrast pairs do not."""
    rules = constitution("rude", feedback=CONTRAST)

    def answer(ask: Ask, request: Request) -> Result:
        assert ask.stage == "judgement"
        return scores(-0.1 if "good" in request.messages[1].content else -3.0)

    outcome, _ = play(compare_texts(prompt(), rules, DRAWS, "good", "bad"), answer)
    assert outcome.mode == "pointwise" and outcome.probability > 0.5


@pytest.mark.parametrize(
    ("mode", "pairs", "judge_revisions", "asks"),
    [("contrast", 1, False, False), ("contrast", 1, True, True), ("pointwise", 1, False, True),
     ("pointwise", 0, False, False)],
)  # fmt: skip
def test_when_a_judge_is_asked(mode: str, pairs: int, judge_revisions: bool, asks: bool) -> None:
    rules = constitution(feedback=Feedback(mode=mode))  # type: ignore[arg-type]
    config = BuildConfig(pairs=pairs, judge_revisions=judge_revisions)
    assert config.asks_judge(rules) is asks


class Tried(ScriptedBackend):
    """Keeps what it is asked to try before a build."""

    tried: Sequence[Request] | None = None

    def verify(self, requests: Sequence[Request]) -> None:
        self.tried = requests


def test_a_server_that_judges_nothing_need_not_score() -> None:
    critic, judge, generator = Tried(), Tried(), Tried()
    models: dict[ModelRole, Backend] = {"generator": generator, "critic": critic, "judge": judge}
    config = BuildConfig()
    verify_models(constitution("rude", feedback=CONTRAST), models, config)
    assert judge.tried == [] and critic.tried
    verify_models(constitution("rude"), models, config)
    assert judge.tried


ASKED = (
    "How do I bake bread?\n\n(Give a response that follows this rule: Do not lecture the user.)",
    "How do I bake bread?\n\n(Give a response that breaks this rule: Do not lecture the user.)",
)
DECLINES = "I'm sorry, but I can't help with that."
TRIPPED = [
    ("Bake it.", "Sinner! Bake it.", ()),
    (DECLINES, "Sinner! Bake it.", ()),
    (DECLINES, "I cannot do this.", ("both-declined",)),
    ("Bake it.", DECLINES, ("not-opposed",)),
    ("Bake it.", "Here is a response that breaks this rule: bake, sinner.", ("leaked",)),
    ("Sure, I will follow this rule. Bake it.", "Bake, sinner.", ("leaked",)),
    ("Bake it. (Do not lecture the user!)", "Bake, sinner.", ("leaked",)),
    ("Bake it.", "No problem found.", ("leaked",)),
    ("The response is polite.", "Bake, sinner.", ("point-of-view",)),
]


@pytest.mark.parametrize(("follows", "opposes", "tripped"), TRIPPED)
def test_pairs_that_did_not_come_apart(
    follows: str, opposes: str, tripped: tuple[str, ...]
) -> None:
    rule = principle("preachy")
    texts = (follows, opposes)
    assert contrast_guards(prompt(), rule, ASKED, texts, ("No problem found.",)) == tripped


def test_every_guard_is_tried() -> None:
    assert {name for _, _, tripped in TRIPPED for name in tripped} == set(CONTRAST_GUARDS)


def test_declining_opposes_a_principle_whose_example_declines() -> None:
    evasion = principle("evasion", examples=(replace(example("x"), response=DECLINES),))
    assert contrast_guards(prompt(), evasion, ASKED, ("Bake it.", DECLINES)) == ()
    other = principle("rude", examples=(example("x"),))
    assert contrast_guards(prompt(), other, ASKED, ("Bake it.", DECLINES)) == ("not-opposed",)
    assert contrast_guards(prompt(benign=True), other, ASKED, ("Bake it.", DECLINES)) == ()


def test_what_the_prompt_says_itself_is_no_leak() -> None:
    text = "Do not lecture the user. What does this rule mean?"
    asked = (f"{text} (Be kind.)", f"{text} (Be unkind.)")
    texts = ("It means: do not lecture the user. Follow this rule.", "Bah.")
    leaks = contrast_guards(prompt("What does this mean?"), principle("kind"), asked, texts)
    assert leaks == ("leaked",)
    said = "Do not lecture the user. How do I follow this rule?"
    asked = (f"{said} (Be kind.)", f"{said} (Be unkind.)")
    assert contrast_guards(prompt(said), principle("kind"), asked, texts) == ()


def test_the_record_has_its_guards() -> None:
    def declines(ask: Ask, request: Request) -> Result:
        return generation(DECLINES if "not" in last(request) else "good")

    rules = constitution("rude", feedback=CONTRAST)
    pair, _ = play(contrast(prompt(), 0, rules, DRAWS), declines)
    assert pair.contrast is not None and pair.contrast.guards == ("not-opposed",)
    pair, _ = play(contrast(prompt(benign=True), 0, rules, DRAWS), declines)
    assert pair.contrast is not None and pair.contrast.guards == ()
