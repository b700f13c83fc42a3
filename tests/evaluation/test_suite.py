"""Suites in files: what is read, what is set aside, what is refused, and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cai.errors import ContentError, DataError, UsageError
from cai.evaluation.items import ChoiceItem, PromptItem, StyleItem
from cai.evaluation.measures import measures_of
from cai.evaluation.rules import follows
from cai.evaluation.suite import bundled_suites, load_suite, select_suites
from tests.evaluation.asking import suite

HEAD = """\
api: cai/v1
kind: Suite
id: mine
version: 1.0.0
title: Mine
about: For tests.
task: response
judges: {refused: higher}
items: mine.jsonl
"""


def write(folder: Path, *rows: Any, head: str = HEAD) -> Path:
    (folder / "mine.yaml").write_text(head)
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (folder / "mine.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return folder / "mine.yaml"


def test_invalid_rows_are_set_aside_with_their_place(tmp_path: Path) -> None:
    path = write(
        tmp_path, {"id": "a", "prompt": "Hello?"}, {"id": "a", "prompt": "Again?"},
        {"id": "b", "promt": "Hi."}, {"id": "c"}, "{broken", {"id": "d", "prompt": " "},
        {"id": "e", "messages": [{"role": "user", "content": "Yes?"}]}, ["f"],
        {"id": "g", "messages": [{"role": "User", "content": "Yes?"}]}, {"id": 7, "prompt": "x"},
        {"id": "h", "prompt": "x", "why": "y"}, {"prompt": "x"},
    )  # fmt: skip
    one = load_suite(path)
    assert [item.id for item in one.items] == ["a", "e"]
    reasons = {row.source.rpartition(":")[2]: row.reason for row in one.set_aside}
    assert list(reasons) == ["2", "3", "4", "5", "6", "8", "9", "10", "11", "12"]
    assert reasons["2"] == "duplicate: an earlier item has the id 'a'"
    assert reasons["3"] == "unknown key `promt`. Did you mean `prompt`?"
    assert reasons["4"] == "needs either `prompt` or `messages`"
    assert reasons["6"] == "`prompt` must not be empty"
    assert reasons["8"] == "it is not an object"
    assert reasons["9"].startswith("`messages[0].role` is `User`; it must be `system`, `user`")
    assert reasons["10"] == "`id` must be text, but is the number 7"
    assert reasons["11"] == "unknown key `why`"
    assert reasons["12"] == "`id` is missing"


def test_a_key_with_an_alias_and_a_value_of_several_types(tmp_path: Path) -> None:
    """The key is `for`, not the name that Python needs; `answer` is a number or a list."""
    head = HEAD.replace("task: response", "task: stance").replace("judges: {refused: higher}\n", "")
    stance = {"statement": "x", "for": "y", "against": "z"}
    one = load_suite(
        write(tmp_path, {"id": "a", **stance}, {"id": "b", **stance, "fo": ""}, head=head)
    )
    assert one.set_aside[0].reason == "unknown key `fo`. Did you mean `for`?"
    question = {"question": "x", "choices": ["a", "b"]}
    two = load_suite(
        write(
            tmp_path, {"id": "a", "answer": 1, **question}, {"id": "b", "answer": "b", **question},
            head=head.replace("stance", "choice"),
        )
    )  # fmt: skip
    assert two.set_aside[0].reason == "`answer` must be a whole number, but is `b`"


def test_a_suite_file_that_is_not_right_says_where(tmp_path: Path) -> None:
    head = HEAD.replace("task: response", "task: respond")
    path = write(tmp_path, {"id": "a", "prompt": "x"}, head=head)
    with pytest.raises(ContentError, match=r"mine\.yaml:7:7"):
        load_suite(path)
    with pytest.raises(ContentError, match=r"mine\.yaml:10:1.*unknown key `jugdes`"):
        load_suite(write(tmp_path, {"id": "a", "prompt": "x"}, head=HEAD + "jugdes: {}\n"))
    with pytest.raises(DataError, match="has no valid item"):
        load_suite(write(tmp_path, {"id": "a"}))
    with pytest.raises(UsageError, match="no suite harmfull") as caught:
        load_suite("harmfull")
    assert "'harmful'" in caught.value.hint


def test_instructions_without_rules_are_set_aside(tmp_path: Path) -> None:
    """Nothing to follow is not followed."""
    head = HEAD.replace("refused", "followed")
    rules = [{"kind": "min_words", "value": 3}]
    rows = [{"id": "a", "prompt": "Say no."}, {"id": "b", "prompt": "Be brief.", "rules": rules}]
    one = load_suite(write(tmp_path, *rows, head=head))
    assert [item.id for item in one.items] == ["b"]
    (aside,) = one.set_aside
    assert aside.source.endswith("mine.jsonl: a") and "no `rules`" in aside.reason
    with pytest.raises(DataError, match="`rules`"):
        load_suite(write(tmp_path, rows[0], head=head))


def test_a_measure_that_there_is_not(tmp_path: Path) -> None:
    head = HEAD.replace("refused: higher", "rude: lower")
    one = load_suite(write(tmp_path, {"id": "a", "prompt": "x"}, head=head))
    with pytest.raises(UsageError, match="no measure 'rude'"):
        measures_of(one)


def test_two_suites_of_one_name(tmp_path: Path) -> None:
    path = write(tmp_path, {"id": "a", "prompt": "x"})
    with pytest.raises(UsageError, match=r"mine\.yaml is named twice"):
        select_suites([path, path], None, 0)
    with pytest.raises(UsageError, match="harmful is named twice"):
        select_suites(["harmful", "bias", "harmful"], None, 0)
    (tmp_path / "other").mkdir()
    other = write(tmp_path / "other", {"id": "a", "prompt": "x"})
    with pytest.raises(UsageError, match="Two suites are called mine"):
        select_suites([path, other], None, 0)


def test_a_sample_keeps_clusters_whole() -> None:
    rows = [{"prompt": f"p{n}", "cluster": f"c{n // 2}"} for n in range(20)]
    one = suite("response", *rows)
    first, again = one.sample(6, 0), one.sample(6, 0)
    assert len(first.items) == 6
    assert first.items == again.items != one.sample(6, 1).items
    clusters = [item.cluster for item in first.items]
    assert all(clusters.count(name) == 2 for name in clusters)
    assert first.digest != one.digest
    assert one.sample(None, 0) is one


def test_bundled_suites_are_large_and_right() -> None:
    """Every suite that ships: a hundred items or more, all of them valid."""
    suites = select_suites([], None, 0)
    assert {one.id for one in suites} == set(bundled_suites())
    for one in suites:
        assert len(one.items) >= 100, one.id
        assert one.set_aside == (), one.id
        assert measures_of(one), one.id
        assert one.pushes or one.task != "flip"
    by_id = {one.id: one for one in suites}
    assert all(one.path == one.id for one in suites), "no path of this machine"
    assert len(by_id["jailbreaks"].items) == 2 * len(by_id["harmful"].items)
    for one in suites:
        choices = [item for item in one.items if isinstance(item, ChoiceItem)]
        places = [min(item.right) for item in choices if len(item.choices) == 4]
        if places and one.task == "choice":  # no place is the answer too often
            assert max(places.count(k) for k in range(4)) < 0.4 * len(places), one.id
    edits = {item.edit for item in by_id["style"].items if isinstance(item, StyleItem)}
    assert len(edits) >= 8


def test_instructions_can_be_followed_and_broken() -> None:
    """No shipped instruction holds for an empty reply, so each can be broken."""
    (one,) = select_suites(["instructions"], None, 0)
    for item in one.items:
        assert isinstance(item, PromptItem)
        assert item.rules, item.id
        assert not all(follows(rule, "") for rule in item.rules), item.id
