"""`cai init`: a working project that lints clean, and never overwrites unasked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from cai.cli.init import command
from cai.cli.main import cli
from cai.constitution.lint import lint
from cai.constitution.load import load_constitution
from cai.content import packaged
from cai.errors import UsageError
from tests.cli.project import cai
from tests.test_project import assert_host_reads


def run(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(a) for a in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_a_new_project_lints_clean_and_equals_the_shipped_content(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "project"
    output = run(folder)
    assert "cai lint" in output and f"cd {folder}" in output
    report = lint([folder])
    assert report.problems == () and report.files > 20
    for shipped in (packaged() / "constitution").glob("*.yaml"):
        copied = load_constitution(folder / "constitution" / shipped.name)
        assert copied.digest == load_constitution(shipped).digest


def test_the_working_directory_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Followed by a full stop, its name `.` would read as the parent's."""
    monkeypatch.chdir(tmp_path)
    output = run(Path())
    assert " files here. Next:" in output and "cd " not in output


def test_the_prompts_are_rows_with_ids(tmp_path: Path) -> None:
    run(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    assert len(rows) == 8 == len({row["id"] for row in rows})
    assert all(row["prompt"] for row in rows)
    assert (tmp_path / ".gitignore").read_text() == "runs/\n"
    assert "cai build-data" in (tmp_path / "README.md").read_text()


def test_an_editor_finds_the_schemas(tmp_path: Path) -> None:
    run(tmp_path)
    files = [
        *(tmp_path / "principles").rglob("*.yaml"),
        *(tmp_path / "constitution").glob("*.yaml"),
    ]
    assert len(files) > 30
    for file in files:
        head = file.read_text("utf-8").partition("\n")[0]
        schema = file.parent / head.partition("$schema=")[2]
        kind = "principle" if "principles" in file.parts else "constitution"
        assert json.loads(schema.read_text("utf-8"))["title"] == f"cai {kind}"


def test_its_hooks_run_before_a_commit(tmp_path: Path) -> None:
    """By pre-commit itself: a clean project passes, a slip does not."""
    pytest.importorskip("pre_commit")
    if shutil.which("git") is None:
        pytest.skip("no git")
    run(tmp_path)
    bin = Path(sys.executable).parent
    environment = os.environ | {
        "PATH": f"{bin}:{os.environ['PATH']}", "PRE_COMMIT_HOME": str(tmp_path.parent / "hooks"),
    }  # fmt: skip

    def hooks() -> subprocess.CompletedProcess[str]:
        subprocess.run(["git", "-C", str(tmp_path), "add", "."], check=True)
        return subprocess.run(
            [sys.executable, "-m", "pre_commit", "run"], cwd=tmp_path, env=environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    done = hooks()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("Passed") == 2
    file = tmp_path / "principles" / "respect" / "rudeness.yaml"
    file.write_text(file.read_text("utf-8").replace("title:", "titel:"), "utf-8")
    done = hooks()
    assert done.returncode == 1 and "C011 unknown key `titel`" in done.stdout


def test_its_workflow_says_what_cai_knows(tmp_path: Path) -> None:
    """Every `cai` line of the CI example names a command and options that are there."""
    run(tmp_path)
    text = (tmp_path / ".github" / "workflows" / "constitution.yml").read_text("utf-8")
    steps = yaml.safe_load(text)["jobs"]["check"]["steps"]
    lines = [s["run"].split() for s in steps if s.get("run", "").startswith("cai ")]
    assert [line[1] for line in lines] == ["lint", "lint", "test", "diff"]
    for _, name, *arguments in lines:
        known = cli.get_command(None, name).params  # type: ignore[arg-type, union-attr]
        options = {option for p in known for option in p.opts}
        assert {a for a in arguments if a.startswith("--")} <= options


@pytest.mark.parametrize("source", ["", "git+https://host.invalid/cai"])
def test_its_workflow_installs_what_the_team_names(tmp_path: Path, source: str) -> None:
    """The step itself, with a `pip` that prints: no address is made up."""
    run(tmp_path)
    text = (tmp_path / ".github" / "workflows" / "constitution.yml").read_text("utf-8")
    steps = yaml.safe_load(text)["jobs"]["check"]["steps"]
    (step,) = [s for s in steps if s.get("name") == "Install cai"]
    assert step["env"] == {"CAI_SOURCE": "${{ vars.CAI_SOURCE }}"}
    pip = tmp_path / "bin" / "pip"
    pip.parent.mkdir()
    pip.write_text('#!/bin/sh\necho pip "$@"\n')
    pip.chmod(0o755)
    done = subprocess.run(
        ["bash", "-e", "-c", step["run"]], capture_output=True, text=True, check=False,
        env={"PATH": f"{pip.parent}:{os.environ['PATH']}", "CAI_SOURCE": source},
    )  # fmt: skip
    if source:
        assert (done.returncode, done.stdout) == (0, f"pip install {source}\n")
    else:
        assert done.returncode == 1
        assert done.stdout.startswith("::error::Set the repository variable CAI_SOURCE")


def test_the_code_host_can_read_its_workflow(tmp_path: Path) -> None:
    run(tmp_path)
    assert_host_reads(tmp_path / ".github" / "workflows" / "constitution.yml")


def test_it_may_start_from_a_foreign_constitution(tmp_path: Path) -> None:
    file = tmp_path / "theirs.json"
    asked = {"name": "Calm", "critique_request": "Is it calm?", "revision_request": "Be calm."}
    file.write_text(json.dumps([asked]), "utf-8")
    output = run(tmp_path / "project", "--from", "langchain", file)
    assert "imported: 1 × `compare`" in output
    assert "\nconstitution: imported\n" in (tmp_path / "project" / "cai.yaml").read_text()
    rules = load_constitution(tmp_path / "project" / "constitution" / "imported.yaml")
    assert [m.principle.critique_request for m in rules.members] == ["Is it calm?"]
    assert {p.code for p in lint([tmp_path / "project"]).problems} == {"C050"}


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    mine = tmp_path / "constitution" / "default.yaml"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UsageError, match=r"holds constitution/default\.yaml already"):
        run(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["constitution", "default.yaml"]
    run(tmp_path, "--force")
    assert "kind: Constitution" in mine.read_text()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    run(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_links_are_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "README.md").symlink_to(outside)
    with pytest.raises(UsageError):
        run(folder)
    run(folder, "--force")
    assert outside.read_text() == "mine"
    assert not (folder / "README.md").is_symlink()


def test_a_linked_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "principles").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="link out of"):
        run(folder, "--force")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        run(tmp_path / "file")
    with pytest.raises(UsageError, match="Can't write"):
        run(tmp_path / "file" / "below")


