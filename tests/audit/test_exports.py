"""Exports: every form holds every item, survives any text, and loads in the tool it is for."""

from __future__ import annotations

import csv
import json
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from xml.etree import ElementTree

import pytest

from cai.audit.exports import Form, write_export
from cai.audit.flags import FLAGS
from cai.audit.forms import tables
from cai.audit.forms.rows import row_values
from cai.audit.items import AuditItem, Entry, RunKind, comparison_item, rollout_item, trace_item
from cai.audit.runs import AuditedRun, open_run
from cai.data.verdicts import Verdict
from cai.errors import DataError, StoreError
from cai.types import Message
from tests.cli.project import make
from tests.store.samples import comparison, trace

FORMS: tuple[Form, ...] = get_args(Form)
NAMES = {"jsonl": "a.jsonl", "csv": "a.csv", "parquet": "a.parquet", "argilla": "a",
         "label-studio": "a.json"}  # fmt: skip
HOSTILE = {
    "controls": "".join(map(chr, range(32))) + "\x7f\x85\u2028\u2029",
    "bidi": "safe \u202e evil \u2066 x \u200b\ufeff",
    "half": "one \ud800 half \udfff",
    "markup": "</View><script>alert(1)</script> & \"'` ]]> {{ x }} $turns $about",
    "quotes": '"a,b";\r\n"=1+1"\r',
    "unfinished": "\ufffe\uffff\U0010ffff",
    "formula": "\u200b \n＝cmd|'/C calc'!A0",
    "huge": "x\n" * 200_000,
    "empty": "",
}
ROLLOUT = {"update": 3, "prompt_id": "p1", "prompt": [{"role": "user", "content": "Hi?"}],
           "response": "Hello.", "score": -1.5, "kl": 0.25, "tokens": 3, "ended": True}  # fmt: skip


class Made:
    """A run of given items."""

    def __init__(self, *items: AuditItem, name: str = "made", kind: RunKind = "build") -> None:
        self.folder, self.name, self.id, self.kind = Path(name), name, "r-1", kind
        self.principles: list[dict[str, Any]] = [{"id": "kind", "title": "Be kind"}]
        self.draw = ""
        self.facts = {"seed": "0"}
        self.licence = "mit"
        self.results: dict[str, Any] | None = None
        self.relations: dict[str, Any] | None = None
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def problems(self) -> list[str]:
        return []

    def entries(self) -> Iterator[Entry]:
        for item in self.items:
            yield Entry(item, (("sft.jsonl", f"{item.id}.1"),), ())

    def provenance(self) -> str:
        return ""


def with_text(item: AuditItem, text: str) -> AuditItem:
    """The item with other texts; its key stays, since no digest takes half a character."""
    return replace(item, values=_with(item.values, text), prompt=(Message("user", text),))


def _with(value: Any, text: str) -> Any:
    if isinstance(value, dict):
        return {k: text if k == "text" else _with(v, text) for k, v in value.items()}
    return [_with(v, text) for v in value] if isinstance(value, list) else value


def said(item: AuditItem, verdict: Any, author: str, at: str, **more: Any) -> Verdict:
    return Verdict(
        item.key, item.id, "r-1", verdict, author, f"2026-01-{at}T00:00:00+00:00", **more
    )


TRACE, PAIR = trace_item(trace("p1")), comparison_item(comparison("p1", swapped=0.3))
VERDICTS = [
    said(TRACE, "accept", "ann", "01"),
    said(TRACE, "reject", "ann", "02", reason="=rude", flagged=True),
    said(TRACE, "accept", "bob", "02"),
    said(PAIR, "none", "bob", "02"),
]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[AuditedRun]:
    with open_run(make(tmp_path / "project") / "demo") as opened:
        yield opened


def load(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def load_csv(path: Path) -> list[dict[str, str]]:
    csv.field_size_limit(10**9)
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, strict=True))


def written(path: Path) -> set[str]:
    return {str(p.relative_to(path)) for p in path.rglob("*") if p.is_file()}


# -- the row ------------------------------------------------------------------------------------


