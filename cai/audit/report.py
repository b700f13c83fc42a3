"""`cai audit report`: a run as pages that open from disk: one file, or several of a large run."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cai.audit.items import Entry
from cai.audit.page import Frames, item_values, payload, render
from cai.audit.runs import AuditedRun
from cai.audit.sample import read_sample
from cai.audit.sign import signature
from cai.content import shown
from cai.data.files import Staging
from cai.data.verdicts import VerdictFile
from cai.errors import DataError

PAGE_ITEMS = 20_000
"""Items a page holds at most; `bench/audit_page.py` measures one of this size."""


def run_payload(
    run: AuditedRun,
    entries: Sequence[Entry],
    *,
    mode: str = "report",
    note: str = "",
    covered: bool = False,
) -> dict[str, Any]:
    """The page's data of a run: some or all of its entries, with all verdicts so far."""
    frames = Frames()
    return payload(
        mode=mode, name=run.name, run_id=run.id, kind=run.kind, facts=run.facts,
        items=[item_values(entry, frames, n) for n, entry in enumerate(entries)], frames=frames,
        principles=run.principles, draw=run.draw, verdicts=VerdictFile(run.folder).read(),
        sample=read_sample(run), signature=signature(run.folder), note=note, covered=covered,
        evaluation=run.results, principle_map=run.relations,
    )  # fmt: skip


def write_report(
    run: AuditedRun,
    out: Path,
    *,
    keys: frozenset[str] | None = None,
    covered: bool = False,
    most: int = PAGE_ITEMS,
) -> list[Path]:
    """Write the page to `out`, or pages to `out` with a number where one would be too large.

    keys: show these items alone. covered: texts stay covered until they are asked for. Raises
    `DataError` where there is nothing to show, `StoreError` where a file can't be written.
    """
    total = len(run) if keys is None else len(keys)
    parts = max(1, -(-total // most))
    staging, names = Staging(out.parent), list[str]()
    count = 0
    try:
        for number, entries in enumerate(_parts(run, keys, most), 1):
            count += len(entries)
            name = out.name if parts == 1 else f"{out.stem}-{number}{out.suffix}"
            data = run_payload(
                run, entries, note=_note(run, keys, number, parts, len(entries)), covered=covered
            )
            staging.text(name, render(data))
            names.append(name)
        if not count:
            raise DataError(
                f"{shown(run.folder)} holds nothing to audit", hint="Was it built with any prompts?"
            )
        staging.publish(names[-1])
    except BaseException:
        staging.discard()
        raise
    return [out.parent / name for name in names]


def _parts(run: AuditedRun, keys: frozenset[str] | None, most: int) -> Iterator[list[Entry]]:
    entries = (e for e in run.entries() if keys is None or e.item.key in keys)
    while part := list(itertools.islice(entries, most)):
        yield part


def _note(run: AuditedRun, keys: frozenset[str] | None, number: int, parts: int, count: int) -> str:
    """A note on the items that this page does not hold."""
    notes = []
    if keys is not None:
        notes.append(f"This is a sample: {len(keys):,} of {len(run):,} items.")
    if parts > 1:
        notes.append(f"Page {number} of {parts}: {count:,} items here.")
    return " ".join(notes)
