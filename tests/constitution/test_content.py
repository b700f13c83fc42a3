"""The shipped content: enough of it, tested, in words that steer the miniature, in a wheel too."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from cai import content
from cai.constitution.load import load_constitution, load_principle
from cai.constitution.plans import contradictions
from cai.constitution.source import read_source
from cai.miniature.lexicon import CONCEPTS
from cai.types import Principle

ROOT = content.packaged()
FILES = sorted((ROOT / "principles").rglob("*.yaml"))
PRINCIPLES = [load_principle(path) for path in FILES]


def concepts(text: str) -> set[str]:
    """The lexicon's concepts whose words stand in a text."""
    return {
        name
        for name, concept in CONCEPTS.items()
        for part in (concept.adjectives, concept.nouns, concept.verbs, concept.virtues)
        for word in part
        if re.search(rf"\b{re.escape(word)}\b", text)
    }


def test_there_is_enough() -> None:
    assert len(PRINCIPLES) >= 14
    themes = {path.parent.name for path in FILES}
    assert themes >= {
        *("harm", "legality", "privacy", "honesty"),
        *("fairness", "respect", "safety", "helpfulness"),
    }
    assert sum(len(p.examples) == 2 for p in PRINCIPLES) >= 4


@pytest.mark.parametrize("principle", PRINCIPLES, ids=lambda p: p.id)
def test_each_principle(principle: Principle) -> None:
    assert principle.why and principle.source and principle.tags
    assert len(principle.tests) >= 3
    flags = {t.expect.get("critique_flags") for t in principle.tests}
    assert flags >= {"problem", "none"}
    assert any("prefers" in t.expect for t in principle.tests)
    assert principle.path.endswith(f"{principle.id.replace('.', '/')}.yaml")


@pytest.mark.parametrize("principle", PRINCIPLES, ids=lambda p: p.id)
def test_its_words_steer_the_bundled_model(principle: Principle) -> None:
    """Critique and comparison hold the lexicon's words, and words of one concept in both."""
    asked, compared = concepts(principle.critique_request), concepts(principle.comparison_question)
    assert asked and compared
    assert asked & compared or principle.id == "helpfulness.any-problem"
    assert principle.critique_request.startswith("Identify")


def test_every_concept_has_a_principle() -> None:
    covered = set().union(*(concepts(p.critique_request) for p in PRINCIPLES))
    assert covered == CONCEPTS.keys()


@pytest.mark.parametrize("name", content.shipped_constitutions())
def test_each_constitution(name: str) -> None:
    found = load_constitution(ROOT / "constitution" / f"{name}.yaml")
    assert found.id == name
    assert found.phase("sl") and found.phase("rl")
    text = (ROOT / "constitution" / f"{name}.yaml").read_text("utf-8")
    assert text.startswith(f"# {name}: ")


def test_default_weighs_evasiveness_four_times() -> None:
    found = load_constitution("default")
    weights = {m.principle.id: m.weight for m in found.phase("rl")}
    assert weights["helpfulness.evasion"] == 4 * weights["respect.rudeness"]
    assert found.plan.rounds == 2 and found.feedback.mode == "pointwise"


def test_harmlessness_has_examples_for_fewshot() -> None:
    """Its header says that `fewshot: 2` works."""
    found = load_constitution("harmlessness")
    source, _ = read_source(ROOT / "constitution" / "harmlessness.yaml")
    assert source is not None
    plan = replace(found.plan, fewshot=2)
    assert contradictions(source, found.members, plan, found.feedback) == []
    assert all("harmlessness" in m.principle.tags for m in found.members)


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package as a wheel lays it out: content in `cai/_content`, nothing beside `cai`."""
    inside = tmp_path / "site-packages" / "cai" / "_content"
    for part in ("constitution", "principles"):
        shutil.copytree(ROOT / part, inside / part)
    monkeypatch.setattr(content, "__file__", str(inside.parent / "content.py"))
    caches = (content.packaged, content._shipped_templates)
    for cache in caches:
        cache.cache_clear()
    monkeypatch.chdir(tmp_path)
    yield inside
    monkeypatch.undo()
    for cache in caches:
        cache.cache_clear()


def test_content_is_found_in_a_wheel(wheel: Path) -> None:
    assert content.packaged() == wheel
    found = load_constitution("default")
    assert Path(found.path).resolve() == wheel / "constitution" / "default.yaml"
    assert content.project_root(wheel / "constitution" / "default.yaml") == wheel
    assert content.shipped_template("compare_both.j2") == (
        wheel / "constitution" / "templates" / "compare_both.j2"
    )
    assert "default" in content.shipped_constitutions()
