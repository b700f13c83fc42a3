"""Elements of HTML and SVG as text, in which everything that is not an element is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from html import escape
from typing import TypeAlias

from cai.text.terminal import visible


class Markup(str):
    """Text that is markup already: made by `element` alone."""

    __slots__ = ()


Child: TypeAlias = str | int | Iterable["Child"] | None
"""A text, a number, an element, or several of them; None is left out."""

_VOID = {"meta", "br", "link", "wbr"}


def element(
    tag: str, attributes: Mapping[str, str | int | float | None] | None = None, *children: Child
) -> Markup:
    """An element. Attributes that are None are left out; what can't be seen becomes visible."""
    named = "".join(
        f' {name}="{escape(visible(_written(value), lines=True), quote=True)}"'
        for name, value in (attributes or {}).items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{named}>")
    return Markup(f"<{tag}{named}>{fragment(*children)}</{tag}>")


def fragment(*children: Child) -> Markup:
    """Children one after the other."""
    return Markup("".join(map(_rendered, children)))


def _rendered(child: Child) -> str:
    if child is None:
        return ""
    if isinstance(child, Markup):
        return child
    if isinstance(child, str):
        return escape(visible(child, lines=True))
    if isinstance(child, int):
        return str(child)
    return "".join(map(_rendered, child))


def _written(value: str | int | float) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)
