"""What a report's sections are built of: headed parts, tables, boxes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from cai.evaluation.report.html import Child, Markup, element
from cai.evaluation.report.sources import ReportedEvaluation


def part(name: str, title: str, *children: Child) -> Markup:
    """A section with its heading."""
    return element("section", {"class": "part", "id": name}, element("h2", None, title), *children)


def table(
    name: str, head: Sequence[Child], rows: Iterable[Sequence[Child]], foot: Child = None
) -> Markup:
    """A table that scrolls sideways where it must; the first cell of a row is its heading."""
    return element(
        "div", {"class": "wide", "tabindex": 0, "role": "region", "aria-label": name},
        element(
            "table", None,
            element("thead", None, element("tr", None, [
                element("th", {"scope": "col"}, cell) for cell in head])),
            element("tbody", None, [
                element("tr", None, element("th", {"scope": "row"}, first),
                        [element("td", None, cell) for cell in rest])
                for first, *rest in rows]),
            foot,
        ),
    )  # fmt: skip


def card(*children: Child) -> Markup:
    """A box."""
    return element("div", {"class": "card"}, *children)


def source(evaluation: ReportedEvaluation) -> Markup:
    """The evaluation that a figure is of."""
    return element("p", {"class": "muted"}, "Evaluation ", element("code", None, evaluation.id))


def counted(count: int, noun: str, plural: str = "") -> str:
    """`1 item`, `2,000 items`."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