def test_a_trace_as_a_row() -> None:
    row = row_values(Entry(TRACE, (("sft.jsonl", "t-p1.1"),)), {"kind": "Be kind"}, VERDICTS[1:2])
    assert row["prompt"] == [{"role": "user", "content": "Question p1?"}]
    assert row["principles"] == [{"id": "kind", "title": "Be kind"}, {"id": "safe", "title": ""}]
    assert (row["response"], row["final"]) == ("First p1", "Better p1")
    first, second = row["rounds"]
    assert first == {
        "principle": "kind", "version": "1.2.0", "critique": "It is rude.", "found": True,
        "revision": "Better p1", "guards": [], "flags": list(TRACE.by_round[0]),
    }  # fmt: skip
    assert (second["found"], second["revision"]) == (False, None)
    assert row["rows"] == [{"file": "sft.jsonl", "id": "t-p1.1"}]
    assert row["verdicts"] == [
        {"author": "ann", "verdict": "reject", "flagged": True, "reason": "=rude", "reasons": [],
         "at": "2026-01-02T00:00:00+00:00"},
    ]  # fmt: skip
    assert (row["doubt"], row["flags"]) == (TRACE.doubt, list(TRACE.flags))


def test_a_comparison_and_a_rollout_as_rows() -> None:
    pair, rollout = row_values(Entry(PAIR)), row_values(Entry(rollout_item(ROLLOUT)))
    assert (pair["response_a"], pair["response_b"]) == ("A p1", "B p1 👍")
    assert (pair["probability"], pair["p_ab"], pair["p_ba"]) == (0.8, 0.9, 0.3)
    assert pair["response"] is pair["final"] is None
    assert (rollout["response"], rollout["score"], rollout["kl"]) == ("Hello.", -1.5, 0.25)
    assert list(pair) == list(rollout) == list(row_values(Entry(TRACE)))


def test_every_form_holds_every_item_of_a_run(run: AuditedRun, tmp_path: Path) -> None:
    keys = [e.item.key for e in run.entries()]
    for form in FORMS:
        assert write_export(run, tmp_path / NAMES[form], form, []) == len(run) == len(keys)
    rows = load(tmp_path / "a.jsonl")
    assert [r["key"] for r in rows] == keys
    assert {r["kind"] for r in rows} == {"trace", "comparison"}
    assert [r["key"] for r in load_csv(tmp_path / "a.csv")] == keys
    assert [r["id"] for r in json.loads((tmp_path / "a/records.json").read_text())] == keys
    tasks = json.loads((tmp_path / "a.json").read_text())
    assert [t["data"]["key"] for t in tasks] == keys
    assert not list(tmp_path.rglob(".*.partial"))


CARD = """\
---
license: "mit"
---

# made: items, flags, verdicts

`a.csv` holds 2 items for auditors to read: seed 0. All texts are a model's; prompts and rejected responses may be offensive.

## Items

| kind | items |
|---|---|
| trace | 1 |
| comparison | 1 |

## Rows that they became

| file | rows |
|---|---|
| sft.jsonl | 2 |

"""  # noqa: E501


def test_the_card_beside_an_export(tmp_path: Path) -> None:
    write_export(Made(TRACE, PAIR), tmp_path / "a.csv", "csv", VERDICTS)
    card = (tmp_path / "a.csv.card.md").read_text()
    assert card.startswith(CARD)
    for code, flag in FLAGS.items():
        n = sum(code in item.flags for item in (TRACE, PAIR))
        assert f"| {code} {flag.name} | {n} |" in card
    # of the trace ann's last word is no, bob's yes; on the pair bob took his back: one item judged
    assert "| ann | 0 | 1 | 0 |\n| bob | 1 | 0 | 0 |\n\n1 of 2 items were judged." in card


def test_the_card_of_a_run_says_what_made_it(run: AuditedRun, tmp_path: Path) -> None:
    write_export(run, tmp_path / "a.jsonl", "jsonl", [])
    card = (tmp_path / "a.jsonl.card.md").read_text()
    own = (run.folder / "README.md").read_text()
    assert run.provenance() in own, "the same sections as in the card of the run's folder"
    assert card.endswith(run.provenance())
    assert all(part in card for part in ("## Constitution", "## Models", "## What was left out"))
    keys = frozenset(e.item.key for e in run.entries() if e.item.prompt_id == "p3")
    write_export(run, tmp_path / "a.jsonl", "jsonl", [], keys)
    some = (tmp_path / "a.jsonl.card.md").read_text()
    assert f"holds {len(keys)} of {len(run)} items" in some
    assert f"of the whole run, of {len(run)} items" in some
    assert "of the whole run" not in card


