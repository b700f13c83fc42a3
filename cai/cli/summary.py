"""The summary of a finished build: counts by principle, rows to read, files, next steps."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import IO, Any, TextIO, cast

from rich.console import Console
from rich.table import Table
from rich.text import Text

from cai.cli.output import counted
from cai.cli.roles import GREEDY_PAIRS, greedy_pairs
from cai.data.card import UNEXAMINED, asks_judge, one_model, sampling_lines
from cai.data.export import SET_ASIDE
from cai.data.manifest import Manifest
from cai.data.run_log import ON_TERMINAL
from cai.pipeline.spending import spent_before
from cai.store.records import Run
from cai.store.store import Store
from cai.text.terminal import visible
from cai.types import Trace

WIDTH = 100
_FAVOURED = 0.1
"""A judge whose mean for the response shown first is farther from one half favours a position."""
_NO_ROWS = "No row of training data was made"
_NO_SIGNAL = "The labels carry no signal: {}."
_NO_VERDICT = {"refused": "refused", "contradictory": "contradict themselves", "empty": "empty"}
SAMPLES = 3


class _WithoutTrailingSpaces:
    """A text file that drops the spaces with which tables are filled up to their width."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        return self._file.write(re.sub(r"[ ]+(?=\n)", "", text))

    def flush(self) -> None:
        self._file.flush()


def print_summary(
    store: Store, run: Run, out: Path, manifest: Manifest, lost: Mapping[str, str] | None = None
) -> None:
    """Print the summary of a run, exported to `out`, to stdout.

    lost: addresses of model servers that did not answer, and why.
    """
    terminal = Console().is_terminal
    console = Console(
        file=None if terminal else cast(IO[str], _WithoutTrailingSpaces(sys.stdout)),
        width=None if terminal else WIDTH,
        highlight=False,
    )
    counts = manifest.counts
    _head(console, run)
    _examined(console, manifest.examination, compared=asks_judge(run))
    _principles(console, run, counts)
    _totals(console, counts)
    _work(console, store, run)
    _cost(console, _spent(store, run))
    for url, reason in (lost or {}).items():
        print_warning(console, f"the model server at {url} was lost ({reason}); others went on.")
    samples = list(islice(_worth_reading(store, run.id), SAMPLES))
    for number, trace in enumerate(samples, 1):
        _sample(console, number, trace)
    _files(console, out, manifest.rows)
    if samples:
        where = "" if out.parent == Path("runs") else f" --runs-dir {out.parent}"
        console.print(f"\nTrace a row: cai trace {samples[0].id}{visible(where)}", markup=False)


