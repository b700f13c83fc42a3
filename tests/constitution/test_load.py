"""Loading: merging, references that stay inside, digests that cover what matters and only that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cai.constitution.load import NO_PROBLEM, Loader, load_constitution, load_principle
from cai.constitution.source import read_source
from cai.content import find_constitution, project_root
from cai.errors import ContentError
from cai.types import Constitution, Example, Feedback, Member, Plan, Principle, PrincipleTest
from tests.constitution.projects import CONSTITUTION, only, principle, problems, project

EXAMPLE = """\
examples:
  - prompt: P
    response: |
      R
    critique: C
    revision: V
"""


def test_every_field_of_a_principle(tmp_path: Path) -> None:
    path = tmp_path / "rude.yaml"
    more = "source: S\ntags: [a, b]\ndeprecated: Use x.\n" + EXAMPLE
    path.write_text(principle("rude", more))
    result = load_principle(path)
    assert result == Principle(
        id="rude",
        version="1.0.0",
        title="About rude",
        why="Because of rude.",
        critique_request="Say what is rude.",
        revision_request="Remove what is rude.",
        comparison_question="Which is less rude?",
        source="S",
        tags=("a", "b"),
        examples=(Example("P", "R", "C", "V"),),
        tests=(
            PrincipleTest("flags it", "Hello?", {"critique_flags": "none"}, "Hi."),
            PrincipleTest(
                "prefers the friendly one", "Hello?", {"prefers": "a"}, a="Hi.", b="Hi, fool."
            ),
        ),
        deprecated="Use x.",
        path=str(path),
        digest=result.digest,
    )


def test_every_field_of_a_constitution(tmp_path: Path) -> None:
    (tmp_path / "constitution").mkdir()
    (tmp_path / "constitution" / "c.j2").write_text("{{ critique_request }}{{ no_problem }}C")
    text = """\
        api: cai/v1
        kind: Constitution
        id: small
        version: 2.3.4
        title: Small
        principles:
          - {ref: ../principles/rude.yaml, weight: 2, phases: [rl, sl]}
          - {ref: ../principles/harmful.yaml, phases: [sl]}
        plan: {rounds: 5, draw: uniform, with_replacement: true, critique: false, fewshot: 1,
               history: append, skip_revision_if: never, check: false}
        feedback: {mode: letters, principles_per_pair: 1, both_orders: false,
                   chain_of_thought: true, reasoning_samples: 2, clamp: [0.4, 0.6], temperature: 2}
        templates: {critique: ./c.j2, compare: compare_both.j2}
        no_problem: [Fine., "Good. "]
    """
    text = "\n".join(line.removeprefix("        ") for line in text.splitlines())
    files = {name: principle(name, EXAMPLE) for name in ("rude", "harmful")}
    path = project(tmp_path, constitution=text, **files)
    constitution = load_constitution(path)
    assert [(m.principle.id, m.weight, m.phases) for m in constitution.members] == [
        ("rude", 2.0, ("sl", "rl")),
        ("harmful", 1.0, ("sl",)),
    ]
    assert constitution.plan == Plan(5, "uniform", True, False, 1, "append", "never", False)
    assert constitution.feedback == Feedback("letters", 1, False, True, 2, (0.4, 0.6), 2.0)
    assert constitution.templates.critique == "{{ critique_request }}{{ no_problem }}C"
    assert constitution.templates.compare.count("{{ question }}") == 2
    assert constitution.templates.revise.startswith("{{ revision_request }}")
    assert constitution.no_problem == ("Fine.", "Good.")
    assert (constitution.id, constitution.version, constitution.title) == (
        "small",
        "2.3.4",
        "Small",
    )
    assert constitution.path == str(path)


def test_defaults_are_those_of_the_types(tmp_path: Path) -> None:
    constitution = load_constitution(project(tmp_path))
    assert constitution.plan == Plan(rounds=1)
    assert constitution.feedback == Feedback()
    assert constitution.members[0] == Member(constitution.members[0].principle)
    default = Constitution("", "", "", (), constitution.templates)
    assert constitution.no_problem == default.no_problem == NO_PROBLEM


# -- digests ----------------------------------------------------------------------------------

Change = Callable[[str], str]
INVISIBLE: dict[str, Change] = {
    "why": lambda t: t.replace("Because of", "Since"),
    "version": lambda t: t.replace("1.0.0", "1.0.1"),
    "tests": lambda t: t.replace("Hello?", "Hey?"),
    "tags": lambda t: t + "tags: [x]\n",
    "source": lambda t: t + "source: A book.\n",
    "a comment": lambda t: "# note\n" + t,
    "white space": lambda t: t.replace("Say what is rude.", "|\n    Say what is rude.\n"),
}
SEEN: dict[str, Change] = {
    "critique": lambda t: t.replace("Say what", "Tell what"),
    "revise": lambda t: t.replace("Remove what", "Drop what"),
    "compare": lambda t: t.replace("less rude", "more polite"),
    "title": lambda t: t.replace("About rude", "On rude"),
    "examples": lambda t: t + EXAMPLE,
}


@pytest.mark.parametrize("name", [*INVISIBLE, *SEEN])
def test_a_principle_s_digest_covers_what_a_model_reads(name: str, tmp_path: Path) -> None:
    path = project(tmp_path)
    before = load_constitution(path)
    change = (INVISIBLE | SEEN)[name]
    text = change(principle("rude"))
    assert text != principle("rude")
    after = load_constitution(project(tmp_path, rude=text))
    same = name in INVISIBLE
    assert (after.members[0].principle.digest == before.members[0].principle.digest) is same
    assert (after.digest == before.digest) is same
    assert after.members[1] == before.members[1]


CONSTITUTION_UNSEEN: dict[str, Change] = {
    "title": lambda t: t.replace("title: Small", "title: Little"),
    "version": lambda t: t.replace("version: 1.0.0\n", "version: 1.0.1\n"),
    "changelog": lambda t: t.replace("First.", "The first."),
    "phases in another order": lambda t: t.replace("e.yaml", "e.yaml\n    phases: [rl, sl]"),
    "a weight of one": lambda t: t.replace("e.yaml", "e.yaml\n    weight: 1.0"),
    "a default": lambda t: t.replace("rounds: 1", "rounds: 1\n  history: replace"),
    "the default's template": lambda t: t + "templates: {compare: compare.j2}\n",
}
CONSTITUTION_SEEN: dict[str, Change] = {
    "weight": lambda t: t.replace("e.yaml", "e.yaml\n    weight: 2"),
    "phases": lambda t: t.replace("e.yaml", "e.yaml\n    phases: [rl]"),
    "order": lambda t: t.replace("rude", "x.").replace("harmful", "rude").replace("x.", "harmful"),
    "plan": lambda t: t.replace("rounds: 1", "rounds: 2"),
    "feedback": lambda t: t + "feedback: {temperature: 2}\n",
    "templates": lambda t: t + "templates: {compare: compare_both.j2}\n",
    "no_problem": lambda t: t + "no_problem: Fine.\n",
}  # fmt: skip


@pytest.mark.parametrize("name", [*CONSTITUTION_UNSEEN, *CONSTITUTION_SEEN])
def test_a_constitution_s_digest_covers_what_changes_text(name: str, tmp_path: Path) -> None:
    before = load_constitution(project(tmp_path))
    text = (CONSTITUTION_UNSEEN | CONSTITUTION_SEEN)[name](CONSTITUTION)
    assert text != CONSTITUTION
    after = load_constitution(project(tmp_path, constitution=text))
    assert (after.digest == before.digest) is (name in CONSTITUTION_UNSEEN)


def test_a_digest_does_not_depend_on_the_place(tmp_path: Path) -> None:
    one, two = (load_constitution(project(tmp_path / name)) for name in ("a", "b"))
    assert one.digest == two.digest
    assert one == replace(two, path=one.path, members=one.members)


# -- extends ----------------------------------------------------------------------------------


def test_constitutions_merge_by_id_and_setting(tmp_path: Path) -> None:
    project(tmp_path)
    base = CONSTITUTION.replace("rounds: 1", "rounds: 1\n  history: append") + "no_problem: OK.\n"
    other = tmp_path / "principles" / "vague.yaml"
    other.write_text(principle("vague"))
    (tmp_path / "constitution" / "base.yaml").write_text(base)
    child = """\
