"""The card beside `cai audit export`: its items and verdicts in numbers, and their provenance."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cai.audit.flags import FLAGS
from cai.audit.runs import AuditedRun
from cai.data.markdown import cell
from cai.data.verdicts import Verdict, standing_verdicts

_VERDICTS = {"accept": "accepted", "reject": "rejected", "unsure": "unsure"}


@dataclass(slots=True)
class ExportTally:
    """What an export holds, counted over items.

    files: rows that its items became, by the file they stand in; an item may become several.
    verdicts: author → verdict. judged: items that somebody accepted or rejected or was unsure of.
    """

    items: int = 0
    judged: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    verdicts: dict[str, Counter[str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls, run: AuditedRun, verdicts: Sequence[Verdict], keys: frozenset[str] | None = None
    ) -> ExportTally:
        """Count a run, or these of its items alone."""
        by_item: dict[str, list[Verdict]] = {}
        for verdict in standing_verdicts(verdicts).values():
            if verdict.verdict != "none":
                by_item.setdefault(verdict.item, []).append(verdict)
        tally = cls()
        for entry in run.entries():
            if keys is not None and entry.item.key not in keys:
                continue
            tally.items += 1
            tally.kinds[entry.item.kind] += 1
            tally.files.update(file for file, _ in entry.rows)
            tally.flags.update(entry.item.flags)
            own = by_item.get(entry.item.key, ())
            tally.judged += bool(own)
            for verdict in own:
                tally.verdicts.setdefault(verdict.author, Counter())[verdict.verdict] += 1
        return tally


def card(run: AuditedRun, name: str, tally: ExportTally) -> str:
    """The whole card, in Markdown; `name`: of the exported file or folder."""
    some = "" if tally.items == len(run) else f" of {len(run):,}"
    provenance = run.provenance()
    facts = "; ".join(f"{cell(label)} {cell(value)}" for label, value in run.facts.items())
    parts = [
        f"---\nlicense: {json.dumps(run.licence, ensure_ascii=False)}\n---\n",
        f"# {cell(run.name)}: items, flags, verdicts\n\n"
        f"`{name}` holds {tally.items:,}{some} items for auditors to read: {facts}. "
        "All texts are a model's; prompts and rejected responses may be offensive.\n",
        _table("Items", ("kind", "items"), tally.kinds.items()),
        _table("Rows that they became", ("file", "rows"), sorted(tally.files.items())),
        _table("Flags", ("flag", "items", "meaning"), _flags(tally.flags)),
        f"{_table('Verdicts', ('auditor', *_VERDICTS.values()), _verdicts(tally.verdicts))}\n"
        f"{tally.judged:,} of {tally.items:,} items were judged.\n",
        f"What follows is of the whole run, of {len(run):,} items.\n"
        if some and provenance
        else "",
        provenance,
    ]
    return "\n".join(part for part in parts if part)


def _flags(counts: Mapping[str, int]) -> Iterable[tuple[Any, ...]]:
    return (
        (f"{code} {flag.name}", counts.get(code, 0), flag.meaning) for code, flag in FLAGS.items()
    )


def _verdicts(counts: Mapping[str, Counter[str]]) -> Iterable[tuple[Any, ...]]:
    return ((name, *(own[v] for v in _VERDICTS)) for name, own in sorted(counts.items()))


def _table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A section with a table; nothing where it has no rows."""
    lines = [f"| {' | '.join(cell(str(value)) for value in row)} |" for row in rows]
    if not lines:
        return ""
    head = f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}\n"
    return f"## {title}\n\n{head}" + "\n".join(lines) + "\n"
