"""The supervised stage, played by hand: what is asked, in which order, and what is recorded."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from cai.pipeline.revise import draw_principles, revise
from cai.pipeline.steps import Ask, Draws
from cai.types import Generate, Member, Message, Plan, Request, Result
from tests.factories import constitution, example, generation, last, play, principle, prompt, scores

DRAWS = Draws(seed=7)


def critic(*problems: str) -> object:
    """Answers: critiques name a problem for the principles in `found`, revisions are numbered."""
    count = Counter[str]()

    def answer(ask: Ask, request: Request) -> Result:
        count[ask.stage] += 1
        if ask.stage == "check":
            return scores(-0.1 * count["check"])
        if ask.stage == "critique":
            hit = any(f"what is {name}" in last(request) for name in problems)
            return generation("It is bad." if hit else "No problem found.", f"c{count['critique']}")
        return generation(f"{ask.stage} {count[ask.stage]}")

    return answer


def test_a_round_that_finds_nothing_leaves_the_response_alone() -> None:
    rules = constitution("rude", "harmful", plan=Plan(rounds=2, draw="fixed"))
    trace, asks = play(revise(prompt(), rules, DRAWS), critic("harmful"))  # type: ignore[arg-type]
    assert [a.stage for a in asks] == ["response", "critique", "critique", "revision", "check"]
    first, second = trace.revisions
    assert (first.principle_id, first.found_problem, first.response) == ("rude", False, None)
    assert second.found_problem and second.response is not None
    assert trace.texts == ("response 1", "response 1", "revision 1")
    assert trace.final == "revision 1"
    assert [c.principle_id for c in trace.checks] == ["rude", "harmful"]
    assert [c.scores.logprobs[0] for c in trace.checks] == [-0.1, -0.2]


def test_each_prompt_extends_the_one_before() -> None:
    rules = constitution("rude", plan=Plan(rounds=1, check=False))
    _, asks = play(revise(prompt("Hi?"), rules, DRAWS), critic("rude"))  # type: ignore[arg-type]
    response, critique, revision = (a.group[0].messages for a in asks)
    assert critique[: len(response)] == response
    assert revision[: len(critique)] == critique
    assert [m.role for m in revision] == ["user", "assistant", "user", "assistant", "user"]
    assert revision[3] == Message("assistant", "It is bad.")


def test_history_replace_and_append() -> None:
    for history, turns in (("replace", 3), ("append", 7)):
        plan = Plan(rounds=2, draw="fixed", history=history, check=False)  # type: ignore[arg-type]
        rules = constitution("rude", "harmful", plan=plan)
        _, asks = play(revise(prompt(), rules, DRAWS), critic("rude", "harmful"))  # type: ignore[arg-type]
        second = asks[3].group[0].messages
        assert len(second) == turns
        assert second[-2] == Message("assistant", "revision 1")


def test_direct_revision_asks_no_critique() -> None:
    rules = constitution("rude", plan=Plan(rounds=1, critique=False, check=False))
    trace, asks = play(revise(prompt(), rules, DRAWS), critic())  # type: ignore[arg-type]
    assert [a.stage for a in asks] == ["response", "revision"]
    assert trace.revisions[0].critique is None
    assert trace.revisions[0].guards == ()
    assert last(asks[1].group[0]) == "Remove what is rude."


def test_never_skip_revises_without_a_finding() -> None:
    plan = Plan(rounds=1, skip_revision_if="never", check=False)
    rules = constitution("rude", plan=plan)
    trace, asks = play(revise(prompt(), rules, DRAWS), critic())  # type: ignore[arg-type]
    assert [a.stage for a in asks] == ["response", "critique", "revision"]
    assert trace.final == "revision 1"


@pytest.mark.parametrize(
    ("said", "outcome"),
    [
        ("I'm sorry, but I can't help with that.", "refused"),
        ("No problem found, but it is rude.", "contradictory"),
        (" ", "empty"),
    ],
)
def test_a_critique_that_is_no_verdict_asks_for_no_revision(said: str, outcome: str) -> None:
    """Round 1 leaves the text alone and marks it; round 2, which names a problem, rewrites it."""
    rules = constitution("rude", "harmful", plan=Plan(rounds=2, draw="fixed", check=False))

    def answer(ask: Ask, request: Request) -> Result:
        if ask.stage == "critique":
            return generation(said if "is rude" in last(request) else "It is bad.")
        return generation(f"{ask.stage}")

    trace, asks = play(revise(prompt(), rules, DRAWS), answer)
    assert [a.stage for a in asks] == ["response", "critique", "critique", "revision"]
    first, second = trace.revisions
    assert (first.outcome, first.found_problem, first.guards) == (outcome, False, ("unreviewed",))
    assert first.response is None and first.text is None
    assert (second.outcome, second.guards, trace.final) == ("problem", (), "revision")


def test_where_every_round_revises_a_refusal_is_not_shown() -> None:
    plan = Plan(rounds=1, skip_revision_if="never", check=False)
    rules = constitution("rude", plan=plan)

    def answer(ask: Ask, request: Request) -> Result:
        refusal = "I can't help with that."
        return generation(refusal if ask.stage == "critique" else ask.stage)

    trace, asks = play(revise(prompt("Hi?"), rules, DRAWS), answer)
    texts = [m.content for m in asks[2].group[0].messages]
    assert texts == ["Hi?", "response", "Remove what is rude."]
    assert (trace.final, trace.revisions[0].guards) == ("revision", ())


def test_an_announcement_is_kept_and_not_learnt() -> None:
    """The next round, the guards and the final check read what is learned; the step keeps all."""
    rules = constitution("rude", "harmful", plan=Plan(rounds=2, draw="fixed"))
    text = "Sure! Here's the revised response:\n\nPlease ask first."

    def answer(ask: Ask, request: Request) -> Result:
        if ask.stage == "check":
            return scores(-0.1)
        if ask.stage == "critique":
            return generation("It is bad." if "is rude" in last(request) else "No problem found.")
        return generation("Take it." if ask.stage == "response" else text)

    trace, asks = play(revise(prompt(), rules, DRAWS), answer)
    first = trace.revisions[0]
    assert first.response is not None and first.response.text == text
    assert (first.text, first.stripped, first.guards) == (*["Please ask first."] * 2, ())
    assert trace.texts == ("Take it.", "Please ask first.", "Please ask first.")
    critique, check = asks[3].group[0], asks[4].group[0]
    assert critique.messages[1] == check.messages[1] == Message("assistant", "Please ask first.")


def test_an_announcement_of_the_same_text_is_no_change() -> None:
    rules = constitution("rude", plan=Plan(rounds=1, check=False))

    def answer(ask: Ask, request: Request) -> Result:
        texts = {"response": "Take it.", "critique": "It is bad."}
        return generation(texts.get(ask.stage, "Revised response: Take it."))

    trace, _ = play(revise(prompt(), rules, DRAWS), answer)
    assert trace.revisions[0].guards == ("unchanged",)


def test_fewshot_stands_in_front_in_the_same_format() -> None:
    member = Member(principle("rude", examples=(example("one"), example("two"))))
    rules = replace(constitution(), members=(member,), plan=Plan(rounds=1, fewshot=2, check=False))
    _, asks = play(revise(prompt("Hi?"), rules, DRAWS), critic("rude"))  # type: ignore[arg-type]
    critique = asks[1].group[0].messages
    assert len(critique) == 2 * 6 + 3
    assert [m.content for m in critique[:6]] == [
        "one?",
        "one!",
        "Name what is rude. Else say: No problem found.",
        "one is bad.",
        "Remove what is rude.",
        "one, please.",
    ]
    assert critique[12] == Message("user", "Hi?")
    assert asks[2].group[0].messages[:15] == critique


def test_steps_are_seeded_by_prompt_stage_and_round() -> None:
    rules = constitution("rude", "harmful", plan=Plan(rounds=2, check=False))
    answers = critic("rude", "harmful")
    _, asks = play(revise(prompt(), rules, DRAWS), answers)  # type: ignore[arg-type]
    seeds = [a.group[0].sampling.seed for a in asks if isinstance(a.group[0], Generate)]
    assert len(set(seeds)) == 5
    _, again = play(revise(prompt(), rules, DRAWS), critic("rude", "harmful"))  # type: ignore[arg-type]
    assert [a.group for a in again] == [a.group for a in asks]
    _, other = play(revise(prompt(), rules, Draws(seed=8)), critic("rude", "harmful"))  # type: ignore[arg-type]
    assert other[0].group != asks[0].group


def test_draws_without_replacement_name_each_principle_once() -> None:
    rules = constitution(*"abcd", plan=Plan(rounds=4))
    for n in range(50):
        names = [p.id for p in draw_principles(prompt(name=f"p-{n}"), rules, 0)]
        assert sorted(names) == list("abcd")


def test_draws_with_replacement_repeat() -> None:
    rules = constitution(*"ab", plan=Plan(rounds=4, with_replacement=True))
    names = {
        tuple(p.id for p in draw_principles(prompt(name=f"p-{n}"), rules, 0)) for n in range(300)
    }
    assert len(names) == 2**4


def test_draws_follow_weights_or_not() -> None:
    """Weight 3 against 1: drawn first in 3/4 of 2,000 prompts, four standard errors 0.039."""
    members = (Member(principle("a"), 3.0), Member(principle("b"), 1.0))
    for draw, share in (("weighted", 0.75), ("uniform", 0.5)):
        rules = constitution(plan=Plan(rounds=1, draw=draw), members=members)  # type: ignore[arg-type]
        first = [draw_principles(prompt(name=f"p-{n}"), rules, 0)[0].id for n in range(2000)]
        assert abs(first.count("a") / 2000 - share) < 0.039


def test_rounds_keep_a_principle_for_some_rounds() -> None:
    """`c` is kept for the second round, which is then its alone; the third is open to all left."""
    members = (
        *(Member(principle(n), rounds=(1,)) for n in "ab"),
        Member(principle("c"), rounds=(2,)),
    )
    rules = constitution(plan=Plan(rounds=3), members=members)
    draws = {
        tuple(p.id for p in draw_principles(prompt(name=f"p-{n}"), rules, 0)) for n in range(50)
    }
    assert draws == {("a", "c", "b"), ("b", "c", "a")}


def test_fixed_and_all_follow_the_file() -> None:
    for draw, names in (("fixed", "ab"), ("all", "abc")):
        rules = constitution(*"abc", plan=Plan(rounds=2, draw=draw))  # type: ignore[arg-type]
        assert [p.id for p in draw_principles(prompt(), rules, 0)] == list(names)


def test_principles_of_the_other_phase_are_not_drawn_but_checked() -> None:
    members = (Member(principle("a"), phases=("sl",)), Member(principle("b"), phases=("rl",)))
    rules = constitution(plan=Plan(rounds=1), members=members)
    trace, _ = play(revise(prompt(), rules, DRAWS), critic())  # type: ignore[arg-type]
    assert [r.principle_id for r in trace.revisions] == ["a"]
    assert [c.principle_id for c in trace.checks] == ["a", "b"]


def test_the_id_follows_from_what_happened() -> None:
    rules = constitution("rude", plan=Plan(rounds=1))
    one, _ = play(revise(prompt(), rules, DRAWS), critic("rude"))  # type: ignore[arg-type]
    same, _ = play(revise(prompt(), rules, DRAWS), critic("rude"))  # type: ignore[arg-type]
    other, _ = play(revise(prompt(), rules, DRAWS), critic())  # type: ignore[arg-type]
    assert one.id == same.id != other.id


def test_a_direct_revision_may_keep_the_text() -> None:
    """No critique named a problem, so an unchanged text is no fault; after a critique it is one."""

    def same(ask: Ask, request: Request) -> Result:
        return generation("It is bad." if ask.stage == "critique" else "the same")

    for critique, guards in ((False, ()), (True, ("unchanged",))):
        rules = constitution("rude", plan=Plan(rounds=1, critique=critique, check=False))
        trace, _ = play(revise(prompt(), rules, DRAWS), same)
        assert trace.revisions[0].guards == guards