api: cai/v1
kind: Constitution
id: child
version: 1.0.0
title: Child
extends: ./base.yaml
principles:
  - {ref: ../principles/vague.yaml}
  - {ref: ../principles/rude.yaml, weight: 3}
plan: {rounds: 2}
"""
    constitution = load_constitution(project(tmp_path, constitution=child))
    weights = [(m.principle.id, m.weight) for m in constitution.members]
    assert weights == [("rude", 3.0), ("harmful", 1.0), ("vague", 1.0)]
    assert constitution.plan == Plan(rounds=2, history="append")
    assert constitution.no_problem == ("OK.",)
    assert constitution.id == "child"


def test_principles_extend_principles(tmp_path: Path) -> None:
    project(tmp_path, rude=principle("rude", "tags: [tone]\ndeprecated: Old.\n" + EXAMPLE))
    path = tmp_path / "principles" / "child.yaml"
    path.write_text(
        "api: cai/v1\nkind: Principle\nid: child\nversion: 2.0.0\ntitle: Child\n"
        "extends: ./rude.yaml\nstages: {revise: Mine.}\n"
    )
    result = load_principle(path)
    assert result.critique_request == "Say what is rude."
    assert result.revision_request == "Mine."
    assert (result.tags, len(result.examples), result.why) == (
        ("tone",),
        1,
        "Because of rude.",
    )
    assert (result.id, result.version, result.tests, result.deprecated) == (
        "child",
        "2.0.0",
        (),
        None,
    )


@pytest.mark.parametrize("length", [1, 2, 3])
def test_cycles_are_refused(length: int, tmp_path: Path) -> None:
    head = "api: cai/v1\nkind: {}\nid: c{}\nversion: 1.0.0\ntitle: T\nextends: ./c{}.yaml\n"
    project(tmp_path)
    for kind in ("Constitution", "Principle"):
        folder = tmp_path / ("constitution" if kind == "Constitution" else "principles")
        for n in range(length):
            text = head.format(kind, n, (n + 1) % length)
            (folder / f"c{n}.yaml").write_text(text)
        result = problems(folder / "c0.yaml")
        assert [p.code for p in result] == ["C022"]
        assert "c0.yaml" in result[0].message and result[0].line == 6


def test_a_chain_and_a_diamond_end_quickly(tmp_path: Path) -> None:
    """A constitution that extends the next one twice, thirty times: 2^30 ways, each file once."""
    project(tmp_path)
    head = "api: cai/v1\nkind: Constitution\nid: c\nversion: 1.0.0\ntitle: T\nextends: [{}]\n"
    for n in range(30):
        nxt = f"./d{n + 1}.yaml" if n < 29 else "./small.yaml"
        text = head.format(f"{nxt}, {nxt}")
        (tmp_path / "constitution" / f"d{n}.yaml").write_text(text)
    assert len(load_constitution(tmp_path / "constitution" / "d0.yaml").members) == 2
    for n in range(40):
        text = head.format(f"./e{n + 1}.yaml")
        (tmp_path / "constitution" / f"e{n}.yaml").write_text(text)
    assert only(tmp_path / "constitution" / "e0.yaml").code == "C022"


def test_one_id_for_two_files(tmp_path: Path) -> None:
    problem = only(project(tmp_path, harmful=principle("rude")))
    assert (problem.code, problem.line) == ("C023", 8)


def test_templates_are_checked_as_their_kind(tmp_path: Path) -> None:
    path = project(tmp_path, constitution=CONSTITUTION + "templates: {compare: ./x.j2}\n")
    template = tmp_path / "constitution" / "x.j2"
    template.write_text("{{ question }} {{ response_a }} {{ conversation }}")
    problem = only(path)
    assert (problem.code, Path(problem.file).name) == ("C043", "x.j2")
    assert "response_b" in problem.message
    template.write_text("{{ critique }}")
    assert only(path).code == "C042"
    template.write_bytes(b"\xff")
    assert only(path).code == "C003"


def _with_rounds(rude: str, harmful: str, plan: str) -> str:
    text = CONSTITUTION.replace("rude.yaml", f"rude.yaml\n    {rude}")
    text = text.replace("harmful.yaml", f"harmful.yaml\n    {harmful}")
    return text.replace("plan:\n  rounds: 1\n", f"plan: {plan}\n")


def test_rounds_are_read(tmp_path: Path) -> None:
    text = _with_rounds("rounds: [2, 1]", "weight: 1", "{rounds: 2}")
    constitution = load_constitution(project(tmp_path, constitution=text))
    assert [m.rounds for m in constitution.members] == [(1, 2), ()]


@pytest.mark.parametrize("draw", ["all", "fixed"])
def test_rounds_are_not_read_where_nothing_is_drawn(tmp_path: Path, draw: str) -> None:
    """So a constitution may extend one that keeps principles for some rounds, and ask them all."""
    text = _with_rounds("rounds: [2]", "rounds: [2]", f"{{rounds: 1, draw: {draw}}}")
    assert load_constitution(project(tmp_path, constitution=text)).plan.draw == draw


def test_a_round_that_may_run_dry(tmp_path: Path) -> None:
    """Round 2 is rude's alone; where rude may be drawn in round 1 too, nothing may be left."""
    fine = _with_rounds("rounds: [2]", "rounds: [1]", "{rounds: 2}")
    assert load_constitution(project(tmp_path, constitution=fine)).plan.rounds == 2
    dry = _with_rounds("rounds: [1, 2]", "rounds: [1]", "{rounds: 2}")
    problem = only(project(tmp_path, constitution=dry))
    assert problem.code == "C031" and "round 2 may have no principle" in problem.message


