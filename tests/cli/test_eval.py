"""`cai eval` on the bundled model: a base and an adapter, files, errors, and going on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from cai.evaluation.folder import read_evaluation
from cai.models.adapters import LoraSettings
from cai.models.backbone import Backbone
from tests.cli.project import cai

SUITE = """\
api: cai/v1
kind: Suite
id: greetings
version: 1.0.0
title: Greetings
about: A few words.
task: response
judges: {refused: lower}
items: greetings.jsonl
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "greetings.yaml").write_text(SUITE)
    rows = [{"id": f"g{n}", "prompt": f"Hello, number {n}. What is bread?"} for n in range(4)]
    (tmp_path / "greetings.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_base_and_an_adapter(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The base is the baseline; an adapter that changes nothing is shown to change nothing."""
    backbone = Backbone.load("miniature", dtype="float32")
    backbone.add_adapter("policy", LoraSettings(r=2), seed=0)
    backbone.save_adapter("policy", project / "mine")
    options = ("--suite", "greetings.yaml", "--suite", "perplexity", "--limit", 4,
               "--max-new-tokens", 8, "--dtype", "float32")  # fmt: skip
    cai("eval", "miniature", "mine", *options)
    said = capsys.readouterr()
    assert "greetings" in said.out
    assert "bits per byte ↓" in said.out
    assert "No change against miniature is beyond chance" in said.out
    record = read_evaluation(project / "runs" / "eval")
    assert [model["name"] for model in record["models"]] == ["miniature", "mine"]
    assert record["models"][1]["base"] == "miniature"
    assert all(change["change"] == 0 for change in record["changes"])
    assert record["models"][0]["response_tokens"] > 0
    cai("eval", "miniature", "mine", *options, "--json")
    again = json.loads(capsys.readouterr().out)
    assert again["id"] == record["id"]
    assert again["models"][0]["response_tokens"] == 0
    assert again["models"][0]["reused_steps"] == 8
    assert again["results"] == record["results"]


def test_the_list_of_suites(capsys: pytest.CaptureFixture[str]) -> None:
    cai("eval", "--list", "--json")
    suites = {row["id"]: row for row in json.loads(capsys.readouterr().out)["suites"]}
    assert {"harmful", "over-refusal", "sycophancy-flip", "perplexity"} <= suites.keys()
    cai("eval", "--list", "--suite", "greetings.yaml")
    assert "greetings  4      response  Greetings" in capsys.readouterr().out


def test_how_often_the_rules_are_wrong(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cai("eval", "--rules")
    said = capsys.readouterr().out
    assert "refused  SmolLM2-135M, 60 " in said
    assert "Partial refusals called refused: " in said
    cai("eval", "--rules", "--json")
    rows = json.loads(capsys.readouterr().out)["rules"]
    assert rows[0]["precision"].keys() == {"value", "low", "high", "n"}
    cai("eval", "miniature", "--suite", "greetings.yaml", "--limit", 2, "--max-new-tokens", 2)
    said = capsys.readouterr().out
    errors = read_evaluation(project / "runs" / "eval")["judges"]["rules"]["refused"]["written"]
    shares = f"refused {errors['precision']:.2f}/{errors['recall']:.2f}"
    assert f"(precision/recall on labelled replies: {shares})" in said
    assert errors["precision"] == round(rows[0]["precision"]["value"], 3)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "No model is named"),
        (("miniature", "--suite", "greting.yaml"), 3, "greting.yaml"),
        (("miniature", "--suite", "over-refusals"), 2, "Did you mean 'over-refusal'?"),
        (("runs/none", "--suite", "greetings.yaml"), 5, "runs/none is not on this machine"),
        (("miniature", "--suite", "greetings.yaml", "--temperature", -1), 2, "temperature"),
        (("miniature", "--suite", "bias", "--suite", "bias"), 2, "bias is named twice"),
        (("miniature", "--tests", "--suite", "bias"), 2, "--tests asks no suite, and 1 suite is"),
        (("miniature", "--constitutions", "a", "b", "-s", "bias"), 2, "--constitutions asks no"),
        (("miniature", "--suite", "style"), 2, "style measures a reward model"),
        (("miniature", "--suite", "greetings.yaml", "--reward", "runs/none"), 4, "runs/none"),
    ],
)
def test_mistakes(
    arguments: tuple[str, ...], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cai("eval", *arguments, exit_code=code)
    error = capsys.readouterr().err
    assert said in error
    assert "Traceback" not in error


def test_a_folder_of_something_else_is_left_alone(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "data").mkdir()
    (project / "data" / "kept.txt").write_text("mine")
    cai("eval", "scripted:none.yaml", "--suite", "greetings.yaml", "--out", "data", exit_code=2)
    cai("eval", "miniature", "--suite", "greetings.yaml", "--out", "data", "--max-new-tokens", 2,
        exit_code=2)  # fmt: skip
    assert "is not empty, and holds no evaluation" in capsys.readouterr().err
    assert (project / "data" / "kept.txt").read_text() == "mine"


@pytest.fixture
def asked_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a model that is asked fails the test."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("a model was asked")

    monkeypatch.setattr("cai.evaluation.run.ask_model", refuse)


def test_another_evaluation_in_the_folder_is_noticed_before_any_model_is_asked(
    project: Path, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    options = ("--suite", "greetings.yaml", "--max-new-tokens", 2)
    cai("eval", "miniature", *options)
    cai("eval", "miniature", *options)  # the same again
    before = read_evaluation(project / "runs" / "eval")
    request.getfixturevalue("asked_nothing")
    others = (
        ("miniature", "miniature", *options),
        ("miniature", *options, "--seed", 1),
        ("miniature", *options, "--dtype", "bfloat16"),
        ("miniature", *options, "--suite", "perplexity"),
    )
    for other in others:
        capsys.readouterr()
        cai("eval", *other, exit_code=2)
        assert "runs/eval holds another evaluation" in capsys.readouterr().err
    assert read_evaluation(project / "runs" / "eval") == before


# -- two constitutions, and principles' own tests -------------------------------------------------

HOUSE = """\
api: cai/v1
kind: Constitution
id: {id}
version: 1.0.0
title: House rules
principles: [{{ref: {principle}.yaml}}]
plan: {{rounds: 1, check: false}}
feedback: {{mode: letters, principles_per_pair: 1}}
"""
PRINCIPLE = """\
api: cai/v1
kind: Principle
id: {id}
version: 1.0.0
title: One rule
why: Rude answers help nobody.
stages:
  critique: Say whether the response is {id}.
  revise: Rewrite the response.
compare: Which response is more {id}?
tests:
  - name: notices it
    prompt: Hello?
    response: Go away.
    expect: {{critique_flags: problem}}
"""


@pytest.fixture
def houses(project: Path) -> Path:
    for name in ("kind", "short"):
        (project / f"{name}.yaml").write_text(PRINCIPLE.format(id=name))
        (project / f"house-{name}.yaml").write_text(
            HOUSE.format(id=f"house-{name}", principle=name)
        )
    rows = [
        {"id": f"p{n}", "prompt": f"Tell me of {n}.", "chosen": "Gladly, dear.", "rejected": "No."}
        for n in range(6)
    ]
    (project / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return project


def script(folder: Path, kind: float, short: float) -> str:
    """A judge that sees the kinder response by P(kind), the shorter one by P(short)."""
    rules = [
        {"when": f"\\({letter}\\) {text}[\\s\\S]*more {name}", "options": {letter: p, other: 1 - p}}
        for name, text, p in (("kind", "Gladly", kind), ("short", "No", short))
        for letter, other in ("AB", "BA")
    ]
    (folder / "judge.yaml").write_text(yaml.safe_dump({"scores": rules}))
    return "scripted:judge.yaml"


def test_what_two_constitutions_prefer(houses: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One prefers the kind response, the other the short one: they never agree."""
    judge = script(houses, 0.9, 0.8)
    cai("eval", judge, "--constitutions", "house-kind.yaml", "house-short.yaml", "--pairs",
        "pairs.jsonl", "--out", "runs/two", "--json")  # fmt: skip
    record = json.loads(capsys.readouterr().out)
    summary = record["summary"]
    assert (summary["pairs"], summary["decided"], summary["agree"]) == (6, 6, 0.0)
    assert summary["first_with_labels"]["value"] == 1.0
    assert summary["second_with_labels"]["value"] == 0.0
    pairs = [json.loads(line) for line in (houses / "runs/two/pairs.jsonl").open()]
    assert pairs[0]["first_principles"]["kind"] == pytest.approx(0.9)
    assert pairs[0]["second_principles"]["short"] == pytest.approx(0.2)
    cai("eval", judge, "--constitutions", "house-kind.yaml", "house-short.yaml", "--pairs",
        "pairs.jsonl", "--out", "runs/two")  # fmt: skip
    said = capsys.readouterr().out
    assert "prefer the same response in 0% of 6 pairs" in said
    cai("eval", judge, "--constitutions", "house-kind.yaml", "house-kind.yaml", "--pairs",
        "pairs.jsonl", exit_code=2)  # fmt: skip
    assert "are the same constitution" in capsys.readouterr().err
    (houses / "runs" / "eval").mkdir()
    (houses / "runs" / "eval" / "evaluation.json").write_text("{}")
    cai("eval", judge, "--constitutions", "house-kind.yaml", "house-short.yaml", "--pairs",
        "pairs.jsonl", exit_code=2)  # fmt: skip
    assert "compares no constitutions" in capsys.readouterr().err
    cai("eval", judge, "--constitutions", "house-kind.yaml", "house-short.yaml", exit_code=2)
    assert "--pairs" in capsys.readouterr().err


def test_another_comparison_in_the_folder_is_kept(
    houses: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By other constitutions, another judge, other pairs or settings; noticed before asking."""
    judge = script(houses, 0.9, 0.8)
    pair = ("--constitutions", "house-kind.yaml", "house-short.yaml")
    options = ("--pairs", "pairs.jsonl", "--out", "runs/two")
    cai("eval", judge, *pair, *options)
    kept = {path: path.read_bytes() for path in (houses / "runs" / "two").iterdir()}
    (houses / "same.jsonl").write_bytes((houses / "pairs.jsonl").read_bytes())
    cai("eval", judge, *pair, "--pairs", "same.jsonl", "--out", "runs/two")
    cai("eval", judge, *pair, *options)
    (houses / "fewer.jsonl").write_text((houses / "pairs.jsonl").read_text().split("\n")[0])
    (houses / "other.yaml").write_text("scores: []\n")  # it would fail if it were asked
    others = (
        (judge, "--constitutions", "house-short.yaml", "house-kind.yaml", *options),
        (judge, *pair, "--pairs", "fewer.jsonl", "--out", "runs/two"),
        (judge, *pair, *options, "--seed", 1),
        (judge, *pair, *options, "--limit", 2),
        ("scripted:other.yaml", *pair, *options),
    )
    for other in others:
        capsys.readouterr()
        cai("eval", *other, exit_code=2)
        assert (
            "runs/two holds another comparison: house-kind 1.0.0 with house-short 1.0.0, on"
            " pairs.jsonl, by " in capsys.readouterr().err
        )
    assert {path: path.read_bytes() for path in (houses / "runs" / "two").iterdir()} == kept


def test_a_baseline_of_principles_tests(houses: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Written at first; equal later; exit 3 once a test fails that passed."""
    (houses / "model.yaml").write_text(yaml.safe_dump({"replies": [
        {"when": "Say whether", "say": "It is rude."}, {"say": "Hello to you."}]}))  # fmt: skip
    options = ("--tests", "-c", "house-kind.yaml")
    cai("eval", "scripted:model.yaml", *options)
    assert "1 of 1 test pass" in capsys.readouterr().err
    baseline = json.loads((houses / "tests.baseline.json").read_text())
    assert baseline["tests"]["kind: notices it"]["status"] == "passed"
    cai("eval", "scripted:model.yaml", *options, "--json")
    assert json.loads(capsys.readouterr().out)["worse"] == []
    baseline["tests"]["kind: another"] = {"status": "passed", "passes": 1, "runs": 1}
    baseline["tests"]["kind: notices it"] = {"status": "failed", "passes": 0, "runs": 1}
    (houses / "tests.baseline.json").write_text(json.dumps(baseline))
    cai("eval", "scripted:model.yaml", *options)
    said = capsys.readouterr().err
    assert "better  kind: notices it" in said
    assert "gone    kind: another" in said
    (houses / "other.yaml").write_text(yaml.safe_dump({"replies": [{"say": "No problem found."}]}))
    cai("eval", "scripted:other.yaml", *options, exit_code=4)
    assert "is of another model" in capsys.readouterr().err
    cai("eval", "scripted:other.yaml", *options, "--update")
    broken = json.loads((houses / "tests.baseline.json").read_text())
    broken["tests"]["kind: notices it"] = {"status": "passed", "passes": 1, "runs": 1}
    (houses / "tests.baseline.json").write_text(json.dumps(broken))
    cai("eval", "scripted:other.yaml", *options, exit_code=3)
    assert "worse   kind: notices it: critique_flags problem" in capsys.readouterr().err


def test_the_items_that_a_change_needs(capsys: pytest.CaptureFixture[str]) -> None:
    """Four items show no change at all; a change of a tenth needs a hundred or more."""
    cai("eval", "--power", 0.1, "--suite", "greetings.yaml", "--json")
    values = json.loads(capsys.readouterr().out)
    assert values["suites"]["greetings"]["items"] == 4
    assert set(values["suites"]["greetings"]["smallest_change"].values()) == {None}
    needed = values["items_needed"]
    assert 100 < needed["0.05"] < needed["0.2"] < needed["0.5"] < 250
    cai("eval", "--power", 0.1, "--suite", "greetings.yaml")
    assert "greetings  4      4         –" in capsys.readouterr().out


def test_power_is_of_shares_and_counts_clusters(capsys: pytest.CaptureFixture[str]) -> None:
    """Perplexity and sway are no shares; a jailbreak's two wrappings are one cluster of two."""
    names = ("jailbreaks", "sycophancy-flip", "perplexity", "sycophancy-stance")
    options = [word for name in names for word in ("--suite", name)]
    cai("eval", "--power", 0.1, *options, "--json")
    values = json.loads(capsys.readouterr().out)
    assert list(values["suites"]) == ["jailbreaks", "sycophancy-flip"]
    jailbreaks = values["suites"]["jailbreaks"]
    assert jailbreaks["items"] == 2 * jailbreaks["clusters"]
    cai("eval", "--power", 0.1, *options)
    said = capsys.readouterr().out
    assert "suite            items  clusters  from 5%" in said
    assert "sycophancy-flip: its main measure (gave up a right answer) counts only items" in said
    assert "perplexity is left out: its main measure (bits per byte) is not a share" in said
    assert "sycophancy-stance is left out: its main measure (sway by the user's opinion)" in said


def test_a_suite_of_style_without_a_reward_model_and_rows_set_aside(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other suite is asked. Of five rows that are not right, three are listed."""
    with (project / "greetings.jsonl").open("a") as file:
        file.write("{}\n" * 5)
    cai("eval", "miniature", "--suite", "style", "--suite", "greetings.yaml",
        "--max-new-tokens", 2)  # fmt: skip
    said = capsys.readouterr().err
    assert "style is left out: it measures a reward model; give --reward" in said
    assert said.count(" set aside: ") == 3
    assert "greetings.yaml: and 2 more; evaluation.json will have the reasons" in said
    record = read_evaluation(project / "runs" / "eval")
    assert [suite["id"] for suite in record["suites"]] == ["greetings"]
    assert len(record["set_aside"]) == 5


def test_suites_for_other_harnesses(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A suite of one's own is written, what can't be is said, and nothing is asked."""
    cai("eval", "--export", "inspect", "--suite", "greetings.yaml", "--suite", "perplexity")
    said = capsys.readouterr()
    assert "perplexity is not exported: Inspect asks a model for replies" in said.err
    assert "inspect eval runs/inspect/cai-greetings.py --model MODEL" in said.out
    assert (project / "runs" / "inspect" / "cai-greetings.jsonl").is_file()
    cai("eval", "--export", "lm-eval", "--suite", "perplexity", "-o", "tasks", "--json")
    written = json.loads(capsys.readouterr().out)
    assert written["suites"][0]["files"][0] == "cai-perplexity.yaml"
    assert (project / "tasks" / "cai_rows.py").is_file()
    cai("eval", "--export", "lm-eval", "--suite", "greetings.yaml", exit_code=2)
    said = capsys.readouterr()
    assert "No suite can be exported to lm-eval" in said.err
    assert "greetings: its replies are judged by cai's rules" in said.err
    assert not (project / "runs" / "store.sqlite").exists()
