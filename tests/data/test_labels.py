"""Labelled responses: from records to rows of a run, and from rows to what KTO learns from."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cai.data.export import export
from cai.data.labels import comparison_labels, trace_labels
from cai.data.training import LabelledRow, read_labelled, training_files
from cai.data.verdicts import Verdict, VerdictFile
from cai.data.verify import verify
from cai.errors import DataError
from cai.store.store import Store
from cai.types import Check, Judgement, Label, LabelledResponse, Revision, Scores, SetAside
from tests.store.samples import comparison, put, run, say, trace

SENTENCE = ("No problem found.",)


def mass(p: float, key: str = "k") -> Scores:
    """A score that gives the sentence for "no problem" this probability."""
    return Scores((math.log(p),), SENTENCE, "tiny", "<user>?", 4, key)


def checked(**masses: float) -> Any:
    return replace(
        trace("p"), checks=tuple(Check(i, mass(p, f"check/{i}")) for i, p in masses.items())
    )


def pointwise(a: dict[str, float], b: dict[str, float]) -> Any:
    judgements = tuple(
        Judgement(i, "1.0.0", 0.5, None, (mass(a[i], f"a/{i}"), mass(b[i], f"b/{i}"))) for i in a
    )
    return replace(comparison("p"), judgements=judgements, mode="pointwise")


# -- from records ---------------------------------------------------------------------------------


def test_one_broken_principle_makes_a_response_undesirable() -> None:
    """0.9 and 0.4: the lowest decides, and is named; 0.9 and 0.5: both had to agree."""
    (row,) = trace_labels(checked(kind=0.9, safe=0.4), "train", pointwise=False)
    assert (row.response, row.desirable, row.principle_ids) == ("Better p", False, ("safe",))
    assert row.probability == pytest.approx(0.4)
    assert dict(row.no_problem) == {"kind": pytest.approx(0.9), "safe": pytest.approx(0.4)}
    (row,) = trace_labels(checked(kind=0.9, safe=0.500001), "test", pointwise=False)
    assert (row.desirable, row.principle_ids, row.split) == (True, ("kind", "safe"), "test")


def test_both_sides_of_a_pointwise_pair() -> None:
    """Each side by its own scores; letters compare, and label neither."""
    record = pointwise({"kind": 0.8, "safe": 0.9}, {"kind": 0.3, "safe": 0.2})
    a, b = comparison_labels(record, "train")
    assert (a.response, a.part, a.desirable) == ("A p", "a", True)
    assert (b.response, b.part, b.desirable) == ("B p 👍", "b", False)
    assert [a.probability, b.probability] == pytest.approx([0.8, 0.2])
    assert b.principle_ids == ("kind", "safe") and b.origin_id == "c-p-0"
    assert comparison_labels(comparison("p"), "train") == []
    assert comparison_labels(replace(record, judgements=()), "train") == []


def test_the_first_response_has_the_judge_s_second_scores() -> None:
    """A judged trace's label has its final response first; where letters were asked, none."""
    judgement = Judgement("kind", "1.0.0", 0.9, None, (mass(0.9), mass(0.1)))
    judged = replace(checked(kind=0.95), label=Label(0.9, (judgement,)))
    final, first = trace_labels(judged, "train", pointwise=True)
    assert (final.part, final.response) == ("final", "Better p")
    assert final.probability == pytest.approx(0.95)
    assert (first.part, first.response, first.desirable) == ("first", "First p", False)
    assert len(trace_labels(judged, "train", pointwise=False)) == 1
    unchecked = replace(judged, checks=())
    assert [row.part for row in trace_labels(unchecked, "train", pointwise=True)] == ["first"]


