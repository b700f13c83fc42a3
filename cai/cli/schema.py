"""`cai schema`: what editors need for completion, hover text and checks."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("schema")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
@click.option(
    "--print", "kind", type=click.Choice(["principle", "constitution"]), default=None,
    help="Print one schema to stdout instead.",
)  # fmt: skip
def command(folder: Path, kind: str | None) -> None:
    """Write the JSON Schemas (draft-07) of principles and constitutions to .cai/schema.

    An editor that speaks to yaml-language-server finds them by the first line of a file:

    \b
    # yaml-language-server: $schema=../../.cai/schema/principle.v1.json

    Commit them: they change only with the version of cai.
    """
    import json

    from cai.constitution.editors import editor_files, editor_schema
    from cai.content import enclosing_project, shown
    from cai.data.files import write_whole

    if kind is not None:
        text = json.dumps(editor_schema(kind.capitalize()), indent=1, ensure_ascii=False)
        click.echo(text)
        return
    root = enclosing_project(folder.absolute()) or folder
    for name, text in editor_files().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(root / name, text)
        click.echo(f"wrote {shown(root / name)}")
