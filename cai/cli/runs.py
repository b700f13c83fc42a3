"""`cai runs`: the runs of a project, newest last."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cai.store.records import Run
    from cai.store.store import Store

_COLUMNS = ("name", "id", "when (UTC)", "status", "rows", "constitution", "model")


@click.command("runs")
@click.option(
    "--runs-dir", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"),
    show_default=True, help="The folder that holds the store.",
)  # fmt: skip
def command(runs_dir: Path) -> None:
    """List the runs of a project, the newest last.

    `rows` are those of the last export; a run whose status is `stopped` was killed, and the
    command that started it takes it up again.
    """
    from cai.store.store import Store
    from cai.text.terminal import visible

    with Store.open(runs_dir / "store.sqlite", read_only=True) as store:
        busy = store.locked()
        table = [_line(store, run, busy) for run in store.runs()]
    if not table:
        click.echo("No runs yet. Make one with: cai build-data")
        return
    shown = [_COLUMNS, *([visible(cell) for cell in line] for line in table)]
    widths = [max(len(line[i]) for line in shown) for i in range(len(_COLUMNS))]
    for number, line in enumerate(shown):
        text = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        click.echo(click.style(text.rstrip(), bold=not number))


def _line(store: Store, run: Run, busy: bool) -> tuple[str, ...]:
    events = store.events(run.id)
    status: str = store.status(run.id)
    if status == "started":
        status = "running" if busy else "stopped"
    exports = [e.detail for e in events if e.event == "exported"]
    rows = exports[-1].get("rows", {}) if exports else {}
    parts = {table: _rows(rows, table) for table in ("sft", "preferences")}
    models = {m["name"]: None for m in run.config.get("models", {}).values()}
    constitution = run.constitution
    return (
        exports[-1].get("to", run.name) if exports else run.name,
        run.id,
        events[-1].at[:16].replace("T", " ") if events else "–",
        status,
        " + ".join(f"{n} {table}" for table, n in parts.items()) if exports else "–",
        f"{constitution.get('id', '?')} {constitution.get('version', '')}".strip(),
        ", ".join(models) or "–",
    )


def _rows(rows: dict[str, int], table: str) -> int:
    return sum(n for name, n in rows.items() if name in (f"{table}.jsonl", f"{table}.test.jsonl"))
