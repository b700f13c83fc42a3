"""What only a reviewer would find, and how files are chosen."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from cai.constitution import codes
from cai.constitution.lint import default_paths, lint
from cai.content import packaged
from cai.errors import Problem
from tests.constitution.projects import CONSTITUTION, principle, project

SOURCES = Path(codes.__file__).parent


def problem_places(root: Path) -> list[tuple[str, int, int, str]]:
    """Problems as (file, line, column, code)."""
    return [(Path(p.file).name, p.line, p.column, p.code) for p in lint([root]).problems]


def test_a_clean_project(tmp_path: Path) -> None:
    project(tmp_path)
    report = lint([tmp_path])
    assert (report.files, report.problems) == (3, ())


def test_the_shipped_content_is_clean() -> None:
    report = lint([packaged()])
    assert report.problems == ()
    assert report.files >= 14 + 5 + 6


def without_tests(name: str) -> str:
    return principle(name).split("tests:")[0]


SLIPS: dict[str, tuple[dict[str, str], tuple[str, int, int, str]]] = {
    "no tests": ({"rude": without_tests("rude")}, ("rude.yaml", 3, 5, "C050")),
    "same title": (
        {"rude": principle("rude").replace("About rude", "about HARMFUL")},
        ("rude.yaml", 5, 8, "C051"),
    ),
    "deprecated in use": (
        {"rude": principle("rude", "deprecated: Use harmful.\n")},
        ("small.yaml", 7, 10, "C052"),
    ),
    "a note in the wording": (
        {"rude": principle("rude").replace("Say what is rude.", "TODO say it.")},
        ("rude.yaml", 8, 13, "C053"),
    ),
    "a note in why": (
        {"rude": principle("rude").replace("Because of rude.", "FIXME")},
        ("rude.yaml", 6, 6, "C053"),
    ),
    "a note in a constitution": (
        {"constitution": CONSTITUTION.replace("title: Small", "title: TBD")},
        ("small.yaml", 5, 8, "C053"),
    ),
    "no changelog entry": (
        {"constitution": CONSTITUTION.replace("version: 1.0.0\n", "version: 1.1.0\n")},
        ("small.yaml", 4, 10, "C054"),
    ),
    "no changelog": (
        {"constitution": CONSTITUTION.split("changelog:")[0]},
        ("small.yaml", 4, 10, "C054"),
    ),
}


@pytest.mark.parametrize("name", SLIPS)
def test_what_a_reviewer_would_find(name: str, tmp_path: Path) -> None:
    changed, expected = SLIPS[name]
    project(tmp_path, **changed)
    assert problem_places(tmp_path) == [expected]


def test_words_in_tests_are_no_notes(tmp_path: Path) -> None:
    project(tmp_path, rude=principle("rude").replace("Hello?", "Write a TODO list."))
    assert problem_places(tmp_path) == []


def test_one_id_in_two_files_that_nobody_lists_together(tmp_path: Path) -> None:
    project(tmp_path)
    (tmp_path / "principles" / "zz.yaml").write_text(
        principle("rude").replace("About rude", "Else")
    )
    assert problem_places(tmp_path) == [("zz.yaml", 3, 5, "C023")]


def test_two_projects_may_hold_the_same_ids(tmp_path: Path) -> None:
    project(tmp_path / "a")
    project(tmp_path / "b")
    assert lint([tmp_path / "a", tmp_path / "b"]).problems == ()


def test_templates_that_nobody_lists_are_checked(tmp_path: Path) -> None:
    project(tmp_path)
    folder = tmp_path / "constitution" / "templates"
    folder.mkdir()
    (folder / "critique_short.j2").write_text("{{ critique_request }}")
    (folder / "compare_cot.j2").write_text("{{ response_a.x }}")
    (folder / "other.j2").write_text("TODO {{ question }} {{ nothing }}")
    assert problem_places(tmp_path) == [
        ("compare_cot.j2", 1, 15, "C041"),
        ("critique_short.j2", 1, 1, "C043"),
        ("other.j2", 1, 1, "C053"),
        ("other.j2", 1, 24, "C042"),
    ]


def test_a_problem_is_told_once(tmp_path: Path) -> None:
    """A broken principle in two constitutions, and in the folder."""
    path = project(tmp_path, rude=principle("rude").replace("why:", "wy:"))
    path.with_name("second.yaml").write_text(CONSTITUTION.replace("id: small", "id: second"))
    assert [code for *_, code in problem_places(tmp_path)] == ["C010", "C011"]


@pytest.mark.parametrize("kind", ["Principel", "[Principle]", "3", "~"])
def test_an_unknown_kind(kind: str, tmp_path: Path) -> None:
    project(tmp_path, rude=principle("rude").replace("kind: Principle", f"kind: {kind}"))
    assert ("rude.yaml", 2, 7, "C013") in problem_places(tmp_path)


def test_a_file_alone_brings_what_it_refers_to(tmp_path: Path) -> None:
    path = project(tmp_path, rude=without_tests("rude"))
    assert problem_places(path) == [("rude.yaml", 3, 5, "C050")]
    assert problem_places(tmp_path / "principles" / "harmful.yaml") == []


def test_files_that_are_not_content(tmp_path: Path) -> None:
    project(tmp_path)
    for name in ("runs/x.yaml", ".github/x.yaml", "principles/.hidden.yaml", "principles/a.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("[")
    assert problem_places(tmp_path) == []
    assert problem_places(tmp_path / "principles" / "a.txt") == [("a.txt", 1, 1, "C001")]
    assert problem_places(tmp_path / "gone.yaml") == [("gone.yaml", 1, 1, "C001")]


def test_what_is_checked_without_arguments(tmp_path: Path) -> None:
    assert default_paths(tmp_path / "runs") == []
    project(tmp_path)
    (tmp_path / "runs").mkdir()
    expected = [tmp_path / "constitution", tmp_path / "principles"]
    assert default_paths(tmp_path / "runs") == expected


def test_every_code_is_explained_and_used() -> None:
    used = {
        code
        for path in [
            *SOURCES.glob("*.py"),
            *(SOURCES.parent / "authoring").glob("*.py"),
            SOURCES.parent / "content.py",
        ]
        if path.name != "codes.py"
        for code in re.findall(r'"(C0[0-9]{2})"', path.read_text("utf-8"))
    }
    assert used == codes.CODES.keys()
    assert all(len(page.text) > 30 and page.title for page in codes.CODES.values())


def test_problems_sort_by_place() -> None:
    later, sooner = Problem("a", 2, 1, "C001", "x"), Problem("a", 1, 9, "C050", "x")
    assert sorted([later, sooner]) == [sooner, later]


def test_linting_imports_no_torch() -> None:
    code = (
        "import sys; from pathlib import Path; from cai.constitution.lint import lint;"
        "from cai.content import packaged; lint([packaged()]);"
        "print([m for m in ('torch', 'transformers', 'numpy', 'scipy') if m in sys.modules])"
    )
    where = SOURCES.parents[1]
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=where
    )
    assert done.stdout.strip() == "[]"
