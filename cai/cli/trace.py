"""`cai trace`: from a training row back to its label, principles, critiques and generations."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.cli.output import format_option, json_option, print_json
from cai.errors import DataError, UsageError

if TYPE_CHECKING:
    from cai.store.records import StoredRecord
    from cai.store.store import Store

_ROW = re.compile(r"(?P<record>.+)\.(?P<round>\d+)")
_LINE = re.compile(r"(?P<file>.+\.jsonl):(?P<line>\d+)")


@click.command("trace")
@click.argument("name", metavar="ID")
@click.option(
    "--runs-dir", type=click.Path(path_type=Path, file_okay=False), default=None,
    help="The folder that holds the store.  [default: runs, or that of FILE:LINE]",
)  # fmt: skip
@click.option("--run", "run_id", default=None, help="The run to look in.  [default: the newest]")
@json_option
@format_option()
@click.option("--prompts", is_flag=True, help="Also show the exact text each model was given.")
def command(
    name: str, runs_dir: Path | None, run_id: str | None, as_json: bool, form: str, prompts: bool
) -> None:  # fmt: skip
    """Show where a training row comes from.

    ID is the id of a row, trace, comparison or prompt, or a unique prefix of it; or FILE:LINE of an
    exported file.

    \b
    cai trace c-1f6a90b2 --prompts
    cai trace runs/first/sft.jsonl:12
    """
    from cai.store.store import Store

    line = _LINE.fullmatch(name)
    if not line and Path(name).is_file():
        raise UsageError(f"{name} is a file", hint=f"Give the line of a row in it, too: {name}:1")
    if line and Path(line["file"]).is_file():
        path = Path(line["file"]).resolve()
        name, run_id = _at_line(path, int(line["line"]), run_id)
        runs_dir = runs_dir or path.parent.parent
    with Store.open((runs_dir or Path("runs")) / "store.sqlite", read_only=True) as store:
        views = [_view(store, f, run_id) for f in _stored_records(store, name, run_id)]
    if as_json:
        print_json({"records": views})
        return
    if form == "json":
        print_json(views if len(views) > 1 else views[0])
        return
    from cai.cli.trace_text import show

    for view in views:
        show(view, prompts=prompts)


def _at_line(path: Path, number: int, run_id: str | None) -> tuple[str, str | None]:
    """The record and the run of a row in an exported file."""
    from cai.data.manifest import Manifest

    with path.open("rb") as file:
        for n, text in enumerate(file, 1):
            if n == number:
                try:
                    row = json.loads(text)
                    record = row.get("trace_id") or row["comparison_id"]
                except (ValueError, KeyError, AttributeError):
                    raise DataError(f"{path}:{number} is not a row that was exported") from None
                return str(record), run_id or Manifest.read(path.parent).run["id"]
    raise UsageError(f"{path} has no line {number}")


def _stored_records(store: Store, name: str, run_id: str | None) -> list[StoredRecord]:
    """The records of this name in one run: the one with the given id, or the newest."""
    try:
        stored = store.find(name)
    except UsageError:
        row = _ROW.fullmatch(name)
        if row is None:
            raise
        stored = store.find(row["record"])
    order = {run.id: place for place, run in enumerate(store.runs())}
    newest = max((r for f in stored for r in f.runs), key=lambda r: order[r], default=None)
    matches = [f for f in stored if (run_id or newest) in f.runs]
    if not matches:
        holders = ", ".join(sorted({r for f in stored for r in f.runs}))
        raise UsageError(f"run {run_id!r} does not hold {name}", hint=f"It is held by: {holders}")
    return matches


def _view(store: Store, stored: StoredRecord, run_id: str | None) -> dict[str, Any]:
    """All that is known of a record, as plain values."""
    from dataclasses import asdict

    from cai.data.rows import ExportedRow, ExportSettings
    from cai.types import Trace

    run = store.run(run_id if run_id in stored.runs else stored.runs[-1])
    rows = ExportSettings.of(run).rows(stored.record)
    folder = [e.detail.get("to", run.name) for e in store.events(run.id) if e.event == "exported"]
    record = asdict(stored.record)
    label = stored.record.label if isinstance(stored.record, Trace) else stored.record
    if isinstance(stored.record, Trace):
        for plain, check in zip(record["checks"], stored.record.checks, strict=True):
            plain["mass"] = check.scores.mass
    ids = {r["principle_id"] for r in record.get("revisions", record.get("judgements", ()))}
    ids |= {c["principle_id"] for c in record.get("checks", ())}
    ids |= {record["explained"]["principle_id"]} if record.get("explained") else set()
    ids |= {record["contrast"]["principle_id"]} if record.get("contrast") else set()
    ids |= {j["principle_id"] for j in (record.get("label") or {}).get("judgements", ())}
    constitution = run.constitution
    return {
        "kind": stored.kind,
        "record": record,
        "judge_mass": None if label is None else label.mass,
        "judge_method": "" if label is None else label.method,
        "run": {"id": run.id, "folder": folder[-1] if folder else None, "seed": run.seed},
        "runs": list(stored.runs),
        "rows": [
            {"file": f"{m.file}.jsonl", **m.values} for m in rows if isinstance(m, ExportedRow)
        ],
        "left_out": [m.reason for m in rows if not isinstance(m, ExportedRow)],
        "constitution": {k: constitution.get(k) for k in ("id", "version", "digest")},
        "principles": {p["id"]: p for p in constitution.get("principles", []) if p["id"] in ids},
        "models": run.config.get("models", {}),
    }
