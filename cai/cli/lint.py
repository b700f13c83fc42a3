"""`cai lint`: every problem of the content as file:line:col, before anything is spent."""

from __future__ import annotations

from pathlib import Path

import click

from cai.errors import ContentError, UsageError


@click.command("lint", short_help="Check principles, constitutions and templates.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--format", "form", type=click.Choice(["text", "json"]), default="text", show_default=True
)
@click.option("--explain", metavar="CODE", default=None, help="Explain a code and exit.")
def command(paths: tuple[Path, ...], form: str, explain: str | None) -> int:
    """Check principles, constitutions and templates.

    PATHS are files or folders; without any, the project around the working directory. What they
    refer to is checked too. Exit code 0: no problems; 3: problems.

    \b
    cai lint
    cai lint principles/respect/ --format json
    cai lint --explain C020
    """
    if explain is not None:
        _explain(explain)
        return 0
    from cai.constitution.lint import default_paths, lint

    chosen = list(paths) or default_paths(Path.cwd())
    if not chosen:
        raise UsageError(
            "There is no constitution/ or principles/ in this folder or above it",
            hint="Name files or folders, or start a project: cai init",
        )
    report = lint(chosen)
    if form == "json":
        import json
        from dataclasses import asdict

        click.echo(json.dumps([asdict(p) for p in report.problems], indent=2))
    else:
        from cai.text.terminal import visible

        for problem in report.problems:
            click.echo("\n".join(visible(line) for line in str(problem).splitlines()))
        click.echo(_summary(report.files, len(report.problems)))
    return ContentError.exit_code if report.problems else 0


def _summary(files: int, problems: int) -> str:
    seen = f"{files} file" + ("s" if files != 1 else "")
    if not problems:
        return f"{seen}: no problems"
    found = f"{problems} problem" + ("s" if problems != 1 else "")
    return f"{seen}: {found}. What a code means: cai lint --explain CODE"


def _explain(code: str) -> None:
    import textwrap

    from cai.constitution.codes import CODES

    name = code.strip().upper()
    if name not in CODES:
        raise UsageError(f"There is no code {code!r}", hint=f"Codes: {', '.join(CODES)}")
    click.echo(f"{name}: " + textwrap.fill(CODES[name], 90, subsequent_indent="      "))
