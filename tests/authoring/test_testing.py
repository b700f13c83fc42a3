"""The tests of principles: without a model, on a scripted one, and on the miniature."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from cai.content import packaged
from cai.miniature.world.principles_by_hand import SHIPPED
from cai.store.store import Store
from tests.constitution.projects import principle, project
from tests.e2e.helpers import cai

TESTS = """\
tests:
  - name: flags it
    prompt: Hello?
    response: Hi, fool.
    expect: {critique_flags: problem, revision: changed, not_contains: fool}
  - name: leaves it alone
    prompt: Hello?
    response: Hi.
    expect: {critique_flags: none, revision: unchanged}
  - name: shows its words
    prompt: Hello?
    response: Hi.
    expect: {renders: Say what is rude.}
"""
SCRIPT = """\
replies:
  - {when: "Say what is rude", say: ["It calls the user a fool.", "No problem found."]}
  - {say: ["Hi."]}
"""


@pytest.fixture
def rules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A constitution of two principles, the first with three tests; we are in its folder."""
    monkeypatch.chdir(tmp_path)
    text = principle("rude")
    return project(tmp_path, rude=text[: text.index("tests:")] + TESTS)


def results(capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, object]]:
    return {row["test"]: row for row in json.loads(capsys.readouterr().out)}


def test_without_a_model(rules: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cai("test", "rude", "-c", rules, "--format", "json")
    rows = results(capsys)
    assert {name: row["status"] for name, row in rows.items()} == {
        "flags it": "skipped", "leaves it alone": "skipped", "shows its words": "passed",
    }  # fmt: skip
    assert rows["flags it"]["note"] == "needs a model"


@pytest.mark.parametrize(
    ("old", "new", "broken"),
    [
        ("renders: Say what", "renders: Never said", "renders 'Never said is rude.'"),
        ("none, revision: unchanged", "none, revision: changed",
         "can't pass: a critique that finds nothing leaves the response alone"),
    ],
)  # fmt: skip
def test_what_no_model_could_pass(
    rules: Path, capsys: pytest.CaptureFixture[str], old: str, new: str, broken: str
) -> None:
    file = rules.parents[1] / "principles" / "rude.yaml"
    file.write_text(file.read_text("utf-8").replace(old, new), "utf-8")
    cai("test", "rude", "-c", rules, exit_code=3)
    assert f"broken: {broken}" in capsys.readouterr().out


def test_on_a_scripted_model(
    rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A critic that says one of two things, whatever it is shown: no test of both kinds can pass
    always, and what came is told."""
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT.replace(', "No problem found."', ""), "utf-8")
    junit = tmp_path / "tests.xml"
    cai("test", "rude", "-c", rules, "-m", f"scripted:{script}", "--format", "json", "--junit",
        junit, "-q", exit_code=3)  # fmt: skip
    rows = results(capsys)
    assert {name: row["status"] for name, row in rows.items()} == {
        "flags it": "passed", "leaves it alone": "failed", "shows its words": "passed",
    }  # fmt: skip
    assert rows["leaves it alone"]["broken"] == ["critique_flags none"]
    assert {"what": "critique", "text": "It calls the user a fool."} in rows["leaves it alone"][
        "came"
    ]  # type: ignore[operator]
    root = ElementTree.parse(junit).getroot()
    assert (root.get("tests"), root.get("failures"), root.get("skipped")) == ("3", "1", "0")
    (suite,) = root
    failed = [case.get("name") for case in suite if case.find("failure") is not None]
    assert (suite.get("name"), failed) == ("rude", ["leaves it alone"])
    assert "It calls the user a fool." in (suite.find("testcase/failure").text or "")  # type: ignore[union-attr]


def test_k_of_n(rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The scripted critic finds a problem under some seeds: how many of 8 decides."""
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT, "utf-8")
    common = ("test", "rude", "-k", "flags", "-c", rules, "-m", f"scripted:{script}", "-q",
              "--repeat", 8, "--format", "json")  # fmt: skip
    cai(*common, "--need", 1)
    passes = results(capsys)["flags it"]["held"]
    assert isinstance(passes, int) and 0 < passes < 8, "both replies were drawn"
    cai(*common, "--need", passes)
    cai(*common, "--need", passes + 1, exit_code=3)
    cai(*common, exit_code=3)


def test_what_was_asked_is_kept_as_a_build_keeps_it(
    rules: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second time nothing is asked; five times as often asks three more of each."""
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT.replace(', "No problem found."', ""), "utf-8")
    common = ("test", "rude", "-c", rules, "-m", f"scripted:{script}", "-q", "-k", "flags",
              "--need", 1, "--runs-dir", tmp_path / "kept")  # fmt: skip

    def run_tests(repeat: int) -> tuple[int, int, list[str]]:
        cai(*common, "--repeat", repeat)
        *lines, last = capsys.readouterr().out.splitlines()
        match = re.fullmatch(r"Generated (\d+) steps?; (\d+) reused from the store.", last)
        assert match is not None
        return int(match[1]), int(match[2]), lines

    generated, reused, lines = run_tests(2)
    assert generated >= 2 and reused == 0
    assert run_tests(2) == (0, generated, lines)
    more, again, _ = run_tests(5)
    assert again == generated and more >= 3
    assert run_tests(5)[:2] == (0, generated + more)
    with Store.open(tmp_path / "kept" / "store.sqlite") as store, store.lock():
        cai(*common, "--repeat", 5, exit_code=6)
    assert "another build is using this store" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-k", "nothing like it"], "No test matches"),
        (["--need", "2"], "Give both"),
        (["--repeat", "2"], "Name one with --model"),
        (["--repeat", "2", "--need", "3", "-m", "miniature"], "can't be had"),
        (["rudeness"], "no principle 'rudeness'"),
    ],
)
def test_mistakes_are_told(
    rules: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    cai("test", "-c", rules, *arguments, exit_code=2)
    assert message in capsys.readouterr().err


def test_junit_holds_what_xml_can_not(rules: Path, tmp_path: Path) -> None:
    """A reply with control characters and markup."""
    script = tmp_path / "script.yaml"
    script.write_text('replies:\n  - {say: ["</failure>&\\u0008 \\u202e ]]>"]}\n', "utf-8")
    junit = tmp_path / "tests.xml"
    cai("test", "rude", "-c", rules, "-m", f"scripted:{script}", "-q", "--junit", junit,
        exit_code=3)  # fmt: skip
    texts = [f.text or "" for f in ElementTree.parse(junit).getroot().iter("failure")]
    assert texts and all("</failure>&" in text and "\x08" not in text for text in texts)


def test_the_shipped_principles_of_its_world_on_the_miniature(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """All 54 pass."""
    files = [packaged() / f"principles/{name.replace('.', '/')}.yaml" for name in sorted(SHIPPED)]
    cai("test", *files, "-m", "miniature", "-q", "--format", "json",
        "--runs-dir", tmp_path)  # fmt: skip
    rows = json.loads(capsys.readouterr().out)
    assert {row["principle"] for row in rows} == SHIPPED.keys()
    assert len(rows) == 54
    assert all(row["status"] == "passed" for row in rows)
