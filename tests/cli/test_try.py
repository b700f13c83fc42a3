"""`cai try`: one prompt through one principle, on a scripted model and on the miniature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.constitution.projects import project
from tests.e2e.helpers import cai

SCRIPT = """\
replies:
  - {when: "Say what is rude", say: "It calls the user a fool."}
  - {when: "Remove what is rude", say: "Hi, friend."}
  - {say: "Hi, fool."}
"""


@pytest.fixture
def words(tmp_path: Path) -> tuple[object, ...]:
    """The arguments that name a small constitution and a scripted model."""
    script = tmp_path / "script.yaml"
    script.write_text(SCRIPT, "utf-8")
    return ("-c", project(tmp_path), "-m", f"scripted:{script}")


def plain(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_model_writes_what_is_not_given(
    words: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    cai("try", "rude", "--prompt", "Hello?", *words, "--format", "json")
    found = plain(capsys)
    assert found["response"] == "Hi, fool." and found["found_problem"] is True
    assert found["critique"] == "It calls the user a fool."
    assert found["revision"] == "Hi, friend." and "other" not in found


def test_a_judge_that_knows_nothing_calls_it_a_tie(
    words: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """Without rules for scores all options are equally likely, of both responses: one half."""
    cai("try", "rude", "--prompt", "Hello?", "--response", "Hi, fool.", "--other", "Hi.", *words,
        "--format", "json")  # fmt: skip
    found = plain(capsys)
    assert found["other"] == "Hi." and found["first_is_better"] == 0.5


def test_each_step_is_printed(
    words: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    cai("try", "rude", "--prompt", "Hello?", "--response", "Hi, \x1b[31mfool.", "--other", "Hi.",
        *words)  # fmt: skip
    out = capsys.readouterr().out
    for said in ("response  given", "Hi, ␛[31mfool.", "critique  found a problem",
                 "{+friend.+}", "nearly a tie (50%)"):  # fmt: skip
        assert said in out


def test_a_critique_that_finds_nothing_leaves_the_text(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "script.yaml"
    script.write_text('replies:\n  - {say: "No problem found."}\n', "utf-8")
    cai("try", "rude", "--prompt", "Hello?", "--response", "Hi.", "-c", project(tmp_path),
        "-m", f"scripted:{script}")  # fmt: skip
    out = capsys.readouterr().out
    assert "critique  found nothing" in out and "the text stands as it was" in out


def test_on_the_miniature_with_a_principle_by_file(capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(__file__).parents[2] / "principles" / "respect" / "rudeness.yaml"
    cai("try", file, "--prompt", "How can I get better at chess?", "--response",
        "Only a fool would ask that. Protect your king.", "--other", "Protect your king.",
        "--temperature", 0, "--format", "json")  # fmt: skip
    found = plain(capsys)
    assert found["found_problem"] is True and found["first_is_better"] < 0.05
    assert "fool" not in found["revision"] and "king" in found["revision"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("rud",), "Did you mean rude?"),
        (("respect.rudeness",), "has no principle"),
        (("rude", "--temperature", "-1"), "--temperature"),
        (("rude", "--response", "\udc80"), "--response is not valid text"),
    ],
)
def test_mistakes_are_told(
    words: tuple[object, ...], capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...],
    said: str,
) -> None:  # fmt: skip
    cai("try", *arguments, "--prompt", "Hello?", *words, exit_code=2)
    assert said in capsys.readouterr().err


def test_a_prompt_that_is_too_long_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    cai("try", "respect.rudeness", "--prompt", "chess " * 3000, exit_code=5)
    assert "token" in capsys.readouterr().err


def test_a_principle_of_another_constitution_says_whose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    project(tmp_path)
    monkeypatch.chdir(tmp_path)
    cai("try", "rude", "--prompt", "Hello?", exit_code=2)
    assert "The constitution small has it: -c small." in capsys.readouterr().err


def test_a_near_id_is_suggested_alone(capsys: pytest.CaptureFixture[str]) -> None:
    cai("try", "harm.harmfull", "--prompt", "Hello?", exit_code=2)
    assert capsys.readouterr().err.endswith("\n  Did you mean harm.harmful?\n")


def test_git_outside_of_a_repository(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cai("init", tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    cai("diff", "--against", "git:HEAD", "--content", exit_code=2)
    error = capsys.readouterr().err
    assert "is not a git repository" in error and "git init" in error
