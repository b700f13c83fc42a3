"""`cai diff`: what an edit changes in a constitution, and what the change does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.cli.defaults import PROMPTS_DEFAULT, choose_prompts, default_constitution
from cai.cli.output import format_option, json_option, print_json
from cai.cli.roles import load_options, make_models, models_of, sampling_options
from cai.decoding import SETTINGS
from cai.errors import UsageError

if TYPE_CHECKING:
    from cai.authoring.diff import DiffResult
    from cai.authoring.sides import Side

LIMIT = 40
"""The default number of prompts that both sides are built on."""


@click.command("diff")
@click.argument("sides", metavar="[A] [B]", nargs=-1)
@click.option(
    "--against", metavar="A", default=None,
    help="The side to compare with, given as an option; the one argument is then B.  [default of B:"
    " the constitution of cai.yaml, else `default`]",
)  # fmt: skip
@click.option(
    "--content",
    "content_only",
    is_flag=True,
    help="Show only what changed in the content; build nothing.",
)
@click.option(
    "--prompts", "-p", "prompts_file", type=click.Path(path_type=Path), default=None,
    help=f"Prompts, in any format of build-data.  {PROMPTS_DEFAULT}",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(min=1), default=LIMIT, show_default=True,
    help="Use the first N usable prompts.",
)  # fmt: skip
@click.option(
    "--pairs", type=click.IntRange(min=0), default=1, show_default=True,
    help="Pairs of responses per prompt; 0 leaves preferences out.",
)  # fmt: skip
@models_of("miniature")
@click.option(
    "--runs-dir", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"),
    show_default=True, help="The folder that holds the store.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@sampling_options
@load_options
@click.option(
    "--rows", "row_count", type=click.IntRange(min=0), default=5, show_default=True,
    help="Changed responses to print, the most changed first.",
)  # fmt: skip
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), default=None,
    help="Also write every record of both sides as one HTML file, as cai audit diff does.",
)  # fmt: skip
@json_option
@format_option()
@click.option("--wait", is_flag=True, help="Wait for another build on the same store to finish.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    sides: tuple[str, ...], against: str | None, content_only: bool, row_count: int,
    html: Path | None, as_json: bool, form: str, **options: Any,
) -> None:  # fmt: skip
    """Show what changed from A to B, and what the change does to the same prompts.

    A and B are constitutions (a path or a name), folders of runs, or git:REV, the constitution as
    it was in a commit; git:REV:constitution/x.yaml names the file. Both constitutions are built in
    one store with the same model and seed, so only what the edit touches is generated again; an
    interrupted diff resumes. Runs are read, not built.

    \b
    cai diff --against git:HEAD                      the working tree, on the bundled model
    cai diff --against git:HEAD --content            what changed, at once
    cai diff git:v1 git:v2 -p red.jsonl -m Qwen/Qwen3-4B --html diff.html
    cai diff runs/before runs/after --json
    """
    from cai.authoring.changes import changes, changes_model_input
    from cai.authoring.sides import read_sides

    if html is not None:
        from cai.cli.audit import page_place

        html = page_place(html)
    before, after = read_sides(*_sides(sides, against))
    differences = changes(before.content, after.content)
    as_json = as_json or form == "json"
    if not as_json:
        from cai.cli.diff_text import print_changes

        print_changes(before, after, differences)
    findings, source = None, ""
    if not content_only and (before.folder or changes_model_input(before.content, after.content)):
        findings, source = _effects(before, after, html, options)
    if as_json:
        from cai.cli.diff_json import diff_values

        print_json(diff_values(before, after, differences, findings, source))
    elif findings is not None:
        from cai.cli.diff_text import print_effects

        print_effects(findings, source, row_count)
        if html is not None:
            from cai.cli.audit import shown_path

            click.echo(f"\nEvery record side by side: {shown_path(html)}")


def _sides(arguments: tuple[str, ...], against: str | None) -> tuple[str, str]:
    """The names of both sides."""
    if against is not None and len(arguments) <= 1:
        return against, (arguments[0] if arguments else default_constitution())
    if against is None and len(arguments) == 2:
        return arguments[0], arguments[1]
    raise UsageError(
        f"cai diff needs two sides, not {len(arguments) + (against is not None)}",
        hint="For example: cai diff A B, or cai diff --against git:HEAD",
    )


def _effects(
    before: Side, after: Side, html: Path | None, options: dict[str, Any]
) -> tuple[DiffResult, str]:
    """Read both runs, or build both constitutions, and write the page if one is requested.

    Returns the findings, and the data that they rest on, in words.
    """
    from cai.authoring.diff import read_diff

    if before.folder and after.folder:
        findings = read_diff(before, after)
        if html is not None:
            _page_of_runs(before.folder, after.folder, html)
        return findings, "as the two runs have them"
    if before.folder or after.folder:
        raise UsageError(
            "one side is a run, the other a constitution: what they do can't be compared",
            hint="Build the other one too, or see what changed with --content.",
        )
    return _build(before, after, html, options)


def _build(
    before: Side, after: Side, html: Path | None, options: dict[str, Any]
) -> tuple[DiffResult, str]:
    from cai.authoring.diff import build_diff
    from cai.cli.progress import BuildProgress
    from cai.data.files import store_errors
    from cai.data.invalid_rows import require_prompts
    from cai.data.prompts import PromptFile
    from cai.pipeline.config import BuildConfig
    from cai.store.store import Store

    config = BuildConfig(
        sft_share=0.0,
        **{name: options[name] for name in
           ("seed", "pairs", "limit", *SETTINGS, "max_new_tokens", "max_reasoning_tokens")},
    )  # fmt: skip
    prompts = PromptFile(choose_prompts(options["prompts_file"], quiet=options["quiet"]))
    require_prompts(prompts, prompts.path.name)
    place: Path = options["runs_dir"]
    with store_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    with Store.open(place / "store.sqlite") as store, store.lock(wait=options["wait"]):
        models = make_models(options)  # once nothing else can be in the way
        findings = build_diff(
            before, after, prompts, store, models, config, source=prompts.path.name,
            watch=silent if options["quiet"] else BuildProgress,
        )  # fmt: skip
    if html is not None:
        _page_of_builds(place, findings.runs, html)
    source = f"of {prompts.path.name} (--limit {config.limit}), seed {config.seed}, "
    return findings, source + f"model {options['model']}"


def silent() -> Any:
    """A display of progress that shows nothing."""
    from contextlib import nullcontext

    return nullcontext(lambda _: None)


def _page_of_runs(before: Path, after: Path, html: Path) -> None:
    from cai.audit.runs import open_run

    with open_run(before) as a, open_run(after) as b:
        _write_page(a, b, html)


def _page_of_builds(place: Path, runs: tuple[str, str], html: Path) -> None:
    """The page reads exported runs: both are exported for as long as it takes."""
    from tempfile import TemporaryDirectory

    from cai.audit.runs import BuiltRun
    from cai.data.export import export
    from cai.store.store import Store

    with (
        TemporaryDirectory(prefix="cai-") as name,
        Store.open(place / "store.sqlite", read_only=True) as store,
    ):
        sides = []
        for run_id, label in zip(runs, ("before", "after"), strict=True):
            export(store, run_id, Path(name) / label)
            sides.append(BuiltRun(Path(name) / label, store))
        _write_page(sides[0], sides[1], html)


def _write_page(a: Any, b: Any, html: Path) -> None:
    from cai.audit.diff import diff_payload
    from cai.audit.page import render
    from cai.audit.report import PAGE_ITEMS
    from cai.data.files import write_whole

    write_whole(html, render(diff_payload(a, b, most=PAGE_ITEMS)))
