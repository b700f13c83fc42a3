"""`cai propose principles`: on the miniature and its world's truth, drafts, mistakes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from cai.miniature.world.requests import draw_request
from cai.miniature.world.responses import sample_response
from tests.cli.project import cai

SCRIPT = """\
replies:
  - when: Why was it chosen
    say: |
      1. The response should be polite to the user.
      2. The response should be long.
scores:
  - {when: "polite to the user", options: {"No problem found.": 0.5}}
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def by_flaw(flaw: str, count: int) -> None:
    """Pairs of the world, written to pairs.jsonl: the response without the flaw was chosen,
    whatever else is wrong with both."""
    rng = random.Random(3)
    rows: list[dict[str, str]] = []
    while len(rows) < count:
        request = draw_request(rng, None, "held")
        one, two = sample_response(request, rng), sample_response(request, rng)
        if (flaw in one.flaws) == (flaw in two.flaws):
            continue
        good, bad = (two, one) if flaw in one.flaws else (one, two)
        rows.append({"prompt": request.text, "chosen": good.text, "rejected": bad.text})
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    Path("pairs.jsonl").write_text(lines, encoding="utf-8")


def found(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(capsys.readouterr().out)
    return values


@pytest.mark.parametrize(
    ("flaw", "principle"),
    [
        ("rude", "respect.rudeness"),
        pytest.param("preachy", "respect.preachiness", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_labels_by_one_flaw_are_explained_by_its_principle(
    flaw: str, principle: str, capsys: pytest.CaptureFixture[str]
) -> None:
    by_flaw(flaw, 24)
    others = ("helpfulness.evasion", "harm.ethics", "honesty.overconfidence")
    sources = [part for name in (*others, principle) for part in ("--from", name)]
    arguments = ("propose", "principles", "-d", "pairs.jsonl", *sources, "--dtype", "float32")
    cai(*arguments, "--json")
    values = found(capsys)
    first = values["candidates"][0]
    assert (first["id"], first["place"]) == (principle, 1)
    assert first["explained"]["value"] == 1
    assert first["against_chance"] == "explains"
    assert (values["pairs"]["propose"], values["replies"]) == (0, 0)
    cai(*arguments)
    said = capsys.readouterr().out
    assert f"1  {principle}" in said
    assert "Chosen, together: 100%" in said


def test_drafts_of_proposals_beside_principles_that_there_are(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What is written passes lint, and nothing is written twice or in a project's files."""
    by_flaw("rude", 24)
    Path("critic.yaml").write_text(SCRIPT)
    arguments = (
        "propose", "principles", "-d", "pairs.jsonl", "--critic", "scripted:critic.yaml",
        "--judge", "miniature", "--dtype", "float32", "--requests", 3, "--from", "respect.rudeness",
        "--write", "drafts",
    )  # fmt: skip
    cai(*arguments, "--json")
    values = found(capsys)
    assert values["candidates"][0]["place"] == 1
    assert {c["id"] for c in values["candidates"]} == {
        "respect.rudeness", "proposed.be-polite-to-the-user", "proposed.be-long",
    }  # fmt: skip
    assert values["written"][-1] == "constitution/proposed.yaml"
    assert all(Path("drafts", place).is_file() for place in values["written"])
    cai("lint", "drafts")
    assert "no problems" in capsys.readouterr().out
    cai(*arguments, exit_code=2)
    assert "is there already" in capsys.readouterr().err


def test_another_template(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.j2").write_text("{{ chosen }} beats {{ worse }}?")
    by_flaw("rude", 4)
    arguments = ("propose", "principles", "-d", "pairs.jsonl", "-m", "scripted:critic.yaml")
    Path("critic.yaml").write_text(SCRIPT)
    cai(*arguments, "--template", "mine.j2", exit_code=3)
    assert "worse" in capsys.readouterr().err
    Path("mine.j2").write_text("{{ chosen }} beats {{ rejected }}?")
    cai(*arguments, "--template", "mine.j2", exit_code=3)
    assert "must use the variable `conversation`" in capsys.readouterr().err
    Path("mine.j2").write_text(
        "Say. {{ conversation }} {{ chosen }} beats {{ rejected }} by {{ count }}."
    )
    Path("critic.yaml").write_text(SCRIPT.replace("Why was it chosen", "^Say. Human. .* by 3[.]$"))
    cai(*arguments, "--template", "mine.j2", "--json")
    assert len(found(capsys)["candidates"]) == 2


@pytest.mark.parametrize(
    ("arguments", "exit_code", "told"),
    [
        (("-d", "none.jsonl"), 4, "There is no file or folder none.jsonl"),
        (("-d", "pairs.jsonl", "--requests", 0), 2, "Name principles with --from"),
        (("-d", "pairs.jsonl", "--from", "respect.rude"), 2, "Did you mean respect.rudeness"),
        (("-d", "pairs.jsonl", "--name", "A B"), 2, "is no id"),
        (("-d", "pairs.jsonl", "--audited", "--from", "respect.rudeness"), 4, "not audited"),
        (
            ("-d", "pairs.jsonl", "--limit", 1, "--from", "respect.rudeness"),
            4,
            "1 different prompt",
        ),
        (("-d", "pairs.jsonl", "--template", "none.j2"), 2, "none.j2 can't be read"),
    ],
)
def test_mistakes(
    arguments: tuple[Any, ...], exit_code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    by_flaw("rude", 4)
    Path("critic.yaml").write_text(SCRIPT)
    cai("propose", "principles", "-m", "scripted:critic.yaml", *arguments, exit_code=exit_code)
    assert told in capsys.readouterr().err
