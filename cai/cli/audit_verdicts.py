"""`cai audit sample`, `import`, `export`, `agreement`, `sign` and `verify`: up to the sign-off."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.cli.audit import RUN, shown_path
from cai.cli.output import counted, json_option, print_json
from cai.errors import CaiError, DataError, UsageError

if TYPE_CHECKING:
    from cai.data.verdicts import Verdict


def _names(ctx: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    """A list of names, separated by commas."""
    return tuple(part.strip() for part in value.split(",")) if value else ()


def read_share(ctx: click.Context, parameter: click.Parameter, value: str) -> float:
    """A share: 0.2 or 20%."""
    text = value.strip()
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        raise click.BadParameter(f"{value!r} is not a share; write 0.2 or 20%") from None
    if not 0 <= share <= 1:
        raise click.BadParameter(f"{value} is not a share between 0 and 1; write 0.2 or 20%")
    return share


@click.command("sample", short_help="Draw items to audit, spread over principles and flags.")
@RUN
@click.option("--n", type=int, default=200, show_default=True, help="Items to draw.")
@click.option(
    "--stratify", callback=_names, default="principle,flag", show_default=True,
    help="Spread evenly over these: principle, flag, kind; of an evaluation suite and model, too.",
)  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed of the draw.")
@click.option(
    "--auditors",
    callback=_names,
    default=None,
    help="Divide the sample among these auditors: ann,ben.",
)
@click.option(
    "--overlap", callback=read_share, default="0", show_default=True,
    help="Share of the sample that all auditors read, to measure agreement: 20%.",
)  # fmt: skip
@click.option("--force", is_flag=True, help="Replace an earlier sample.")
@json_option
def sample_command(
    run_dir: Path,
    n: int,
    stratify: tuple[Any, ...],
    seed: int,
    auditors: tuple[str, ...],
    overlap: float,
    force: bool,
    as_json: bool,
) -> None:
    """Draw a sample and keep it in RUN/audit/sample.json.

    Principles and flags are represented as evenly as possible, rare ones completely. The page shows
    who is to read what, and `cai audit sign` checks that it was read.
    """
    from cai.audit.runs import open_run
    from cai.audit.sample import SamplePlan, read_sample, write_sample
    from cai.content import shown
    from cai.text.terminal import visible

    plan = SamplePlan(n, seed, stratify, auditors, overlap)
    with open_run(run_dir) as run:
        if not force and read_sample(run) is not None:
            raise UsageError(
                f"a sample of {run_dir} was drawn already",
                hint="Keep it, or draw anew with --force.",
            )
        of = len(run)
        path, items = write_sample(run, plan)
    counts = {name: sum(name in names for names in items.values()) for name in auditors}
    if as_json:
        print_json({"path": shown(path), "items": len(items), "of": of, "auditors": counts})
        return
    if len(items) < n:
        click.echo(f"The run has only {counted(of, 'item')}: all are in the sample.")
    click.echo(f"{len(items):,} of {counted(of, 'item')}: {shown_path(path)}")
    for name, count in counts.items():
        click.echo(f"  {visible(name)}: {count:,}")


@click.command("import", short_help="Add verdicts that auditors exported.")
@RUN
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, dir_okay=False))
@json_option
def import_command(run_dir: Path, files: tuple[Path, ...], as_json: bool) -> None:
    """Add the verdicts of FILES, exported from the page, to RUN/audit/verdicts.jsonl.

    Each line is taken once, however often a file is imported. Verdicts on items that this
    run does not hold are left out, and counted; those of another run are taken where it holds the
    very same texts.
    """
    from cai.audit.runs import open_run
    from cai.data.verdicts import VerdictFile, read_verdicts

    imports = {path: read_verdicts(path) for path in files}
    results = []
    with open_run(run_dir) as run:
        items = {entry.item.key: entry.item.id for entry in run.entries()}
        file = VerdictFile(run.folder)
        present = set(file.read())
        for path, verdicts in imports.items():
            fit = [v for v in dict.fromkeys(verdicts) if items.get(v.item) == v.record]
            if verdicts and not fit:
                raise DataError(
                    f"none of the {counted(len(verdicts), 'verdict')} in {path} is on an item"
                    f" of {run_dir};"
                    f" the first is on {verdicts[0].record} of the run {verdicts[0].run}",
                    hint="Name the run that the page was made of.",
                )
            fresh = [v for v in fit if v not in present]
            file.append(fresh)
            present.update(fresh)
            others = len(set(verdicts)) - len(fit)
            results.append(
                {"path": str(path), "verdicts": len(verdicts), "new": len(fresh),
                 "left_out": others}
            )  # fmt: skip
            if as_json:
                continue
            note = f"; {others} left out, on items that {run_dir} does not hold" if others else ""
            count = counted(len(verdicts), "verdict")
            click.echo(f"{path}: {count}, {len(fresh)} of them new{note}")
    if as_json:
        print_json({"files": results})


FORMS = ("jsonl", "csv", "parquet", "argilla", "label-studio")


@click.command("export", short_help="Write items and verdicts for other tools.")
@RUN
@click.option(
    "--format", "form", type=click.Choice(FORMS), default="jsonl", show_default=True,
    help="The format to write.",
)  # fmt: skip
@click.option(
    "--out", "-o", type=click.Path(path_type=Path), default=None,
    help="File to write, or folder for argilla.  [default: RUN/audit/items.ENDING]",
)  # fmt: skip
@click.option("--sampled", is_flag=True, help="The items of the sample alone.")
@json_option
def export_command(
    run_dir: Path, form: Any, out: Path | None, sampled: bool, as_json: bool
) -> None:
    """Write every item with its flags and verdicts: for a spreadsheet, Argilla or Label Studio."""
    from cai.audit.exports import write_export
    from cai.audit.runs import open_run
    from cai.audit.sample import sample_keys
    from cai.content import shown
    from cai.data.verdicts import FOLDER, VerdictFile

    ending = {"argilla": "argilla", "label-studio": "label-studio.json"}.get(form, form)
    with open_run(run_dir) as run:
        keys = sample_keys(run) if sampled else None
        place = out or run.folder / FOLDER / f"items.{ending}"
        own = place.resolve().parent in (run.folder, run.folder / FOLDER)
        if own and place.exists() and not place.name.startswith("items."):
            raise UsageError(
                f"{place} belongs to the run",
                hint="Name another file, outside of the run's folder.",
            )
        count = write_export(run, place, form, VerdictFile(run.folder).read(), keys)
    if as_json:
        print_json({"path": shown(place), "format": form, "items": count})
    else:
        click.echo(f"{counted(count, 'item')}: {shown_path(place)}")


@click.command(
    "agreement", short_help="Show how far auditors agree, with each other and the judge."
)
@RUN
@json_option
@click.option("--format", "form", type=click.Choice(["text", "json"]), default="text", hidden=True)
def agreement_command(run_dir: Path, as_json: bool, form: str) -> None:
    """Show accepted shares with Wilson intervals, Cohen's κ and Krippendorff's α."""
    from cai.audit.agreement import report
    from cai.audit.runs import open_run
    from cai.cli import agreement_text
    from cai.data.verdicts import VerdictFile

    with open_run(run_dir) as run:
        verdicts = VerdictFile(run.folder).read()
        _need_verdicts(run_dir, verdicts)
        titles = {p["id"]: p.get("title") or p["id"] for p in run.principles}
        agreement = report((entry.item for entry in run.entries()), verdicts, titles)
    if as_json or form == "json":
        print_json(agreement_text.as_json(agreement))
    else:
        click.echo(agreement_text.as_text(agreement))


@click.command("sign", short_help="Sign the run's data off, so that training takes it.")
@RUN
@click.option("--signer", required=True, help="The name of the person who signs.")
@click.option(
    "--min-reviewed", callback=read_share, default="100%", show_default=True,
    help="Share of the sample (of all items, where none was drawn) that must be judged.",
)  # fmt: skip
@click.option(
    "--min-accepted", callback=read_share, default="90%", show_default=True,
    help="Share of the judged items that must be accepted.",
)  # fmt: skip
@click.option("--statement", default="", help="The signer's statement, stored in the sign-off.")
@json_option
def sign_command(
    run_dir: Path,
    signer: str,
    min_reviewed: float,
    min_accepted: float,
    statement: str,
    as_json: bool,
) -> None:
    """Write RUN/audit/signoff.yaml: digests of the data and the verdicts, and the signer's name.

    Where the project's cai.yaml says `audit: required`, cai train refuses data without it, and data
    that changed since. Rows of rejected items are left out of training either way.
    """
    from cai.audit.runs import open_run
    from cai.audit.sign import Thresholds, sign
    from cai.content import shown
    from cai.text.terminal import visible

    with open_run(run_dir) as run:
        path = sign(run, signer, Thresholds(min_reviewed, min_accepted), statement)
    if as_json:
        print_json({"path": shown(path), "signer": visible(signer.strip())})
    else:
        click.echo(f"Signed by {visible(signer)}: {shown_path(path)}")


@click.command("verify", short_help="Verify the sign-off against the data as it is now.")
@RUN
@json_option
def verify_command(run_dir: Path, as_json: bool) -> None:
    """Verify that a run is signed off, and that data and verdicts are unchanged since.

    Exit code 4 otherwise. `cai verify RUN` recomputes everything else.
    """
    from cai.data.manifest import Manifest
    from cai.data.signoff import read_signoff
    from cai.text.terminal import visible

    Manifest.read(run_dir)  # else a folder that is no run would only be called unsigned
    try:
        signoff = read_signoff(run_dir)
    except CaiError as error:
        if as_json:
            print_json({"run": str(run_dir), "ok": False, "problem": error.message})
        raise
    review = signoff["reviewed"]
    if as_json:
        print_json(
            {"run": str(run_dir), "ok": True, "signer": signoff["signer"], "at": signoff["at"],
             "data_files": len(signoff["data"]), "reviewed": review}
        )  # fmt: skip
        return
    click.echo(
        visible(
            f"{run_dir}: unchanged since {signoff['signer']} signed it at {signoff['at']};"
            f" {counted(len(signoff['data']), 'file')}, {review.get('items')} of"
            f" {review.get('of')} items judged, {review.get('accepted')} accepted,"
            f" {review.get('rejected')} rejected."
        )
    )


def _need_verdicts(run_dir: Path, verdicts: list[Verdict]) -> None:
    if not verdicts:
        raise DataError(
            f"no verdicts in {run_dir} yet", hint=f"Start with: cai audit serve {run_dir}"
        )