def test_phases_need_principles(tmp_path: Path) -> None:
    text = CONSTITUTION.replace("e.yaml", "e.yaml\n    phases: [sl]")
    text = text.replace("l.yaml", "l.yaml\n    phases: [sl]")
    problem = only(project(tmp_path, constitution=text))
    assert (problem.code, problem.line) == ("C030", 7)
    assert "`rl`" in problem.message
    without = CONSTITUTION.split("principles:")[0]
    assert only(project(tmp_path, constitution=without)).code == "C030"


def test_select_keeps_and_drops_by_tag(tmp_path: Path) -> None:
    files = {
        "rude": principle("rude", "tags: [a, b]\n"),
        "harmful": principle("harmful", "tags: [a]\n"),
    }
    for select, expected in (
        ("{include_tags: [b]}", ["rude"]),
        ("{exclude_tags: [b]}", ["harmful"]),
        ("{include_tags: [a]}", ["rude", "harmful"]),
    ):
        text = CONSTITUTION + f"select: {select}\n"
        constitution = load_constitution(project(tmp_path, constitution=text, **files))
        assert [m.principle.id for m in constitution.members] == expected
    text = CONSTITUTION + "select: {include_tags: [a], exclude_tags: [a]}\n"
    assert only(project(tmp_path, constitution=text, **files)).code == "C030"


