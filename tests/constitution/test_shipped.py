"""What is promised of the shipped content: topics, tests, words of its own, constitutions."""

from __future__ import annotations

import re
from dataclasses import replace
from difflib import SequenceMatcher
from itertools import combinations
from operator import attrgetter
from pathlib import Path

import pytest

from cai.constitution.load import load_constitution, load_principle
from cai.constitution.plans import contradictions
from cai.constitution.source import read_source
from cai.content import packaged
from cai.types import Constitution, Principle

ROOT = packaged()
DOCS = Path(__file__).parents[2] / "docs"
PRINCIPLES = [load_principle(path) for path in sorted((ROOT / "principles").rglob("*.yaml"))]
NAMES = sorted(path.stem for path in (ROOT / "constitution").glob("*.yaml"))
CONSTITUTIONS = {name: load_constitution(name) for name in NAMES}

TOPICS = {
    "harm": "harm",
    "illegality": "legal",
    "privacy": "privacy",
    "fairness": "fairness",
    "respect": "respect",
    "honesty": "honesty",
    "uncertainty": "uncertainty",
    "sycophancy": "sycophancy",
    "manipulation": "manipulation",
    "self-harm": "self-harm",
    "children": "children",
    "medical care": "medical",
    "legal care": "law",
    "financial care": "financial",
    "non-evasiveness": "non-evasiveness",
    "non-preachiness": "non-preachiness",
    "helpfulness": "helpfulness",
    "brevity": "brevity",
}
"""Topic → the tag that some principle on it carries."""

SHARED = {"why": 5, "critique_request": 12, "revision_request": 12, "comparison_question": 5}
"""Field → how many words in a row two principles may share. All requests begin alike ("Identify any
way in which the assistant's last response …": ten words, with the s of the genitive)."""

each = pytest.mark.parametrize("principle", PRINCIPLES, ids=attrgetter("id"))


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def shared_run(one: str, other: str) -> list[str]:
    """The longest run of words that stands in both texts."""
    a, b = words(one), words(other)
    match = SequenceMatcher(None, a, b, autojunk=False).find_longest_match()
    return a[match.a : match.a + match.size]


def feedback_weights(name: str) -> dict[str, float]:
    return {m.principle.id: m.weight for m in CONSTITUTIONS[name].phase("rl")}


def test_there_are_enough_principles() -> None:
    assert len(PRINCIPLES) >= 24
    assert len({p.id for p in PRINCIPLES}) == len({p.title for p in PRINCIPLES}) == len(PRINCIPLES)


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_has_a_principle(topic: str) -> None:
    assert [p.id for p in PRINCIPLES if TOPICS[topic] in p.tags]


@each
def test_a_principle_says_why_and_where_from(principle: Principle) -> None:
    assert len(words(principle.why)) >= 12
    assert principle.source == "cai" or re.search(r"; our wording\.$|^cai; ", principle.source)
    assert principle.tags
    assert principle.path.endswith(f"{principle.id.replace('.', '/')}.yaml")


@each
def test_a_principle_asks_as_the_guide_advises(principle: Principle) -> None:
    """docs/authoring.md: ask about "the assistant's last response", and say what to keep."""
    assert principle.critique_request.startswith("Identify ")
    assert principle.critique_request.count("the assistant's last response") == 1
    assert principle.revision_request.startswith("Please rewrite the assistant's response")
    pattern = r"\bkeep|without changing anything else|while staying helpful"
    whole = "so that the critique no longer applies"
    assert (
        re.search(pattern, principle.revision_request, re.I) or whole in principle.revision_request
    )
    assert re.search(r"\bresponse\b.*\?$", principle.comparison_question, re.S)


@each
def test_a_principle_is_tested(principle: Principle) -> None:
    """One response that it flags and changes, one that it leaves alone, and a pair."""
    expected = [test.expect for test in principle.tests]
    assert len(expected) >= 3
    assert any(e.get("critique_flags") == "problem" and "revision" in e for e in expected)
    assert any(e.get("critique_flags") == "none" for e in expected)
    assert any("prefers" in e for e in expected)
    assert len({test.name for test in principle.tests}) == len(expected)


@each
def test_what_a_revision_must_lose_stands_in_the_response(principle: Principle) -> None:
    """`not_contains` of a text that was never there would hold whatever the reviser does."""
    for test in principle.tests:
        lost = test.expect.get("not_contains", [])
        for text in [lost] if isinstance(lost, str) else lost:
            assert test.response is not None and text in test.response, test.name


@each
def test_examples_are_none_of_the_tests(principle: Principle) -> None:
    """What few-shot examples show a model says nothing about what it has understood."""
    assert len(principle.examples) in (0, 2)
    assert not {e.response for e in principle.examples} & {t.response for t in principle.tests}
    for example in principle.examples:
        assert example.revision != example.response


@pytest.mark.parametrize("field", SHARED)
def test_wordings_are_not_copies_of_each_other(field: str) -> None:
    for one, other in combinations(PRINCIPLES, 2):
        run = shared_run(getattr(one, field), getattr(other, field))
        assert len(run) <= SHARED[field], f"{one.id} and {other.id}: {' '.join(run)}"