def test_faulty_texts_have_no_label() -> None:
    """Truncated or guarded: the critic's verdict would be about less than what is learned."""
    rewritten = Revision(0, "kind", "1.0.0", say("c", "c"), "problem", say("Cut", "r", "length"))
    cut = replace(checked(kind=0.9), revisions=(replace(rewritten, guards=("truncated",)),))
    assert trace_labels(cut, "train", pointwise=False) == []
    record = pointwise({"kind": 0.8}, {"kind": 0.3})
    cut_pair = replace(record, responses=(say("A", "a", "length"), record.responses[1]))
    assert [row.part for row in comparison_labels(cut_pair, "train")] == ["b"]


def test_reasoning_comes_along() -> None:
    thought = replace(pointwise({"kind": 0.8}, {"kind": 0.3}))
    first, second = thought.responses
    with_reasoning = replace(thought, responses=(replace(first, reasoning="Hm."), second))
    rows: list[LabelledResponse] = comparison_labels(with_reasoning, "train")
    assert [row.reasoning for row in rows] == ["Hm.", ""]


# -- rows of files --------------------------------------------------------------------------------


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def labelled(path: Path, **options: Any) -> list[LabelledRow]:
    rows = list(read_labelled([path], **options))
    assert all(isinstance(row, LabelledRow) for row in rows), rows
    return rows  # type: ignore[return-value]


def reasons(path: Path) -> list[str]:
    return [row.reason for row in read_labelled([path]) if isinstance(row, SetAside)]


TALK = [{"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Yes."}]


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi?", "completion": "Yes.", "label": False},
        {"prompt": TALK[:1], "completion": TALK[1:], "label": 0},
        {"messages": TALK, "label": "false"},
        {"messages": TALK, "kto_tag": False},
        {"conversations": [{"from": "human", "value": "Hi?"}, {"from": "gpt", "value": "Yes."}],
         "kto_tag": False},
        {"instruction": "Hi?", "output": "Yes.", "kto_tag": "False"},
    ],
    ids=str,
)  # fmt: skip
def test_a_labelled_row_in_every_format(row: dict[str, Any], tmp_path: Path) -> None:
    """TRL's and LLaMA-Factory's; here a label of false is read, not set aside."""
    (bad,) = labelled(write(tmp_path / "a.jsonl", row))
    assert (bad.prompt[-1].content, bad.response[0].content) == ("Hi?", "Yes.")
    assert (bad.desirable, bad.weight, bad.origin) == (False, 1.0, "given")
    key = "label" if "label" in row else "kto_tag"
    (good,) = labelled(write(tmp_path / "b.jsonl", row | {key: True, "weight": 2.5}))
    assert (good.desirable, good.weight, good.source) == (True, 2.5, "b.jsonl:1")


def test_both_sides_of_a_pair_are_rows(tmp_path: Path) -> None:
    """By its probability, rejected is the better one; a tie says nothing of either."""
    pair = {"id": "r", "prompt": "Hi?", "chosen": "Yes.", "rejected": "No.", "probability": 0.2}
    file = write(tmp_path / "a.jsonl", pair, pair | {"probability": 0.5})
    good, bad, tie = read_labelled([file])
    assert isinstance(good, LabelledRow) and isinstance(bad, LabelledRow)
    assert (good.id, good.response[0].content, good.desirable) == ("r.chosen", "No.", True)
    assert (bad.id, bad.response[0].content, bad.desirable) == ("r.rejected", "Yes.", False)
    assert isinstance(tie, SetAside) and tie.reason.startswith("tie: ")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"label": None}, "no label: the row has neither label nor kto_tag"),
        ({"label": "perhaps"}, "label: 'perhaps' is neither true nor false"),
        ({"kto_tag": False}, "two labels: label and kto_tag differ"),
        ({"weight": 0}, "wrong weight: 0 is not above 0"),
        ({"weight": -1}, "wrong weight: -1 is not above 0"),
        ({"probability": 0.52}, "near tie: no problem has the probability 0.520"),
        ({"tools": ["x"]}, "tools: the row has some"),
        ({"completion": ""}, "empty: message 2 has no text"),
    ],
    ids=str,
)
def test_what_is_set_aside(change: dict[str, Any], said: str, tmp_path: Path) -> None:
    row = {"prompt": "Hi?", "completion": "Yes.", "label": True}
    (reason,) = reasons(write(tmp_path / "a.jsonl", row, row | change))
    assert reason.startswith(said)


