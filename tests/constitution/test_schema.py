"""Each slip in a file gets a message that says where, what, and what to do."""

# ruff: noqa: E501
from __future__ import annotations

from pathlib import Path

import pytest

from cai.constitution.load import load_constitution, load_principle
from tests.constitution.projects import CONSTITUTION, only, principle, problems, project

PRINCIPLE_SLIPS = [
    # (old, new, line, column, code, part of the message, part of the hint)
    ("compare:", "comparison:", 1, 1, "C010", "`compare` is missing", "Add it"),
    ("  critique: Say what is rude.\n", "", 7, 1, "C010", "`stages.critique` is missing", "below `stages`"),
    ("api: cai/v1", "api: cai/v2", 1, 6, "C013", "`api` is `cai/v2`", "api: cai/v1"),
    ("api: cai/v1\n", "", 1, 1, "C010", "`api` is missing", "api: cai/v1"),
    ("kind: Principle", "kind: Principal", 2, 7, "C013", "not `Principle`", "kind: Principle"),
    ("id: rude", "id: Rude", 3, 5, "C012", "lower-case words", ""),
    ("id: rude", "id: ../rude", 3, 5, "C012", "lower-case words", ""),
    ("version: 1.0.0", "version: 1.0", 4, 10, "C012", "three numbers such as 1.0.0, but is the number 1", ""),
    ("version: 1.0.0", "version: 1.0.0-rc1", 4, 10, "C012", "three numbers", ""),
    ("title: About rude", "title: no\nwhy2: x", 6, 1, "C011", "unknown key `why2`", "Did you mean `why`?"),
    ("title: About rude", "title: 12", 5, 8, "C012", "is the number 12", "in quotes"),
    ("title: About rude", "title: ''", 5, 8, "C012", "must not be empty", ""),
    ("title: About rude", "title: |\n  a\n  b", 5, 8, "C012", "one line", ""),
    ("why: Because of rude.", "why:", 6, 5, "C012", "is empty", ""),
    ("why: Because of rude.", "why: '   '", 6, 6, "C012", "must not be empty", ""),
    ("why: Because of rude.", "why: [a]", 6, 6, "C012", "is a list", ""),
    ("  revise: Remove", "  revize: x\n  revise: Remove", 9, 3, "C011", "`stages.revize`", "Did you mean `revise`?"),
    ("tests:\n", "tags: [a, B c]\ntests:\n", 11, 11, "C012", "`tags[1]`", ""),
    ("tests:\n", "tags: [a, a]\ntests:\n", 11, 7, "C012", "a duplicate entry", ""),
    ("tests:\n", "tags: legal\ntests:\n", 11, 7, "C012", "must be a list", ""),
    ("tests:\n", "examples: [{prompt: a, response: b, critique: c}]\ntests:\n", 11, 12, "C010",
     "`examples[0].revision` is missing", ""),
    ("critique_flags: none", "critique_flag: none", 15, 14, "C011", "critique_flag",
     "Did you mean `critique_flags`?"),
    ("critique_flags: none", "critique_flags: problems", 15, 30, "C012", "`none`", "Did you mean `problem`?"),
    ("critique_flags: none", "prefers: a", 12, 5, "C014", "needs the two responses", ""),
    ("    response: Hi.\n", "", 12, 5, "C014", "`critique_flags` needs a `response`", ""),
    ("    response: Hi.\n", "    response: Hi.\n    a: x\n", 12, 5, "C014", "must be given together", ""),
    ("{critique_flags: none}", "{}", 12, 5, "C014", "expects nothing", ""),
]  # fmt: skip


@pytest.mark.parametrize("slip", PRINCIPLE_SLIPS, ids=lambda s: s[1][:40])
def test_slips_in_a_principle(
    slip: tuple[str, str, int, int, str, str, str], tmp_path: Path
) -> None:
    old, new, line, column, code, message, hint = slip
    text = principle("rude")
    assert text.count(old) == 1
    path = tmp_path / "rude.yaml"
    path.write_text(text.replace(old, new), "utf-8")
    result = problems(path)
    here = [p for p in result if (p.line, p.column, p.code) == (line, column, code)]
    assert here, result
    assert message in here[0].message and hint in here[0].hint


