"""`cai lint`: every problem of the content as file:line:col, before anything is spent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click

from cai.cli.output import counted, format_option, json_option, print_json
from cai.errors import ContentError, Problem, UsageError

LONGEST = 600
"""Characters of a printed line."""


@click.command("lint")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@json_option
@format_option("github", "sarif")
@click.option("--fix", is_flag=True, help="Fix what can be fixed safely, then lint.")
@click.option(
    "--against", metavar="REV", default="HEAD", show_default=True,
    help="Compare versions with this commit; in CI, with the branch to merge into.",
)  # fmt: skip
@click.option("--no-git", is_flag=True, help="Don't compare versions with a commit.")
@click.option(
    "--model",
    "-m",
    default=None,
    help="Also check that each principle fits into this model's context.",
)
@click.option("--explain", metavar="CODE", default=None, help="Explain a code and exit.")
def command(
    paths: tuple[Path, ...], as_json: bool, form: str, fix: bool, against: str, no_git: bool,
    model: str | None, explain: str | None,
) -> int:  # fmt: skip
    """Check principles, constitutions and templates.

    PATHS are files or folders; the default is the project around the working directory, with its
    `cai.yaml`. Content that they refer to is checked too. Versions are compared with the last
    commit and with cai.lock, if there is one. A comment silences advice (C05x, C06x) about its
    line: `# lint: ignore C057`. Exit code 0: no problems; 3: problems.

    \b
    cai lint
    cai lint principles/respect/ --json
    cai lint --fix
    cai lint --against origin/main
    cai lint --explain C020
    """
    if explain is not None:
        _explain(explain)
        return 0
    from cai.constitution.lint import default_paths, lint

    targets = list(paths) or default_paths(Path.cwd())
    if not targets:
        raise UsageError(
            "There is no constitution/ or principles/ in this folder or above it",
            hint="Name files or folders, or start a project: cai init",
        )
    fixed = _fix(targets) if fix else []
    report = lint(targets)
    problems = list(report.problems)
    if not no_git:
        problems += _unversioned(targets, against)
    if model is not None:
        problems += _too_long(targets, model)
    problems.sort()
    if as_json:
        print_json({"files": report.files, "problems": [asdict(p) for p in problems]})
    else:
        _print(form, problems, report.files, fixed)
    return ContentError.exit_code if problems else 0


def _fix(targets: Sequence[Path]) -> list[Path]:
    """Fix files in place. Returns the files that changed."""
    from cai.constitution.lint import fixed_texts
    from cai.data.files import write_whole

    texts = fixed_texts(targets)
    for file, text in texts.items():
        write_whole(file, text)
    return list(texts)


def _unversioned(targets: Sequence[Path], revision: str) -> list[Problem]:
    from cai.authoring.versions import unversioned
    from cai.constitution.lint import content_files

    return unversioned(content_files(targets), revision.removeprefix("git:"))


def _too_long(targets: Sequence[Path], model: str) -> list[Problem]:
    """Of all constitutions that can be loaded, each principle once."""
    from cai.authoring.context_length import too_long
    from cai.constitution.lint import content_files
    from cai.constitution.load import Loader
    from cai.content import SUFFIXES
    from cai.models.load import context_of, load_config, load_encoder
    from cai.types import Messages

    encoder, context = load_encoder(model), context_of(load_config(model)[0])

    def count(messages: Messages) -> int:
        return len(encoder.encode(messages, add_generation_prompt=True).ids)

    first_problems: dict[tuple[str, int], Problem] = {}
    for file in content_files(targets):
        source = Loader().source(file) if file.suffix in SUFFIXES else None
        value = source.value if source is not None else None
        if isinstance(value, dict) and value.get("kind") == "Constitution":
            constitution = Loader().constitution(file)
            for problem in too_long(constitution, context, count) if constitution else ():
                first_problems.setdefault((problem.file, problem.line), problem)
    return list(first_problems.values())


def _print(form: str, problems: Sequence[Problem], files: int, fixed: Sequence[Path]) -> None:
    from cai.content import shown
    from cai.text.terminal import visible

    if form != "text":
        from cai.cli import lint_output as output

        made = {"json": output.as_json, "github": output.as_github, "sarif": output.as_sarif}
        text = made[form](problems)
        if text:
            click.echo(text)
        return
    for file in fixed:
        click.echo(f"fixed {visible(shown(file))}")
    for problem in problems:
        at = f"{problem.file}:{problem.line}:{problem.column}"
        click.echo(_short(visible(f"{at}: {problem.code} {problem.message}")))
        if problem.hint:
            click.echo(_short(visible(f"    {problem.hint}")))
    click.echo(_summary(files, len(problems)))


def _short(line: str) -> str:
    """A line that may quote what stands in a file, however long that is."""
    return line if len(line) <= LONGEST else f"{line[:LONGEST]}…"


def _summary(files: int, problems: int) -> str:
    if not problems:
        return f"{counted(files, 'file')}: no problems"
    total = counted(problems, "problem")
    return f"{counted(files, 'file')}: {total}. To explain a code: cai lint --explain CODE"


def _explain(code: str) -> None:
    import textwrap

    from cai.constitution.codes import CODES

    name = code.strip().upper()
    if name not in CODES:
        raise UsageError(f"There is no code {code!r}", hint=f"Codes: {', '.join(CODES)}")
    page = CODES[name]
    click.echo(click.style(f"{name}: {page.title}", bold=True))
    click.echo(textwrap.fill(page.text, 90))
    for label, snippet in (("Instead of", page.wrong), ("write", page.right)):
        if snippet:
            click.echo(f"\n{label}:\n{textwrap.indent(snippet, '    ')}")
    if page.fixed:
        click.echo("\ncai lint --fix fixes it.")
