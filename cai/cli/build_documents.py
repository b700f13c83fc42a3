"""`cai build-documents`: documents that explain a constitution's principles, as SFT data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.authoring.documents.config import DocumentsConfig
from cai.cli.build_data import refuse_other_runs
from cai.cli.config_options import config_options
from cai.cli.content import with_principles
from cai.cli.defaults import constitution_option
from cai.cli.eval import evaluated_model
from cai.cli.output import counted, json_option, print_json, print_table, warn
from cai.cli.roles import ModelLoader, load_options
from cai.text.terminal import visible

if TYPE_CHECKING:
    from cai.data.manifest import Manifest
    from cai.store.records import Run
    from cai.types import Constitution


@click.command("build-documents")
@constitution_option
@click.option(
    "--model", "-m", default="miniature", show_default=True,
    help="The model that writes; named as a model of `cai eval` is.",
)  # fmt: skip
@click.option(
    "--principle", "principles", multiple=True, metavar="ID",
    help="Write about this principle alone; may be given several times.  [default: all]",
)  # fmt: skip
@click.option(
    "--out", "-o", type=click.Path(path_type=Path, file_okay=False), default=None,
    help="The run's folder; its parent holds the store.  [default: runs/<constitution>-documents]",
)  # fmt: skip
@click.option(
    "--replace-signed", is_flag=True,
    help="Replace the data of --out even if it is signed off; the sign-off is then stale.",
)  # fmt: skip
@config_options(DocumentsConfig)
@click.option("--licence", default="unknown", help="The data's licence, for the dataset card.")
@load_options
@click.option("--wait", is_flag=True, help="Wait for another build on the same store to finish.")
@json_option
@click.option("--quiet", "-q", is_flag=True, help="No progress and no summary.")
def command(
    constitution: str, model: str, principles: tuple[str, ...], out: Path | None,
    replace_signed: bool, licence: str, wait: bool, as_json: bool, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Have a model write documents that explain each principle, to train on before anything else.

    A document is a question with its answer, a short essay, two people talking, or, with --kinds, a
    good and a bad answer compared. The writer reads the principle and, unless --no-why is given,
    its reason. `cai train sft` learns a document whole, as plain text. Every document is kept in a
    store beside the run: an interrupted command resumes, and after an edit of one principle only
    its documents are written anew.

    \b
    cai build-documents -m Qwen/Qwen3-4B -n 50 -o runs/documents
    cai train sft --data runs/documents --model Qwen/Qwen3-4B-Base --out runs/midtrained
    cai trace runs/documents/sft.jsonl:1
    """
    from cai.constitution.load import load_constitution
    from cai.data.export import refuse_overwrite

    fields = DocumentsConfig.__dataclass_fields__
    config = DocumentsConfig(**{name: options[name] for name in fields})
    rules = with_principles(load_constitution(constitution), principles)
    out = out or Path("runs") / f"{rules.id}-documents"
    refuse_overwrite(out)
    refuse_other_runs(out, documents=True)
    run, manifest, work = _build(
        rules, model, out, config, options, licence=licence, wait=wait, quiet=quiet,
        replace_signed=replace_signed,
    )  # fmt: skip
    if not manifest.rows["sft.jsonl"]:
        warn("No row of training data was made", prefix="Warning: ")
    if as_json:
        print_json(_values(run, out, manifest, work))
    elif not quiet:
        _print(run, out, manifest, work)


def _build(
    rules: Constitution, model: str, out: Path, config: DocumentsConfig, options: dict[str, Any],
    *, licence: str, wait: bool, quiet: bool, replace_signed: bool,
) -> tuple[Run, Manifest, dict[str, int]]:  # fmt: skip
    """Write the documents and export them. Also returns the steps by what became of them."""
    from cai.authoring.documents.run import build_documents, documents_run
    from cai.cli.build_dry_run import date_of_run
    from cai.cli.progress import BuildProgress
    from cai.cli.summary import steps_of_run
    from cai.data.export import export
    from cai.data.files import store_errors
    from cai.data.run_log import run_log
    from cai.data.signoff import refuse_signed
    from cai.store.store import Store

    with store_errors(out.parent):
        out.parent.mkdir(parents=True, exist_ok=True)
    facts = {"constitution": f"{rules.id} {rules.version} {rules.digest}", "options": options}
    with (
        Store.open(out.parent / "store.sqlite") as store,
        store.lock(wait=wait),
        run_log(out, f"cai build-documents, {out.name}", facts),
    ):
        options["date"] = options["date"] or date_of_run(store, out.name)
        chosen = evaluated_model(model)
        backend = ModelLoader(options, {chosen}).backend(chosen)
        if not replace_signed:
            refuse_signed(out, documents_run(rules, backend, config, out.name).id, parquet=False)
        if not quiet:
            _warn_of_unknown_words(rules, backend.info.name, config)
        with BuildProgress(quiet=quiet) as show:
            run = build_documents(rules, backend, store, config, name=out.name, progress=show)
        manifest = export(store, run.id, out, licence=licence)
        return run, manifest, steps_of_run(store, run)


def _warn_of_unknown_words(rules: Constitution, model: str, config: DocumentsConfig) -> None:
    """Say so where the miniature is to write about what it has no words for."""
    from cai.authoring.documents.write import requests
    from cai.cli.unknown_words import warn_of_unknown_words

    asked = (one.prompt.messages[-1].content for one in requests(rules, config))
    warn_of_unknown_words([model], {"the requests for documents": set(asked)})


def _values(run: Run, out: Path, manifest: Manifest, work: dict[str, int]) -> dict[str, Any]:
    return {
        "run": run.id,
        "folder": str(out),
        "constitution": {key: run.constitution[key] for key in ("id", "version", "digest")},
        "model": run.config["models"]["generator"]["name"],
        "rows": dict(manifest.rows),
        "documents": manifest.counts.get("documents", {}),
        "left_out": manifest.counts["left_out"],
        "set_aside": manifest.counts["set_aside"],
        "steps": work,
    }


def _print(run: Run, out: Path, manifest: Manifest, work: dict[str, int]) -> None:
    """Documents by principle, what was left out and why, what was new, and the next commands."""
    counts = manifest.counts
    documents = counts["documents"]
    without = [name for name, row in documents["principles"].items() if not row["why"]]
    print_table(
        ["principle", "documents", "rows", "reason"],
        [
            [name, str(row["written"]), str(row["rows"]), "read" if row["why"] else "–"]
            for name, row in documents["principles"].items()
        ],
    )
    kinds = ", ".join(f"{count} {kind}" for kind, count in documents["kinds"].items())
    click.echo(f"\nRows by kind: {kinds or 'none'}.")
    if without and run.config["documents"]["why"]:
        click.echo(
            f"{counted(len(without), 'principle')} without a reason (`why`), documented from"
            f" {'its' if len(without) == 1 else 'their'} text alone: {', '.join(without)}."
        )
    for what, reasons in (("Left out", "left_out"), ("Set aside", "set_aside")):
        if counts[reasons]:
            listed = ", ".join(f"{n} {visible(why)}" for why, n in counts[reasons].items())
            click.echo(f"{what}: {listed}.")
    click.echo(
        f"Wrote {counted(work['generated'], 'document')}; {work['reused']:,} were in the store."
    )
    click.echo(f"\nwritten  {out}")
    click.echo(f"read     cai trace {out / 'sft.jsonl'}:1")
    click.echo(f"train    cai train sft --data {out} --model MODEL")
