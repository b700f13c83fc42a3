"""What differs between two constitutions, field by field."""

from __future__ import annotations

from pathlib import Path

import pytest

from cai.authoring.changes import Change, changes, changes_model_input, content_of
from cai.constitution.load import load_constitution
from cai.pipeline.snapshot import snapshot
from tests.constitution.projects import CONSTITUTION, principle, project


def sides(tmp_path: Path, **changed: str) -> tuple[list[Change], bool]:
    """What changes from the small project to one with other texts, and whether a model reads it."""
    before = content_of(load_constitution(project(tmp_path / "a")))
    after = content_of(load_constitution(project(tmp_path / "b", **changed)))
    return list(changes(before, after)), changes_model_input(before, after)


def test_the_same_content(tmp_path: Path) -> None:
    assert sides(tmp_path) == ([], False)


def test_another_wording(tmp_path: Path) -> None:
    text = principle("rude").replace("Say what is rude.", "Say what is impolite.")
    differences, read = sides(tmp_path, rude=text)
    assert differences == [
        Change("changed", "principle", "rude", "critique_request",
               "Say what is rude.", "Say what is impolite."),
    ]  # fmt: skip
    assert read


def test_a_reason_is_read_by_people_alone(tmp_path: Path) -> None:
    differences, read = sides(tmp_path, rude=principle("rude").replace("Because", "Since"))
    assert [(c.field, c.before, c.after) for c in differences] == [
        ("why", "Because of rude.", "Since of rude."),
    ]  # fmt: skip
    assert not read


@pytest.mark.parametrize(
    ("old", "new", "part", "field", "values"),
    [
        ("  rounds: 1", "  rounds: 2", "plan", "rounds", (1, 2)),
        ("title: Small", "title: Tiny", "constitution", "title", ("Small", "Tiny")),
        ("plan:", "feedback: {mode: letters}\nplan:", "feedback", "mode", ("pointwise", "letters")),
    ],
)
def test_a_setting(
    tmp_path: Path, old: str, new: str, part: str, field: str, values: tuple[object, object]
) -> None:
    differences, _ = sides(tmp_path, constitution=CONSTITUTION.replace(old, new))
    assert [(c.part, c.field, (c.before, c.after)) for c in differences] == [(part, field, values)]


def test_a_weight_and_a_principle_that_goes(tmp_path: Path) -> None:
    lighter = CONSTITUTION.replace("- ref: ../principles/rude.yaml",
                                   "- {ref: ../principles/rude.yaml, weight: 2}")  # fmt: skip
    differences, _ = sides(tmp_path / "weight", constitution=lighter)
    assert [(c.name, c.field, c.before, c.after) for c in differences] == [
        ("rude", "weight", 1.0, 2.0)
    ]
    fewer = CONSTITUTION.replace("  - ref: ../principles/harmful.yaml\n", "")
    differences, _ = sides(tmp_path / "gone", constitution=fewer)
    assert [(c.kind, c.name) for c in differences] == [("removed", "harmful")]


def test_another_order(tmp_path: Path) -> None:
    lines = CONSTITUTION.splitlines(keepends=True)
    first = next(n for n, line in enumerate(lines) if "rude.yaml" in line)
    lines[first], lines[first + 1] = lines[first + 1], lines[first]
    differences, _ = sides(tmp_path, constitution="".join(lines))
    assert [(c.field, c.before, c.after) for c in differences] == [
        ("order of the principles", ["rude", "harmful"], ["harmful", "rude"]),
    ]


def test_what_a_run_does_not_tell_is_no_change(tmp_path: Path) -> None:
    """A run's snapshot holds no few-shot examples and no tests."""
    rules = load_constitution(project(tmp_path))
    assert list(changes(snapshot(rules), content_of(rules))) == []
