"""The model card of a training run: what it is, from what, and what its metrics say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cai.data.counts import kind_of
from cai.training.config import TrainConfig
from cai.training.folder import RunFolder, versions
from cai.training.metrics_log import read_metrics
from cai.training.processes import world
from cai.types import SetAside


def card(run: RunFolder, results: Mapping[str, Any], set_aside: Sequence[SetAside]) -> str:
    """The card as Markdown."""
    facts = run.facts
    lines = [
        f"# {run.config.title}: {run.path.name}",
        "",
        f"Run `{run.id}` of `cai train {run.config.stage}`, on the base {facts.base['name']}"
        f" (fingerprint `{facts.base['fingerprint'][:16]}`).",
        "",
        "## Sources",
        "",
        *_table(
            ("file", "SHA-256"),
            [(d["name"], f"`{d['sha256'][:16]}`") for d in facts.data],
        ),
        "",
    ]
    if facts.parents:
        lines += [
            *_table(
                ("parent", "part", "stage", "id"),
                [(p["name"], p["part"], p["stage"], f"`{p['id']}`") for p in facts.parents],
            ),
            "",
        ]
    counts = ", ".join(f"{value} {name}" for name, value in facts.counts.items())
    lines += [f"Rows: {counts}.", ""]
    lines += [f"- {count} set aside: {reason}" for reason, count in reasons(set_aside)]
    lines += ["", "## Metrics", "", *_metrics(read_metrics(run.path)), ""]
    if results:
        lines += ["## Results", "", *_results(results), ""]
    settings = [
        (n, _on_one_line(_without_folders(value)))
        for n, value in sorted(vars(run.config).items())
        if n != "process_timeout"
    ]
    lines += ["## Settings", "", _processes(run.config), ""]
    lines += [*_table(("setting", "value"), settings), ""]
    lines += ["Versions: " + ", ".join(f"{n} {v}" for n, v in versions().items()) + ".", ""]
    return "\n".join(lines)


def _processes(config: TrainConfig) -> str:
    """How many processes trained, and who held the weights."""
    if (size := world().size) == 1:
        return "Trained by one process."
    how = "layers sharded over them" if config.parallel == "fsdp" else "whole weights in each"
    return f"Trained by {size} processes, {how} (`--parallel {config.parallel}`)."


def reasons(set_aside: Sequence[SetAside]) -> tuple[tuple[str, int], ...]:
    """Why rows were set aside, and how many for each kind of reason: the ten most frequent.

    A kind is named by its reason where all its rows share one.
    """
    counts = Counter(kind_of(row.reason) for row in set_aside)
    variants: dict[str, set[str]] = {}
    for row in set_aside:
        variants.setdefault(kind_of(row.reason), set()).add(row.reason)
    return tuple(
        (next(iter(variants[kind])) if len(variants[kind]) == 1 else kind, count)
        for kind, count in counts.most_common(10)
    )


def _on_one_line(value: Any) -> Any:
    """A setting that fits into a table: names of suites stand a line each."""
    return ", ".join(value.splitlines()) if isinstance(value, str) else value


def _without_folders(value: Any) -> Any:
    """A setting, with the name alone in place of an absolute path: cards are published."""
    if not isinstance(value, str):
        return value
    return _ABSOLUTE.sub(lambda match: Path(match[0]).name, value)


_ABSOLUTE = re.compile(r"(?<![^\s,*])/[^,*]+")
_NO_METRICS = ("step", "held_out", "tokens_per_second")


def _metrics(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """First and last step's means, and every evaluation on the held-out set."""
    trained = [row for row in rows if not row["held_out"]]
    entries = [*trained[:1], *trained[-1:]] if len(trained) > 1 else trained
    entries = [*entries, *(row for row in rows if row["held_out"])]
    if not entries:
        return ["None yet."]
    names = [n for n in dict.fromkeys(n for row in entries for n in row) if n not in _NO_METRICS]
    head = ("step", "rows", *names)
    return _table(
        head,
        [
            (row["step"], "held out" if row["held_out"] else "trained",
             *(f"{row[n]:.4g}" if n in row else "" for n in names))
            for row in entries
        ],
    )  # fmt: skip


def _results(results: Mapping[str, Any]) -> list[str]:
    return [f"- {name}: {value}" for name, value in results.items() if not isinstance(value, dict)]


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> list[str]:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