CONSTITUTION_SLIPS = [
    ("rounds: 1", "rounds: 0", 10, 11, "C012", "at least 1"),
    ("rounds: 1", "rounds: two", 10, 11, "C012", "must be a whole number"),
    ("rounds: 1", "rounds: 1.5", 10, 11, "C012", "must be a whole number"),
    ("rounds: 1", "rounds: true", 10, 11, "C012", "must be a whole number, but is `true`"),
    ("rounds: 1", "round: 1", 10, 3, "C011", "unknown key `plan.round`"),
    ("rounds: 1", "rounds: 3", 10, 11, "C031", "3 rounds, but only 2 principles"),
    ("rounds: 1", "rounds: 3\n  draw: fixed", 10, 11, "C031", "3 rounds"),
    ("rounds: 1", "rounds: 3\n  draw: uniform", 10, 11, "C031", "3 rounds"),
    ("rounds: 1", "draw: random", 10, 9, "C012", "must be `weighted`, `uniform`, `all` or `fixed`"),
    ("rounds: 1", "draw: all\n  with_replacement: true", 11, 21, "C031", "does not draw at random"),
    ("rounds: 1", "fewshot: 1", 10, 12, "C033", "fewshot is 1, but `harmful` has 0"),
    ("rounds: 1", "check: 'yes'", 10, 10, "C012", "true or false, but is `yes`"),
    ("rounds: 1", "check: yes", 10, 10, "C012", "true or false, but is `yes`"),
    ("plan:", "feedback: {chain_of_thought: true}\nplan:", 9, 30, "C032", "writes no reasoning"),
    ("plan:", "feedback: {reasoning_samples: 3}\nplan:", 9, 31, "C032", "chain_of_thought is false"),
    ("plan:", "feedback: {principles_per_pair: 3}\nplan:", 9, 33, "C032", "is 3, but only 2 are"),
    ("plan:", "feedback: {principles_per_pair: 0}\nplan:", 9, 33, "C012", "at least 1, or `all`"),
    ("plan:", "feedback: {principles_per_pair: every}\nplan:", 9, 33, "C012", "at least 1, or `all`"),
    ("plan:", "feedback: {clamp: [0.6, 0.4]}\nplan:", 9, 19, "C012", "the lower one first"),
    ("plan:", "feedback: {clamp: 0.4}\nplan:", 9, 19, "C012", "the lower one first"),
    ("plan:", "feedback: {clamp: [0.4, true]}\nplan:", 9, 19, "C012", "the lower one first"),
    ("plan:", "feedback: {temperature: 0}\nplan:", 9, 25, "C012", "greater than 0"),
    ("plan:", "feedback: {temperature: .nan}\nplan:", 9, 25, "C012", "finite"),
    ("plan:", "feedback: {mode: letter}\nplan:", 9, 18, "C012", "`letters`"),
    ("plan:", "no_problem: []\nplan:", 9, 13, "C012", "must not be empty"),
    ("plan:", "extends: 3\nplan:", 9, 10, "C012", "must be a list"),
    ("plan:", "select: {include_tags: [legal]}\nplan:", 9, 25, "C034", "no principle here has the tag `legal`"),
    ("plan:", "templates: {critic: a.j2}\nplan:", 9, 13, "C011", "unknown key `templates.critic`"),
    ("  - ref: ../principles/rude.yaml", "  - ref: ../principles/rude.yaml\n    weight: 0", 8, 13,
     "C012", "greater than 0"),
    ("  - ref: ../principles/rude.yaml", "  - ref: ../principles/rude.yaml\n    weight: -1", 8, 13,
     "C012", "greater than 0"),
    ("  - ref: ../principles/rude.yaml", "  - ref: ../principles/rude.yaml\n    weight: .inf", 8, 13,
     "C012", "finite"),
    ("  - ref: ../principles/rude.yaml", "  - ref: ../principles/rude.yaml\n    weight: 1e999", 8, 13,
     "C012", "must be"),
    ("  - ref: ../principles/rude.yaml", "  - ref: ../principles/rude.yaml\n    phases: [sft]", 8, 14,
     "C012", "is `sft`; it must be `sl` or `rl`"),
    ("  - ref: ../principles/rude.yaml", "  - ref: ../principles/rude.yaml\n    phases: []", 8, 13,
     "C012", "must not be empty"),
    ("  - ref: ../principles/rude.yaml", "  - ../principles/rude.yaml", 7, 5, "C012",
     "must be a mapping of keys"),
    ("  - ref: ../principles/harmful.yaml", "  - ref: ../principles/rude.yaml", 8, 10, "C023",
     "listed twice, first as number 1"),
    ("date: 2026-01-31", "date: January", 12, 28, "C012", "must be a date"),
]  # fmt: skip


