"""`cai eval --power`: the items that a change needs, and the changes that suites can show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from cai.cli.output import print_table
from cai.evaluation.measures import MEASURED_REPLIES, measures_of
from cai.evaluation.power import detectable, items_needed
from cai.evaluation.suite import Suite
from cai.miniature.truth import TRUTH

SHARES = (0.05, 0.2, 0.5)
"""Shares under the first model, from which a change is looked for."""
CORRELATION = 0.5
"""Assumed between an item's outcomes under two models."""


def power_values(change: float, suites: Sequence[Suite]) -> dict[str, Any]:
    """Items needed for a change of a share, and the smallest rise that each suite shows.

    Power 0.8 at p < 0.05, for the exact test of paired outcomes. Of a suite each cluster counts as
    one item. left_out: suites whose main measure is not a share, with its title.

    Raises `UsageError` where a suite names a measure that there is not.
    """
    main = {s.id: measures_of(s, known={**MEASURED_REPLIES, **TRUTH})[0] for s in suites}
    return {
        "change": change, "power": 0.8, "alpha": 0.05, "correlation": CORRELATION,
        "items_needed": {
            f"{share:g}": items_needed(share, change, correlation=CORRELATION)
            for share in SHARES if share + change <= 1
        },
        "suites": {s.id: _suite_values(s, main[s.id].title) for s in suites
                   if main[s.id].kind == "share"},
        "left_out": {name: m.title for name, m in main.items() if m.kind != "share"},
    }  # fmt: skip


def _suite_values(suite: Suite, measure: str) -> dict[str, Any]:
    """clusters: how many independent items there are at most. Of a flip the main measure counts
    only those that a model answers right at first, which are not known before it is asked."""
    clusters = len({item.cluster or item.id for item in suite.items})
    return {
        "measure": measure, "items": len(suite.items), "clusters": clusters,
        "only_right_at_first": suite.task == "flip",
        "smallest_change": {
            f"{share:g}": detectable(clusters, share, correlation=CORRELATION) for share in SHARES
        },
    }  # fmt: skip


def print_power(values: dict[str, Any]) -> None:
    """Print both tables."""
    click.echo(
        f"Items on which a change of {values['change']:.0%} is found with power 0.8 at p < 0.05:"
    )
    for share, items in values["items_needed"].items():
        click.echo(f"  from {float(share):.0%} to {float(share) + values['change']:.0%}: {items:,}")
    click.echo(
        f"\nThe smallest rise that each suite shows, by the share that it starts from (the outcomes"
        f" of one item are taken to correlate by {CORRELATION:g} between models, and a cluster"
        " counts as one item):\n"
    )
    rows = [
        [name, f"{entry['items']:,}", f"{entry['clusters']:,}",
         *("–" if c is None else f"{c:.0%}" for c in entry["smallest_change"].values())]
        for name, entry in values["suites"].items()
    ]  # fmt: skip
    print_table(["suite", "items", "clusters", *(f"from {share:.0%}" for share in SHARES)], rows)
    notes = [
        f"{name}: its main measure ({entry['measure']}) counts only items that a model answers"
        " right at first; these are fewer, and show only larger changes"
        for name, entry in values["suites"].items() if entry["only_right_at_first"]
    ]  # fmt: skip
    notes += [
        f"{name} is left out: its main measure ({measure}) is not a share"
        for name, measure in values["left_out"].items()
    ]
    if notes:
        click.echo("\n" + "\n".join(notes))
