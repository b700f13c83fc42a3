"""`cai convert`: a constitution in another tool's format."""

from __future__ import annotations

from pathlib import Path

import click

from cai.cli.defaults import constitution_option
from cai.cli.import_ import FOREIGN
from cai.errors import UsageError


@click.command("convert")
@click.argument("form", metavar="FORMAT", type=click.Choice(FOREIGN))
@constitution_option
@click.option(
    "--out", "-o", type=click.Path(path_type=Path, dir_okay=False), default=None,
    help="The file to write.  [default: standard output]",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Overwrite an existing file.")
def command(form: str, constitution: str, out: Path | None, force: bool) -> None:
    """Write a constitution's principles in FORMAT, and list what is lost.

    FORMAT: anthropic, anthropic-feedback, llm-swarm or langchain, as for cai import.

    \b
    cai convert langchain -c default -o principles.json
    """
    from cai.authoring.formats import unsupported, write_format
    from cai.constitution.load import load_constitution
    from cai.data.files import write_whole

    if out is not None and out.exists() and not force:
        raise UsageError(f"{out} is there already", hint="Choose another --out, or give --force.")
    rules = load_constitution(constitution)
    principles = [member.principle for member in rules.members]
    text = write_format(form, principles)
    if out is None:
        click.echo(text, nl=False)
    else:
        write_whole(out, text)
    click.echo(f"Lost in {form}: {'; '.join(unsupported(form, principles))}.", err=True)
