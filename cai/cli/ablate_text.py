"""The result of `cai ablate`: tables for a terminal, or plain values for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from cai.cli.output import counted, print_table
from cai.relations.values import estimate_values
from cai.text.terminal import visible

if TYPE_CHECKING:
    from cai.authoring.ablation import Ablation
    from cai.evaluation.paired import PairedChange
    from cai.evaluation.statistics import Estimate
    from cai.store.records import Run


def print_ablations(found: Sequence[Ablation], run: Run, run_dir: str) -> None:
    """Print what of a run depends on each principle, and what is not known."""
    rules, first = run.constitution, next((a for a in found if not a.unfit), None)
    counts = "" if first is None else (
        f": {counted(first.traces.total, 'trace')},"
        f" {counted(first.comparisons.total, 'comparison')}"
    )  # fmt: skip
    title = f"{rules['id']} {rules['version']} in {run.id}{counts}, without each principle in turn"
    click.echo(click.style(visible(title), bold=True))
    fit = [ablation for ablation in found if not ablation.unfit]
    _print_pairs([a for a in fit if a.comparisons.changed or a.comparisons.missing])
    _print_traces([a for a in fit if a.traces.changed or a.traces.missing])
    _print_rows(fit)
    idle = [a.principle for a in fit if a.touches_nothing]
    click.echo()
    if idle:
        click.echo(f"Nothing changes without {visible(', '.join(idle))}.")
    for ablation in found:
        if ablation.unfit:
            click.echo(f"{visible(ablation.principle)} can't be left out: {ablation.unfit}.")
    missing = [a for a in fit if a.steps]
    if missing:
        steps = sum(a.steps for a in missing)
        tasks = sum(a.traces.missing + a.comparisons.missing for a in missing)
        click.echo(
            f"Not in the store: {steps:,} steps or more, of {counted(tasks, 'task')} without"
            f" {counted(len(missing), 'principle')}. The model of the run ({_model(run)}) makes"
            f" them, and what follows from them:\n  cai ablate {visible(run_dir)} --model MODEL"
        )


def _print_pairs(found: Sequence[Ablation]) -> None:
    if not found:
        return
    click.echo("\nLabels of pairs")
    print_table(
        ("without", "labels changed", "flipped", "near ties", "probability moves by"),
        [
            (a.principle, *_pairs(a))
            if a.comparisons.known
            else (a.principle, _needs(a.comparisons.missing), "", "", "")
            for a in found
        ],
    )


def _pairs(ablation: Ablation) -> tuple[str, ...]:
    ties = ablation.changes["near_ties"]
    n = ablation.comparisons.total
    return (
        _share(ablation.labels), str(ablation.flipped),
        f"{ties.before * n:.0f} → {ties.after * n:.0f}",
        "" if ablation.shift is None else f"{ablation.shift:.3f}",
    )  # fmt: skip


def _print_traces(found: Sequence[Ablation]) -> None:
    if not found:
        return
    click.echo("\nCritiques and revisions (change per prompt, 95 %)")
    print_table(
        ("without", "traces", "final texts", "problems found", "revisions", "flagged", "words"),
        [
            (a.principle, f"{a.traces.changed} differ", f"{a.finals} differ",
             *(_change(a.changes[name]) for name in ("problems", "revisions", "flagged", "words")))
            if a.traces.known
            else (a.principle, _needs(a.traces.missing), "", "", "", "", "")
            for a in found
        ],
    )  # fmt: skip


def _needs(count: int) -> str:
    return f"{count:,} need a model"


def _change(change: PairedChange) -> str:
    value = change.change
    if math.isnan(value.value):
        return "–"
    if change.before == change.after and value.low == value.high:
        return "0"
    ends = "" if math.isnan(value.low) else f" ({value.low:+z.2f} to {value.high:+z.2f})"
    return f"{value.value:+z.2f}{ends}"


def _print_rows(found: Sequence[Ablation]) -> None:
    rows = [
        (a.principle, f"{table}.jsonl", str(n.before), str(n.after), str(n.gone))
        for a in found
        for table, n in (a.rows or {}).items()
        if n.gone or n.before != n.after
    ]
    if rows:
        click.echo("\nTraining rows")
        print_table(("without", "file", "before", "after", "gone or changed"), rows)


def _share(estimate: Estimate | None) -> str:
    if estimate is None or not estimate.n:
        return "–"
    return f"{estimate.value:.0%} ({estimate.low:.0%} to {estimate.high:.0%})"


def _model(run: Run) -> str:
    """The name of the generator in the run's record."""
    return visible(str(run.config["models"]["generator"]["name"]))


def ablation_values(ablation: Ablation) -> dict[str, Any]:
    """An ablation as plain values; None is what is not known."""
    rows = ablation.rows
    return {
        "principle": ablation.principle,
        "title": ablation.title,
        "phases": list(ablation.phases),
        "unfit": ablation.unfit or None,
        "run": ablation.built or None,
        "traces": asdict(ablation.traces),
        "comparisons": asdict(ablation.comparisons),
        "steps_missing": ablation.steps,
        "labels_changed": ablation.labels and estimate_values(ablation.labels),
        "labels_flipped": ablation.flipped,
        "mean_shift": ablation.shift,
        "finals_changed": ablation.finals,
        "rows": None if rows is None else {table: n._asdict() for table, n in rows.items()},
        "changes": {
            name: {
                "before": change.before,
                "after": change.after,
                "change": estimate_values(change.change),
                "p_value": change.p_value,
                "adjusted_p": ablation.adjusted_p[name],
                "test": change.test,
            }
            for name, change in ablation.changes.items()
        },
    }
