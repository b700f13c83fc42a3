"""What a finished build tells its user: counts by principle, rows to read, files, next steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cai.pipeline.summary import Summary, summarise
from cai.store.records import Run
from cai.store.store import Store
from cai.text.terminal import visible
from cai.types import Trace

WIDTH = 100


def print_summary(store: Store, run: Run, out: Path, rows: Mapping[str, int]) -> None:
    """Print the summary of a run to stdout. `rows`: file name → rows, as exported to `out`."""
    console = Console(width=WIDTH if not Console().is_terminal else None, highlight=False)
    counts = summarise(store.traces(run.id), store.comparisons(run.id), store.set_asides(run.id))
    _head(console, run)
    if counts.traces:
        _principles(console, run, counts)
    _pairs(console, counts)
    _left_out(console, counts)
    for number, trace in enumerate(counts.samples, 1):
        _sample(console, number, trace)
    _files(console, out, rows, counts)


def _head(console: Console, run: Run) -> None:
    models = sorted({m["name"] for m in run.config["models"].values()})
    fingerprints = {m["fingerprint"] for m in run.config["models"].values()}
    title = f"{run.constitution['id']} {run.constitution['version']} on {' and '.join(models)}"
    console.print(Text(f"\n{visible(title)}", style="bold"), end="")
    console.print(f"  ·  {run.config['prompts']['count']} prompts  ·  run {run.id}")
    if len(fingerprints) == 1:
        console.print(
            "One model writes, critiques and judges: it may be blind to its own faults.",
            style="dim",
        )


def _principles(console: Console, run: Run, counts: Summary) -> None:
    titles = {p["id"]: p["title"] for p in run.constitution["principles"]}
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("principle")
    for name in ("asked", "found", "revised", "guarded", "left at the end", "judge flips"):
        table.add_column(name, justify="right")
    for principle_id in titles:
        c = counts.principles.get(principle_id)
        if c is None:
            continue
        table.add_row(
            visible(principle_id),
            str(c.drawn),
            str(c.found),
            str(c.changed),
            str(c.guarded),
            f"{c.left}/{c.checked}" if c.checked else "–",
            f"{c.flipped}/{c.judged}" if c.judged else "–",
        )
    console.print()
    console.print(table)
    console.print(
        f"\n{counts.changed} of {counts.traces} responses were changed; {counts.guarded} traces "
        "tripped a guard" + _listed(counts.guards) + "."
    )


def _pairs(console: Console, counts: Summary) -> None:
    if counts.comparisons:
        console.print(
            f"{counts.comparisons} pairs compared: {counts.near_ties} near ties, {counts.flipped} "
            f"with a verdict that flips with the order, {counts.identical} of identical responses."
        )


def _left_out(console: Console, counts: Summary) -> None:
    if counts.set_aside:
        total = sum(counts.set_aside.values())
        console.print(f"{total} rows set aside, with the reason, in set_aside.jsonl:")
        for reason, n in counts.set_aside.most_common(5):
            console.print(Text(f"  {n} × {visible(reason)[: WIDTH - 10]}"))


def _sample(console: Console, number: int, trace: Trace) -> None:
    console.print(Text(f"\n[{number}] {trace.id}", style="bold"))
    _say(console, "prompt", trace.prompt.messages[-1].content, "cyan")
    _say(console, "response", trace.response.text, "")
    for revision in trace.revisions:
        if revision.critique is not None:
            _say(console, "critique", revision.critique.text, "yellow", revision.principle_id)
        if revision.response is not None:
            _say(console, "revision", revision.response.text, "green")


def _say(console: Console, label: str, text: str, style: str, note: str = "") -> None:
    shown = visible(" ".join(text.split()))
    shown = shown if len(shown) <= 400 else shown[:397] + "…"
    table = Table.grid(padding=(0, 1))
    table.add_column(width=10, style="dim", justify="right")
    table.add_column()
    body = Text(shown, style=style)
    if note:
        body.append(f"  ({visible(note)})", style="dim")
    table.add_row(label, body)
    console.print(table)


def _files(console: Console, out: Path, rows: Mapping[str, int], counts: Summary) -> None:
    console.print()
    for name, n in rows.items():
        console.print(Text(f"  {n:6d} rows  {visible(str(out / name))}"))
    if counts.samples:
        store = "" if out.parent == Path("runs") else f" --runs-dir {visible(str(out.parent))}"
        console.print(Text(f"\nWalk a row back: cai trace {counts.samples[0].id}{store}"))


def _listed(counter: Mapping[str, int]) -> str:
    return (
        f" ({', '.join(f'{n} {name}' for name, n in sorted(counter.items()))})" if counter else ""
    )
