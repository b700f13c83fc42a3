"""What `cai map` prints: relations, contradictions, what each principle adds, a smaller set."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cai.cli.output import counted, print_table
from cai.content import shown
from cai.data.counts import is_near_tie
from cai.relations.agreement import CLEAR, MIN_CLUSTERS, MIN_UNITS
from cai.text.terminal import visible

if TYPE_CHECKING:
    from cai.authoring.smaller import SmallerConstitution
    from cai.evaluation.statistics import Estimate
    from cai.relations.agreement import PrincipleRelation
    from cai.relations.principle_map import Opposition, PrincipleMap, PrincipleRole

_SILENT = ("too few", "unclear", "unrelated", "one answer")
_LISTED = 5  # most contradicting principles whose pairs are listed
_PROMPT = 90  # characters of a prompt that are printed


def print_map(
    found: PrincipleMap,
    title: str,
    run_dir: Path,
    row_count: int,
    most: float,
    smaller: SmallerConstitution | None,
) -> None:
    """Print a map. row_count: contradictions of two principles to list. most: see `smaller_set`."""
    _heading(
        f"{visible(title)}: {counted(found.pairs, 'pair')} and"
        f" {counted(found.responses, 'response')} that two principles or more judged"
    )
    _print_relations("Which response is better", found.on_pairs, "pairs")
    _print_relations("Whether something is wrong", found.on_responses, "responses")
    _print_oppositions(found.oppositions, row_count)
    _print_roles(found)
    _print_smaller(found, run_dir, most, smaller)


def _heading(text: str) -> None:
    click.echo(click.style(text, bold=True))


def _print_relations(title: str, relations: Sequence[PrincipleRelation], units: str) -> None:
    if not relations:
        return
    click.echo()
    _heading(f"{title}: how two principles agree on {units} that both decide")
    told = [r for r in relations if r.word not in _SILENT]
    if told:
        print_table(
            ("principle", "and", "relation", units, "equal", "κ, 95 %", "r, 95 %"),
            [
                (r.a, r.b, r.word, str(r.agree.n), _percent(r.agree.value), _spread(r.kappa),
                 _spread(r.correlation))
                for r in sorted(told, key=lambda r: -r.kappa.value)
            ],
        )  # fmt: skip
    counts = Counter(r.word for r in relations)
    words = {
        "unrelated": "unrelated: the interval of κ lies within 0.2 of 0",
        "unclear": "unclear: the interval of κ is wider, and includes 0",
        "one answer": "where both give one and the same answer to all",
        "too few": f"on too few: less than {MIN_UNITS} {units}, less than {MIN_CLUSTERS} prompts,"
        " or too little that varies",
    }
    for word, meaning in words.items():
        if counts[word]:  # type: ignore[index]
            others = "other " if told else ""
            click.echo(f"{counts[word]} {others}of {len(relations)} {meaning}.")  # type: ignore[index]


def _print_oppositions(oppositions: Sequence[Opposition], row_count: int) -> None:
    click.echo()
    if not oppositions:
        click.echo("No pair is decided clearly and oppositely by two principles.")
        return
    _heading(
        f"Contradictions: pairs that both decide clearly ({0.5 + CLEAR:.2f} or more) and oppositely"
    )
    print_table(
        ("principle", "against", "contradictions", "of clear pairs", "share, 95 %"),
        [
            (o.relation.a, o.relation.b, str(len(o.contradictions)), str(o.relation.contradict.n),
             _share(o.relation.contradict))
            for o in oppositions
        ],
    )  # fmt: skip
    for opposition in oppositions[: _LISTED if row_count else 0]:
        a, b = visible(opposition.relation.a), visible(opposition.relation.b)
        click.echo(f"\n{a} against {b}, the clearest first:")
        for c in opposition.contradictions[:row_count]:
            label = "a near tie" if is_near_tie(c.label) else f"{c.label:.2f}"
            click.echo(f"  {visible(c.record)}  {_line(c.prompt)}")
            click.echo(
                f"    the first response is better: {c.p_a:.2f} and {c.p_b:.2f}; label {label}"
            )
    if row_count:
        click.echo("\nRead one with: cai trace ID, or all in the page of cai audit report.")


def _print_roles(found: PrincipleMap) -> None:
    click.echo()
    _heading("What each principle adds")
    rows = [
        (
            role.id, role.standing, _of(role.decided, role.pairs), _without(role),
            _r2(role), _of(role.problems, role.responses), _of(role.found, role.critiques),
        )
        for role in found.roles
    ]  # fmt: skip
    head = ("principle", "it is", "pairs decided", "labels changed without it", "R² by the others",
            "problems", "in critiques")  # fmt: skip
    print_table(head, rows)
    for role in found.roles:
        if role.same:
            click.echo(f"{visible(role.id)} says the same as {visible(', '.join(role.same))}.")
    if found.drawn:
        click.echo(
            "Principles were drawn for each pair: who would have judged in the place of one that is"
            " left out is not in the run. cai ablate can ask a model."
        )


def _print_smaller(
    found: PrincipleMap, run_dir: Path, most: float, smaller: SmallerConstitution | None
) -> None:
    if not found.removals:
        return
    click.echo()
    _heading("A smaller set: left out of the feedback one by one, each time the fewest labels")
    print_table(
        ("without, so far", "labels changed", "on prompts that the choice did not see"),
        [
            (("and " if n else "") + step.principle, _share(step.changed), _share(step.held_out))
            for n, step in enumerate(found.removals)
        ],
    )
    steps = found.smaller_set(most)
    names = ", ".join(step.principle for step in steps)
    if not steps:
        reason = (
            f"fewer than {MIN_UNITS} pairs were judged" if len(found.records) < MIN_UNITS
            else f"each removal changes more than {most:.0%} of the labels of unseen prompts"
        )  # fmt: skip
        click.echo(f"No smaller set is proposed: {reason}.")
    elif smaller is None:
        click.echo(
            f"At most {most:.0%} change without {visible(names)}. Nothing is applied; to try it:\n"
            f"  cai map {visible(str(run_dir))} --most {100 * most:g}% --propose"
            " constitution/smaller.yaml"
        )
    else:
        click.echo(f"Wrote {visible(shown(smaller.file))}: {visible('; '.join(_edits(smaller)))}.")
        click.echo(
            "Now see what it does, best on prompts that the run has not seen:\n"
            f"  cai diff {visible(shown(smaller.original))} {visible(shown(smaller.file))}"
            " --prompts FILE"
        )


def _edits(smaller: SmallerConstitution) -> Iterator[str]:
    if smaller.removed:
        yield f"without {', '.join(smaller.removed)}"
    if smaller.critique_only:
        yield f"{', '.join(smaller.critique_only)} only critique, and judge no pairs"


def _without(role: PrincipleRole) -> str:
    return "" if role.left_out is None else _share(role.left_out.changed)


def _r2(role: PrincipleRole) -> str:
    r2 = role.pairs_r2 if role.pairs else role.responses_r2
    return "too few" if r2 is None and (role.pairs or role.responses) else _spread(r2)


def _of(hits: int, n: int) -> str:
    return f"{hits} of {n}" if n else ""


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.0%}"


def _share(estimate: Estimate) -> str:
    return f"{_percent(estimate.value)} ({_percent(estimate.low)} to {_percent(estimate.high)})"


def _spread(estimate: Estimate | None) -> str:
    if estimate is None or math.isnan(estimate.value):
        return "–"
    if math.isnan(estimate.low):
        return f"{estimate.value:z.2f}"
    return f"{estimate.value:z.2f} ({estimate.low:z.2f} to {estimate.high:z.2f})"


def _line(text: str) -> str:
    one = visible(" ".join(text.split()))
    return one if len(one) <= _PROMPT else f"{one[: _PROMPT - 1]}…"