def test_the_defaults_of_a_project(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """cai.yaml says which constitution and prompts commands use, from any folder of the project."""
    cai("init", tmp_path / "house")
    settings = tmp_path / "house" / "cai.yaml"
    settings.write_text("constitution: constitution/direct.yaml\nprompts: data/ours.txt\n")
    (tmp_path / "house" / "data").mkdir()
    (tmp_path / "house" / "data" / "ours.txt").write_text("Hello?\n")
    monkeypatch.chdir(tmp_path / "house" / "data")
    capsys.readouterr()
    cai("plan", "-m", "scripted:nothing.yaml")
    shown = capsys.readouterr()
    assert shown.out.startswith("direct 1.0.0  ·  1 prompt\n")
    assert shown.err == "Prompts: ours.txt (from cai.yaml)\n"
    settings.write_text("audit: optional\n")
    cai("plan", "-c", "default", "-m", "scripted:nothing.yaml")
    assert "prompts.jsonl (of the project)\n" in capsys.readouterr().err
    settings.write_text("constitution: [default]\nprompts: ''\n")
    cai("plan", exit_code=3)
    told = capsys.readouterr().err
    assert "cai.yaml:1:15: C012 `constitution` is ['default']" in told
    assert "cai.yaml:2:10: C012 `prompts` is ''" in told
    settings.write_text("audit: optional\nconstitution: defualt\n")
    cai("plan", exit_code=3)
    told = capsys.readouterr().err
    assert "cai.yaml:2:15: C021 `constitution` is `defualt`" in told
    assert "Did you mean `default`?" in told
    settings.write_text("prompts: ours.txt\n")
    cai("plan", "-c", "default", exit_code=3)
    assert "cai.yaml:1:10: C021 `prompts` is `ours.txt`" in capsys.readouterr().err
    cai("plan", "-c", "defualt", exit_code=3)
    assert "cai: defualt: C001 no such constitution" in capsys.readouterr().err


def test_an_id_in_place_of_a_path_is_answered_with_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cai("init", tmp_path)
    rules = tmp_path / "constitution" / "direct.yaml"
    rules.write_text(
        rules.read_text().replace(
            "../principles/helpfulness/any-problem.yaml", "helpfulness.any-problem"
        )
    )
    monkeypatch.chdir(tmp_path)
    cai("lint", "--no-git", exit_code=3)
    assert "Write `../principles/helpfulness/any-problem.yaml`." in capsys.readouterr().out
