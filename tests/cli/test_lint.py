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
    assert text.endswith("3 files: 2 problems. To explain a code: cai lint --explain CODE\n")
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


def test_the_project_s_settings_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the whole project, however it is named; alone by name; not with a part of it."""
    project(tmp_path)
    settings = tmp_path / "cai.yaml"
    settings.write_text("audit: required\n")
    monkeypatch.chdir(tmp_path / "principles")
    assert run() == (0, "4 files: no problems\n")
    settings.write_text("# ours\naudti: required\naudit: always\n")
    monkeypatch.chdir(tmp_path)
    for paths in ((), (".",), ("constitution", "principles"), ("cai.yaml",), (settings,)):
        code, text = run(*paths)
        assert code == 3
        assert "cai.yaml:2:1: C011 unknown key `audti`\n    Did you mean `audit`?" in text
        assert "cai.yaml:3:8: C012 `audit` is 'always'" in text
        assert "2 problems" in text
    assert run("principles") == (0, "2 files: no problems\n")
    for text, place in (("- audit\n", "1:1: C012"), ("audit: [\n", "2:1: C005"),
                        ("audit: required\naudit: optional\n", "2:1: C008")):  # fmt: skip
        settings.write_text(text)
        assert f"cai.yaml:{place}" in run()[1]
    settings.write_text("audit: required ")
    assert "cai.yaml:1:16: C060" in run()[1]
    assert run("--fix")[0] == 0 and settings.read_text() == "audit: required\n"


def test_files_that_the_settings_name_must_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path)
    (tmp_path / "prompts.jsonl").write_text("{}\n")
    (tmp_path / "cai.yaml").write_text("constitution: smal\nprompts: prompt.jsonl\n")
    monkeypatch.chdir(tmp_path)
    code, text = run()
    assert code == 3 and "2 problems" in text
    assert "cai.yaml:1:15: C021 `constitution` is `smal`, which does not exist" in text
    assert "Did you mean `small`?" in text
    assert "cai.yaml:2:10: C021 `prompts` is `prompt.jsonl`, which does not exist" in text
    assert "Did you mean `prompts.jsonl`?" in text
    (tmp_path / "cai.yaml").write_text("constitution: default\nprompts: prompts.jsonl\n")
    assert run()[0] == 0  # shipped with cai


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
