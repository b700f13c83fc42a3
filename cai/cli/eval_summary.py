"""What `cai eval` prints: measures by model, what changed, win rates, agreement of judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.cli.eval_rules import rules_line
from cai.cli.output import counted, print_table

if TYPE_CHECKING:
    from cai.evaluation.run import Evaluation


def print_evaluation(evaluation: Evaluation, out: Path) -> None:
    """The main measure of each suite by model, then what changed, then where the answers are."""
    results = [result for result in evaluation.results if result.main]
    models = list(dict.fromkeys(result.model for result in results))
    by_place = {(r.suite, r.model): r for r in results}
    suites = list(dict.fromkeys(result.suite for result in results))
    rows = []
    for suite in suites:
        measure = next(r.measure for r in results if r.suite == suite)
        arrow = {"higher": " ↑", "lower": " ↓", None: ""}[measure.better]
        cells = [
            _estimate(by_place[suite, model], measure.kind) if (suite, model) in by_place else "–"
            for model in models
        ]
        rows.append([suite, measure.title + arrow, *cells])
    print_table(["suite", "measure", *models], rows)
    _print_changes(evaluation)
    _print_win_rates(evaluation.record["win_rates"])
    _print_agreement(evaluation.record["agreement"])
    if rules := evaluation.record["judges"].get("rules"):
        click.echo(f"\n{rules_line(rules)}")
    aside = len(evaluation.record["set_aside"])
    if aside:
        click.echo(f"\n{counted(aside, 'item')} set aside; evaluation.json has the reasons.")
    click.echo(f"\nwritten  {out}\nread     cai audit report {out}\nreport   cai report {out}")


def _estimate(result: Any, kind: str) -> str:
    e = result.estimate
    if kind == "share":
        return f"{e.value:.0%} ({e.low:.0%}–{e.high:.0%})"
    return f"{e.value:.3g} ({e.low:.3g}–{e.high:.3g})"


def _print_win_rates(rows: Sequence[Mapping[str, Any]]) -> None:
    """How far the judge prefers a model's replies to the baseline's, over all suites."""
    shown = [row for row in rows if row["suite"] == "all"] or rows
    for row in shown:
        click.echo(
            f"\n{row['model']} against {row['baseline']}: win rate {_rate(row['win_rate'])}, the"
            f" judge's mean preference over {counted(row['n'], 'reply', 'replies')} of each"
            + (f", {row['undecided']} of them undecided" if row["undecided"] else "")
            + (
                f", at equal lengths {_rate(row['length_controlled'])}"
                if row["length_controlled"]
                else ""
            )
            + f"; longer by {row['longer_by']:.1f} words"
        )  # fmt: skip


def _print_agreement(rows: Sequence[Mapping[str, Any]]) -> None:
    for number, row in enumerate(rows):
        agreed = (
            f"{row['suite']}: {' and '.join(row['judges'])} agree on {row['agreed']:.0%} of"
            f" {counted(row['n'], 'reply', 'replies')}, κ {_kappa(row)}"
        )
        click.echo(agreed if number else f"\n{agreed}")


def _kappa(row: Mapping[str, Any]) -> str:
    if row["kappa"] != row["kappa"]:
        return "undefined"
    shown = f"{row['kappa']:.2f}"
    return shown if row["low"] != row["low"] else f"{shown} ({row['low']:.2f} to {row['high']:.2f})"


def _rate(estimate: Mapping[str, float]) -> str:
    return f"{estimate['value']:.0%} ({estimate['low']:.0%}–{estimate['high']:.0%})"


def _print_changes(evaluation: Evaluation) -> None:
    shown = [c for c in evaluation.changes if c.adjusted is not None and c.adjusted < 0.05]
    if not evaluation.changes:
        return
    baseline = evaluation.changes[0].baseline
    if not shown:
        click.echo(
            f"\nNo change against {baseline} is beyond chance (p < 0.05, adjusted for"
            f" {counted(len(evaluation.changes), 'comparison')})."
        )  # fmt: skip
        return
    click.echo(f"\nChanges against {baseline} beyond chance (p < 0.05, adjusted):")
    for change in sorted(shown, key=lambda c: (c.better is not False, c.adjusted)):
        e = change.paired.change
        word = {True: "better", False: "worse", None: "changed"}[change.better]
        click.echo(
            f"  {change.model} · {change.suite}: {change.measure.title}"
            f" {change.paired.before:.3g} → {change.paired.after:.3g}"
            f" ({e.low:+.2g} to {e.high:+.2g}, p {change.adjusted:.2g}): {word}"
        )  # fmt: skip
