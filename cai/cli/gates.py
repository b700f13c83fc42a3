"""Reasons to stop a build: a judge no better than chance, labels that carry no signal."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from cai.errors import ModelError, UsageError

if TYPE_CHECKING:
    from cai.pipeline.examine import Examination
    from cai.store.store import Store

examine_option = click.option(
    "--examine/--no-examine",
    "examine",
    default=True,
    show_default=True,
    help="First examine the critic and the judge on cases with a known answer.",
)

_LETTERS = (
    "Choose another --judge, let it choose between letters (feedback.mode: letters), or read the"
    " rows without --require-signal."
)


def examination_gate(
    *, gate: bool, least_mass: float | None, examine: bool, unjudged: str = ""
) -> Callable[[Examination], None] | None:
    """What to do with an examination before anything is labelled; None for none.

    gate: refuse a judge that is no better than chance. least_mass: refuse one that gives less
    probability than this to the answers it is scored by. unjudged: why no judge is asked, as in
    "--pairs 0"; "" where one is. Raises `UsageError` for a gate that no examination would open.
    """
    if gate and not examine:
        raise UsageError("--judge-gate reads the examination that --no-examine leaves out.")
    if gate and unjudged:
        raise UsageError(f"--judge-gate examines the judge, and {unjudged} asks none.")
    if least_mass is not None and unjudged:
        raise UsageError(
            f"--require-signal reads the judge's labels, and {unjudged} asks for none."
        )
    if least_mass is not None and not 0 <= least_mass <= 1:
        raise UsageError(f"--require-signal is {least_mass}; it must lie between 0 and 1.")

    def require_passed(examination: Examination) -> None:
        pairs = examination.pairs
        if gate and not pairs.n:
            raise ModelError(
                "The judge can't be examined: no principle that judges has a `prefers` test, and"
                " none has a theme with neutral pairs",
                hint="Add `prefers` tests to the principles, or build without --judge-gate.",
            )
        if gate and examination.no_better_than_chance:
            low, high = pairs.interval
            raise ModelError(
                f"The judge is not measurably better than chance: right on {pairs.hits} of"
                f" {pairs.n} known pairs, 95 % interval {low:.2f} to {high:.2f}",
                hint="Choose another --judge, or build without --judge-gate.",
            )
        mass = examination.mean_mass
        if least_mass is not None and mass is not None and mass < least_mass:
            raise ModelError(
                f"On known pairs the judge gave {mass:.2g} of probability, on average, to the"
                f" answers that it is scored by; --require-signal asks for {least_mass:g}",
                hint=_LETTERS,
            )

    return require_passed if examine else None


def require_signal(store: Store, run_id: str, least_mass: float) -> None:
    """Raise `ModelError` where a run's labels carry no signal."""
    from cai.data.counts import Signal, in_order

    signal = Signal()
    for record in in_order(store.traces(run_id), store.comparisons(run_id)):
        signal.add(record)
    lacking = signal.lacking(least_mass) if signal.labels else "no pair was judged"
    if lacking:
        raise ModelError(
            f"The labels carry no signal: {lacking}. Nothing was exported", hint=_LETTERS
        )
