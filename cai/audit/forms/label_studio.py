"""A run as tasks of Label Studio, and the labeling interface beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from cai.audit.flags import FLAGS
from cai.audit.forms.rows import (
    BETTER,
    CHOICES,
    WHICH,
    WHY,
    FormRow,
    FormRows,
    certainty,
    principle_label,
    round_label,
    write_array,
)
from cai.data.files import staged
from cai.text.terminal import visible

_OBJECT = "turns"
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_label_studio(rows: FormRows, out: Path) -> int:
    """Tasks to import, and the labeling interface to set up first.

    Verdicts become annotations of whoever imports them, since only that server knows its users; the
    author is told in each result's `meta` and in the task's data.
    """
    kinds: set[str] = set()

    def tasks() -> Iterator[FormRow]:
        for row in rows:
            kinds.add(row["kind"])
            yield _task(row, rows.titles)

    config = f"{out.stem}.config.xml"
    with staged(out.parent, out.name) as files:
        with files.stream(out.name) as file:
            count = write_array(file, tasks())
        files.text(config, _label_config(rows.run.name, better="comparison" in kinds))
    return count


def _task(row: FormRow, titles: Mapping[str, str]) -> FormRow:
    """A task; its `turns` are all texts, in order, each with who wrote it."""
    task: FormRow = {"data": {**row, "about": _about(row), _OBJECT: _turns(row, titles)}}
    if row["kind"] == "comparison" and row["judge"] is not None:
        better = _result(row, "better", {"choices": ["A" if row["judge"] else "B"]})
        prediction = {"model_version": "judge", "score": certainty(row), "result": [better]}
        task["predictions"] = [prediction]
    else:
        task["predictions"] = []
    task["annotations"] = [
        {"result": _verdict_results(row, verdict)} for verdict in row["verdicts"]
    ]
    return task


def _about(row: FormRow) -> str:
    """A line on an item: its name, its flags, its principles, its numbers."""
    parts = [f"{row['kind']} {row['id']}"]
    parts += [f"{code} {FLAGS[code].name}" for code in row["flags"]]
    parts += [principle_label(p["id"], {p["id"]: p["title"]}) for p in row["principles"]]
    numbers = {"A is better": row["probability"], "score": row["score"], "KL": row["kl"]}
    parts += [f"{name}: {value:.3g}" for name, value in numbers.items() if value is not None]
    return " · ".join(parts)


def _turns(row: FormRow, titles: Mapping[str, str]) -> list[dict[str, str]]:
    turns = [(f"Prompt: {m['role']}", m["content"]) for m in row["prompt"]]
    turns.append(("Response", row["response"]))
    for number, one in enumerate(row["rounds"], 1):
        label = round_label(number, one, titles)
        turns += [
            (f"{label} · critique", one["critique"]),
            (f"{label} · revision", one["revision"]),
        ]
    turns += [(name, row[key]) for name, key in (
        ("Final response", "final"), ("Response A", "response_a"), ("Response B", "response_b"),
    )]  # fmt: skip
    return [{"who": who, "text": text} for who, text in turns if text is not None]


def _verdict_results(row: FormRow, verdict: Mapping[str, Any]) -> list[FormRow]:
    """A verdict as results of the interface's controls."""
    results = []
    if verdict["verdict"] in CHOICES:
        results.append(_result(row, "verdict", {"choices": [verdict["verdict"]]}))
    if verdict["flagged"]:
        results.append(_result(row, "flagged", {"choices": ["flagged"]}))
    why = [*verdict["reasons"], *([verdict["reason"]] if verdict["reason"] else [])]
    if why:
        results.append(_result(row, "reason", {"text": ["; ".join(why)]}, "textarea"))
    note = {"text": [f"{verdict['author']}, {verdict['at']}"]}
    return [{**result, "meta": note} for result in results]


def _result(row: FormRow, control: str, value: FormRow, kind: str = "choices") -> FormRow:
    return {
        "id": f"{row['key'][:10]}-{control}",
        "from_name": control,
        "to_name": _OBJECT,
        "type": kind,
        "value": value,
    }


def _label_config(name: str, *, better: bool) -> str:
    """The labeling interface. name: the run's. better: ask which of two responses is better."""
    controls = [_choices("verdict", "Is it right?", CHOICES, required=True)]
    if better:
        controls.insert(0, _choices("better", WHICH, BETTER))
    controls.append(_choices("flagged", "Come back to it?", ["flagged"], multiple=True))
    why = _attributes(
        name="reason", toName=_OBJECT, placeholder=WHY, rows="2", maxSubmissions="1",
        editable="true",
    )  # fmt: skip
    lines = [
        "<View>",
        f"  <Header {_attributes(value=f'Run {name}')}/>",
        f"  <Text {_attributes(name='about', value='$about', valueType='text')}/>",
        "  <Paragraphs "
        + _attributes(
            name=_OBJECT, value=f"${_OBJECT}", layout="dialogue", nameKey="who", textKey="text"
        )
        + "/>",
        *controls,
        f"  <TextArea {why}/>",
        "</View>",
    ]
    return "\n".join(lines) + "\n"


def _choices(
    name: str,
    title: str,
    choices: Iterable[str],
    *,
    required: bool = False,
    multiple: bool = False,
) -> str:
    attributes = _attributes(
        name=name, toName=_OBJECT, choice="multiple" if multiple else "single-radio",
        required="true" if required else "false", showInline="true",
    )  # fmt: skip
    options = [f"    <Choice {_attributes(value=choice)}/>" for choice in choices]
    head = f"  <Header {_attributes(value=title, size='5')}/>"
    return "\n".join([head, f"  <Choices {attributes}>", *options, "  </Choices>"])


def _attributes(**values: str) -> str:
    """Attributes of an XML element, always in double quotes: Label Studio reads names by them."""
    return " ".join(f'{name}="{_quoted(value, name)}"' for name, value in values.items())


def _quoted(text: str, name: str) -> str:
    if not (name == "value" and re.fullmatch(r"\$\w+", text)):
        text = text.replace("$", "＄")  # a text that refers to nothing in a task's data
    return escape(_NOT_XML.sub("�", visible(text)), {'"': "&quot;"})
