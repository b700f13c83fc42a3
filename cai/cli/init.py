"""`cai init`: a project to edit, copied from the content that came with cai."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cai.cli.import_ import FOREIGN, read_files
from cai.cli.output import counted
from cai.errors import UsageError

IMPORTED = "imported"
"""The id of a constitution that `--from` brings."""

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
| `cai.yaml` | the default constitution and prompts, and whether training asks for audited data |
| `.cai/schema/` | what your editor needs to complete and check the files (from `cai schema`) |
| `.pre-commit-config.yaml` | lint and tests before each commit, after `pre-commit install` |
| `.github/workflows/constitution.yml` | the same in CI, to adapt: set its variable `CAI_SOURCE` |

    cai lint                                   # every problem as file:line:col
    cai test                                   # what principles promise; --model asks a model
    cai try respect.rudeness --prompt "How can I get better at chess?"
    cai plan                                   # calls, tokens, memory and time of a build
    cai build-data -o runs/first               # constitution and prompts are those of cai.yaml
    cai audit serve runs/first                 # read what was written, and judge it

Edit a principle, lint, try, `cai diff --against git:HEAD`, build again: only what the edit changed
is regenerated. Bump a principle's `version` with its text (`cai lint` enforces this), and say in
the constitution's `changelog` what changed. `cai lock` records the agreed versions.
"""

PRE_COMMIT = """\
# pip install pre-commit && pre-commit install
repos:
  - repo: local
    hooks:
      - id: cai-lint
        name: cai lint
        entry: cai lint
        language: system
        files: ^(constitution|principles)/|^cai\\.lock$
        pass_filenames: false
      - id: cai-test
        name: cai test
        entry: cai test principles/
        language: system
        files: ^(constitution|principles)/
        pass_filenames: false
"""

WORKFLOW = """\
# An example: what a change of the constitution must pass. Set the repository variable CAI_SOURCE
# to what pip installs cai from: git+https://HOST/PATH, a wheel's address, or its folder in here.
name: constitution
on: [push, pull_request]
jobs:
  check:
    runs-on: ubuntu-latest
    steps:
      - uses: actions/checkout@v4
        with: {fetch-depth: 0}
      - uses: actions/setup-python@v5
        with: {python-version: "3.11"}
      - name: Install cai
        env:
          CAI_SOURCE: ${{ vars.CAI_SOURCE }}
        run: |
          if [ -z "$CAI_SOURCE" ]; then
            echo "::error::Set the repository variable CAI_SOURCE to what pip installs cai from"
            exit 1
          fi
          pip install "$CAI_SOURCE"
      - run: cai lint --format github
      - if: github.event_name == 'pull_request'
        run: cai lint --format github --against "origin/${{ github.base_ref }}"
      - run: cai test principles/ --junit tests.xml
      - if: github.event_name == 'pull_request'
        run: cai diff --against "git:origin/${{ github.base_ref }}" --content
"""

PROJECT = """\
# Settings for everybody who works in this project.

# optional: cai train takes any data. required: only data that was signed off (cai audit sign).
audit: optional

# What the commands take unless -c or -p says otherwise. Paths are relative to this file.
constitution: {constitution}
prompts: prompts.jsonl
"""

GITIGNORE = "runs/\n"


@click.command("init")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
@click.option(
    "--from", "foreign", nargs=2, type=(click.Choice(FOREIGN), click.Path(path_type=Path)),
    default=None, metavar="FORMAT FILE",
    help=f"Also import a constitution from another tool: {', '.join(FOREIGN)}.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite existing files.")
def command(folder: Path, foreign: tuple[str, Path] | None, force: bool) -> None:
    """Start a project in DIR: constitutions, principles, templates and prompts to edit.

    If one of the files exists already, nothing is written; --force overwrites it.

    \b
    cai init my-project
    cai init my-project --from langchain principles.json
    """
    name = IMPORTED if foreign is not None else "default"
    files = _files(name)
    notes: tuple[str, ...] = ()
    if foreign is not None:
        read = read_files(*foreign, IMPORTED)
        files |= {name: text.encode() for name, text in read.texts.items()}
        notes = read.notes
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
    place = f"to {folder}" if folder != Path() else "here"
    click.echo(f"Wrote {counted(len(files), 'file')} {place}. Next:")
    if folder != Path():
        click.echo(f"  cd {folder}")
    click.echo("  cai lint")
    click.echo("  cai plan")
    click.echo("  cai build-data -o runs/first")
    for note in notes:
        click.echo(f"imported: {note}")


def _files(constitution: str) -> dict[str, bytes]:
    """Every file of a new project: its path, with forward slashes, and its bytes.

    constitution: the project's default one.
    """
    from cai.constitution.editors import editor_files
    from cai.content import packaged

    root = packaged()
    out: dict[str, bytes] = {}
    for part in ("constitution", "principles"):
        for path in sorted((root / part).rglob("*")):
            name = path.relative_to(root)
            if path.is_file() and not any(p.startswith((".", "__")) for p in name.parts):
                out[name.as_posix()] = _led(path, len(name.parts) - 1)
    rows = [json.dumps({"id": name, "prompt": text}) + "\n" for name, text in PROMPTS]
    out["prompts.jsonl"] = "".join(rows).encode()
    out["README.md"] = README.encode()
    out["cai.yaml"] = PROJECT.format(constitution=constitution).encode()
    out[".gitignore"] = GITIGNORE.encode()
    out[".pre-commit-config.yaml"] = PRE_COMMIT.encode()
    out[".github/workflows/constitution.yml"] = WORKFLOW.encode()
    out |= {name: text.encode() for name, text in editor_files().items()}
    return out


def _led(path: Path, depth: int) -> bytes:
    """A shipped file; YAML begins with the line that leads an editor to its schema."""
    from cai.constitution.editors import modeline
    from cai.content import SUFFIXES

    data = path.read_bytes()
    if path.suffix not in SUFFIXES:
        return data
    kind = "Constitution" if b"\nkind: Constitution\n" in data else "Principle"
    return modeline(kind, depth).encode() + data


def _write(folder: Path, name: str, data: bytes) -> None:
    """Write a file of the project; a link in its place is replaced, not followed."""
    target = folder / name
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{target.parent} is a link out of {folder}", hint="Remove the link.")
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink():
        target.unlink()
    target.write_bytes(data)
