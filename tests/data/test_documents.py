"""Documents as rows: read, refused, set apart; and what a training run records of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cai.data.counts import RunCounts
from cai.data.documents import document_example, document_values, documents_of
from cai.data.sft import LeftOut
from cai.data.split import family
from cai.data.training import read_labelled, read_sft
from cai.data.training_rows import SftRow
from cai.errors import DataError
from cai.pipeline.revise import make_trace
from cai.types import ExplainedPrinciple, SetAside, Trace
from tests.factories import generation, prompt

ESSAY = ExplainedPrinciple("rude", "1.2.0", "d1", "essay", True)
ROW = {"id": "d-1", "text": "Politeness costs nothing.", "origin": "document"}


def document(text: str = " An essay. ", **fields: Any) -> Trace:
    return replace(make_trace(prompt(), generation(text)), explained=replace(ESSAY, **fields))


def lines(folder: Path, *rows: Any) -> Path:
    file = folder / "d.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_a_document_is_a_row_that_names_its_principle() -> None:
    trace = document()
    example = document_example(trace, ESSAY, seed=7)
    assert not isinstance(example, LeftOut)
    values = document_values(example)
    assert len(values.pop("request_digest")) == 64
    assert values == {
        "id": trace.id, "text": "An essay.", "origin": "document", "kind": "essay",
        "principle_ids": ["rude"], "principle_version": "1.2.0", "principle_digest": "d1",
        "with_why": True, "seed": 7, "prompt_id": "p-1", "trace_id": trace.id, "split": "train",
    }  # fmt: skip
    guarded = replace(ESSAY, guards=("refused", "loop"))
    assert document_example(trace, guarded, 7) == LeftOut("guarded: refused, loop")


def test_documents_are_counted_by_principle_and_kind() -> None:
    counts = RunCounts()
    for trace in (
        document(),
        document(guards=("empty",)),
        document(principle_id="vague", kind="dialogue", with_why=False),
    ):
        counts.add(trace)
    plain = counts.plain()
    assert plain["documents"] == {
        "written": 3, "rows": 2, "kinds": {"dialogue": 1, "essay": 1},
        "principles": {
            "rude": {"written": 2, "rows": 1, "why": True},
            "vague": {"written": 1, "rows": 1, "why": False},
        },
    }  # fmt: skip
    assert plain["guards"] == {"empty": 1}
    assert "documents" not in RunCounts().plain()  # manifests of builds stay as they were


def test_a_text_is_learned_whole_where_its_origin_says_so(tmp_path: Path) -> None:
    chat = {"text": "<|im_start|>user\nHi", "origin": "chat"}
    good, other, empty, wrong = read_sft(
        [lines(tmp_path, ROW, chat, ROW | {"text": " "}, ROW | {"text": ["a"]})]
    )
    assert good == SftRow("d-1", (), "d.jsonl:1", document="Politeness costs nothing.")
    reasons = [row.reason for row in (other, empty, wrong) if isinstance(row, SetAside)]
    assert reasons == [
        "wrong origin: a text is learned whole where its origin is 'document'",
        "empty: text has no text",
        "wrong type: text is a list, not text",
    ]


def test_a_text_without_an_origin_is_no_document(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="text as TRL and Axolotl pre-train on it"):
        list(read_sft([lines(tmp_path, {"text": "<|im_start|>user\nHi"})]))


def test_a_document_has_no_label(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no row that can be used"):
        list(read_labelled([lines(tmp_path, ROW | {"label": True})]))


def test_each_document_is_a_family_of_its_own(tmp_path: Path) -> None:
    """Or all of them would be held out together, or none."""
    one, two = read_sft([lines(tmp_path, ROW, ROW | {"id": "d-2", "text": "Another."})])
    assert isinstance(one, SftRow) and isinstance(two, SftRow)
    assert family(one.prompt) != family(two.prompt)


def test_a_file_of_no_run_has_no_principles(tmp_path: Path) -> None:
    assert documents_of(lines(tmp_path, ROW)) == {}
