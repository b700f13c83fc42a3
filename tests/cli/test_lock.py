"""`cai lock`, and what `cai lint` makes of it, of git, and of a model's context."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.constitution.projects import CONSTITUTION, principle, project
from tests.e2e.helpers import cai

RUDE = principle("rude")
CHANGED = RUDE.replace("Say what is rude.", "Say what is very rude.")


def git(root: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=A", "-c", "user.email=a@b", "-C", str(root), *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory: a project in a repository, committed."""
    if shutil.which("git") is None:
        pytest.skip("no git")
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    return tmp_path


def test_a_lock_is_written_held_and_written_anew(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cai("lock")
    assert "3 entries, 3 new, 0 changed, 0 removed" in capsys.readouterr().out
    cai("lint")
    project(root, rude=CHANGED.replace("version: 1.0.0", "version: 1.1.0"))
    cai("lint", exit_code=3)
    assert "C072" in capsys.readouterr().out
    cai("lock")
    assert "3 entries, 0 new, 1 changed, 0 removed" in capsys.readouterr().out
    cai("lint")


def test_what_a_lock_takes_in_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A newer version, a lower one, and a text that changed under the same version."""
    told = []
    for text in (
        RUDE.replace("version: 1.0.0", "version: 1.10.0"),
        RUDE.replace("version: 1.0.0", "version: 1.9.0"),
        CHANGED.replace("version: 1.0.0", "version: 1.9.0"),
        CHANGED.replace("version: 1.0.0", "version: 1.9.0"),
    ):
        cai("lock")
        capsys.readouterr()
        project(root, rude=text)
        cai("lock")
        told.append(capsys.readouterr().out.splitlines()[1:])
    assert told == [
        ["  principle rude: 1.0.0 to 1.10.0"],
        ["  principle rude: 1.10.0 to 1.9.0, a lower version"],
        ["  principle rude: another text, still version 1.9.0"],
        [],
    ]


def test_a_damaged_lock_is_written_anew_and_told(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "cai.lock").write_text("{")
    cai("lock")
    said = capsys.readouterr().out
    assert "3 new" in said and "the old file was not read: the lock is damaged" in said
    cai("lint")


def test_a_broken_project_is_not_locked(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project(root, rude=RUDE.replace("why:", "wy:"))
    cai("lock", exit_code=3)
    assert "C011" in capsys.readouterr().err and not (root / "cai.lock").exists()


def test_no_project_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cai("lock", tmp_path / "none", exit_code=2)
    assert "cai init" in capsys.readouterr().err


# -- against the last commit -----------------------------------------------------------------------


def test_a_text_without_a_new_version_is_told(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    project(root, rude=CHANGED)
    cai("lint", exit_code=3)
    assert "principles/rude.yaml:4:10: C070 `rude` changed since" in capsys.readouterr().out
    cai("lint", "--no-git")
    cai("lint", "principles/harmful.yaml")
    project(root, rude=CHANGED.replace("version: 1.0.0", "version: 1.0.1"))
    cai("lint")
    project(root, rude=RUDE.replace("why: Because of rude.", "why: For peace."))
    cai("lint")  # no model reads it
    (root / "principles" / "new.yaml").write_text(principle("new"), "utf-8")
    cai("lint")  # not committed yet


def test_a_version_does_not_go_down(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    project(root, rude=CHANGED.replace("version: 1.0.0", "version: 0.9.0"))
    cai("lint", exit_code=3)
    assert "C070 the version of `rude` went down, from 1.0.0 to 0.9.0" in capsys.readouterr().out


def test_settings_and_templates_want_a_version_too(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = root / "constitution" / "templates"
    own.mkdir()
    (own / "revise.j2").write_text("{{ revision_request }}\n", "utf-8")
    listed = CONSTITUTION + "templates: {revise: ./templates/revise.j2}\n"
    project(root, constitution=listed)
    git(root, "add", ".")
    git(root, "commit", "-qm", "second")
    cai("lint")
    (own / "revise.j2").write_text("Please: {{ revision_request }}\n", "utf-8")
    cai("lint", exit_code=3)
    assert "small.yaml:4:10: C070 `small` changed since" in capsys.readouterr().out


def test_another_commit_than_the_last_may_be_held_against(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In CI nothing is uncommitted: what counts is the branch that it is to be merged into."""
    git(root, "branch", "base")
    project(root, rude=CHANGED)
    git(root, "commit", "-qam", "unversioned")
    cai("lint")
    cai("lint", "--against", "base", exit_code=3)
    assert "C070 `rude` changed since base" in capsys.readouterr().out
    cai("lint", "--against", "nowhere", exit_code=2)
    assert "no commit 'nowhere'" in capsys.readouterr().err


def test_what_inherits_or_moved_is_held_too(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    heir = "api: cai/v1\nkind: Principle\nid: heir\nversion: 1.0.0\ntitle: Heir of rude\n"
    (root / "principles" / "heir.yaml").write_text(heir + "extends: ./rude.yaml\n", "utf-8")
    git(root, "add", ".")
    git(root, "commit", "-qm", "an heir")
    project(root, rude=CHANGED.replace("version: 1.0.0", "version: 1.1.0"))
    cai("lint", exit_code=3)
    assert "C070 `heir` changed since the last commit" in capsys.readouterr().out
    (root / "principles" / "heir.yaml").unlink()
    project(root)
    harmful = root / "principles" / "harmful.yaml"
    moved = harmful.with_name("moved.yaml")
    moved.write_text(harmful.read_text("utf-8").replace("Say what is", "Tell what is"), "utf-8")
    harmful.unlink()
    listed = CONSTITUTION.replace("harmful.yaml", "moved.yaml")
    (root / "constitution" / "small.yaml").write_text(listed, "utf-8")
    cai("lint", exit_code=3)
    assert "C070 `harmful` changed since the last commit" in capsys.readouterr().out


def test_a_branch_is_held_against_where_it_left(root: Path) -> None:
    """What the other branch did since is none of this one's doing."""
    git(root, "branch", "other")
    project(root, rude=CHANGED.replace("version: 1.0.0", "version: 1.1.0"))
    git(root, "commit", "-qam", "a new version")
    git(root, "branch", "newer")
    git(root, "checkout", "-q", "other")
    cai("lint", "--against", "newer")


def test_a_slip_can_not_write_a_line_of_its_own(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "principles" / "rude.yaml").write_text(
        RUDE.replace("version: 1.0.0", 'version: "1\\n::error file=x::hi"'), "utf-8"
    )
    cai("lint", exit_code=3)
    assert not any(line.startswith("::") for line in capsys.readouterr().out.splitlines())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_among_the_files_does_not_hang(root: Path) -> None:
    os.mkfifo(root / "principles" / "pipe.yaml")
    cai("lint", exit_code=3)


@pytest.mark.parametrize("state", ["no commit", "no repository"])
def test_nothing_to_hold_against(
    state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    if state == "no commit":
        git(tmp_path, "init", "-q")
    cai("lint")


# -- mending, and room -----------------------------------------------------------------------------


def test_fix_mends_and_then_checks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = root / "principles" / "rude.yaml"
    file.write_bytes(RUDE.replace("title: About rude", "title: About\u200b rude ").encode())
    cai("lint", exit_code=3)
    cai("lint", "--fix")
    assert "fixed principles/rude.yaml" in capsys.readouterr().out
    assert file.read_text("utf-8") == RUDE
    file.write_text(RUDE.replace("api: cai/v1\n", "").replace("why:", "wy:"), "utf-8")
    cai("lint", "--fix", exit_code=3)  # what is not safe is left, and told
    assert file.read_text("utf-8").startswith("api: cai/v1\n")


def test_a_link_is_not_mended(root: Path) -> None:
    outside = root.parent / "outside.yaml"
    outside.write_text(principle("linked") + "  \n", "utf-8")
    (root / "principles" / "linked.yaml").symlink_to(outside)
    before = outside.read_bytes()
    cai("lint", "--fix", "--no-git", exit_code=3)
    assert outside.read_bytes() == before


def test_what_leaves_no_room_is_told(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The miniature has 1,024 positions: 600 words leave less than half of them."""
    project(root, rude=RUDE.replace("Say what is rude.", "Say what is rude. " + "rude " * 600))
    cai("lint", "--no-git", "--model", "miniature", exit_code=3)
    out = capsys.readouterr().out
    assert "C073 critique takes" in out and "1,024" in out
    project(root)
    cai("lint", "--no-git", "--model", "miniature")
