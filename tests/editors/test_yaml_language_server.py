"""An edited file in a real editor's language server: completions, hover text, diagnostics."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cai.constitution.editors import modeline
from tests.constitution.projects import CONSTITUTION, principle, project
from tests.e2e.helpers import cai
from tests.editors.server import Editor, editor

PRINCIPLE_LINE = modeline("Principle", 1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A project with the schemas that `cai schema` writes."""
    project(tmp_path)
    cai("schema", tmp_path)
    return tmp_path


@pytest.fixture
def edit(root: Path) -> Iterator[Editor]:
    with editor(root) as client:
        yield client


def write(root: Path, text: str, kind: str = "Principle") -> Path:
    folder = "principles" if kind == "Principle" else "constitution"
    file = root / folder / "edited.yaml"
    file.write_text(modeline(kind, 1) + text, "utf-8")
    return file


def test_the_modeline_names_the_file_that_is_written(root: Path) -> None:
    name = PRINCIPLE_LINE.strip().partition("$schema=")[2]
    assert (root / "principles" / name).resolve().is_file()


def test_keys_are_completed(root: Path, edit: Editor) -> None:
    """A new line at the end of a principle: the keys that it does not have yet."""
    text = principle("rude") + "\n"
    edit.open(write(root, text))
    offered = edit.completions(len(text.split("\n")) - 1, 0)
    assert {"deprecated", "examples", "extends", "source", "tags"} <= set(offered)
    assert "title" not in offered


def test_values_are_completed(root: Path, edit: Editor) -> None:
    text = CONSTITUTION + "feedback:\n  mode: \n"
    edit.open(write(root, text, "Constitution"))
    assert edit.completions(text.count("\n"), len("  mode: ")) == [
        "contrast",
        "letters",
        "pointwise",
    ]


def test_keys_deep_inside_are_completed(root: Path, edit: Editor) -> None:
    text = principle("rude").replace("expect: {critique_flags: none}", "expect:\n      ")
    edit.open(write(root, text))
    line = text[: text.index("expect:")].count("\n") + 2
    assert "not_contains" in edit.completions(line, 6)


def test_a_key_says_what_it_means(root: Path, edit: Editor) -> None:
    text = principle("rude")
    edit.open(write(root, text))
    line = text[: text.index("why:")].count("\n") + 1
    assert "The reason, for reviewers and auditors" in edit.hover(line, 1)


def test_slips_are_told(root: Path, edit: Editor) -> None:
    """As `cai lint` does: an unknown key, a value out of range, a version that is a number."""
    text = CONSTITUTION.replace("title: Small", "title: Small\ntitel: x")
    text = text.replace("rounds: 1", "rounds: 0").replace(
        "version: 1.0.0\ntitle", "version: 1.0\ntitle"
    )
    edit.open(write(root, text, "Constitution"))
    told = dict(edit.diagnostics())
    lines = {
        name: text[: text.index(name)].count("\n") + 1 for name in ("titel", "rounds", "version")
    }
    assert set(told) == set(lines.values())
    assert "titel" in told[lines["titel"]]


def test_what_is_right_is_left_alone(root: Path, edit: Editor) -> None:
    edit.open(write(root, principle("rude")))
    assert edit.diagnostics() == []


def test_what_extends_may_leave_out(root: Path, edit: Editor) -> None:
    text = "api: cai/v1\nkind: Principle\nid: ruder\nversion: 1.0.0\ntitle: Ruder\n"
    edit.open(write(root, text + "extends: ./rude.yaml\nstages: {critique: Say it.}\n"))
    assert edit.diagnostics() == []
