"""A principle's file edited in place: only the edit differs, whatever is written into it."""

from __future__ import annotations

from difflib import unified_diff
from pathlib import Path
from typing import Any

import pytest
import yaml

from cai.authoring.edits.files import edited_text
from cai.constitution.load import load_principle
from cai.constitution.source import KeyPath, parse
from cai.errors import ContentError
from tests.audit.payloads import PAYLOADS

TEXT = """\
# Why this file is so.
api: cai/v1
kind: Principle
id: kind
version: 1.0.0  # bump it
title: Be kind
why: It costs nothing.
tags: [a, b]
stages:
  critique: |
    Say where the response
    is unkind.

  revise: "Make it kind."
compare: Which is kinder?
tests:
  - name: flags an insult
    prompt: Hi
    response: Fool.
    expect: {critique_flags: problem}
  # the end
"""
NEW: dict[str, Any] = {
    "name": "added", "prompt": "P", "response": "R", "expect": {"critique_flags": "none"}
}  # fmt: skip
CRITIQUE: KeyPath = ("stages", "critique")


def changed(before: str, after: str) -> list[str]:
    lines = unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0)
    return [line for line in lines if line[:2] not in ("--", "++", "@@")]


def test_only_the_edit_differs() -> None:
    texts: dict[KeyPath, str] = {
        ("version",): "1.1.0",
        CRITIQUE: "Name what is unkind.",
        ("stages", "revise"): "Be: kind.",
        ("compare",): "# Which?",
    }
    after = edited_text(TEXT, Path("kind.yaml"), texts, [NEW])
    assert changed(TEXT, after) == [
        "-version: 1.0.0  # bump it", "+version: 1.1.0  # bump it",
        "-    Say where the response", "-    is unkind.", "+    Name what is unkind.",
        '-  revise: "Make it kind."', "-compare: Which is kinder?",
        "+  revise: 'Be: kind.'", "+compare: '# Which?'",
        "+  - name: added", "+    prompt: P", "+    response: R", "+    expect:",
        "+      critique_flags: none",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "tests", ["", "tests: []\n", "tests: [{name: a, prompt: b, expect: {renders: c}}]\n"]
)
def test_tests_in_any_style(tests: str, tmp_path: Path) -> None:
    text = TEXT.partition("tests:\n")[0] + tests
    after = edited_text(text, Path("kind.yaml"), {}, [NEW])
    (tmp_path / "kind.yaml").write_text(after)
    assert load_principle(tmp_path / "kind.yaml").tests[-1].name == "added"
    assert after.startswith("# Why this file is so.\n")
    assert ("# bump it" in after) is (not tests)  # else it was written anew


def test_a_file_without_a_line_end() -> None:
    after = edited_text(TEXT.partition("\n  # the end")[0], Path("kind.yaml"), {}, [NEW])
    assert after.endswith("critique_flags: none\n")
    assert yaml.safe_load(after)["tests"][1] == NEW


def test_a_wording_that_is_inherited() -> None:
    text = "api: cai/v1\nkind: Principle\nid: b\nversion: 1.0.0\nextends: a.yaml\n"
    after = edited_text(text, Path("b.yaml"), {CRITIQUE: "Say it."}, [])
    assert yaml.safe_load(after)["stages"] == {"critique": "Say it."}


@pytest.mark.parametrize("payload", [*PAYLOADS, "- a: {b", "a #b", "'", '"', "|\n x", "no", "1"])
def test_any_text_comes_back_as_it_was(payload: str) -> None:
    from cai.authoring.edits.draft_tests import clean

    text = clean(payload)
    if not text:
        return
    test = NEW | {"prompt": text, "response": text, "source": " ".join(text.split())}
    one_line = " ".join(text.split())
    after = edited_text(
        TEXT, Path("kind.yaml"), {CRITIQUE: one_line, ("compare",): one_line}, [test]
    )
    source, problems = parse(after, Path("kind.yaml"))
    assert problems == []
    assert source is not None
    assert source.value["tests"][1] == test
    assert source.value["stages"]["critique"].strip() == one_line
    assert source.value["compare"] == one_line
    assert "# bump it" in after


def test_a_file_that_is_no_mapping() -> None:
    with pytest.raises(ContentError):
        edited_text("a: [", Path("kind.yaml"), {}, [NEW])
