"""What `cai train --dry-run` says of an adapter: what it is beside, and what it can hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from cai.text.terminal import visible

if TYPE_CHECKING:
    from cai.training.capacity import AdapterCapacity
    from cai.training.trainer import LearnedUnit

_SHOWN = 4
_SIGNALS: dict[LearnedUnit, str] = {
    "token": "token that the loss is on",
    "row": "row",
    "response": "response",
}


def capacity_lines(capacity: AdapterCapacity, rank: int) -> Iterator[tuple[str, str]]:
    """(Label, text) of each line. rank: the adapter's."""
    covered = capacity.coverage
    names = [f"{visible(name)} ({size:,})" for name, size in covered.without]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    none = f"; none beside {', '.join(names[:_SHOWN])}{more}" if names else ""
    yield "adapter", f"beside {covered.share:.0%} of the base's weights{none}"
    if experts := sum(size for name, size in covered.without if ".experts." in name):
        yield (
            "experts",
            f"{experts:,} of their weights have no adapter (--lora-targets all adds it)",
        )
    text = (
        f"{capacity.bits:,.0f} bits (2 a trained parameter); the data asks for"
        f" {capacity.needed:,.0f} at most (1 a {_SIGNALS[capacity.signal]})"
    )
    if capacity.too_small:
        text += (
            f". The adapter may be too small to learn all of it: --lora-r"
            f" {capacity.rank_for_all(rank)} would hold it"
        )
    yield "capacity", text
