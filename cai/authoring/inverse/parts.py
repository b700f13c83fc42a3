"""Three parts of the pairs: to propose from, to choose by, and to report on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from cai.data.split import family
from cai.data.training_rows import PairRow
from cai.errors import DataError
from cai.text import seeds


class HasId(Protocol):
    """Something with an id, by which it is drawn."""

    @property
    def id(self) -> str: ...


Drawable = TypeVar("Drawable", bound=HasId)
PROPOSE, CHOOSE = 0.3, 0.35
"""Shares of the prompt families in the first two parts; the rest is reported on. Without proposals
half of the families serve to choose."""


@dataclass(frozen=True, slots=True)
class PairParts:
    """The parts. Pairs of one prompt family are in one part (`cai.data.split.family`)."""

    propose: tuple[PairRow, ...]
    choose: tuple[PairRow, ...]
    report: tuple[PairRow, ...]


def divide(rows: Sequence[PairRow], seed: int, *, proposing: bool) -> PairParts:
    """The parts of some pairs, each with at least one prompt family.

    proposing: whether anything is to be proposed; if not, that part is empty. Raises `DataError`
    where there are fewer families than parts.
    """
    family_of = {id(row): family(row.prompt) for row in rows}
    ordered = sorted(
        set(family_of.values()), key=lambda name: (seeds.uniform(seed, name, "inverse"), name)
    )
    parts = 3 if proposing else 2
    if len(ordered) < parts:
        raise DataError(
            f"the pairs have {len(ordered)} different prompt{'' if len(ordered) == 1 else 's'}, and"
            f" {parts} are needed: principles are chosen and measured on prompts of their own",
            hint="Give more --data.",
        )
    first = max(1, round(PROPOSE * len(ordered))) if proposing else 0
    share = CHOOSE if proposing else 0.5
    second = min(max(1, round(share * len(ordered))), len(ordered) - first - 1)
    place = {name: n for n, name in enumerate(ordered)}

    def between(low: int, high: int) -> tuple[PairRow, ...]:
        return tuple(row for row in rows if low <= place[family_of[id(row)]] < high)

    return PairParts(
        between(0, first),
        between(first, first + second),
        between(first + second, len(ordered)),
    )


def drawn(rows: Sequence[Drawable], count: int | None, seed: int) -> list[Drawable]:
    """At most this many of the rows, in their order; a larger number has all of a smaller one."""
    if count is None or count >= len(rows):
        return list(rows)
    by_draw = sorted(range(len(rows)), key=lambda n: (seeds.uniform(seed, rows[n].id, "drawn"), n))
    return [rows[n] for n in sorted(by_draw[:count])]
