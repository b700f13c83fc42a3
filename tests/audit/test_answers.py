"""Answers of an evaluation as items, with what is read first; and its results for the overview."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from cai.audit.agreement import report
from cai.audit.answers import AnsweredSuite, answer_item, answered_suites, evaluation_values
from cai.audit.diff import diff_payload
from cai.audit.forms.rows import row_values
from cai.audit.items import AuditItem, Entry
from cai.audit.runs import open_run
from cai.audit.sample import SamplePlan, draw
from cai.audit.sign import Thresholds, sign
from cai.data.verdicts import Verdict
from cai.errors import DataError, UsageError
from cai.evaluation.answers import ItemAnswer
from cai.evaluation.folder import read_evaluation
from cai.evaluation.record import ANSWERS, NAME
from cai.types import Message
from tests.evaluation.folders import evaluation


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return evaluation(tmp_path_factory.mktemp("answers") / "eval")


@pytest.fixture(scope="module")
def items(folder: Path) -> dict[str, AuditItem]:
    with open_run(folder) as run:
        return {entry.item.id: entry.item for entry in run.entries()}


def row(measure: str, kind: str = "share", better: str | None = "higher") -> dict[str, Any]:
    return {"suite": "s", "measure": measure, "title": measure, "kind": kind, "better": better}


def item_of(
    values: dict[str, float], *measures: dict[str, Any], task: str = "response", **rest: Any
) -> AuditItem:
    asked = (Message("user", "Why?"),)
    answer = ItemAnswer("s", "i", "", "i", asked, "Because of it.", values, **rest)
    return answer_item("m", answer, AnsweredSuite("s", task, measures))


def test_every_answer_is_an_item(folder: Path, items: dict[str, AuditItem]) -> None:
    """Two models, each with four replies, three choices and a stance."""
    with open_run(folder) as run:
        assert (run.kind, len(run), run.problems()) == ("evaluation", 16, [])
        assert run.facts["judge"] == "critic" and run.facts["models"] == "base, tuned"
    assert len(items) == 16 and len({item.key for item in items.values()}) == 16
    one = items["base/harmful/h3"]
    assert [m.content for m in one.prompt] == ["Harmful request 3?", "Which one?", "The third."]
    assert one.values["response"] == {"text": "Take step 3 of base.", "cut": False}
    assert items["base/harmful/h1"].values["response"]["reasoning"] == "It thinks."
    assert one.values["measured"]["refused"] == 0.0
    assert one.values["checks"][0] == {"principle": "kind", "p": 0.9}
    assert items["base/facts/f2"].values["choices"] == [
        {"text": "Paris", "p": 0.3, "right": True}, {"text": "Rome", "p": 0.7, "right": False},
    ]  # fmt: skip


def test_the_key_is_of_what_is_shown() -> None:
    plain = item_of({"refused": 1.0}, row("refused"))
    assert item_of({"refused": 1.0}, row("refused")).key == plain.key
    assert item_of({"refused": 0.0}, row("refused")).key != plain.key
    assert item_of({"refused": 1.0}, row("refused"), cut=True).key != plain.key
    assert item_of({"refused": 1.0}, row("refused"), principles={"kind": 0.9}).key != plain.key


def test_the_first_measure_that_is_yes_or_no_decides() -> None:
    refused, evasive = row("refused", better="lower"), row("evasive", better="lower")
    for values, measures, good, by in (
        ({"refused": 1.0}, (refused,), False, "refused"),
        ({"refused": 0.0}, (refused,), True, "refused"),
        ({"refused": 0.0, "evasive": 0.0}, (evasive, refused), True, "evasive"),
        ({"refused": 1.0, "evasive": 0.0}, (evasive, refused), False, "refused"),
        ({"corrected": 1.0}, (row("gave_in", better="lower"), row("corrected")), True, "corrected"),
        ({"sway": 0.3}, (row("sway", "mean", "lower"),), None, "sway"),
        ({"accuracy": 1.0}, (row("accuracy", better=None),), None, "accuracy"),
    ):
        item = item_of(values, *measures)
        assert (item.judge, item.values["by"]) == (good, by), values


def test_of_a_choice_the_first_measure_decides() -> None:
    """Wrong by the probability per byte, and right by the main measure."""
    values, measures = {"accuracy": 1.0, "per_byte": 0.0}, (row("accuracy"), row("per_byte"))
    assert item_of(values, *measures, task="choice").judge is True
    assert item_of(values, *measures[::-1], task="choice").judge is False


def test_without_a_rule_the_judge_decides() -> None:
    broken = item_of({"violation": 1.0}, row("violation", better="lower"), principles={"k": 0.4})
    assert (broken.judge, broken.values["by"]) == (False, "violation")
    assert broken.principles == ("k",)
    assert item_of({"words": 3.0}, row("words", "mean", None), principles={"k": 0.6}).judge is True


def test_disagreement_is_read_first(items: dict[str, AuditItem]) -> None:
    """Base: h3 is not refused, and kind. Tuned: h0 alike; h1 is refused, and unkind.

    2 for the disagreement; with 0.9 the judge is 1 - |2 · 0.9 - 1| = 0.2 from being undecided, with
    0.4 it is 0.8. A truncated reply adds the weight of its flag, 2.
    """
    opposed = {
        name for name, item in items.items()
        if item.values["judged"] is not None and item.judge is not item.values["judged"]
    }  # fmt: skip
    assert opposed == {"base/harmful/h3", "tuned/harmful/h0", "tuned/harmful/h1"}
    assert items["base/harmful/h3"].doubt == pytest.approx(2.2)
    assert items["tuned/harmful/h1"].doubt == pytest.approx(2.8)
    assert items["base/harmful/h0"].doubt == pytest.approx(0.2)
    assert items["base/harmful/h2"].flags == ("F08",)
    assert items["base/harmful/h2"].doubt == pytest.approx(2.4)


def test_close_choices_are_read_first(items: dict[str, AuditItem]) -> None:
    """0.55 against 0.45 is 0.1 apart, 0.8 against 0.2 is 0.6 apart. A stance is no choice."""
    assert items["base/facts/f1"].doubt == pytest.approx(0.9)
    assert items["base/facts/f0"].doubt == pytest.approx(0.4)
    assert items["base/opinions/s0"].doubt == 0.0


def test_choices_have_no_flags() -> None:
    text = "it goes round and round again and " * 4
    values = {"accuracy": 1.0}
    assert (
        item_of(values, row("accuracy"), task="choice", choices={text: 1.0}, cut=True).flags == ()
    )
    assert item_of({"refused": 0.0}, row("refused"), cut=True).flags == ("F08",)


def test_bits_per_byte_and_numbers_that_are_none() -> None:
    """8 ln 2 nats are 8 bits; on 4 bytes, 2 bits per byte. JSON has no infinity."""
    item = item_of({"nats": 8 * math.log(2), "bytes": 4.0}, task="text")
    assert item.values["measured"]["bits_per_byte"] == pytest.approx(2.0)
    assert item.values["by"] == "bits_per_byte"
    assert item_of({"nats": math.inf, "bytes": 4.0}, task="text").values["measured"]["nats"] is None


def test_results_the_worst_first(folder: Path) -> None:
    """Refusals +0.25 and accuracy +0.33 are better, sway +0.2 is worse."""
    found = evaluation_values(read_evaluation(folder))
    assert [(c["suite"], c["better"]) for c in found["changes"]] == [
        ("opinions", False), ("harmful", True), ("facts", True),
    ]  # fmt: skip
    main = {(r["model"], r["suite"]): r["value"] for r in found["results"]}
    assert main["base", "harmful"] == 0.5 and main["tuned", "harmful"] == 0.75
    words = {(m["suite"], m["measure"]): (m["yes"], m["no"]) for m in found["measures"]}
    assert words["harmful", "refused"] == ("refused", "not refused")
    assert words["facts", "accuracy"] == ("right", "wrong")


def test_a_choice_that_is_not_the_right_one_is_not_called_so(folder: Path) -> None:
    record = read_evaluation(folder)
    for result in record["results"]:
        if result["measure"] == "accuracy":
            result.update(title="matches the behaviour", better=None)
        if result["measure"] == "refused":
            result.update(measure="polite", title="polite")
    found = evaluation_values(record)
    assert [s["mark"] for s in found["suites"]] == ["right", "matches", "right"]
    words = {m["measure"]: (m["yes"], m["no"]) for m in found["measures"]}
    assert words["accuracy"] == ("matches the behaviour", "not: matches the behaviour")
    assert words["polite"] == ("polite", "not: polite")
    assert answered_suites(record)["facts"].verdict({"accuracy": 1.0}) == (None, "accuracy")


def test_auditors_and_the_measure(items: dict[str, AuditItem]) -> None:
    """Ann accepts everything. The measures call 2 replies and 2 choices of the base good, and 3 and
    3 of the tuned: 10 of 14. The two stances have no verdict."""
    said = [Verdict(i.key, i.id, "r", "accept", "Ann", "2026-01-01T10:00:00Z")
            for i in items.values()]  # fmt: skip
    (ann,) = report(items.values(), said, {}).auditors
    assert (ann.answers.agree.hits, ann.answers.agree.n) == (10, 14)


def test_a_sample_over_suites_and_models(items: dict[str, AuditItem]) -> None:
    """Three suites and two models are six strata, so six items are one of each."""
    drawn = draw(items.values(), SamplePlan(6, stratify=("suite", "model")))
    chosen = {(i.values["suite"], i.values["model"]) for i in items.values() if i.key in drawn}
    assert len(drawn) == 6 and len(chosen) == 6


def test_an_answer_as_a_row(items: dict[str, AuditItem]) -> None:
    found = row_values(Entry(items["tuned/facts/f0"]))
    assert (found["model"], found["suite"], found["response"]) == ("tuned", "facts", "Paris")
    assert {"name": "accuracy", "value": 1.0} in found["measured"]
    assert found["choices"][0] == {"text": "Paris", "p": 0.9, "right": True}


def test_an_evaluation_is_not_signed_and_not_set_beside_another(folder: Path) -> None:
    with open_run(folder) as run:
        with pytest.raises(UsageError, match="is an evaluation; what is signed off is data"):
            sign(run, "Ann", Thresholds())
        with pytest.raises(UsageError, match="can't be set side by side") as error:
            diff_payload(run, run)
        assert "answers of all its models" in str(error.value.hint)


def test_a_folder_that_was_edited(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "eval")
    path = folder / ANSWERS
    text = path.read_text()
    path.write_text(text.replace('"suite": "facts"', '"suite": "fact"').replace(
        '"suite":"facts"', '"suite":"fact"'))  # fmt: skip
    with open_run(folder) as run:
        assert len(run.problems()) == 1
        with pytest.raises(DataError, match="has an answer of fact, and no such suite"):
            list(run.entries())
    path.write_text(text + "{\n")
    with pytest.raises(DataError, match=r"answers\.jsonl:17: not an answer"), open_run(folder):
        pass
    path.write_text(text)
    record = json.loads((folder / NAME).read_text())
    del record["suites"][0]["task"]
    (folder / NAME).write_text(json.dumps(record))
    with pytest.raises(DataError, match="is not what cai eval writes"), open_run(folder):
        pass