def summary_values(
    store: Store, run: Run, out: Path, manifest: Manifest, lost: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The summary of a run for `--json`: its counts as in the manifest, and this build's work."""
    config, spent = run.config, _spent(store, run)
    return {
        "run": run.id,
        "folder": str(out),
        "constitution": {key: run.constitution[key] for key in ("id", "version", "digest")},
        "prompts": {key: config["prompts"][key] for key in ("source", "count")},
        "models": {role: model["name"] for role, model in config["models"].items()},
        "rows": dict(manifest.rows),
        "counts": manifest.counts,
        "examination": manifest.examination,
        "steps": steps_of_run(store, run),
        **({"spent": spent} if spent else {}),
        **({"lost_servers": dict(lost)} if lost else {}),
    }


def steps_of_run(store: Store, run: Run) -> dict[str, int]:
    """The steps that this build generated, and those that it reused."""
    finished = [e.detail for e in store.events(run.id) if e.event == "finished"][-1]
    return {name: sum(finished[name].values()) for name in ("generated", "reused")}


def _spent(store: Store, run: Run) -> dict[str, Any]:
    """What model servers counted in this build, and its cost; empty where there was none.

    cost: of this build. total_cost: with the earlier calls of the run.
    """
    events = store.events(run.id)
    finished = [e.detail for e in events if e.event == "finished"][-1]
    if "tokens" not in finished:
        return {}
    return {
        "tokens": finished["tokens"],
        "cost": finished["cost"],
        "total_cost": spent_before(events),
        "budget": finished.get("budget"),
    }


def _cost(console: Console, spent: Mapping[str, Any]) -> None:
    if not spent:
        return
    tokens, cost, total = spent["tokens"], spent["cost"], spent["total_cost"]
    cached = f" ({tokens['cached']:,} of them cached)" if tokens["cached"] else ""
    text = f"Model servers: {tokens['read']:,} tokens read{cached}, {tokens['written']:,} written"
    if total:
        text += f"; cost {cost:.4g}" + (f", {total:.4g} with earlier calls" if total > cost else "")
        text += f", of a budget of {spent['budget']:g}" if spent["budget"] else ""
    console.print(f"{text}.")
    if spent["budget"] and total > spent["budget"]:
        print_warning(console, "the budget was passed by requests that were in flight.")


def _worth_reading(store: Store, run_id: str) -> Iterator[Trace]:
    """Traces that were changed and have no guarded round."""
    for trace in store.traces(run_id):
        if trace.final != trace.response.text and not any(r.guards for r in trace.revisions):
            yield trace


def _head(console: Console, run: Run) -> None:
    models = sorted({m["name"] for m in run.config["models"].values()})
    fingerprints = {m["fingerprint"] for m in run.config["models"].values()}
    title = f"{run.constitution['id']} {run.constitution['version']} on {' and '.join(models)}"
    console.print(Text(f"\n{visible(title)}", style="bold"), end="")
    prompts = run.config["prompts"]
    source = f" of {visible(prompts['source'])}" if prompts["source"] else ""
    count = counted(prompts["count"], "prompt")
    console.print(f"  ·  {count}{source}  ·  run {run.id}", markup=False)
    for line in sampling_lines(run.config["models"]):
        console.print(Text(visible(f"Sampling{line}."), style="dim"))
    config = run.config
    sampling = config["models"]["generator"]["sampling"]
    by_contrast = run.constitution["feedback"]["mode"] == "contrast"
    if not by_contrast and greedy_pairs(sampling, config["pairs"], config["sft_share"]):
        console.print(Text(GREEDY_PAIRS, style="yellow"))
    if len(fingerprints) == 1:
        console.print(one_model(run), style="dim")


def warn_of_data(manifest: Manifest) -> None:
    """What even a quiet build says, to stderr: no rows, or labels that carry no signal."""
    if not any(manifest.rows.values()):
        reasons = _listed(manifest.counts["left_out"])
        print_warning(Console(stderr=True, highlight=False), f"{_NO_ROWS}{reasons}.")
    if lacking := manifest.counts["signal"]["lacking"]:
        print_warning(Console(stderr=True, highlight=False), _NO_SIGNAL.format(lacking))


def _examined(console: Console, examination: Mapping[str, Any] | None, *, compared: bool) -> None:
    """How often the critic and the judge were right on known cases; compared: pairs are judged."""
    if examination is None:
        return
    judge, critic = examination["judge"], examination["critic"]
    clauses = []
    if judge["asked"]:
        low, high = judge["interval"]
        clauses.append(
            f"the judge is right on {_of(judge['right'], judge['asked'])} pairs (95 % interval "
            f"{low:.2f} to {high:.2f}; of the principles' own "
            f"{_of(examination['prefers']['right'], examination['prefers']['asked']) or 'none'}, "
            f"of neutral ones "
            f"{_of(examination['neutral']['right'], examination['neutral']['asked']) or 'none'})"
        )
    if critic["asked"]:
        clauses.append(f"the critic on {_of(critic['right'], critic['asked'])} responses")
    if clauses:
        console.print(f"Examined on known cases: {', '.join(clauses)}.")
    if compared and not judge["asked"]:
        print_warning(console, f"{UNEXAMINED}.")
    if (first := examination["first_place"]) is not None and abs(first - 0.5) > _FAVOURED:
        console.print(f"The judge favours a position: the first response gets {first:.2f}.")
    if judge["asked"] and judge["interval"][0] <= 0.5:
        print_warning(
            console,
            "on these pairs the judge is not measurably better than chance; review its labels "
            "before use.",
        )


def _principles(console: Console, run: Run, counts: Mapping[str, Any]) -> None:
    """A row a principle; columns that nothing was counted in are left out."""
    rows = [(p["id"], counts["principles"].get(p["id"])) for p in run.constitution["principles"]]
    rows = [(name, c) for name, c in rows if c is not None]
    columns: list[tuple[str, list[str]]] = [
        ("critiques", [str(c["asked"]) for _, c in rows]),
        ("problems", [str(c["found"]) for _, c in rows]),
        ("revised", [str(c["revised"]) for _, c in rows]),
        ("no verdict", [str(c["no_verdict"]) for _, c in rows]),
        ("guarded", [str(c["guarded"]) for _, c in rows]),
        ("remaining", [_of(c["left"], c["checked"]) for _, c in rows]),
        ("flips", [_of(c["flipped"], c["swapped"]) for _, c in rows]),
        ("contrast pairs", [str(c.get("contrasted", 0)) for _, c in rows]),
    ]
    columns = [(name, cells) for name, cells in columns if set(cells) - {"0", ""}]
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("principle")
    for name, _ in columns:
        table.add_column(name, justify="right")
    for i, (principle_id, _) in enumerate(rows):
        table.add_row(visible(principle_id), *(cells[i] for _, cells in columns))
    if rows:
        console.print()
        console.print(table)


def _work(console: Console, store: Store, run: Run) -> None:
    steps = steps_of_run(store, run)
    if any(steps.values()):
        generated = counted(steps["generated"], "step")
        console.print(f"Generated {generated}; {steps['reused']:,} reused from the store.")
    else:
        console.print("Nothing had to be generated: the run was already complete.")


def _of(part: int, whole: int) -> str:
    return f"{part} of {whole}" if whole else ""


def _totals(console: Console, counts: Mapping[str, Any]) -> None:
    console.print()
    if counts["traces"]:
        rounds = sum(c["asked"] for c in counts["principles"].values())
        rejected = sum(c["guarded"] for c in counts["principles"].values())
        note = " (rejected revisions included)" if rejected else ""
        console.print(
            f"{counts['changed']} of {counts['traces']} responses were changed{note}; guards"
            f" rejected {rejected} of {counted(rounds, 'round')}{_listed(counts['guards'])}."
        )
    if contrasts := counts.get("contrasts", 0):
        console.print(f"{counted(contrasts, 'contrast pair')}, labelled by construction.")
    elif counts["comparisons"]:
        swapped = any(c["swapped"] for c in counts["principles"].values())
        flips = f", {counts['flipped']} with a verdict that flips with the order" if swapped else ""
        pairs = counted(counts["comparisons"], "pair")
        console.print(f"{pairs} compared: {counted(counts['near_ties'], 'near tie')}{flips}.")
    outcomes = {name: n for name, n in counts["critiques"].items() if name in _NO_VERDICT}
    if outcomes:
        print_warning(
            console,
            f"{sum(outcomes.values())} of {sum(counts['critiques'].values())} critiques are no "
            f"verdict{_listed({_NO_VERDICT[name]: n for name, n in outcomes.items()})}: the "
            "responses that they left unreviewed are kept out of the data.",
        )
    if counts["announced"]:
        console.print(
            f"{counted(counts['announced'], 'revision')} opened with an announcement, which was"
            " removed."
        )
    if counts["signal"]["lacking"]:
        print_warning(console, _NO_SIGNAL.format(counts["signal"]["lacking"]))
    elif counts["signal"]["weak"]:
        console.print(
            f"On {counts['signal']['weak']} of {counted(counts['signal']['labels'], 'pair')} the"
            " judge gave next to no probability to the answers that are scored."
        )
    if counts["left_out"]:
        console.print(f"Left out of the data{_listed(counts['left_out'])}.")
    if counts["set_aside"]:
        console.print(f"Invalid rows, set aside{_listed(counts['set_aside'])}: see {SET_ASIDE}.")


def print_warning(console: Console, text: str) -> None:
    """Print what a user must not overlook."""
    console.print(Text(f"Warning: {visible(text)}", style="bold yellow"))
    logging.getLogger("cai").warning("%s", text, extra=ON_TERMINAL)


def _sample(console: Console, number: int, trace: Trace) -> None:
    console.print(Text(f"\n[{number}] {trace.id}", style="bold"))
    _say(console, "prompt", trace.prompt.messages[-1].content, "cyan")
    _say(console, "response", trace.response.text, "")
    for revision in trace.revisions:
        if revision.critique is not None:
            _say(console, "critique", revision.critique.text, "yellow", revision.principle_id)
        if revision.text is not None:
            _say(console, "revision", revision.text, "green")


def _say(console: Console, label: str, text: str, style: str, note: str = "") -> None:
    excerpt = visible(" ".join(text.split()))
    excerpt = excerpt if len(excerpt) <= 400 else excerpt[:397] + "…"
    table = Table.grid(padding=(0, 1))
    table.add_column(width=10, style="dim", justify="right")
    table.add_column()
    body = Text(excerpt, style=style)
    if note:
        body.append(f"  ({visible(note)})", style="dim")
    table.add_row(label, body)
    console.print(table)


def _files(console: Console, out: Path, rows: Mapping[str, int]) -> None:
    console.print()
    if not any(rows.values()):
        print_warning(console, f"{_NO_ROWS}.")
    for name, n in rows.items():
        if n:
            console.print(
                Text(f"{n:6d} {'row ' if n == 1 else 'rows'}  {visible(str(out / name))}")
            )


def _listed(counter: Mapping[str, int]) -> str:
    return (
        f" ({', '.join(f'{n} {name}' for name, n in sorted(counter.items()))})" if counter else ""
    )
