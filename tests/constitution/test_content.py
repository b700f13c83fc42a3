"""The shipped content, where it rests on the miniature's words, and as a wheel lays it out."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from cai import content
from cai.constitution.load import load_constitution, load_principle
from cai.miniature.world.lexicon import CONCEPTS
from cai.miniature.world.principles_by_hand import SHIPPED
from cai.types import Principle

ROOT = content.packaged()
PRINCIPLES = [load_principle(path) for path in sorted((ROOT / "principles").rglob("*.yaml"))]
KNOWN = [p for p in PRINCIPLES if p.id in SHIPPED]


def concepts(text: str) -> set[str]:
    """The lexicon's concepts whose words stand in a text."""
    return {
        name
        for name, concept in CONCEPTS.items()
        for part in (concept.adjectives, concept.nouns, concept.verbs, concept.virtues)
        for word in part
        if re.search(rf"\b{re.escape(word)}\b", text)
    }


def test_the_miniature_s_principles_are_shipped() -> None:
    assert {p.id for p in KNOWN} == SHIPPED.keys()


@pytest.mark.parametrize("principle", KNOWN, ids=lambda p: p.id)
def test_its_words_steer_the_bundled_model(principle: Principle) -> None:
    """Critique and comparison hold the lexicon's words, and words of one concept in both."""
    critique, comparison = (
        concepts(principle.critique_request),
        concepts(principle.comparison_question),
    )
    assert critique and comparison
    assert critique & comparison or principle.id == "helpfulness.any-problem"


def test_every_concept_has_a_principle() -> None:
    covered = set().union(*(concepts(p.critique_request) for p in KNOWN))
    assert covered == CONCEPTS.keys()


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
    constitution = load_constitution("default")
    assert Path(constitution.path).resolve() == wheel / "constitution" / "default.yaml"
    assert content.project_root(wheel / "constitution" / "default.yaml") == wheel
    assert content.shipped_template("compare_both.j2") == (
        wheel / "constitution" / "templates" / "compare_both.j2"
    )
