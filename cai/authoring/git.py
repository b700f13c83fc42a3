"""Content of a commit: `git:REV`, or `git:REV:constitution/x.yaml`.

Only the tree and the blobs are read: no hook, filter or `git checkout` runs. Only regular content
files of a bounded size are read; symbolic links are skipped.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from cai.constitution.load import load_constitution
from cai.content import SUFFIXES, shown
from cai.errors import ContentError, Problem, UsageError
from cai.types import Constitution

PREFIX = "git:"
SECONDS = 30
LARGEST, MOST_FILES, MOST_BYTES = 1_000_000, 5_000, 50_000_000
"""Limits: bytes of one file (larger ones are skipped), files of a commit, bytes in total."""
_SUFFIXES = (*SUFFIXES, ".j2", ".jinja")
_REGULAR = ("100644", "100755")


class CommitFile(NamedTuple):
    """A commit and a constitution in it: a path from the project's root, or a name."""

    revision: str
    file: str


def parse_commit_file(text: str, default: str) -> CommitFile:
    """Parse `git:REV` or `git:REV:FILE`. default: the file if none is named."""
    revision, _, file = text.removeprefix(PREFIX).partition(":")
    if not revision:
        raise UsageError(f"{text!r} names no commit", hint="Write it as git:HEAD or git:main.")
    return CommitFile(revision, file or default)


def changed_since(revision: str, project: Path) -> list[str]:
    """Content files of the project that differ from the commit: paths from its root.

    New files are left out. Raises `UsageError` where there is no such commit or git fails.
    """
    out = []
    for entry in _entries(project, _commit(revision, project)):
        file = project / entry.path
        data = file.read_bytes() if file.is_file() and not file.is_symlink() else b""
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False)
        if blob.hexdigest() != entry.object:
            out.append(entry.path)
    return out


def load_from_commit(place: CommitFile, project: Path) -> Constitution:
    """Load the constitution as it was in the commit. project: the folder of the working tree's.

    Raises `UsageError` where there is no such commit or git fails, `ContentError` with problems
    that name the files as `git:REV:FILE`.
    """
    with checkout(place.revision, project) as folder:
        try:
            return _load(folder, place)
        except ContentError as error:
            raise ContentError(
                [_renamed(problem, folder, place.revision) for problem in error.problems]
            ) from None


def _load(folder: Path, place: CommitFile) -> Constitution:
    name = place.file if place.file.endswith(SUFFIXES) else f"constitution/{place.file}.yaml"
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise UsageError(f"{name} leads out of the project", hint="Give a path from its root.")
    if not (folder / path).is_file():
        what, hint = "the commit has no such constitution", "Name one: git:REV:constitution/X.yaml."
        problem = Problem(f"{PREFIX}{place.revision}:{name}", 0, 0, "C001", what, hint)
        raise ContentError([problem])
    return replace(load_constitution(folder / path), path=f"{PREFIX}{place.revision}:{name}")


def _renamed(problem: Problem, folder: Path, revision: str) -> Problem:
    """The problem with the commit's file names in place of temporary ones."""

    def renamed(text: str) -> str:
        return text.replace(f"{folder}{os.sep}", f"{PREFIX}{revision}:")

    return replace(
        problem,
        file=renamed(problem.file),
        message=renamed(problem.message),
        hint=renamed(problem.hint).replace(str(folder), f"{PREFIX}{revision}"),
    )


def _commit(revision: str, project: Path) -> str:
    output = _git(project, "rev-parse", "--verify", "--quiet", "--end-of-options",
                  f"{revision}^{{commit}}", failing=f"there is no commit {revision!r}")  # fmt: skip
    return output.decode().strip()


def merge_base(revision: str, project: Path) -> str:
    """The merge base of a revision and HEAD; the revision's commit if they have none."""
    commit = _commit(revision, project)
    try:
        return _git(project, "merge-base", commit, "HEAD").decode().strip() or commit
    except UsageError:  # unrelated histories
        return commit


@contextmanager
def checkout(revision: str, project: Path) -> Iterator[Path]:
    """A temporary folder with the project's content files of a commit."""
    entries = list(_entries(project, _commit(revision, project)))
    if len(entries) > MOST_FILES or sum(e.size for e in entries) > MOST_BYTES:
        raise UsageError(
            f"{revision} holds more than {MOST_FILES:,} content files or {MOST_BYTES:,} bytes",
            hint="Compare two folders instead.",
        )
    with tempfile.TemporaryDirectory(prefix="cai-") as name:
        folder = Path(name).resolve()
        (folder / ".cai").mkdir()  # marks the project's root, which no reference may leave
        for entry, data in zip(entries, _blobs(project, entries), strict=True):
            target = folder / entry.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        yield folder


class _Entry(NamedTuple):
    path: str
    object: str
    size: int


def _entries(project: Path, commit: str) -> Iterator[_Entry]:
    """The content files of a commit below the project's folder."""
    listing = _git(project, "ls-tree", "-r", "-z", "--long", commit)
    for line in filter(None, listing.split(b"\0")):
        facts, _, raw = line.partition(b"\t")
        mode, kind, name, size = facts.decode().split()
        path = os.fsdecode(raw)
        if kind != "blob" or mode not in _REGULAR or not path.endswith(_SUFFIXES):
            continue
        if int(size) <= LARGEST and _is_safe(path):
            yield _Entry(path, name, int(size))


def _is_safe(path: str) -> bool:
    """Whether a path of a tree, which is untrusted, stays below the folder it is written to."""
    parts = path.split("/")
    return "\\" not in path and ":" not in path and not {"", ".", "..", ".git"} & set(parts)


def _blobs(project: Path, entries: Sequence[_Entry]) -> Iterator[bytes]:
    """The bytes of files, all from one process."""
    names = "".join(f"{entry.object}\n" for entry in entries)
    out = _git(project, "cat-file", "--batch", stdin=names.encode())
    at = 0
    for entry in entries:
        head = out.index(b"\n", at) + 1
        yield out[head : head + entry.size]
        at = head + entry.size + 1


def _git(project: Path, *arguments: str, stdin: bytes = b"", failing: str = "") -> bytes:
    """The output of a git command. Raises `UsageError` with `failing`, or with git's message."""
    environment = os.environ | {
        "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0", "GIT_NO_LAZY_FETCH": "1",
        "LC_ALL": "C",
    }  # fmt: skip
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(project), *arguments]
    try:
        process = subprocess.run(
            command, input=stdin, capture_output=True, env=environment, timeout=SECONDS, check=False
        )
    except FileNotFoundError:
        raise UsageError("git is not installed", hint="Compare two files instead.") from None
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"git failed in {shown(project)}: {error}") from None
    if process.returncode:
        messages = process.stderr.decode(errors="replace").strip().splitlines()
        if any("not a git repository" in message for message in messages):
            raise UsageError(
                f"The folder {project} is not a git repository, and git:REV needs one",
                hint="Run git init and commit, or compare two files.",
            )
        raise UsageError(
            failing
            if failing and not messages
            else f"git: {messages[-1] if messages else 'no output'}",
            hint=f"It ran in the folder {project}. List its commits with: git log --oneline",
        )
    return process.stdout
