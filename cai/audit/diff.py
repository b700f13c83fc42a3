"""`cai audit diff`: the records of two runs side by side, in the same page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, TypeAlias

from cai.audit.items import AuditItem, Entry
from cai.audit.page import Frames, item_values, payload
from cai.audit.runs import AuditedRun
from cai.digest import digest
from cai.errors import UsageError

RecordPlace: TypeAlias = tuple[str, str, int]
"""Kind, prompt and how many of the kind the prompt had before: what is set beside what."""


def diff_payload(
    a: AuditedRun, b: AuditedRun, *, covered: bool = False, most: int | None = None
) -> dict[str, Any]:
    """The page's data of two runs: every record that both have, and counts of the others.

    most: pairs that a page holds; those that differ come first, and a note tells how many are not
    shown.
    Raises `UsageError` where the two can't be set side by side.
    """
    if a.kind != b.kind or a.kind != "build":
        raise UsageError(
            f"{a.name} and {b.name} can't be set side by side",
            hint="Give two runs of cai build-data. Of an evaluation, cai audit report shows the"
            " answers of all its models to an item together.",
        )
    before, after = dict(_places(a)), dict(_places(b))
    both = [place for place in before if place in after]
    if not both:
        raise UsageError(
            f"no prompt of {a.name} stands in {b.name}",
            hint="Compare runs that were built from the same prompts.",
        )
    pairs = [_pair(n, before[p], after[p]) for n, p in enumerate(both)]
    pairs.sort(key=lambda pair: (pair["same"], pair["n"]))
    note = _note(a, b, len(before) - len(both), len(after) - len(both))
    if most is not None and len(pairs) > most:
        note += f" {most:,} of {len(pairs):,} pairs are shown, those that differ first."
        pairs = pairs[:most]
    for n, pair in enumerate(pairs):
        pair["n"] = n
    return payload(
        mode="diff", name=f"{a.name} → {b.name}", run_id=f"{a.id} {b.id}", kind="pairs",
        facts={f"{run.name}: {k}": v for run in (a, b) for k, v in run.facts.items()},
        items=pairs, frames=Frames(), principles=_principles(a, b), before=a.principles,
        draw=b.draw, covered=covered,
        names=(a.name, b.name) if a.name != b.name else (f"{a.name} {a.id}", f"{b.name} {b.id}"),
        note=note.strip(),
    )  # fmt: skip


def _places(run: AuditedRun) -> Iterator[tuple[RecordPlace, Entry]]:
    counts: Counter[tuple[str, str]] = Counter()
    for entry in run.entries():
        item = entry.item
        yield (item.kind, item.prompt_id, counts[item.kind, item.prompt_id]), entry
        counts[item.kind, item.prompt_id] += 1


def _pair(number: int, a: Entry, b: Entry) -> dict[str, Any]:
    """Two items as one; the page reads both sides as it reads single items."""
    sides = [item_values(entry, Frames(), number) | {"inputs": {}} for entry in (a, b)]
    same = _visible_values(a.item) == _visible_values(b.item)
    flags = sorted({*a.item.flags, *b.item.flags})
    return {
        "n": number,
        "key": digest([a.item.key, b.item.key])[:24],
        "kind": "pair",
        "id": b.item.id,
        "prompt_id": b.item.prompt_id,
        "source": b.item.source,
        "prompt": sides[1]["prompt"],
        "principles": list(dict.fromkeys((*a.item.principles, *b.item.principles))),
        "flags": flags,
        "doubt": round(abs(b.item.doubt - a.item.doubt) + (0 if same else 1), 4),
        "same": same,
        "a": sides[0],
        "b": sides[1],
    }


def _visible_values(item: AuditItem) -> Any:
    """What a reader of the two sides sees: texts, and probabilities as they are printed."""
    values, prompt = item.values, [m.content for m in item.prompt]
    if item.kind == "trace":
        rounds = [
            [
                one["principle"],
                *((one[part] or {}).get("text") for part in ("critique", "revision")),
            ]
            for one in values["rounds"]
        ]
        return [prompt, values["response"]["text"], rounds]
    judgements = [
        [j["principle"], *(None if p is None else round(p, 2) for p in (j["p"], j["swapped"]))]
        for j in values["judgements"]
    ]
    texts = [response["text"] for response in values["responses"]]
    return [prompt, texts, round(values["probability"], 2), judgements]


def _principles(a: AuditedRun, b: AuditedRun) -> list[dict[str, Any]]:
    """Those of both; where both have one, the later run's."""
    return list({p["id"]: p for run in (a, b) for p in run.principles}.values())


def _note(a: AuditedRun, b: AuditedRun, only_a: int, only_b: int) -> str:
    counts = [f"{n:,} in {run.name} alone" for n, run in ((only_a, a), (only_b, b)) if n]
    return f"Left out: {' and '.join(counts)}." if counts else ""
