"""Content as it was in a commit: of real repositories, some of them hostile."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from cai.authoring.git import CommitFile, load_from_commit, parse_commit_file
from cai.errors import ContentError, UsageError
from tests.constitution.projects import principle, project

MAIN = CommitFile("HEAD", "constitution/main.yaml")


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=ann", "-c", "user.email=ann@localhost", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, "-C", folder, *arguments], check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """The small project, committed; then the working tree says something else."""
    place = project(tmp_path)
    place.rename(tmp_path / MAIN.file)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    text = principle("rude").replace("Say what is rude.", "Say nothing.")
    (tmp_path / "principles" / "rude.yaml").write_text(text, "utf-8")
    return tmp_path


def test_the_commit_s_words_and_not_the_tree_s(repository: Path) -> None:
    constitution = load_from_commit(MAIN, repository)
    assert constitution.members[0].principle.critique_request == "Say what is rude."
    assert constitution.path == "git:HEAD:constitution/main.yaml"


def test_a_project_below_the_repository_s_root(tmp_path: Path) -> None:
    place = project(tmp_path / "deep" / "er")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "first")
    name = f"constitution/{place.name}"
    assert load_from_commit(CommitFile("HEAD", name), tmp_path / "deep" / "er").id == "small"


def test_a_name_stands_for_its_file(repository: Path) -> None:
    assert load_from_commit(CommitFile("HEAD", "main"), repository).id == "small"


def test_how_a_place_is_written() -> None:
    assert parse_commit_file("git:v1.2", "main") == ("v1.2", "main")
    assert parse_commit_file("git:HEAD~2:constitution/x.yaml", "main") == (
        "HEAD~2",
        "constitution/x.yaml",
    )
    with pytest.raises(UsageError, match="names no commit"):
        parse_commit_file("git:", "main")


def test_problems_name_the_commit(repository: Path) -> None:
    git(repository, "rm", "-q", "--cached", "principles/harmful.yaml")
    git(repository, "commit", "-qm", "second")
    with pytest.raises(ContentError) as error:
        load_from_commit(MAIN, repository)
    (problem,) = error.value.problems
    assert problem.file == "git:HEAD:constitution/main.yaml"
    assert problem.code == "C021" and "/tmp" not in str(problem)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (CommitFile("nowhere", "main"), "no commit 'nowhere'"),
        (CommitFile("--output=x", "main"), "no commit"),
        (CommitFile("HEAD", "../main.yaml"), "leads out of the project"),
        (CommitFile("HEAD", "/etc/main.yaml"), "leads out of the project"),
    ],
)
def test_mistakes_are_told(repository: Path, place: CommitFile, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_from_commit(place, repository)


def test_a_constitution_that_the_commit_has_not(repository: Path) -> None:
    with pytest.raises(ContentError, match="no such constitution"):
        load_from_commit(CommitFile("HEAD", "other"), repository)


def test_no_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(UsageError, match=r"(?i)not a git repository|no commit"):
        load_from_commit(MAIN, tmp_path)


def test_a_link_in_a_commit_is_not_followed(repository: Path) -> None:
    """The tree holds a link in place of a principle: it is left out, and so does not exist."""
    secret = repository.parent / "secret.yaml"
    secret.write_text(principle("harmful"), "utf-8")
    target = repository / "principles" / "harmful.yaml"
    target.unlink()
    target.symlink_to(secret)
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "a link")
    with pytest.raises(ContentError, match="does not exist"):
        load_from_commit(MAIN, repository)


def test_nothing_of_the_repository_runs(repository: Path) -> None:
    """A hook, a filter and a monitor that would leave a file behind."""
    proof = repository.parent / "ran"
    run = repository.parent / "run.sh"
    run.write_text(f"#!/bin/sh\ntouch {proof}\ncat\n", "utf-8")
    run.chmod(0o755)
    (repository / ".gitattributes").write_text("*.yaml filter=evil diff=evil\n", "utf-8")
    for name in ("filter.evil.smudge", "filter.evil.clean", "diff.evil.textconv",
                 "core.fsmonitor", "core.pager"):  # fmt: skip
        git(repository, "config", name, str(run))
    assert load_from_commit(MAIN, repository).id == "small"
    assert not proof.exists()
