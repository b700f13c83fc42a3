"""`cai compare`."""

from __future__ import annotations

from pathlib import Path

import pytest

from cai.backends.local import LocalBackend
from cai.pipeline.steps import Draws
from cai.types import Generate, Generation, Message, Prompt
from tests.e2e.helpers import cai, rows, write_rows

QUESTIONS = ["What is bread?", "Tell me about rivers.", "x " * 2000, 7, "Who are you?"]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    """Five rows: the third is longer than the model's context, the fourth no prompt."""
    items = [{"id": f"q{n}", "prompt": text} for n, text in enumerate(QUESTIONS)]
    return write_rows(tmp_path / "prompts.jsonl", items)


def test_rows_hold_what_each_alone_would_say(
    prompts: Path, sft_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The base's answers are those of build-data's seeds; what can't be used is told."""
    file = tmp_path / "out.jsonl"
    cai("compare", "-p", prompts, "-a", sft_run, "-a", sft_run, "--json", file, "--seed", 3,
        "--max-new-tokens", 16)  # fmt: skip
    shown = capsys.readouterr()
    found = rows(file)
    assert [row["prompt_id"] for row in found] == ["q0", "q1", "q4"]
    assert found[0]["prompt"] == [{"role": "user", "content": "What is bread?"}]
    assert "prompts.jsonl:3 set aside: too long: the prompt has" in shown.err
    assert "prompts.jsonl:4 set aside: wrong type" in shown.err
    for name, adapter in (("base", None), ("sft", str(sft_run))):
        backend = LocalBackend.load("miniature", adapter=adapter)
        for row in found:
            prompt = Prompt(row["prompt_id"], tuple(Message(**m) for m in row["prompt"]))
            sampling = Draws(3, max_new_tokens=16).sampling(prompt, "response")
            backend.submit(0, [backend.prepare(Generate(prompt.messages, sampling))], "c")
            while not (done := backend.poll()):
                pass
            result = done[0].results[0]
            assert isinstance(result, Generation)
            assert row["responses"][name] == result.text
        assert all(row["responses"]["sft"] == row["responses"]["sft-2"] for row in found)
    assert any(row["responses"]["sft"] != row["responses"]["base"] for row in found)


@pytest.mark.parametrize("width", [40, 120])
def test_answers_stand_side_by_side_where_they_fit(
    width: int,
    prompts: Path,
    sft_run: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    cai("compare", "-p", prompts, "-a", sft_run, "--limit", 1, "--max-new-tokens", 16)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["1. q0", "user: What is bread?"]
    assert max(map(len, lines)) <= width
    beside = any("base" in line and "sft" in line for line in lines)
    assert beside == (width == 120)
    assert not any(line.startswith("2. ") for line in lines)


def test_mistakes(prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cai("compare", "-p", prompts, "--json", tmp_path / "no" / "f.jsonl", exit_code=2)
    assert "no folder" in capsys.readouterr().err
    bad = write_rows(tmp_path / "bad.jsonl", [{"prompt": 7}])
    cai("compare", "-p", bad, exit_code=4)
    assert "no prompt of bad.jsonl can be used" in capsys.readouterr().err
    cai("compare", "-p", tmp_path / "nowhere.jsonl", exit_code=4)
