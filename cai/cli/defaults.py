"""Defaults that a project sets for its commands: the constitution and the prompts of cai.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from cai.text.terminal import visible

if TYPE_CHECKING:
    from cai.constitution.project import Project


def default_constitution() -> str:
    """The constitution of the project's cai.yaml, else `default`."""
    project = _project()
    _require(project, "constitution")
    return project.constitution or "default"


constitution_option = click.option(
    "--constitution", "-c", default=default_constitution,
    help="A constitution: a file, or the name of one in the project or shipped with cai."
    "  [default: that of cai.yaml, else `default`]",
)  # fmt: skip
"""The option that names a constitution."""

PROMPTS_DEFAULT = "[default: those of cai.yaml, else the project's prompts.jsonl, else bundled]"


def choose_prompts(prompts_file: Path | None, *, quiet: bool = False) -> Path:
    """The prompts file: the one given, the project's, or the bundled one.

    The project's is that of `prompts` in cai.yaml, else prompts.jsonl beside its content. Unless
    quiet, a file that was not named on the command line is named on stderr.
    """
    if prompts_file is not None:
        return prompts_file
    from cai.miniature.prompts import PROMPTS

    path, origin = _project_prompts()
    if path is None:
        path, origin = PROMPTS, "bundled with cai"
    if not quiet:
        from cai.content import shown

        name = shown(path) if path != PROMPTS else path.name
        click.echo(f"Prompts: {visible(name)} ({origin})", err=True)
    return path


def _project_prompts() -> tuple[Path | None, str]:
    from cai.content import enclosing_project

    project = _project()
    if project.prompts is not None:
        _require(project, "prompts")
        return project.prompts, "from cai.yaml"
    root = enclosing_project(Path.cwd())
    path = root / "prompts.jsonl" if root else None
    return (path, "of the project") if path and path.is_file() else (None, "")


def _require(project: Project, key: Literal["constitution", "prompts"]) -> None:
    """Raise `ContentError` at the line of cai.yaml that names a file that does not exist."""
    from cai.constitution.project import reference_problems
    from cai.errors import ContentError

    if project.path is not None and (problems := reference_problems(project.path, key)):
        raise ContentError(problems)


def _project() -> Project:
    from cai.constitution.project import find_project

    return find_project([Path.cwd()])