def test_a_file_without_labels_says_what_a_row_looks_like(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", {"messages": TALK})
    with pytest.raises(DataError, match=r"a\.jsonl:1: no label") as error:
        list(read_labelled([file]))
    assert "a label (true or false)" in (error.value.hint or "")


# -- a run, and its auditors ----------------------------------------------------------------------


@pytest.fixture
def built(tmp_path: Path) -> Path:
    """A run of two traces that were checked, and of a pair that was judged pointwise."""
    with Store.open(tmp_path / "runs" / "store.sqlite") as store:
        store.put_run(run(sft_share=0.0, test_share=0.0))
        for name in ("p00", "p01"):
            put(store, "r-1", trace(name))
        put(store, "r-1", replace(pointwise({"kind": 0.8}, {"kind": 0.3}), id="c-p-0"))
        export(store, "r-1", tmp_path / "runs" / "demo")
    return tmp_path / "runs" / "demo"


def verdict(record: str, decision: Any, author: str = "Ann", minute: int = 0) -> Verdict:
    return Verdict(
        f"of {record}", record, "r-1", decision, author, f"2026-01-01T10:{minute:02}:00Z"
    )


def names(rows: list[Any]) -> dict[str, bool]:
    return {row.id: row.desirable for row in rows if isinstance(row, LabelledRow)}


def test_a_run_s_labels_are_read(built: Path) -> None:
    files = training_files([built], "labels")
    assert [path.name for path in files.train] == ["labels.jsonl"] and files.test == ()
    rows = labelled(files.train[0])
    assert names(rows) == {
        "c-p-0.a": True, "c-p-0.b": False, "t-p00.final": True, "t-p01.final": True,
    }  # fmt: skip
    assert [row.trace for row in rows] == ["", "", "t-p00", "t-p01"]
    assert rows[1].principle_ids == ("kind",) and rows[1].origin == "comparison"


def test_a_label_of_another_response_is_found(built: Path) -> None:
    file = built / "labels.jsonl"
    file.write_text(file.read_text().replace("Better p00", "Better q00"))
    with Store.open(built.parent / "store.sqlite", read_only=True) as store:
        problems = verify(built, store).problems
    assert any(p == "labels.jsonl:3: a response is not one of t-p00" for p in problems), problems


def test_a_run_that_labels_nothing_is_read_by_its_pairs(tmp_path: Path) -> None:
    """Letters, and no final check."""
    with Store.open(tmp_path / "runs" / "store.sqlite") as store:
        store.put_run(run(sft_share=0.0, test_share=0.0))
        put(store, "r-1", replace(trace("p00"), checks=()), comparison("p01"))
        export(store, "r-1", tmp_path / "runs" / "demo")
    (file,) = training_files([tmp_path / "runs" / "demo"], "labels").train
    assert file.name == "preferences.jsonl"
    revised = {"t-p00.chosen": True, "t-p00.rejected": False}
    assert names(labelled(file)) == revised | {"c-p01-0.chosen": True, "c-p01-0.rejected": False}


def test_an_auditor_s_verdict_is_the_label(built: Path) -> None:
    """A rejected response, left out elsewhere, is the signal here, with the verdict's weight."""
    VerdictFile(built).append([verdict("t-p00", "reject"), verdict("t-p01", "accept", "Ben")])
    rows = {row.id: row for row in labelled(built / "labels.jsonl", verdict_weight=3.0)}
    rejected, accepted = rows["t-p00.final"], rows["t-p01.final"]
    assert (rejected.desirable, rejected.weight) == (False, 3.0)
    assert (accepted.desirable, accepted.weight) == (True, 3.0)
    assert rejected.verdict is not None and accepted.verdict is not None
    assert (rejected.verdict.item, rejected.verdict.author) == ("of t-p00", "Ann")
    assert accepted.verdict.author == "Ben"
    assert (rows["c-p-0.a"].weight, rows["c-p-0.a"].verdict) == (1.0, None)


def test_a_verdict_decides_a_near_tie(tmp_path: Path) -> None:
    with Store.open(tmp_path / "runs" / "store.sqlite") as store:
        store.put_run(run(sft_share=0.0, test_share=0.0))
        for name, p in (("p00", 0.51), ("p01", 0.51), ("p02", 0.9)):
            put(store, "r-1", replace(trace(name), checks=(Check("kind", mass(p, name)),)))
        export(store, "r-1", tmp_path / "runs" / "demo")
    out = tmp_path / "runs" / "demo"
    VerdictFile(out).append([verdict("t-p01", "reject")])
    rows = list(read_labelled([out / "labels.jsonl"]))
    assert names(rows) == {"t-p01.final": False, "t-p02.final": True}
    assert [row.source for row in rows if isinstance(row, SetAside)] == ["labels.jsonl:1"]


@pytest.mark.parametrize(
    ("given", "desirable"),
    [
        ([("accept", "Ann"), ("reject", "Ben")], False),
        ([("reject", "Ann"), ("accept", "Ben")], False),
        ([("reject", "Ann"), ("accept", "Ann")], True),
        ([("reject", "Ann"), ("none", "Ann")], None),
        ([("unsure", "Ann")], None),
        ([("unsure", "Ann"), ("accept", "Ben")], True),
    ],
    ids=str,
)
def test_which_verdict_decides(
    given: list[tuple[Any, str]], desirable: bool | None, built: Path
) -> None:
    """One auditor's rejection is enough; unsure, and what was taken back, decide nothing."""
    VerdictFile(built).append(
        [verdict("t-p00", kind, author, n) for n, (kind, author) in enumerate(given)]
    )
    row = next(row for row in labelled(built / "labels.jsonl") if row.id == "t-p00.final")
    assert (row.verdict is not None) == (desirable is not None)
    assert row.desirable == (True if desirable is None else desirable)


def test_a_verdict_on_a_comparison_is_about_no_single_response(built: Path) -> None:
    """Accepted, its labels stay what the critic said; rejected, they are left out."""
    VerdictFile(built).append([verdict("c-p-0", "accept")])
    rows = labelled(built / "labels.jsonl")
    assert names(rows)["c-p-0.b"] is False and all(row.verdict is None for row in rows)
    VerdictFile(built).append([verdict("c-p-0", "reject", minute=1)])
    aside = [row for row in read_labelled([built / "labels.jsonl"]) if isinstance(row, SetAside)]
    assert [row.reason for row in aside] == ["rejected by an auditor (Ann)"] * 2


def test_a_rejected_revision_says_nothing_of_the_first_response(tmp_path: Path) -> None:
    """Of a pair of a run without labels: accepted, both sides stay; rejected, one alone."""
    with Store.open(tmp_path / "runs" / "store.sqlite") as store:
        store.put_run(run(sft_share=0.0, test_share=0.0))
        for name in ("p00", "p01"):
            put(store, "r-1", replace(trace(name), checks=()))
        export(store, "r-1", tmp_path / "runs" / "demo")
    out = tmp_path / "runs" / "demo"
    VerdictFile(out).append([verdict("t-p00", "reject"), verdict("t-p01", "accept")])
    rows = list(read_labelled([out / "preferences.jsonl"]))
    expected = {"t-p00.chosen": False, "t-p01.chosen": True, "t-p01.rejected": False}
    assert names(rows) == expected
    (aside,) = (row for row in rows if isinstance(row, SetAside))
    assert aside.reason == "the other side of a pair: rejected by an auditor (Ann)"