def test_a_sample_alone(run: AuditedRun, tmp_path: Path) -> None:
    keys = frozenset(e.item.key for e in run.entries() if e.item.prompt_id == "p3")
    for form in FORMS:
        assert write_export(run, tmp_path / NAMES[form], form, [], keys) == len(keys)
    assert {r["key"] for r in load(tmp_path / "a.jsonl")} == keys


def test_only_standing_verdicts_are_written(tmp_path: Path) -> None:
    write_export(Made(TRACE, PAIR), tmp_path / "a.jsonl", "jsonl", VERDICTS)
    first, second = load(tmp_path / "a.jsonl")
    assert {(v["author"], v["verdict"]) for v in first["verdicts"]} == {
        ("ann", "reject"),
        ("bob", "accept"),
    }
    assert second["verdicts"] == []


# -- texts that mean harm -----------------------------------------------------------------------


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_breaks_a_file_or_is_lost(text: str, tmp_path: Path) -> None:
    items = [with_text(i, text) for i in (TRACE, PAIR, rollout_item(ROLLOUT))]
    for form in FORMS:
        assert write_export(Made(*items, name=text[:50]), tmp_path / NAMES[form], form, []) == 3
    whole = text.encode(errors="replace").decode()
    shown = whole.replace("\0", "␀")
    rows = load(tmp_path / "a.jsonl")
    assert [r["prompt"][0]["content"] for r in rows] == [whole] * 3
    assert (rows[0]["response"], rows[0]["rounds"][0]["critique"]) == (whole, whole)
    assert (rows[0]["final"], rows[1]["response_a"], rows[1]["response_b"]) == (whole,) * 3
    flat = load_csv(tmp_path / "a.csv")
    assert [r["prompt"].removeprefix("'") for r in flat] == [shown] * 3
    assert flat[0]["round_1_critique"].removeprefix("'") == shown
    parquet = pytest.importorskip("pyarrow.parquet")
    assert parquet.read_table(tmp_path / "a.parquet").to_pylist() == rows
    records = json.loads((tmp_path / "a/records.json").read_text("ascii"))
    assert [r["fields"]["prompt"] for r in records] == [shown] * 3
    assert (records[0]["fields"]["critique_1"], records[1]["fields"]["response_b"]) == (shown,) * 2
    tasks = json.loads((tmp_path / "a.json").read_text("ascii"))
    assert [t["text"] for task in tasks for t in task["data"]["turns"]] == [shown] * 11
    assert ElementTree.parse(tmp_path / "a.config.xml").getroot().tag == "View"


