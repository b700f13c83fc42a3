"""What the exports to harnesses share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cai.errors import CaiError
from cai.evaluation.items import Item
from cai.evaluation.suite import Suite
from cai.types import SetAside


class NotExportable(CaiError):
    """A suite that a harness can't run; the text says why."""


@dataclass(frozen=True, slots=True)
class HarnessFiles:
    """The files of one suite.

    texts: file names and their texts, the task file first. rows_name, rows: the JSONL file beside
    it. left_out: items that can't be asked there.
    """

    texts: dict[str, str]
    rows_name: str
    rows: list[dict[str, Any]]
    left_out: tuple[SetAside, ...] = ()


def stem_of(suite: Suite) -> str:
    """The name of a suite's files. No module that a harness imports is called that."""
    return f"cai-{suite.id}"


def item_facts(suite: Suite, item: Item) -> dict[str, str]:
    """Where a row is from. `cluster` is never empty: an item alone is its own."""
    return {
        "id": item.id, "type": item.type, "cluster": item.cluster or item.id,
        "suite": suite.id, "version": suite.version,
    }  # fmt: skip


def left_out(suite: Suite, item: Item, reason: str) -> SetAside:
    """An item that a harness can't ask."""
    return SetAside(f"{suite.id}: {item.id}", reason)


SEVERAL_ANSWERS = "its measure compares several answers to one item, and the harness scores one"
"""Why suites of flips, stances and paraphrases are not exported."""
