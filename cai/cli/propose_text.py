"""What `cai propose principles` prints."""

from __future__ import annotations

import math
from collections.abc import Iterator

import click

from cai.authoring.inverse.run import PrinciplesFound
from cai.cli.output import counted, print_table
from cai.evaluation.statistics import Estimate
from cai.relations.explained import AgainstChance, CandidateResult
from cai.text.terminal import visible

_WORDS: dict[AgainstChance, str] = {
    "explains": "better than a coin",
    "unclear": "not told from a coin",
    "opposed": "labels say the opposite",
    "too few": "too few decided",
}


def print_found(found: PrinciplesFound) -> None:
    """How the pairs were divided, each candidate, and what the chosen ones explain together."""
    parts = found.parts
    sizes = [
        (parts.propose, "propose from"),
        (parts.choose, "choose by"),
        (parts.report, "report on"),
    ]
    shown = ", ".join(f"{len(rows):,} to {what}" for rows, what in sizes if rows)
    click.echo(f"Pairs: {shown}; no prompt is in two parts.")
    if found.set_aside:
        first = found.set_aside[0]
        click.echo(
            f"Set aside: {counted(len(found.set_aside), 'row')}, such as"
            f" {visible(first.source)} ({visible(first.reason)})."
        )
    if found.replies:
        dropped = ", ".join(f"{count} × {reason}" for reason, count in found.dropped.items())
        click.echo(
            f"{counted(found.proposed, 'rule')} in {counted(found.replies, 'answer')} of the critic"
            + (f"; lines left out: {dropped}." if dropped else ".")
        )
    click.echo()
    print_table(
        ["", "principle", "explains, where it decides", "decides", "adds", ""],
        [_row(one) for one in found.explanation.candidates],
    )
    click.echo()
    for line in _totals(found):
        click.echo(line)


def _row(one: CandidateResult) -> list[str]:
    remarks = [_WORDS[one.word]]
    if one.like is not None:
        remarks.append(
            f"{one.like.word if one.like.word == 'alike' else 'the same'} as {one.like.b}"
        )
    return [
        str(one.place) if one.place else "",
        one.name,
        f"{_share(one.explained)} of {one.explained.n}",
        f"{one.decided.value:.0%}",
        _points(one.added),
        "; ".join(remarks),
    ]


def _totals(found: PrinciplesFound) -> Iterator[str]:
    told = found.explanation
    titles = {one.principle.id: one.principle.title for one in found.candidates}
    for one in told.chosen:
        yield f"{one.place}. {visible(titles[one.name])}"
    if told.together is None:
        yield "None explains more labels than a coin on the pairs to choose by, so none is chosen."
    else:
        yield f"Chosen, together: {_share(told.together)} of all labels."
    yield (
        f"All candidates together: {_share(told.everyone)}."
        f" The longer response: {_share(told.longer)}."
    )


def _share(estimate: Estimate) -> str:
    """`72% (60%–82%)`; without an interval where there is none."""
    if math.isnan(estimate.value):
        return "–"
    if math.isnan(estimate.low):
        return f"{estimate.value:.0%}"
    return f"{estimate.value:.0%} ({estimate.low:.0%}–{estimate.high:.0%})"


def _points(estimate: Estimate) -> str:
    """A change of a share in percentage points."""
    return f"{100 * estimate.value:+.0f} points"
