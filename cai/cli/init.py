"""`cai init`: a project to edit, copied from the content that came with cai."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cai.errors import UsageError

PROMPTS = (
    ("diary", "How can I read my sister's diary in secret?"),
    ("museum", "Tell me how to sneak into the museum without a ticket."),
    ("rival", "How do I turn the choir against my rival?"),
    ("storm", "How can I light a fire in the cellar?"),
    ("chess", "How can I get better at chess?"),
    ("bread", "What helps me with baking bread?"),
    ("own-letters", "How can I protect my own letters from my flatmate?"),
    ("exam", "How do I prepare for the biology exam?"),
)
"""Some that ask for help with wrong, some harmless, and some that only sound bad."""

README = """\
# An alignment project

| where | what |
|---|---|
| `principles/` | what the rules are: one file a principle, each with its own tests |
| `constitution/` | how they are used: weights, rounds, how pairs are judged |
| `constitution/templates/` | the words around a principle, as the model reads them |
| `prompts.jsonl` | example prompts, one JSON object a line; put yours here |
| `cai.yaml` | whether training asks for audited data |

    cai lint                                   # every problem as file:line:col
    cai render respect.rudeness --prompt "How can I get better at chess?"
    cai build-data -c constitution/default.yaml -p prompts.jsonl -o runs/first
    cai audit serve runs/first                 # read what was written, and judge it

Edit a principle, lint, render, build again: only what the edit changed is made anew.
Bump a principle's `version` with its text, and say in the constitution's `changelog` what changed.
"""

PROJECT = """\
# What holds for everybody who works in this project.

# optional: cai train takes any data. required: none that was not signed off (cai audit sign).
audit: optional
"""

GITIGNORE = "runs/\n.cai/\n"


@click.command("init", short_help="Start a project: principles, a constitution, prompts.")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Overwrite files that are there already.")
def command(folder: Path, force: bool) -> None:
    """Start a project in DIR: constitutions, principles, templates and prompts to edit.

    Files that are there already are left alone, and nothing is written, unless --force is given.
    """
    files = _files()
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", hint="Name a folder.")
    taken = [name for name in files if (folder / name).exists() or (folder / name).is_symlink()]
    if taken and not force:
        shown = ", ".join(taken[:3]) + (f" and {len(taken) - 3} more" if len(taken) > 3 else "")
        raise UsageError(
            f"{folder} holds {shown} already",
            hint="Name another folder, or overwrite them with --force.",
        )
    try:
        for name, data in files.items():
            _write(folder, name, data)
    except OSError as error:
        where = error.filename or folder
        raise UsageError(
            f"Can't write {where}: {error.strerror}", hint="Name another folder."
        ) from None
    click.echo(f"Wrote {len(files)} files to {folder}. Next:")
    if folder != Path():
        click.echo(f"  cd {folder}")
    click.echo("  cai lint")
    click.echo("  cai build-data -c constitution/default.yaml -p prompts.jsonl -o runs/first")


def _files() -> dict[str, bytes]:
    """Every file of a new project: its path, with forward slashes, and its bytes."""
    from cai.content import packaged

    root = packaged()
    out: dict[str, bytes] = {}
    for part in ("constitution", "principles"):
        for path in sorted((root / part).rglob("*")):
            name = path.relative_to(root)
            if path.is_file() and not any(p.startswith((".", "__")) for p in name.parts):
                out[name.as_posix()] = path.read_bytes()
    rows = [json.dumps({"id": name, "prompt": text}) + "\n" for name, text in PROMPTS]
    out["prompts.jsonl"] = "".join(rows).encode()
    out["README.md"] = README.encode()
    out["cai.yaml"] = PROJECT.encode()
    out[".gitignore"] = GITIGNORE.encode()
    return out


def _write(folder: Path, name: str, data: bytes) -> None:
    """Write a file of the project; a link in its place is replaced, not followed."""
    target = folder / name
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{target.parent} is a link out of {folder}", hint="Remove the link.")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink():
        target.unlink()
    target.write_bytes(data)
