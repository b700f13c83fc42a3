"""Contrast in the files: the keys, what contradicts them, and digests of files without them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cai.constitution.convert import with_digest
from cai.constitution.lint import lint
from cai.constitution.load import load_constitution, load_principle
from cai.constitution.lock import own_digest
from cai.pipeline.snapshot import snapshot
from cai.types import ContrastWording, Feedback
from tests.constitution.projects import CONSTITUTION, only, principle, project

WORDS = "contrast: {follow: Be kind., oppose: Be unkind.}\n"


def test_a_principle_s_two_sides(tmp_path: Path) -> None:
    path = tmp_path / "rude.yaml"
    path.write_text(principle("rude", WORDS))
    one = load_principle(path)
    assert one.contrast == ContrastWording("Be kind.", "Be unkind.")
    path.write_text(principle("rude"))
    plain = load_principle(path)
    assert plain.contrast is None and plain.digest != one.digest
    (tmp_path / "own.yaml").write_text(principle("own", "extends: rude.yaml\n"))
    path.write_text(principle("rude", WORDS))
    assert load_principle(tmp_path / "own.yaml").contrast == one.contrast, "inherited"


@pytest.mark.parametrize(
    ("words", "code"),
    [("contrast: {follow: Be kind.}\n", "C010"),
     ("contrast: {follow: Be kind., oppose: 'Be  kind.'}\n", "C014"),
     ("contrast: {follow: 'Be {{ kind }}.', oppose: Be unkind.}\n", "C058")],
)  # fmt: skip
def test_sides_that_can_not_be_right(words: str, code: str, tmp_path: Path) -> None:
    path = project(tmp_path, rude=principle("rude", words))
    found = [p.code for p in lint([path]).problems if "rude.yaml" in p.file]
    assert code in found, found


@pytest.mark.parametrize(
    "setting",
    ["chain_of_thought: true", "clamp: [0.4, 0.6]", "temperature: 2", "principles_per_pair: 2"],
)
def test_what_only_a_judge_reads(setting: str, tmp_path: Path) -> None:
    text = CONSTITUTION.replace("plan:", f"feedback: {{mode: contrast, {setting}}}\nplan:")
    found = only(project(tmp_path, constitution=text))
    assert found.code == "C032" and "contrast" in found.message


def test_the_template_counts_where_pairs_are_made_with_it(tmp_path: Path) -> None:
    """Digests, locks and run ids of constitutions without contrast are as before it was there."""
    rules = load_constitution(project(tmp_path))
    assert "{{ prompt }}" in rules.templates.contrast
    other = replace(rules, templates=replace(rules.templates, contrast="{{ prompt }} {{ follow }}"))
    for read in (lambda r: with_digest(r).digest, own_digest, snapshot):
        assert read(rules) == read(other)
        made = [replace(r, feedback=Feedback(mode="contrast")) for r in (rules, other)]
        assert read(made[0]) != read(made[1])
    assert "contrast" not in snapshot(rules)["templates"]
