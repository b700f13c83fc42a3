"""The page as a file: its policy, its data, and what it says of what is not in it."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from cai.audit.diff import diff_payload
from cai.audit.page import Frames, pack, payload, principle_values, render
from cai.audit.report import run_payload, write_report
from cai.audit.runs import open_run
from cai.audit.sample import SamplePlan, write_sample
from cai.data.verdicts import Verdict, VerdictFile
from tests.audit.runs import RUN, build, rollouts, write
from tests.evaluation.folders import evaluation
from tests.store import samples


def data_of(page: str) -> dict[str, Any]:
    (packed,) = re.findall(r'id="data">([A-Za-z0-9+/=]*)</script>', page)
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed)))
    return found


def empty(name: str, **options: Any) -> dict[str, Any]:
    return payload(
        mode="report", name=name, run_id="r", kind="build", facts={}, items=[], frames=Frames(),
        **options,
    )  # fmt: skip


def test_the_policy_allows_the_one_script_and_the_one_style() -> None:
    page = render(empty("demo"))
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    for tag, name in (("script", "script-src"), ("style", "style-src")):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{name} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'") and "connect-src" not in policy
    assert "unsafe" not in policy and "http" not in policy
    assert "connect-src 'self'" in render(empty("demo"), connect=True)


def test_no_text_is_markup() -> None:
    """A name stands in the title, escaped; all else is in the block of data."""
    evil = "</title><script>alert(1)</script>{{script}}"
    page = render(empty(evil, note="</script><b>", principles=[{"id": evil}]))
    assert page.count("<script>") == 1 and "<b>" not in page
    assert data_of(page)["run"]["name"] == evil
    assert data_of(page)["principles"][0]["id"] == evil


def test_equal_data_make_equal_text_and_half_characters_no_error() -> None:
    assert pack({"a": "x"}) == pack({"a": "x"})
    assert json.loads(gzip.decompress(base64.b64decode(pack({"a": "\ud800"})))) == {"a": "?"}
    with pytest.raises(ValueError):
        pack({"a": float("nan")})


def test_the_chance_of_a_draw() -> None:
    """Weights 1 and 3 in the first round; one serves in round 2 alone, one in feedback alone."""
    found = principle_values(
        [
            {"id": "a", "weight": 1.0, "phases": ["sl"], "rounds": []},
            {"id": "b", "weight": 3.0, "phases": ["sl", "rl"], "rounds": [1, 2]},
            {"id": "c", "weight": 9.0, "phases": ["sl"], "rounds": [2]},
            {"id": "d", "weight": 9.0, "phases": ["rl"]},
        ]
    )
    assert [p["share"] for p in found] == [0.25, 0.75, None, None]
    assert [p["share"] for p in principle_values(found, "uniform")] == [0.25] * 4
    assert {p["share"] for p in principle_values(found, "fixed")} == {None}  # nothing is drawn


def test_several_pages_hold_everything_once_and_say_so(tmp_path: Path) -> None:
    run = build(tmp_path)
    with open_run(run) as opened:
        whole = data_of(write_report(opened, tmp_path / "all.html")[0].read_text())
        pages = write_report(opened, tmp_path / "part.html", most=5)
    parts = [data_of(file.read_text()) for file in pages]
    assert [file.name for file in pages] == [f"part-{n}.html" for n in (1, 2, 3)]
    assert [len(p["items"]) for p in parts] == [5, 5, 2]
    keys = [item["key"] for p in parts for item in p["items"]]
    assert keys == [item["key"] for item in whole["items"]] and len(set(keys)) == 12
    assert parts[2]["note"] == "Page 3 of 3: 2 items here." and whole["note"] == ""


def test_a_page_of_the_sample_says_that_it_is_one(tmp_path: Path) -> None:
    run = build(tmp_path)
    with open_run(run) as opened:
        _, items = write_sample(opened, SamplePlan(3))
        (file,) = write_report(opened, tmp_path / "s.html", keys=frozenset(items))
    found = data_of(file.read_text())
    assert {item["key"] for item in found["items"]} == set(items)
    assert found["note"] == "This is a sample: 3 of 12 items."
    assert found["sample"]["n"] == 3


def test_what_was_said_comes_with_the_page(tmp_path: Path) -> None:
    run = build(tmp_path)
    said = Verdict("k", "t-p0", "r-audit", "reject", "Ann", "2026-01-01T10:00:00Z")
    VerdictFile(run).append([said])
    with open_run(run) as opened:
        (file,) = write_report(opened, tmp_path / "s.html")
    assert [v["record"] for v in data_of(file.read_text())["verdicts"]] == ["t-p0"]
    assert not list(tmp_path.glob(".*partial"))


DECLARATION = re.compile(
    r"^interface (\w+)(?: extends (\w+))? \{\n(.*?)^\}", re.DOTALL | re.MULTILINE
)


def declared(name: str) -> tuple[set[str], set[str]]:
    """The keys that page.d.ts declares for an interface: those always there, and the optional."""
    text = (files("cai.audit") / "assets" / "page.d.ts").read_text(encoding="utf-8")
    interfaces = {match[1]: (match[2], match[3]) for match in DECLARATION.finditer(text)}
    always, optional = set[str](), set[str]()
    while name:
        name, body = interfaces[name]
        always |= set(re.findall(r"^  (\w+):", body, re.MULTILINE))
        optional |= set(re.findall(r"^  (\w+)\?:", body, re.MULTILINE))
    return always, optional


def assert_declared(values: Mapping[str, Any], name: str, added: Iterable[str] = ()) -> None:
    always, optional = declared(name)
    assert always - set(added) <= set(values) <= always | optional, name


def test_a_contrast_pair_has_what_each_side_was_asked(tmp_path: Path) -> None:
    run = write(tmp_path, "demo", [samples.contrast("p1", guards=("leaked",))], RUN)
    with open_run(run) as opened:
        (item,) = run_payload(opened, list(opened.entries()))["items"]
    assert_declared(item, "ComparisonItem", ("traits", "text"))
    assert item["contrast"] == {
        "principle": "kind",
        "version": "1.2.0",
        "asked": ["Question p1? (Be kind.)", "Question p1? (Be unkind.)"],
        "guards": ["leaked"],
    }
    assert (item["principles"], item["flags"], item["judgements"]) == (["kind"], ["F16"], [])
    assert item["left_out"] == ["guarded: leaked"] and item["rows"] == []
    assert set(item["inputs"]) == {"responses 0", "responses 1"}


def test_the_types_of_the_script_are_those_of_the_data(tmp_path: Path) -> None:
    before, after = build(tmp_path), build(tmp_path, "after", edited=True)
    VerdictFile(before).append([Verdict("k", "t", "r", "accept", "Ann", "2026-01-01T10:00:00Z")])
    with open_run(before) as one, open_run(after) as other:
        page = run_payload(one, list(one.entries()))
        diff = diff_payload(one, other)
    with open_run(rollouts(tmp_path / "ppo")) as ppo:
        training = run_payload(ppo, list(ppo.entries()))
    with open_run(evaluation(tmp_path / "eval")) as judged:
        answers = run_payload(judged, list(judged.entries()))
    for data in (page, diff, training, answers):
        assert_declared(data, "Payload")
        assert_declared(data["flags"][0], "FlagMeaning")
        for item in data["items"]:
            name = f"{item['kind'].title()}Item"
            assert_declared(item, name, ("traits", "text"))
            for side in (item["a"], item["b"]) if name == "PairItem" else ():
                assert_declared(side, f"{side['kind'].title()}Item", ("traits", "text"))
    assert_declared(page["principles"][0], "PrincipleValues")
    assert_declared(page["verdicts"][0], "VerdictRow")
    trace = next(item for item in page["items"] if item["kind"] == "trace")
    comparison = next(item for item in page["items"] if item["kind"] == "comparison")
    assert_declared(trace["response"], "GeneratedText")
    assert_declared(trace["rounds"][0], "Round")
    assert_declared(trace["checks"][0], "Check")
    assert_declared(comparison["judgements"][0], "JudgementValues")
    results = answers["evaluation"]
    assert_declared(results, "EvaluationResults")
    for part, name in (
        ("suites", "SuiteValues"), ("measures", "MeasureValues"), ("results", "ResultValues"),
        ("changes", "ChangeValues"), ("agreement", "AgreementValues"),
        ("win_rates", "WinRateValues"), ("rules", "RuleValues"),
        ("preferences", "PreferenceValues"),
    ):  # fmt: skip
        assert_declared(results[part][0], name)
    assert_declared(results["win_rates"][0]["win_rate"], "IntervalValues")
    assert_declared(answers["items"][0]["response"], "GeneratedText")
    chosen = next(item for item in answers["items"] if item["choices"])
    assert_declared(chosen["choices"][0], "ChoiceValues")
