"""The system message of a teacher in distillation, and the template that words it."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from cai.constitution.load import load_constitution
from cai.constitution.messages import taught, teaching_text
from cai.errors import ContentError
from cai.types import Message
from tests.factories import TEMPLATES, constitution

OWN = """\
api: cai/v1
kind: Constitution
id: own
version: 1.0.0
title: Own
extends: [./default.yaml]
templates: {KIND: ./templates/own.j2}
"""


def test_the_titles_are_a_list_in_the_shipped_words() -> None:
    rules = constitution()
    text = teaching_text(rules, [m.principle for m in rules.members[:2]])
    assert text.splitlines()[1:] == ["- Rude", "- Harmful"]
    assert text.startswith("Follow these principles")


def test_a_prompt_keeps_its_own_system_message_behind_it() -> None:
    rules = constitution(
        templates=dataclasses.replace(
            TEMPLATES, teach="Rules:{% for p in principles %} {{ p }}.{% endfor %}"
        )
    )
    some = [m.principle for m in rules.members]
    user = Message("user", "Hi")
    assert taught(rules, some, (user,)) == (
        Message("system", "Rules: Rude. Harmful. Vague."), user
    )  # fmt: skip
    assert taught(rules, some[:1], (Message("system", "Be brief."), user)) == (
        Message("system", "Rules: Rude.\n\nBe brief."), user
    )  # fmt: skip


def own_project(folder: Path, template: str, kind: str = "teach") -> Path:
    """A project's copy of the default, with a template of its own of some kind."""
    from click.testing import CliRunner

    from cai.cli.main import cli

    assert CliRunner().invoke(cli, ["init", str(folder)]).exit_code == 0
    (folder / "constitution" / "templates" / "own.j2").write_text(template)
    file = folder / "constitution" / "own.yaml"
    file.write_text(OWN.replace("KIND", kind))
    return file


def test_a_template_of_its_own_is_read_and_changes_the_digest(tmp_path: Path) -> None:
    """And the shipped one changes none: what was built before keeps its name."""
    rules = load_constitution(own_project(tmp_path, "{% for p in principles %}{{ p }}{% endfor %}"))
    default = load_constitution(tmp_path / "constitution" / "default.yaml")
    assert default.templates.teach == "" and default.digest == load_constitution("default").digest
    assert rules.digest != default.digest
    (member, *_) = rules.members
    assert teaching_text(rules, [member.principle]) == member.principle.title
    assert (tmp_path / "constitution" / "templates" / "teach.j2").is_file()


def test_a_template_without_the_principles_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ContentError, match="a teach template must use the variable `principles`"):
        load_constitution(own_project(tmp_path, "Be good."))
