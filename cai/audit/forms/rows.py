"""The row that every form holds, and how files of rows are written.

Texts are a model's and are taken to be hostile: none can break a file, and none is left out. Half
characters (lone surrogates), which no file can hold, become `?`; NaN and
infinity become null.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, TypeAlias

from cai.audit.items import AuditItem, Entry
from cai.audit.runs import AuditedRun
from cai.data.verdicts import Verdict, standing_verdicts
from cai.errors import DataError
from cai.types import as_dicts

FormRow: TypeAlias = dict[str, Any]

CHOICES = {"accept": "Accept", "reject": "Reject", "unsure": "Unsure"}
BETTER = {"A": "Response A", "B": "Response B", "tie": "Neither"}
WHICH = "Which response is better?"
WHY = "Why?"


class FormRows:
    """The rows of a run, made anew each time they are gone through; raises `DataError` for none."""

    def __init__(
        self,
        run: AuditedRun,
        verdicts: Sequence[Verdict],
        keys: frozenset[str] | None,
        nul: str,
    ) -> None:
        self.run = run
        titles = {str(p.get("id")): str(p.get("title") or "") for p in run.principles}
        self.titles: dict[str, str] = json_safe(titles, nul)
        self._nul = nul
        self._keys = keys
        self._verdicts: dict[str, list[Verdict]] = {}
        for verdict in standing_verdicts(verdicts).values():
            self._verdicts.setdefault(verdict.item, []).append(verdict)

    def __iter__(self) -> Iterator[FormRow]:
        count = 0
        for entry in self.run.entries():
            key = entry.item.key
            if self._keys is None or key in self._keys:
                count += 1
                values = row_values(entry, self.titles, self._verdicts.get(key, ()))
                yield json_safe(values, self._nul)
        if not count:
            raise DataError(
                f"{self.run.folder} holds nothing to export"
                + (" of these items" if self._keys is not None else ""),
                hint="Was it built with any prompts, and the sample drawn from this run?",
            )


def row_values(
    entry: Entry, titles: Mapping[str, str] | None = None, verdicts: Sequence[Verdict] = ()
) -> FormRow:
    """An item as plain values; every row has every name, None or empty where it says nothing.

    titles: principle id → title. verdicts: those that stand on it.

    trace: `response` is the first one, `rounds` the critiques and revisions, `final` the last text;
    `revision` is None where the round left the text alone. comparison: `response_a`,
    `response_b`, and in `probability`, `p_ab` and `p_ba` that A is better. rollout: `response`,
    `score` and `kl`. answer: `model`, `suite`, `response`, `measured`, `choices`, and in `checks`
    the judge's probabilities.
    """
    item, values = entry.item, entry.item.values
    response = values["response"]["text"] if "response" in values else None
    rounds = _rounds(item)
    a, b = (r["text"] for r in values["responses"]) if "responses" in values else (None, None)
    return {
        "key": item.key,
        "kind": item.kind,
        "id": item.id,
        "prompt_id": item.prompt_id,
        "source": item.source,
        "prompt": as_dicts(item.prompt),
        "principles": [{"id": p, "title": (titles or {}).get(p, "")} for p in item.principles],
        "flags": list(item.flags),
        "doubt": float(item.doubt),
        "judge": item.judge,
        "response": response,
        "rounds": rounds,
        "final": _final(response, rounds) if item.kind == "trace" else None,
        "checks": values.get("checks", []),
        "response_a": a,
        "response_b": b,
        "probability": values.get("probability"),
        "p_ab": values.get("p_ab"),
        "p_ba": values.get("p_ba"),
        "judge_mass": values.get("mass"),
        "judgements": values.get("judgements", []),
        "update": values.get("update"),
        "score": values.get("score"),
        "kl": values.get("kl"),
        "second_reward": values.get("second_reward"),
        "model": values.get("model"),
        "suite": values.get("suite"),
        "measured": [{"name": n, "value": v} for n, v in values.get("measured", {}).items()],
        "choices": values.get("choices", []),
        "verdicts": [
            {
                "author": v.author,
                "verdict": v.verdict,
                "flagged": v.flagged,
                "reason": v.reason,
                "reasons": list(v.reasons),
                "at": v.at,
            }
            for v in verdicts
        ],
        "rows": [{"file": file, "id": name} for file, name in entry.rows],
        "left_out": list(entry.left_out),
    }


def _rounds(item: AuditItem) -> list[dict[str, Any]]:
    parts = item.values.get("rounds", ())
    flags = (*item.by_round, *((),) * len(parts))
    return [
        {
            "principle": one["principle"],
            "version": one["version"],
            "critique": one["critique"] and one["critique"]["text"],
            "found": one["found"],
            "revision": one["revision"] and one["revision"]["text"],
            "guards": one["guards"],
            "flags": list(codes),
        }
        for one, codes in zip(parts, flags, strict=False)
    ]


def _final(response: str | None, rounds: Sequence[Mapping[str, Any]]) -> str | None:
    texts = [r["revision"] for r in rounds if r["revision"] is not None]
    return texts[-1] if texts else response


def json_safe(value: Any, nul: str) -> Any:
    """The value with texts that any file can hold, `nul` in place of NUL, and numbers of JSON."""
    if isinstance(value, str):
        return value.encode(errors="replace").decode().replace("\0", nul)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {json_safe(k, nul): json_safe(v, nul) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_safe(v, nul) for v in value]
    return value


def conversation(messages: Sequence[Mapping[str, str]]) -> str:
    """A prompt as one text, with roles where there is more than one message."""
    if len(messages) == 1 and messages[0]["role"] == "user":
        return messages[0]["content"]
    return "\n\n".join(f"{m['role']}: {m['content']}" for m in messages)


def round_label(number: int, one: Mapping[str, Any], titles: Mapping[str, str]) -> str:
    """A round in a line: its principle, the critique's finding, whether the text was revised."""
    parts = [f"Round {number}: {principle_label(one['principle'], titles)}"]
    if one["critique"] is not None:
        parts.append("a problem was found" if one["found"] else "no problem was found")
    parts.append("the text was left alone" if one["revision"] is None else "the text was revised")
    return " · ".join(parts)


def principle_label(principle: str, titles: Mapping[str, str]) -> str:
    title = titles.get(principle, "")
    return f"{principle} ({title})" if title else principle


def certainty(row: FormRow) -> float:
    """How probable the judge's preference is; 0.5 and up."""
    p = float(row["probability"])
    return max(p, 1 - p)


def write_array(file: BinaryIO, values: Iterable[Mapping[str, Any]]) -> int:
    """Write a JSON array, a line an element, in ASCII: its readers don't all say the encoding."""
    number = 0
    for number, one in enumerate(values, 1):
        file.write(b",\n" if number > 1 else b"[\n")
        file.write(json.dumps(one, allow_nan=False).encode())
    file.write(b"\n]\n")
    return number