FORMULAS = [
    "=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\tx", "\rx", "\nx", "  =1", "\xa0=1",
    "＝1", "＋1", "－1", "＠x", " ＝1", "\u200b=1", "\ufeff=1", "\u202e@x", "\x1f+1",
    "\u22121", "﹣1", "\u3000=1",
]  # fmt: skip
PLAIN = ["x=1", "1-1", "'=1", "a\tb", "", "   ", "¬", "\u200b", '"=1', "1e5"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_becomes_a_text(text: str, tmp_path: Path) -> None:
    item = with_text(TRACE, text)
    verdict = said(item, "reject", text, "01", reason=text)
    run = Made(replace(item, id=text, prompt_id=text, principles=(text,)))
    write_export(run, tmp_path / "a.csv", "csv", [verdict])
    (row,) = load_csv(tmp_path / "a.csv")
    shown = f"'{text}"
    for name in ("id", "prompt_id", "prompt", "principles", "response", "final",
                 "round_1_critique", "round_1_revision"):  # fmt: skip
        assert row[name] == shown, name


@pytest.mark.parametrize("text", PLAIN)
def test_other_texts_stay_as_they_are(text: str, tmp_path: Path) -> None:
    write_export(Made(with_text(TRACE, text)), tmp_path / "a.csv", "csv", [])
    (row,) = load_csv(tmp_path / "a.csv")
    assert (row["prompt"], row["response"]) == (text, text)


def test_no_text_begins_as_a_formula(tmp_path: Path) -> None:
    """A number below zero is one, and stays a number."""
    items = [with_text(rollout_item({**ROLLOUT, "prompt_id": t}), t) for t in FORMULAS]
    write_export(Made(*items), tmp_path / "a.csv", "csv", VERDICTS)
    for row in load_csv(tmp_path / "a.csv"):
        assert row["score"] == "-1.5"
        texts = [cell for cell in row.values() if cell != "-1.5"]
        assert not [c for c in texts if re.match(r"[\s＝＋－＠=+\-@]", c)]


def test_numbers_that_are_none(tmp_path: Path) -> None:
    item = rollout_item(ROLLOUT)
    item = replace(item, values={**item.values, "score": float("nan"), "kl": float("inf")})
    for form in FORMS:
        write_export(Made(item), tmp_path / NAMES[form], form, [])
    (row,) = load(tmp_path / "a.jsonl")
    assert row["score"] is row["kl"] is None


# -- tables -------------------------------------------------------------------------------------


def test_csv_has_a_column_for_every_round(tmp_path: Path) -> None:
    short = replace(TRACE, values={**TRACE.values, "rounds": TRACE.values["rounds"][:1]})
    talk = replace(PAIR, prompt=(Message("system", "Be brief."), Message("user", "Hi?")))
    write_export(Made(short, TRACE, talk), tmp_path / "a.csv", "csv", VERDICTS)
    one, two, pair = load_csv(tmp_path / "a.csv")
    assert (one["round_1_found"], one["round_2_critique"]) == ("true", "")
    assert (two["round_2_found"], two["round_2_critique"]) == ("false", "No problem found.")
    assert (two["principles"], two["principle_titles"]) == ("kind; safe", "Be kind; ")
    assert (two["accepted"], two["rejected"], two["unsure"], two["flagged"]) == tuple("1101")
    assert [v["author"] for v in json.loads(two["verdicts"])] == ["ann", "bob"]
    assert two["rows"] == "sft.jsonl:t-p1.1"
    assert pair["prompt"] == "system: Be brief.\n\nuser: Hi?"
    assert (pair["response_a"], pair["probability"]) == ("A p1", "0.8")


def test_parquet_holds_what_jsonl_holds(
    run: AuditedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(tables, "_PARQUET_ROWS", 4)
    verdicts = [said(e.item, "accept", "ann", "01") for e in run.entries()]
    for form in ("jsonl", "parquet"):
        write_export(run, tmp_path / NAMES[form], form, verdicts)
    table = parquet.read_table(tmp_path / "a.parquet")
    assert table.to_pylist() == load(tmp_path / "a.jsonl")
    assert table.column_names == list(row_values(Entry(TRACE)))
    assert parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups == -(-len(run) // 4)


def test_parquet_of_long_texts_is_written_in_small_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(tables, "_PARQUET_BYTES", 1)
    write_export(Made(TRACE, PAIR), tmp_path / "a.parquet", "parquet", [])
    assert parquet.ParquetFile(tmp_path / "a.parquet").num_row_groups == 2


def test_without_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install -e '\.\[parquet\]'"):
        write_export(Made(TRACE), tmp_path / "a.parquet", "parquet", [])
    assert not written(tmp_path)


# -- whole or not at all ------------------------------------------------------------------------


class Broken(Made):
    def entries(self) -> Iterator[Entry]:
        yield Entry(TRACE)
        raise DataError("the second can't be read")


@pytest.mark.parametrize("form", FORMS)
def test_what_fails_leaves_the_old_files(form: Form, tmp_path: Path) -> None:
    out = tmp_path / NAMES[form]
    write_export(Made(TRACE, PAIR), out, form, VERDICTS)
    before = {name: (tmp_path / name).read_bytes() for name in written(tmp_path)}
    with pytest.raises(DataError, match="the second"):
        write_export(Broken(), out, form, [])
    assert {name: (tmp_path / name).read_bytes() for name in written(tmp_path)} == before


@pytest.mark.parametrize("form", FORMS)
def test_nothing_to_export(form: Form, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds nothing to export"):
        write_export(Made(), tmp_path / NAMES[form], form, [])
    with pytest.raises(DataError, match="of these items"):
        write_export(Made(TRACE), tmp_path / NAMES[form], form, [], frozenset(["other"]))
    assert not written(tmp_path)


@pytest.mark.parametrize("form", FORMS)
def test_a_place_that_can_not_be_written(form: Form, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError):
        write_export(Made(TRACE), tmp_path / "file" / NAMES[form], form, [])
    assert (tmp_path / "file").read_text() == "mine"


# -- Argilla ------------------------------------------------------------------------------------


def argilla(folder: Path, *items: AuditItem, **options: Any) -> tuple[Any, Any, Any]:
    write_export(Made(*items, **options), folder / "a", "argilla", VERDICTS)
    assert written(folder / "a") == {
        "records.json",
        ".argilla/settings.json",
        ".argilla/dataset.json",
    }
    names = ("records.json", ".argilla/settings.json", ".argilla/dataset.json")
    records, settings, dataset = (json.loads((folder / "a" / n).read_text()) for n in names)
    return records, settings, dataset


def test_argilla_records(tmp_path: Path) -> None:
    (first, second), _, _ = argilla(tmp_path, TRACE, PAIR)
    assert list(first) == ["id", "fields", "metadata", "suggestions", "responses", "vectors",
                           "status", "_server_id"]  # fmt: skip
    assert first["id"] == TRACE.key
    assert first["fields"] == {
        "prompt": "Question p1?",
        "response": "First p1",
        "final": "Better p1",
        "round_1": "Round 1: kind (Be kind) · a problem was found · the text was revised",
        "critique_1": "It is rude.",
        "revision_1": "Better p1",
        "round_2": "Round 2: safe · no problem was found · the text was left alone",
        "critique_2": "No problem found.",
    }
    assert first["metadata"]["principles"] == ["kind", "safe"]
    assert first["metadata"]["decisions"] == ["accept", "reject"]
    assert isinstance(first["metadata"]["doubt"], float)
    assert first["metadata"]["verdicts"][0]["reason"] == "=rude"
    assert (first["suggestions"], first["responses"]) == ({}, {})
    assert second["fields"]["response_b"] == "B p1 👍"
    assert second["suggestions"] == {
        "better": {"value": "A", "score": 0.8, "agent": "judge", "type": "model"}
    }


def test_argilla_suggests_what_the_judge_preferred(tmp_path: Path) -> None:
    worse, near = (comparison_item(comparison("p", probability=p)) for p in (0.25, 0.5))
    (one, two), _, _ = argilla(tmp_path, worse, near)
    assert (one["suggestions"]["better"]["value"], two["suggestions"]) == ("B", {})
    assert one["suggestions"]["better"]["score"] == 0.75


def test_argilla_settings(tmp_path: Path) -> None:
    _, settings, dataset = argilla(tmp_path, TRACE, PAIR, name="../runs/ a\n$b")
    none = {"id": None, "inserted_at": None, "updated_at": None, "dataset_id": None}
    assert settings["questions"] == [
        {
            **none, "name": "better", "title": "Which response is better?", "description": None,
            "required": False, "type": "label_selection",
            "settings": {
                "type": "label_selection", "visible_options": 3,
                "options": [
                    {"text": "Response A", "value": "A"}, {"text": "Response B", "value": "B"},
                    {"text": "Neither", "value": "tie"},
                ],
            },
        },
        {
            **none, "name": "verdict", "title": "Is it right?", "description": None,
            "required": True, "type": "label_selection",
            "settings": {
                "type": "label_selection", "visible_options": 3,
                "options": [
                    {"text": "Accept", "value": "accept"}, {"text": "Reject", "value": "reject"},
                    {"text": "Unsure", "value": "unsure"},
                ],
            },
        },
        {
            **none, "name": "reason", "title": "Why?", "description": None, "required": False,
            "type": "text", "settings": {"type": "text", "use_markdown": False},
        },
    ]  # fmt: skip
    assert [f["name"] for f in settings["fields"]] == [
        "prompt", "response", "round_1", "critique_1", "revision_1", "round_2", "critique_2",
        "final", "response_a", "response_b",
    ]  # fmt: skip
    assert [f["name"] for f in settings["fields"] if f["required"]] == ["prompt"]
    assert not any(f["settings"]["use_markdown"] for f in settings["fields"])
    assert [(m["name"], m["settings"]["type"]) for m in settings["metadata"]] == [
        ("kind", "terms"), ("flags", "terms"), ("principles", "terms"), ("decisions", "terms"),
        ("doubt", "float"), ("probability", "float"),
    ]  # fmt: skip
    assert "kind (Be kind)" in settings["guidelines"]
    assert dataset["name"] == "cai-audit--runs-a-b"
    assert (dataset["status"], dataset["id"], dataset["workspace_id"]) == ("draft", None, None)


def test_argilla_asks_of_rollouts_what_fits_them(tmp_path: Path) -> None:
    _, settings, _ = argilla(tmp_path, rollout_item(ROLLOUT), kind="rollouts")
    assert [q["name"] for q in settings["questions"]] == ["verdict", "reason"]
    assert [f["name"] for f in settings["fields"]] == ["prompt", "response"]
    assert [m["name"] for m in settings["metadata"]][-3:] == ["doubt", "score", "kl"]


def test_argilla_guidelines_are_no_longer_than_its_server_takes(tmp_path: Path) -> None:
    run = Made(TRACE)
    run.principles = [{"id": f"p{n}", "title": "Be good " * 20} for n in range(200)]
    write_export(run, tmp_path / "a", "argilla", [])
    settings = json.loads((tmp_path / "a/.argilla/settings.json").read_text())
    assert len(settings["guidelines"]) == 10_000


class ArgillaServer:
    """As much of Argilla's server as an import speaks to; keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: dict[str, list[Any]] = {}
        self.dataset: dict[str, Any] = {}

    def answer(self, request: Any) -> tuple[int, Any]:
        what, body = request.url.path.rsplit("/", 1)[-1], json.loads(request.content or b"{}")
        user = {"id": str(uuid.uuid4()), "username": "ann", "role": "owner", "first_name": "Ann"}
        if what == "me":
            return 200, user
        if "/workspaces" in request.url.path:
            times = {"inserted_at": None, "updated_at": None}
            audit = {"id": str(uuid.UUID(int=1)), "name": "audit", **times}
            return 200, {"items": [audit]} if what == "workspaces" else audit
        if what == "bulk":
            self.sent.setdefault("records", []).extend(body["items"])
            kept = [{**item, "id": str(uuid.uuid4())} for item in body["items"]]
            for item in kept:
                item["suggestions"] = item["responses"] = []
            return 200, {"items": kept, "updated_item_ids": []}
        if request.method == "GET" and what in ("datasets", "vectors-settings"):
            return 200, {"items": []}
        if request.method == "GET" and what in self.sent:
            return 200, {"items": self.sent[what]}
        if what in ("fields", "questions", "metadata-properties"):
            made = {**body, "id": str(uuid.uuid4())}
            self.sent.setdefault(what, []).append(made)
            return 201, made
        if body:
            self.dataset |= {k: v for k, v in body.items() if v is not None}
        self.dataset.setdefault("id", str(uuid.uuid4()))
        return 200, self.dataset


@pytest.mark.peers
def test_argilla_imports_the_folder(
    run: AuditedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real client, from `from_disk` to the requests that its server would get."""
    rg = pytest.importorskip("argilla", reason="make test-peers installs it apart")
    httpx = pytest.importorskip("httpx")
    made = Made(*(with_text(e.item, HOSTILE["controls"]) for e in run.entries()), TRACE, PAIR)
    count = write_export(made, tmp_path / "a", "argilla", VERDICTS)
    server = ArgillaServer()

    def handle(request: Any) -> Any:
        status, body = server.answer(request)
        return httpx.Response(status, json=body)

    client = rg.Argilla(
        api_url="http://argilla", api_key="k", mounts={"all://": httpx.MockTransport(handle)}
    )
    rg.Dataset.from_disk(str(tmp_path / "a"), workspace="audit", client=client)
    records, settings, _ = argilla(tmp_path, *made.items)
    assert [f["name"] for f in server.sent["fields"]] == [f["name"] for f in settings["fields"]]
    assert [q["name"] for q in server.sent["questions"]] == ["better", "verdict", "reason"]
    assert len(server.sent["metadata-properties"]) == len(settings["metadata"])
    assert rg.Settings.from_json(tmp_path / "a/.argilla/settings.json").serialize() == settings
    sent = server.sent["records"]
    assert len(sent) == len(records) == count
    for got, given in zip(sent, records, strict=True):
        assert (got["external_id"], got["fields"]) == (given["id"], given["fields"])
        assert got["metadata"] == given["metadata"]
        assert len(got["suggestions"]) == len(given["suggestions"])


# -- Label Studio -------------------------------------------------------------------------------


def label_studio(folder: Path, *items: AuditItem, **options: Any) -> tuple[list[Any], str]:
    write_export(Made(*items, **options), folder / "a.json", "label-studio", VERDICTS)
    names = {p.name for p in folder.iterdir() if p.is_file()}
    assert names == {"a.json", "a.config.xml", "a.json.card.md"}
    tasks: list[Any] = json.loads((folder / "a.json").read_text())
    return tasks, (folder / "a.config.xml").read_text("utf-8")


def test_label_studio_tasks(tmp_path: Path) -> None:
    (first, second), _ = label_studio(tmp_path, TRACE, PAIR)
    one, two = "Round 1: kind (Be kind) · a problem was found · the text was revised", (
        "Round 2: safe · no problem was found · the text was left alone"
    )  # fmt: skip
    assert first["data"]["turns"] == [
        {"who": "Prompt: user", "text": "Question p1?"},
        {"who": "Response", "text": "First p1"},
        {"who": f"{one} · critique", "text": "It is rude."},
        {"who": f"{one} · revision", "text": "Better p1"},
        {"who": f"{two} · critique", "text": "No problem found."},
        {"who": "Final response", "text": "Better p1"},
    ]
    assert first["data"]["about"].startswith("trace t-p1 · ")
    assert first["data"]["verdicts"][0]["author"] == "ann"
    assert first["predictions"] == []
    note = {"text": ["ann, 2026-01-02T00:00:00+00:00"]}
    results = [
        ("verdict", "choices", {"choices": ["reject"]}),
        ("flagged", "choices", {"choices": ["flagged"]}),
        ("reason", "textarea", {"text": ["=rude"]}),
    ]
    assert first["annotations"][0]["result"] == [
        {"id": f"{TRACE.key[:10]}-{name}", "from_name": name, "to_name": "turns", "type": kind,
         "value": value, "meta": note}
        for name, kind, value in results
    ]  # fmt: skip
    assert len(first["annotations"]) == 2
    assert second["annotations"] == []
    (judged,) = second["predictions"]
    assert (judged["model_version"], judged["score"]) == ("judge", 0.8)
    assert judged["result"][0]["value"] == {"choices": ["A"]}


def test_label_studio_config(tmp_path: Path) -> None:
    name = '</View> "a" & <b> name="turns" $turns \x00 \ufffe \u202e'
    _, config = label_studio(tmp_path, TRACE, PAIR, name=name)
    root = ElementTree.fromstring(config)
    assert [child.tag for child in root] == [
        "Header", "Text", "Paragraphs", "Header", "Choices", "Header", "Choices", "Header",
        "Choices", "TextArea",
    ]  # fmt: skip
    assert root[0].attrib["value"] == (
        'Run </View> "a" & <b> name="turns" ＄turns ␀ � <U+202E>'
    )  # fmt: skip
    named = [e.attrib["name"] for e in root.iter() if "name" in e.attrib]
    assert named == ["about", "turns", "better", "verdict", "flagged", "reason"]
    choices = {e.attrib["name"]: [c.attrib["value"] for c in e] for e in root.iter("Choices")}
    assert choices == {
        "better": ["A", "B", "tie"],
        "verdict": ["accept", "reject", "unsure"],
        "flagged": ["flagged"],
    }
    assert {e.attrib["toName"] for e in root.iter() if "toName" in e.attrib} == {"turns"}
    assert config.count('name="turns"') == 1


def test_label_studio_asks_of_traces_what_fits_them(tmp_path: Path) -> None:
    _, config = label_studio(tmp_path, TRACE)
    assert 'name="better"' not in config


@pytest.mark.peers
def test_label_studio_takes_the_files(run: AuditedRun, tmp_path: Path) -> None:
    interface = pytest.importorskip(
        "label_studio_sdk.label_interface", reason="make test-peers installs it apart"
    )
    items = [e.item for e in run.entries()]
    items += [with_text(i, HOSTILE["controls"]) for i in items]
    tasks, config = label_studio(
        tmp_path, *items, TRACE, PAIR, rollout_item(ROLLOUT), name=HOSTILE["markup"]
    )
    label = interface.LabelInterface(config)
    label.validate()
    for task in tasks:
        assert label.validate_task({"data": task["data"]})
        for prediction in task["predictions"]:
            assert label.validate_prediction(prediction, return_errors=True) == []
        for annotation in task["annotations"]:
            assert label.validate_annotation(annotation)
    assert any(t["predictions"] for t in tasks)
    assert any(t["annotations"] for t in tasks)
    assert not label.validate_task({"data": {"about": "without its texts"}})
    wrong = {"result": [{**tasks[-2]["predictions"][0]["result"][0], "value": {"choices": ["C"]}}]}
    assert not label.validate_annotation(wrong)
