"""A small project on disk for tests, and one call to see its problems."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from cai.constitution.load import load_constitution, load_principle
from cai.errors import ContentError, Problem

PRINCIPLE = """\
api: cai/v1
kind: Principle
id: {name}
version: 1.0.0
title: About {name}
why: Because of {name}.
stages:
  critique: Say what is {name}.
  revise: Remove what is {name}.
compare: Which is less {name}?
tests:
  - name: flags it
    prompt: Hello?
    response: Hi.
    expect: {{critique_flags: none}}
  - name: prefers the friendly one
    prompt: Hello?
    a: Hi.
    b: Hi, fool.
    expect: {{prefers: a}}
"""

CONSTITUTION = """\
api: cai/v1
kind: Constitution
id: small
version: 1.0.0
title: Small
principles:
  - ref: ../principles/rude.yaml
  - ref: ../principles/harmful.yaml
plan:
  rounds: 1
changelog:
  - {version: 1.0.0, date: 2026-01-31, by: us, change: First.}
"""


def principle(name: str, more: str = "") -> str:
    """A principle file's text."""
    return PRINCIPLE.format(name=name) + textwrap.dedent(more)


def project(root: Path, **changed: str) -> Path:
    """Write a project; `changed` maps `constitution`, `rude` or `harmful` to another text.

    Returns the constitution's path.
    """
    (root / "principles").mkdir(parents=True, exist_ok=True)
    (root / "constitution").mkdir(exist_ok=True)
    for name in ("rude", "harmful"):
        text = changed.get(name, principle(name))
        (root / "principles" / f"{name}.yaml").write_text(text, "utf-8")
    path = root / "constitution" / "small.yaml"
    path.write_text(changed.get("constitution", CONSTITUTION), "utf-8")
    return path


def problems(path: Path) -> list[Problem]:
    """The problems of loading a file, which must have some; each at a place in its file."""
    text = path.read_text("utf-8", "replace")
    kind = load_constitution if "kind: Constitution" in text else load_principle
    with pytest.raises(ContentError) as caught:
        kind(path)
    result = list(caught.value.problems)
    assert result
    assert all(p.line >= 1 and p.column >= 1 and p.message for p in result)
    return result


def only(path: Path) -> Problem:
    """The single problem of a file."""
    result = problems(path)
    assert len(result) == 1, result
    return result[0]
