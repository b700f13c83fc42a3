"""`cai runs`: the runs of a project, newest last."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.cli.output import json_option, print_json, print_table
from cai.text.terminal import visible

if TYPE_CHECKING:
    from cai.evaluation.listing import MeasuredFolder
    from cai.store.records import Run
    from cai.store.store import Store

_COLUMNS = ("name", "id", "when (UTC)", "status", "rows", "constitution", "model")

_MEASURED = ("name", "id", "when (UTC)", "kind", "models", "outcome")


@click.command("runs")
@click.option(
    "--runs-dir", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"),
    show_default=True, help="The folder that holds the store.",
)  # fmt: skip
@json_option
def command(runs_dir: Path, as_json: bool) -> None:
    """List the runs of a project, the newest last.

    The rows are those of the last export; of a guard, the answers that it gave. A run with the
    status `interrupted` was ended by Ctrl-C or killed, one with `stopped` by its budget, and one
    with `failed` by an error, which its run.log names; run the same command again to resume it.
    Evaluations, red-teamings and the folders of `cai ablate --train`, which are folders alone, come
    in a list of their own.
    """
    from cai.evaluation.listing import measured_folders
    from cai.store.store import Store

    path = runs_dir / "store.sqlite"
    records = []
    if os.path.lexists(path):  # a link to nowhere is a damaged store, not an empty folder
        with Store.open(path, read_only=True) as store:
            busy = store.locked()
            records = [_record(store, run, busy) for run in store.runs()]
    measured = measured_folders(runs_dir)
    if as_json:
        print_json({"runs": records, "measured": [asdict(folder) for folder in measured]})
        return
    if records:
        print_table(_COLUMNS, [_cells(record) for record in records])
    if records and measured:
        click.echo()
    if measured:
        print_table(_MEASURED, [_measured_cells(folder) for folder in measured])
    if not records and not measured:
        click.echo(f"No runs yet in {visible(str(runs_dir))}. Make one with: cai build-data")


def _record(store: Store, run: Run, busy: bool) -> dict[str, Any]:
    """A run as `--json` prints it. `rows` is null without an export, `answers` of a build."""
    from cai.data.served import is_served, is_serving

    events = store.events(run.id)
    status: str = store.status(run.id)
    served = is_served(run.config)
    if status == "started":
        running = is_serving(store.path.parent / run.name) if served else busy
        status = "running" if running else "interrupted"
    exports = [e.detail for e in events if e.event == "exported"]
    rows = exports[-1].get("rows", {}) if exports else {}
    tables = {table: _rows(rows, table) for table in ("sft", "preferences", "labels")}
    models = {m["name"]: None for m in run.config.get("models", {}).values()}
    constitution = run.constitution
    return {
        "name": exports[-1].get("to", run.name) if exports else run.name,
        "id": run.id,
        "at": events[-1].at if events else None,
        "status": status,
        "rows": tables if exports else None,
        "answers": store.counts(run.id)["trace"] if served else None,
        "constitution": {key: constitution.get(key) for key in ("id", "version", "digest")},
        "models": list(models),
    }


def _cells(record: dict[str, Any]) -> tuple[str, ...]:
    rows, constitution = record["rows"], record["constitution"]
    counts = {} if rows is None else rows
    if record["answers"] is not None:
        counts = {"answers": record["answers"]}
    return (
        record["name"],
        record["id"],
        record["at"][:16].replace("T", " ") if record["at"] else "–",
        record["status"],
        " + ".join(f"{n} {what}" for what, n in counts.items()) or "–",
        f"{constitution['id'] or '?'} {constitution['version'] or ''}".strip(),
        ", ".join(record["models"]) or "–",
    )


def _measured_cells(folder: MeasuredFolder) -> tuple[str, ...]:
    when = folder.at[:16].replace("T", " ")
    models = ", ".join(folder.models) or "–"
    return folder.name, folder.id or "–", when, folder.kind, models, folder.outcome


def _rows(rows: dict[str, int], table: str) -> int:
    return sum(n for name, n in rows.items() if name in (f"{table}.jsonl", f"{table}.test.jsonl"))
