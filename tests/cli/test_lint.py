"""`cai lint`: exit codes, the two formats, explanations; quick."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import cai
from cai.cli.lint import command
from cai.errors import UsageError
from tests.constitution.projects import principle, project


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(command, [str(a) for a in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.return_value, result.output


def test_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert run() == (0, "3 files: no problems\n")
    assert run("principles") == (0, "2 files: no problems\n")
    assert run("--format", "json") == (0, "[]\n")


def test_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project(tmp_path, rude=principle("rude").replace("why:", "wy:"))
    monkeypatch.chdir(tmp_path)
    code, text = run()
    assert code == 3
    assert "principles/rude.yaml:6:1: C011 unknown key `wy`\n    Did you mean `why`?" in text
    assert text.endswith("3 files: 2 problems. What a code means: cai lint --explain CODE\n")
    code, text = run("--format", "json")
    assert code == 3
    missing, unknown = json.loads(text)
    assert missing["message"] == "`why` is missing"
    assert unknown == {
        "file": "principles/rude.yaml",
        "line": 6,
        "column": 1,
        "code": "C011",
        "message": "unknown key `wy`",
        "hint": unknown["hint"],
    }


def test_explanations() -> None:
    code, text = run("--explain", "c020")
    assert code == 0 and text.startswith("C020: ") and "project" in text
    with pytest.raises(UsageError, match="no code 'C999'"):
        run("--explain", "C999")


def test_no_project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="cai init"):
        run()
    assert run("gone.yaml")[0] == 3


def test_terminal_controls_never_reach_the_terminal(tmp_path: Path) -> None:
    """A file's name is printed too."""
    project(tmp_path)
    (tmp_path / "principles" / "a\x1b[31mb.yaml").write_text("- 1\n")
    code, text = run(tmp_path)
    assert code == 3
    assert "\x1b" not in text


def test_the_shipped_content_is_linted_without_torch(tmp_path: Path) -> None:
    """How long it takes is measured by `bench/startup.py`."""
    from cai.content import packaged

    code = (
        "import sys; from cai.cli.main import main\n"
        "try: main(['lint', sys.argv[1]])\n"
        "except SystemExit as e: print(e.code, {'torch', 'transformers'} & sys.modules.keys())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(packaged())],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(Path(cai.__file__).parents[1])},
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "0 set()"
