"""`cai import`: a constitution from another tool's format, as files of cai."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cai.cli.output import counted
from cai.errors import DataError, UsageError

if TYPE_CHECKING:
    from cai.authoring.importer import ImportedFiles

FOREIGN = ("anthropic", "anthropic-feedback", "llm-swarm", "langchain")


@click.command("import")
@click.argument("form", metavar="FORMAT", type=click.Choice(FOREIGN))
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--project", type=click.Path(path_type=Path, file_okay=False), default=".",
    help="The project to write to.  [default: the one around the working directory]",
)  # fmt: skip
@click.option("--name", default="imported", show_default=True, help="The constitution's id.")
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def command(form: str, file: Path, project: Path, name: str, force: bool) -> None:
    """Make principles and a constitution from another tool's FILE.

    FORMAT: anthropic (CritiqueRevisionInstructions.json), anthropic-feedback
    (RLMadisonInstructions.json), llm-swarm, or langchain (a JSON list of principles).

    \b
    cai import anthropic CritiqueRevisionInstructions.json
    cai lint
    cai build-data -c imported
    """
    from cai.content import enclosing_project

    root = enclosing_project(project.absolute()) or project
    files = read_files(form, file, name)
    write_files(root, files.texts, force=force)
    click.echo(
        f"Wrote {counted(len(files.texts), 'file')} to {root}: {files.constitution} and"
        " its principles"
    )
    for note in files.notes:
        click.echo(f"  {note}")


def read_files(form: str, file: Path, name: str) -> ImportedFiles:
    """What a foreign file comes to. Raises `DataError` where it can't be read, `ContentError` where
    a text of it can't be one of ours."""
    import re
    from datetime import UTC, datetime

    from cai.authoring.formats import read_format
    from cai.authoring.importer import project_files
    from cai.constitution.source import SIZE_LIMIT

    if not re.fullmatch(r"[a-z0-9]+([._-][a-z0-9]+)*", name):
        raise UsageError(f"{name!r} is no id", hint="Lower-case words joined by - or _.")
    try:
        data = file.read_bytes()
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise DataError(f"{file} can't be read: {error.strerror}", hint="Check the path.") from None
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8", hint="Save it as UTF-8.") from None
    if len(data) > SIZE_LIMIT:
        raise DataError(f"{file} is larger than {SIZE_LIMIT // 1000:,} kB", hint="Split it.")
    content = read_format(form, text, str(file))
    today = datetime.now(UTC).date().isoformat()
    files = project_files(content, name, file.name, today)
    require_loadable(files.texts)
    return files


def require_loadable(texts: Mapping[str, str]) -> None:
    """Raise `ContentError` where files would not load: before anything is written.

    texts: path from the project's root → text.
    """
    import tempfile
    from dataclasses import replace

    from cai.constitution.lint import lint
    from cai.errors import ContentError

    with tempfile.TemporaryDirectory(prefix="cai-") as name:
        root = Path(name).resolve()
        (root / ".cai").mkdir()
        for place, text in texts.items():
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            (root / place).write_text(text, encoding="utf-8")
        problems = [p for p in lint([root / place for place in texts]).problems if p.code < "C050"]
    if problems:
        raise ContentError([replace(p, file=p.file.replace(f"{root}/", "")) for p in problems])


def write_files(root: Path, texts: Mapping[str, str], *, force: bool = False) -> None:
    """Write files below a project's root; nothing where one is there already, without `force`."""
    from cai.data.files import write_whole

    taken = [name for name in texts if (root / name).exists()]
    if taken and not force:
        raise UsageError(
            f"{root / taken[0]} is there already", hint="Choose another --name, or give --force."
        )
    for name, text in texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(root / name, text)