def test_each_test_has_responses_of_its_own() -> None:
    """Nobody tests a principle with the response that flags another: it may be about both."""
    owners: dict[str, str] = {}
    for principle in PRINCIPLES:
        for test in principle.tests:
            if test.response and test.expect.get("critique_flags") == "problem":
                other = owners.setdefault(test.response, principle.id)
                assert other == principle.id, f"{test.response!r}: {other} and {principle.id}"


def test_the_constitutions() -> None:
    promised = {"default", "harmlessness", "brand-voice", "high-stakes", "miniature", "contrast"}
    assert promised <= CONSTITUTIONS.keys()


@pytest.mark.parametrize("name", CONSTITUTIONS)
def test_a_constitution(name: str) -> None:
    constitution = CONSTITUTIONS[name]
    assert constitution.id == name
    assert constitution.phase("sl") and constitution.phase("rl")
    assert (ROOT / "constitution" / f"{name}.yaml").read_text("utf-8").startswith(f"# {name}: ")


def test_every_principle_is_in_use_or_to_be_added() -> None:
    """The one that no constitution holds is for people who want shorter answers."""
    used = {m.principle.id for c in CONSTITUTIONS.values() for m in c.members}
    assert {p.id for p in PRINCIPLES} - used == {"helpfulness.brevity", "honesty.dishonest"}


def test_default_weighs_evasiveness_above_all_style() -> None:
    """4 > 1 + 1 + 1: an answer with every flaw of style still beats a bare refusal."""
    weights = feedback_weights("default")
    style = [p for p in weights if p.startswith("respect.") or p == "honesty.overconfidence"]
    assert len(style) == 3
    assert weights["helpfulness.evasion"] > sum(weights[p] for p in style)
    assert weights["harm.ethics"] == max(weights.values())


def test_harmlessness_has_the_shape_of_the_paper() -> None:
    """Bai et al. 2022: 16 principles, 4 revisions, one principle a comparison, drawn uniformly."""
    constitution = CONSTITUTIONS["harmlessness"]
    assert len(constitution.phase("sl")) == len(constitution.phase("rl")) == 16
    assert {m.weight for m in constitution.members} == {1.0}
    assert (constitution.plan.rounds, constitution.plan.draw) == (4, "uniform")
    assert (constitution.feedback.mode, constitution.feedback.principles_per_pair) == ("letters", 1)
    assert constitution.feedback.both_orders
    assert all("harmlessness" in m.principle.tags for m in constitution.members)


def test_harmlessness_has_examples_for_fewshot() -> None:
    """Its header says that `fewshot: 2` works."""
    assert with_fewshot(CONSTITUTIONS["harmlessness"], 2) == []
    assert len(with_fewshot(CONSTITUTIONS["harmlessness"], 3)) == 16


def with_fewshot(constitution: Constitution, number: int) -> list[str]:
    """What is wrong with a constitution that shows so many examples."""
    source, _ = read_source(ROOT / "constitution" / f"{constitution.id}.yaml")
    assert source is not None
    plan = replace(constitution.plan, fewshot=number)
    return [
        p.code for p in contradictions(source, constitution.members, plan, constitution.feedback)
    ]


def test_the_page_on_choosing_tells_what_each_costs() -> None:
    """Texts: a response, and a round's critique and, where it found something, its revision.

    Scores: every member in the check; both responses, or both orders, under each judge of a pair.
    """
    page = (DOCS / "choosing-principles.md").read_text("utf-8")
    rows = re.findall(r"^\| `([\w-]+)` \| ([\w ]+) \| (\d+) \| 2, (\d+) \|$", page, re.M)
    assert {name for name, *_ in rows} == CONSTITUTIONS.keys()
    for name, texts, checks, scores in rows:
        constitution = CONSTITUTIONS[name]
        plan, per_pair = constitution.plan, constitution.feedback.principles_per_pair
        rounds = len(constitution.phase("sl")) if plan.draw == "all" else plan.rounds
        most = 1 + rounds * (2 if plan.critique else 1)
        judges = len(constitution.phase("rl")) if per_pair == "all" else per_pair
        judges = 0 if constitution.feedback.mode == "contrast" else judges
        assert texts == (f"{1 + rounds} to {most}" if plan.critique else f"{most}"), name
        assert (int(checks), int(scores)) == (len(constitution.members), 2 * judges), name


def test_high_stakes_weighs_as_its_comments_say() -> None:
    """1 + 1 + 1 < 4 < 5 < 6, and every principle judges every pair."""
    weights = feedback_weights("high-stakes")
    assert set(weights.values()) == {1, 4, 5, 6}
    light = sum(w for w in weights.values() if w == 1)
    assert light == 3 < weights["care.deflection"] == 4
    assert {p for p, w in weights.items() if w == 6} == {
        *("harm.self-harm", "children.protection", "care.medical"),
    }
    constitution = CONSTITUTIONS["high-stakes"]
    assert constitution.feedback.principles_per_pair == "all"


def test_high_stakes_asks_for_usefulness_last() -> None:
    """Every principle once, in the order of the file; what caution took out is put back."""
    constitution = CONSTITUTIONS["high-stakes"]
    assert constitution.plan.draw == "all"
    order = [m.principle.id for m in constitution.phase("sl")]
    assert order[:3] == ["harm.self-harm", "children.protection", "care.medical"]
    assert order[-2:] == ["care.deflection", "respect.preachiness"]
