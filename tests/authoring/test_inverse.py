"""Principles out of pairs with a planted reason: proposed, judged, chosen, written."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cai.authoring.inverse.candidates import candidates_of, judging_constitution
from cai.authoring.inverse.config import InverseConfig
from cai.authoring.inverse.drafts import drafts_of
from cai.authoring.inverse.parts import divide, drawn
from cai.authoring.inverse.proposals import RuleProposal, RuleReply, merged, read_rules
from cai.authoring.inverse.run import InverseModels, PrinciplesFound, find_principles_of
from cai.backends.scripted import ScriptedBackend
from cai.constitution.lint import lint
from cai.content import shipped_source
from cai.data.training_rows import PairRow
from cai.errors import DataError
from cai.store.store import Store
from cai.text.seeds import uniform
from cai.types import Generate, Message, Score
from tests import factories

SHORT, FEW, COLOUR = (
    f"The response should {rest}" for rest in ("be short", "say it in few words", "name a colour")
)
RULES = f"Sure:\n1. {SHORT}.\n2. {FEW}.\n3. {COLOUR}.\n4. Because it is about question 7."


def pairs(count: int = 120) -> list[PairRow]:
    """Of every five labels four prefer the shorter response; red and blue are there by chance."""
    rows = []
    for n in range(count):
        texts = [f"Word {'and so on ' * size}{_colour(n, size)}." for size in (1, 9)]
        chosen, rejected = texts if n % 5 else texts[::-1]
        rows.append(row(f"r{n}", f"Question {n}?", chosen, rejected))
    return rows


def _colour(n: int, size: int) -> str:
    return "red" if uniform("colour", n) < 0.5 else f"sad {size}"


def row(name: str, prompt: str, chosen: str, rejected: str) -> PairRow:
    first, second = (Message("assistant", text) for text in (chosen, rejected))
    asked = (Message("user", prompt),)
    return PairRow(name, asked, (first,), (second,), None, None, "given", (), f"p:{name}")


def no_problem(request: Score, option: str) -> float:
    """Log-probability of finding nothing wrong: by length, or a coin for each text."""
    response, question = request.messages[-2].content, request.messages[-1].content
    if SHORT in question or FEW in question:
        return -len(response) / 40
    return math.log(0.05 + 0.9 * uniform("coin", response, request.messages[0].content))


def models(name: str = "planted") -> tuple[InverseModels, ScriptedBackend, ScriptedBackend]:
    critic = ScriptedBackend(replies=[("Why was it chosen", RULES)], name=f"{name}-critic")
    judge = ScriptedBackend(scores=[("", no_problem)], name=f"{name}-judge")
    return InverseModels(critic, judge), critic, judge


def find(
    folder: Path, rows: Sequence[Any], used: InverseModels, **settings: Any
) -> PrinciplesFound:
    rules = factories.constitution()
    rules = replace(rules, feedback=replace(rules.feedback, mode="pointwise"))
    with Store.open(folder / "store.sqlite") as store:
        return find_principles_of(
            rows, (), rules, used, store, InverseConfig(**settings),
            template=shipped_source("propose"), name="found",
        )  # fmt: skip


def test_the_planted_reason_comes_first_and_its_twin_adds_nothing(tmp_path: Path) -> None:
    used, critic, _ = models()
    found = find(tmp_path, pairs(), used, requests=8)
    results = {one.name: one for one in found.explanation.candidates}
    first = found.explanation.candidates[0]
    assert found.explanation.chosen == (first,)
    assert (first.name, first.place, first.word) == ("found.be-short", 1, "explains")
    report = found.parts.report
    shorter = [len(r.chosen[0].content) < len(r.rejected[0].content) for r in report]
    assert 0.6 < sum(shorter) / len(shorter) < 1
    assert first.explained.value == sum(shorter) / len(shorter)
    assert (first.pairs, first.while_choosing.n) == (len(report), len(found.parts.choose))
    twin = results["found.say-it-in-few-words"]
    assert twin.added.value == 0
    assert twin.like is not None
    assert (twin.like.b, twin.like.word) == ("found.be-short", "the same")
    assert results["found.name-a-colour"].word == "unclear"
    assert (found.replies, found.proposed) == (8, 3)
    assert found.dropped == {"outside the list": 8, "no rule": 8}
    assert found.explanation.longer.value == pytest.approx(1 - first.explained.value)
    shown = {one.messages[-1].content for one in critic.requests if isinstance(one, Generate)}
    of_others = [
        r for r in (*found.parts.choose, *report) if any(r.prompt[0].content in s for s in shown)
    ]
    assert len(shown) == 8
    assert of_others == []


def test_a_choice_of_more_than_any_adds(tmp_path: Path) -> None:
    found = find(tmp_path, pairs(30), models()[0], requests=3, gain=0.6)
    assert found.chosen == []
    assert found.explanation.together is None


def test_an_interrupted_run_goes_on_from_the_store(tmp_path: Path) -> None:
    used, *_ = models()
    find(tmp_path, pairs(30), used, requests=3)
    again, critic, judge = models()
    find(tmp_path, pairs(30), again, requests=3)
    assert critic.requests == judge.requests == []


def test_the_judge_is_asked_about_chosen_first_by_the_constitution_s_templates(
    tmp_path: Path,
) -> None:
    """By letters both orders are asked, though the constitution asks for one: a judge that always
    says (A) decides nothing."""
    rules = factories.constitution()
    feedback = replace(rules.feedback, mode="letters", both_orders=False)
    candidates = candidates_of([RuleProposal(SHORT, ("r1",))], (), "found", "m")
    one = judging_constitution(replace(rules, feedback=feedback), candidates, "letters")
    assert one.feedback.both_orders
    assert one.templates == rules.templates
    judge = ScriptedBackend(scores=[(r"^Human: Question", {"A": 0.9, "B": 0.1})], name="letters")
    with Store.open(tmp_path / "store.sqlite") as store:
        found = find_principles_of(
            pairs(20), [candidates[0].principle], replace(rules, feedback=feedback),
            InverseModels(None, judge), store, InverseConfig(), template="", name="x",
        )  # fmt: skip
    (result,) = found.explanation.candidates
    assert result.decided.value == 0
    assert found.explanation.together is None


def test_pairs_that_cannot_be_used_are_set_aside(tmp_path: Path) -> None:
    several = replace(pairs(1)[0], chosen=(Message("assistant", "a"), Message("user", "b")))
    tie = replace(pairs(1)[0], probability=0.5)
    used, *_ = models()
    found = find(tmp_path, [several, tie, *pairs(20)], used, requests=2)
    assert [one.reason.partition(":")[0] for one in found.set_aside] == [
        "a response of several messages",
        "tie",
    ]


def test_too_few_prompts(tmp_path: Path) -> None:
    same = [replace(one, prompt=pairs(1)[0].prompt) for one in pairs(20)]
    used, critic, _ = models()
    with pytest.raises(DataError, match="have 1 different prompt, and 3 are needed"):
        find(tmp_path, same, used)
    assert critic.requests == []


def test_a_critic_that_writes_no_rule(tmp_path: Path) -> None:
    used = InverseModels(ScriptedBackend(default="It is nicer."), models()[2])
    with pytest.raises(DataError, match=r"no rule came of 2 answers of the critic: 2 × no rule"):
        find(tmp_path, pairs(20), used, requests=2)


# -- parts ---------------------------------------------------------------------------------------


def test_a_prompt_is_in_one_part() -> None:
    rows = [row(f"{n}-{k}", f"Question {n}?", "a", "b") for n in range(20) for k in range(3)]
    parts = divide(rows, 0, proposing=True)
    asked = [{r.prompt for r in part} for part in (parts.propose, parts.choose, parts.report)]
    assert [len(prompts) for prompts in asked] == [6, 7, 7]
    assert not asked[0] & asked[1] and not asked[1] & asked[2] and not asked[0] & asked[2]
    assert divide(rows, 1, proposing=True) != parts
    two = divide(rows, 0, proposing=False)
    assert (len(two.propose), len(two.choose), len(two.report)) == (0, 30, 30)


def test_every_part_has_a_prompt() -> None:
    rows = [row(f"{n}", f"Question {n}?", "a", "b") for n in range(3)]
    parts = divide(rows, 0, proposing=True)
    assert [len(p) for p in (parts.propose, parts.choose, parts.report)] == [1, 1, 1]


def test_a_limit_draws_and_a_larger_one_keeps_what_was_drawn() -> None:
    rows = pairs(50)
    few, more = drawn(rows, 10, 0), drawn(rows, 20, 0)
    assert len(few) == 10
    assert {r.id for r in few} < {r.id for r in more}
    assert few != rows[:10]


# -- rules ---------------------------------------------------------------------------------------


def test_rules_are_worded_alike() -> None:
    reply = read_rules(
        "r1",
        "- The chosen answer must not insult anybody;\n- The response should: be short.\n"
        "- The topic is cats\n- The response should {{ x }} be y\n- The response should be",
    )
    assert reply.rules == ("The response should not insult anybody", SHORT)
    assert reply.dropped == {"no rule": 2, "too short": 1}


def test_a_list_that_was_cut_off_loses_its_last_rule() -> None:
    reply = read_rules("r1", f"1. {SHORT}\n2. The response should name the", cut=True)
    assert reply.rules == (SHORT,)


def test_near_duplicates_are_one_candidate_and_the_most_frequent_come_first() -> None:
    """`be short` and `be polite` share their opening, which does not count."""
    polite, near = "The response should be polite", "The response should be short, too"
    replies = [
        RuleReply("r1", (polite,), Counter()),
        RuleReply("r2", (SHORT,), Counter()),
        RuleReply("r3", (near, COLOUR), Counter()),
    ]
    found = merged(replies, 2)
    assert [(p.rule, p.pairs) for p in found] == [(SHORT, ("r2", "r3")), (polite, ("r1",))]


# -- drafts --------------------------------------------------------------------------------------


def test_drafts_pass_lint_and_their_test_is_a_pair_they_explain(tmp_path: Path) -> None:
    used, *_ = models()
    found = find(tmp_path, pairs(), used, requests=4)
    drafts = drafts_of(
        found.chosen, found.examples, found.judging, name="found", about="a try", today="2026-01-01"
    )
    assert list(drafts.texts) == ["principles/found/be-short.yaml", "constitution/found.yaml"]
    (tmp_path / "p" / ".cai").mkdir(parents=True)
    for place, text in drafts.texts.items():
        (tmp_path / "p" / place).parent.mkdir(parents=True)
        (tmp_path / "p" / place).write_text(text)
    assert lint([tmp_path / "p" / place for place in drafts.texts]).problems == ()
    example = found.examples["found.be-short"][0]
    assert example in found.parts.choose
    assert len(example.chosen[0].content) < len(example.rejected[0].content)
    (test,) = yaml.safe_load(drafts.texts["principles/found/be-short.yaml"])["tests"]
    assert test == {
        "name": f"prefers what was chosen in {example.id}",
        "prompt": example.prompt[0].content,
        "a": example.chosen[0].content,
        "b": example.rejected[0].content,
        "expect": {"prefers": "a"},
    }
    assert drafts.untested == ()


def test_no_test_of_a_conversation(tmp_path: Path) -> None:
    """A test's prompt is one text; a prompt of three turns is none."""
    long = pairs(1)[0]
    long = replace(long, prompt=(*long.prompt, Message("assistant", "x"), Message("user", "y")))
    candidates = candidates_of([RuleProposal(SHORT, ("r1",))], (), "found", "m")
    drafts = drafts_of(
        candidates, {"found.be-short": [long]}, "pointwise", name="n", about="a", today="2026-01-01"
    )
    assert drafts.untested == ("found.be-short",)