@pytest.mark.parametrize("slip", CONSTITUTION_SLIPS, ids=lambda s: s[1][-40:])
def test_slips_in_a_constitution(slip: tuple[str, str, int, int, str, str], tmp_path: Path) -> None:
    old, new, line, column, code, message = slip
    assert CONSTITUTION.count(old) == 1
    result = problems(project(tmp_path, constitution=CONSTITUTION.replace(old, new)))
    here = [p for p in result if (p.line, p.column, p.code) == (line, column, code)]
    assert here, result
    assert message in here[0].message


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    bad = CONSTITUTION.replace("rounds: 1", "round: 1").replace("rude.yaml", "rud.yaml")
    broken = principle("harmful").replace("why:", "wy:")
    result = problems(project(tmp_path, constitution=bad, harmful=broken))
    assert [p.code for p in result] == ["C011"], "a wrong schema comes before its references"
    bad = CONSTITUTION.replace("rude.yaml", "rud.yaml")
    result = problems(project(tmp_path, constitution=bad, harmful=broken))
    assert [(Path(p.file).name, p.code) for p in result] == [
        ("small.yaml", "C021"),
        ("harmful.yaml", "C010"),
        ("harmful.yaml", "C011"),
    ]
    assert "Did you mean `rude.yaml`?" in result[0].hint


@pytest.mark.parametrize("text", ["", "# nothing\n", "hello", "[1]", "12", "~"])
def test_a_file_that_is_no_mapping(text: str, tmp_path: Path) -> None:
    path = tmp_path / "p.yaml"
    path.write_text(text)
    assert only(path).code == "C010"


def test_plain_scalars_keep_their_text(tmp_path: Path) -> None:
    text = principle("rude").replace("About rude", "no").replace("Because of rude.", "2026-01-31")
    path = tmp_path / "rude.yaml"
    path.write_text(text)
    result = load_principle(path)
    assert (result.title, result.why) == ("no", "2026-01-31")


def test_lists_may_be_single_texts(tmp_path: Path) -> None:
    text = CONSTITUTION.replace("plan:", "no_problem: Nothing.\nplan:")
    assert load_constitution(project(tmp_path, constitution=text)).no_problem == ("Nothing.",)


@pytest.mark.parametrize("key", ["include_tags", "exclude_tags"])
@pytest.mark.parametrize("tag", ["Harm", "A B", "it's"])
def test_a_tag_that_is_none_is_told(key: str, tag: str, tmp_path: Path) -> None:
    text = CONSTITUTION + f'select: {{{key}: ["{tag}"]}}\n'
    problem = only(project(tmp_path, constitution=text))
    assert problem.code == "C012" and "lower-case words" in problem.message


def test_a_version_of_two_numbers_is_told_what_to_be(tmp_path: Path) -> None:
    text = CONSTITUTION.replace("version: 1.0.0\ntitle", "version: 1.0\ntitle")
    problem = only(project(tmp_path, constitution=text))
    assert "three numbers" in problem.message and "quotes" not in problem.hint


def test_a_day_that_is_none_is_told(tmp_path: Path) -> None:
    text = CONSTITUTION.replace("date: 2026-01-31", "date: 2026-13-77")
    assert "is not a valid date" in only(project(tmp_path, constitution=text)).message
