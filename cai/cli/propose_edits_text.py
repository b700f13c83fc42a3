"""What `cai propose edits` prints."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, get_args

import click

from cai.authoring.edits.faults import FaultKind
from cai.authoring.edits.readings import FEWEST, PrincipleReading, RejectedShare
from cai.cli.output import counted, print_table
from cai.stats import Proportion
from cai.text.terminal import visible

if TYPE_CHECKING:
    from cai.authoring.edits.proof import EditProof, TextsProof
    from cai.authoring.edits.run import EditsProposed, Rejections

_REASONS = 6
"""Reasons that are printed of a principle, the most frequent first."""
_WIDTH = 100


def print_rejections(rejections: Rejections, only: Sequence[str] = ()) -> None:
    """How much was read and rejected, by principle. only: these principles."""
    read = len(rejections.audited)
    rejected = Proportion(sum(one.rejected for one in rejections.audited), read)
    click.echo(
        f"Read: {read:,} of {counted(rejections.items, 'item')}, {rejected.hits:,} rejected"
        f" ({_share(rejected)})."
    )
    if rejections.unknown:
        click.echo(f"Left out: {counted(rejections.unknown, 'verdict')} on other texts.")
    for names, what in (
        (rejections.gone, "no longer in the constitution"),
        (rejections.changed, "other wordings now than in the build"),
    ):
        if names:
            click.echo(f"{what.capitalize()}: {visible(', '.join(names))}.")
    click.echo()
    rows = [one for one in rejections.readings if not only or one.principle in only]
    print_table(
        ["principle", "responses rejected", "labels rejected", *get_args(FaultKind), "unclear"],
        [_row(one) for one in rows],
    )
    for line in _compared("responses", [(one.principle, one.responses) for one in rows]):
        click.echo(line)
    for line in _compared("labels", [(one.principle, one.labels) for one in rows]):
        click.echo(line)
    for one in rows:
        if one.faults or (only and one.reasons):
            click.echo(f"\n{visible(one.principle)}")
            for line in _reasons(one.reasons):
                click.echo(f"  {line}")


def _row(one: PrincipleReading) -> list[str]:
    counts = [*(one.faults[kind] for kind in get_args(FaultKind)), one.unclear]
    rejected = (one.responses.rejected, one.labels.rejected)
    return [
        one.principle,
        *(f"{s.hits} of {s.n} ({_share(s)})" if s.n else "" for s in rejected),
        *(str(count) if count else "" for count in counts),
    ]


def _compared(what: str, shares: Sequence[tuple[str, RejectedShare]]) -> Iterator[str]:
    """Which principles' responses or labels are rejected more often than those without them."""
    read = [(name, share) for name, share in shares if share.rejected.n]
    more = [
        f"{visible(name)} (p {share.p_value:.3f})" for name, share in read
        if share.word == "rejected more often"
    ]  # fmt: skip
    few = [visible(name) for name, share in read if share.word == "too few read"]
    if more:
        yield f"Rejected more often than {what} without it: {', '.join(more)}."
    elif len(few) < len(read):
        yield f"No principle's {what} are rejected more often than those without it."
    if few:
        names = ", ".join(few) if len(few) < len(read) else "any principle"
        yield (
            f"Too few {what} read, with or without it, to say so of {names}: fewer than {FEWEST}."
        )


def _share(share: Proportion) -> str:
    """`56%, 27%–81%`; nothing is known of none."""
    low, high = share.interval
    return f"{share.share:.0%}, {low:.0%}–{high:.0%}" if share.n else "–"


def _reasons(reasons: Counter[str]) -> Iterator[str]:
    for reason, count in reasons.most_common(_REASONS):
        yield f"{count} × {_line(reason)}"
    if len(reasons) > _REASONS:
        yield f"and {len(reasons) - _REASONS} more reasons"


def _line(text: str) -> str:
    """A text on one line, safe for a terminal, cut where it is long."""
    line = " ".join(visible(text).split())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 1] + "…"


def print_drafts(proposed: EditsProposed) -> None:
    """The drafts as unified diffs, and what led to none."""
    drafts = proposed.drafts
    click.echo()
    counts = Counter(one.principle for one in proposed.tests.drafts)
    total = counts.total()
    listed = ", ".join(f"{count} of {visible(name)}" for name, count in counts.items())
    click.echo(f"Draft tests: {total}" + (f" ({listed})." if listed else "."))
    for (name, reason), count in proposed.tests.left_out.items():
        click.echo(f"  no test: {count} × {visible(name)}, {reason}")
    for name, wording in proposed.wordings.drafts.items():
        click.echo(f"New wording: {visible(name)}, from {counted(len(wording.shown), 'record')}.")
    for name, reason in proposed.wordings.refused.items():
        click.echo(f"  no new wording: {visible(name)}, {_line(reason)}")
    if drafts is None:
        return
    for name, reason in drafts.refused.items():
        click.echo(f"  can't be loaded, so left as it is: {visible(name)}, {_line(reason)}")
    for file in drafts.files:
        before, after = file.versions
        click.echo(click.style(f"\n{visible(file.principle)} {before} → {after}", bold=True))
        for line in file.diff():
            click.echo(_diff_line(line))
    if drafts.advice:
        click.echo("\nAdvice on the drafts (cai lint):")
        for problem in drafts.advice:
            click.echo(f"  {visible(str(problem), lines=True)}")


def _diff_line(line: str) -> str:
    color = {"+": "green", "-": "red", "@": "cyan"}.get(line[:1])
    return click.style(visible(line), fg=color)


def print_proof(proof: EditProof, source: str) -> None:
    """What the drafts do. source: the data that cai diff rests on, in words."""
    click.echo(click.style("\nTexts that are treated as they should be", bold=True))
    if proof.texts:
        print_table(
            ["principle", "texts", "n", "before", "after", "change, 95 %"],
            [_proof_row(one) for one in proof.texts],
        )
    else:
        click.echo("There is no text to try.")
    if proof.diff is None:
        click.echo("\nNo build on held-out prompts: there are none, or models read the same.")
        return
    from cai.authoring.changes import changes
    from cai.cli.diff_text import print_changes, print_effects

    click.echo()
    print_changes(
        proof.before, proof.after, changes(proof.before.content, proof.after.content)
    )  # fmt: skip
    print_effects(proof.diff, source, 5)


def _proof_row(one: TextsProof) -> list[str]:
    right = one.right
    low, high = right.interval
    change = f"{right.change:+.0%} ({low:+.0%} to {high:+.0%})"
    counts = [str(right.n), str(right.before.hits), str(right.after.hits)]
    return [one.principle, one.texts, *counts, change]


def print_next(proposed: EditsProposed, commands: Sequence[str]) -> None:
    """What a person does with the drafts."""
    click.echo()
    if proposed.drafts is None:
        click.echo(
            "No draft: no rejection says what was wrong with which principle. The reasons on the"
            " audit page say it, or the principle's id in your own words."
        )
    elif commands:
        click.echo("Read the drafts and change them as you see fit. Then:")
        for command in commands:
            click.echo(f"  {visible(command)}")
    else:
        click.echo("Nothing is written. --out DIR writes the drafts, and how to prove them.")
