"""What `cai ablate --train` prints: a table for each measure, and what is beyond chance."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from cai.cli.output import counted, print_table
from cai.text.terminal import visible

if TYPE_CHECKING:
    from cai.authoring.retraining.data import Sides, TrainingSide
    from cai.authoring.retraining.effects import PrincipleEffect
    from cai.authoring.retraining.record import AblationRecord
    from cai.evaluation.paired import PairedChange

_ARROW = {"higher": " ↑", "lower": " ↓", None: ""}
_BEYOND_CHANCE = 0.05


def print_effects(
    effects: Sequence[PrincipleEffect], sides: Sides, record: AblationRecord, base: str | None
) -> None:
    """Print what leaving out each principle changed, and what can't be said."""
    settings = record.settings
    on = f" on {base}" if base else ""
    seeds = counted(settings["seeds"], "seed")
    title = f"{settings['train']}{on} without each principle in turn, {seeds}"
    click.echo(click.style(visible(title), bold=True))
    by_principle = {side.principle: side for side in sides.without}
    for suite in dict.fromkeys(effect.suite for effect in effects):
        _print_measure([e for e in effects if e.suite == suite], by_principle, sides)
    click.echo()
    if effects:
        _print_conclusion(effects, settings["seeds"])
    for side in sides.without:
        if side.same:
            click.echo(f"{visible(side.principle)}: a trainer reads the same rows without it.")
        elif not side.rows:
            click.echo(f"{visible(side.principle)}: no row to train on is left without it.")
    for name, reason in record.unfit.items():
        click.echo(f"{visible(name)} can't be left out: {reason}.")
    click.echo(f"written  {record.folder}")


def _print_measure(
    effects: Sequence[PrincipleEffect], by_principle: dict[str, TrainingSide], sides: Sides
) -> None:
    first = effects[0]
    items = counted(first.change.change.n, "item")
    click.echo()
    click.echo(
        visible(
            f"{first.suite}: {first.measure.title}{_ARROW[first.measure.better]},"
            f" {first.change.before:.3g} with all principles, {items}"
        )
    )
    several = len(first.by_seed) > 1
    print_table(
        ("without", "rows", "changed", "change (95 %)", "rows at random instead", "beyond that",
         "p", *(("by seed",) if several else ())),
        [
            (
                e.principle,
                f"{sides.all.rows} → {by_principle[e.principle].rows}",
                str(by_principle[e.principle].changed),
                _change(e.change), _change(e.control), _change(e.beyond), _p(e),
                *((" ".join(f"{v:+z.2f}" for v in e.by_seed),) if several else ()),
            )
            for e in effects
        ],
    )  # fmt: skip


def _change(change: PairedChange | None) -> str:
    if change is None or math.isnan(change.change.value):
        return "–"
    e = change.change
    ends = "" if math.isnan(e.low) else f" ({e.low:+z.2f} to {e.high:+z.2f})"
    return f"{e.value:+z.2f}{ends}"


def _p(effect: PrincipleEffect) -> str:
    return "–" if effect.adjusted is None else f"{effect.adjusted:.2g}"


def _print_conclusion(effects: Sequence[PrincipleEffect], seeds: int) -> None:
    n = counted(sum(e.adjusted is not None for e in effects), "comparison")
    shown = [e for e in effects if e.adjusted is not None and e.adjusted < _BEYOND_CHANCE]
    if shown:
        names = "; ".join(f"{e.principle} ({e.measure.title} on {e.suite})" for e in shown)
        click.echo(visible(f"Beyond chance (p < {_BEYOND_CHANCE}, adjusted for {n}): {names}."))
    else:
        click.echo(f"No change is beyond chance (p < {_BEYOND_CHANCE}, adjusted for {n}).")
    click.echo(
        "Tested is what leaving out the principle changes beyond leaving out as many rows at"
        " random; where no fewer rows are left, the change itself. Intervals are over items: they"
        " say nothing of trainings with other seeds"
        + (", of which more than one was tried (by seed)." if seeds > 1 else " (--seeds).")
    )
