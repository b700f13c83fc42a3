"""One HTML file that shows a run: data, style and script inside, and nothing that leaves it.

The data is gzipped JSON in an inert block of base64, so that no text in it can be markup. A content
security policy allows the one script and the one style by their digests, and no request.
"""

from __future__ import annotations

import base64
import gzip
import html
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cache
from importlib.resources import files
from typing import Any

from cai.audit.flags import FLAGS
from cai.audit.items import AuditItem, Entry
from cai.audit.reasons import REASONS
from cai.data.verdicts import Verdict
from cai.page.document import content_policy, page_style
from cai.types import as_dicts

_MIN_LENGTH = 12  # characters that a text must have to be taken out of an input
_MARK = "\x01"
_COMMENT_LINES = re.compile(r"^ *(?:/\*\*(?:(?!\*/).)*\*/|//[^\n]*)\n", re.DOTALL | re.MULTILINE)


class Frames:
    """The inputs of model calls without the items' own texts: few frames serve many items."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._places: dict[str, int] = {}

    def pack(self, text: str, parts: Sequence[str]) -> list[int]:
        """A text as numbers: its frame, then each of `parts` that stands in it."""
        numbers: list[int] = []
        if _MARK not in text:
            longest = sorted(range(len(parts)), key=lambda i: -len(parts[i]))
            for number in longest:
                if len(parts[number]) >= _MIN_LENGTH and parts[number] in text:
                    text = text.replace(parts[number], f"{_MARK}{len(numbers)}{_MARK}")
                    numbers.append(number)
        place = self._places.setdefault(text, len(self.texts))
        if place == len(self.texts):
            self.texts.append(text)
        return [place, *numbers]


def item_values(entry: Entry, frames: Frames, number: int) -> dict[str, Any]:
    """An item as the page's script reads it."""
    item = entry.item
    own = own_texts(item)
    return {
        "n": number,
        "key": item.key,
        "kind": item.kind,
        "id": item.id,
        "prompt_id": item.prompt_id,
        "source": item.source,
        "prompt": as_dicts(item.prompt),
        "principles": list(item.principles),
        "flags": list(item.flags),
        "doubt": item.doubt,
        "by_round": [list(flags) for flags in item.by_round],
        "rows": [list(row) for row in entry.rows],
        "left_out": list(entry.left_out),
        "words": _words(item),
        "inputs": {part: frames.pack(text, own) for part, text in item.inputs.items()},
        **item.values,
    }


def _words(item: AuditItem) -> list[int] | None:
    """Words of a trace's first and of its final response."""
    if item.kind != "trace":
        return None
    generations = [item.values["response"], *(r["revision"] for r in item.values["rounds"])]
    texts = [w["text"] for w in generations if w is not None]
    return [len(texts[0].split()), len(texts[-1].split())]


def own_texts(item: AuditItem) -> list[str]:
    """The texts that frames refer to by number, in the order of the page's `ownTexts`."""
    out = [m.content for m in item.prompt]
    values = item.values
    if item.kind == "comparison":
        return [*out, *(r["text"] for r in values["responses"])]
    out.append(values["response"]["text"])
    for one in values.get("rounds", ()):
        out += [one[part]["text"] for part in ("critique", "revision") if one[part] is not None]
    return out


def principle_values(
    principles: Sequence[Mapping[str, Any]], draw: str = "weighted"
) -> list[dict[str, Any]]:
    """Principles as the page shows them.

    share: the chance to be drawn in a first round; None where nothing is drawn (see `Plan.draw`).
    """
    names = (
        "id", "version", "title", "why", "source", "tags", "weight", "critique_request",
        "revision_request", "comparison_question",
    )  # fmt: skip
    candidates = [p for p in principles if "sl" in p.get("phases", ("sl",)) and _in_first(p)]

    def weight(principle: Mapping[str, Any]) -> float:
        if draw == "weighted":
            return float(principle.get("weight", 1))
        return 1.0 if draw == "uniform" else 0.0

    total = sum(map(weight, candidates))
    return [
        {name: p.get(name) for name in names}
        | {"share": weight(p) / total if p in candidates and total else None}
        for p in principles
    ]


def _in_first(principle: Mapping[str, Any]) -> bool:
    rounds = principle.get("rounds")
    return not rounds or 1 in rounds


def payload(
    *,
    mode: str,
    name: str,
    run_id: str,
    kind: str,
    facts: Mapping[str, str],
    items: Iterable[Mapping[str, Any]],
    frames: Frames,
    principles: Sequence[Mapping[str, Any]] = (),
    before: Sequence[Mapping[str, Any]] = (),
    draw: str = "",
    verdicts: Sequence[Verdict] = (),
    sample: Mapping[str, Any] | None = None,
    signature: Mapping[str, Any] | None = None,
    note: str = "",
    covered: bool = False,
    names: Sequence[str] = (),
    evaluation: Mapping[str, Any] | None = None,
    principle_map: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The page's data. note: a sentence shown at the top, such as a sample's size.

    before: the principles of the first of two runs, as they were in it. signature: who signed the
    run off, see `cai.audit.sign.signature`. evaluation: its results, see `evaluation_values`.
    principle_map: how the principles relate, see `cai.relations.values.map_values`.
    """
    return {
        "mode": mode,
        "run": {"name": name, "id": run_id, "kind": kind, "facts": dict(facts)},
        "note": note,
        "covered": covered,
        "names": list(names),
        "flags": [asdict(flag) for flag in FLAGS.values()],
        "principles": principle_values(principles, draw),
        "before": principle_values(before, draw),
        "items": list(items),
        "input_frames": frames.texts,
        "verdicts": [asdict(v) for v in verdicts],
        "sample": sample,
        "signature": signature,
        "evaluation": evaluation,
        "map": principle_map,
        "reasons": {kind: list(reasons) for kind, reasons in REASONS.items()},
    }


def render(data: Mapping[str, Any], *, connect: bool = False, fast: bool = False) -> str:
    """The page as HTML. connect: let it speak to the server that it came from.

    fast: compress little, for a page that never leaves the machine.
    """
    style, script = _style(), _script()
    values = {
        "policy": content_policy(style, script, connect=connect),
        "title": html.escape(f"{data['run']['name']} – audit"),
        "style": style,
        "script": script,
        "data": pack(data, 1 if fast else 9),
    }
    page = _asset("page.html")
    out = []
    for part in page.split("{{"):
        name, end, rest = part.partition("}}")
        out.append(values[name] + rest if end else part)
    return "".join(out)


def pack(data: Mapping[str, Any], level: int = 9) -> str:
    """Base64 of gzipped JSON; equal data gives equal text."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    raw = text.encode(errors="replace")
    return base64.b64encode(gzip.compress(raw, level, mtime=0)).decode()


def _asset(name: str) -> str:
    return (files("cai.audit") / "assets" / name).read_text(encoding="utf-8")


@cache
def _style() -> str:
    return page_style() + "\n" + _asset("page.css")


@cache
def _script() -> str:
    """The scripts in the order of their numbers, as one, without comments on lines of their own."""
    names = sorted(p.name for p in (files("cai.audit") / "assets").iterdir() if p.name[0].isdigit())
    body = _COMMENT_LINES.sub("", "\n".join(_asset(name) for name in names))
    return f'"use strict";\n(() => {{\n{body}}})();\n'