# -- where content is found -------------------------------------------------------------------


def test_names_and_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_constitution("default").id == "default"
    assert load_constitution("miniature").id == "miniature"
    path = project(tmp_path)
    assert load_constitution("small").path == str(Path("constitution") / "small.yaml")
    assert load_constitution("constitution/small.yaml").id == "small"
    assert load_constitution(path).digest == load_constitution("small").digest
    below = tmp_path / "runs" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert load_constitution("small").id == "small"


def test_the_project_s_own_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path)
    mine = tmp_path / "constitution" / "default.yaml"
    mine.write_text(CONSTITUTION)
    monkeypatch.chdir(tmp_path)
    assert find_constitution("default") == mine
    assert load_constitution("default").id == "small"


@pytest.mark.parametrize(
    "name", ["nothing", "", "none.yaml", "constitution/none", "..", "/", "a\0b"]
)
def test_no_such_constitution(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ContentError) as caught:
        load_constitution(name)
    assert caught.value.problems[0].code == "C001"
    assert caught.value.exit_code == 3


def test_the_hint_lists_the_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ContentError, match="default"):
        load_constitution("defualt")


def test_project_roots(tmp_path: Path) -> None:
    project(tmp_path / "a")
    inside = tmp_path / "a" / "principles" / "x" / "y.yaml"
    assert project_root(inside) == tmp_path / "a"
    (tmp_path / "b" / ".cai").mkdir(parents=True)
    assert project_root(tmp_path / "b" / "rules" / "r.yaml") == tmp_path / "b"
    (tmp_path / "b" / "constitution").mkdir()
    (tmp_path / "b" / "rules" / "constitution").mkdir(parents=True)
    (tmp_path / "b" / "rules" / "constitution" / "__init__.py").touch()
    assert project_root(tmp_path / "b" / "rules" / "r.yaml") == tmp_path / "b"
    (tmp_path / "c" / "rules").mkdir(parents=True)
    assert project_root(tmp_path / "c" / "rules" / "r.yaml") == tmp_path / "c"


def test_each_file_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cai.constitution import load

    paths: list[Path] = []

    def counted(path: Path) -> Any:
        paths.append(path)
        return read_source(path)

    monkeypatch.setattr(load, "read_source", counted)
    loader = Loader()
    path = project(tmp_path)
    loader.constitution(path)
    loader.constitution(path)
    assert len(paths) == len(set(paths)) == 3
