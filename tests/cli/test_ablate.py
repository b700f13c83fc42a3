"""`cai ablate`: without a model, with the run's own, and what it says where it can't."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from cai.store.store import Store
from tests.audit.runs import rollouts
from tests.cli.project import cai
from tests.cli.test_map import PRINCIPLE

Output = pytest.CaptureFixture[str]

CONSTITUTION = """\
api: cai/v1
kind: Constitution
id: small
version: 1.0.0
title: A small one
principles:
  - {ref: ../principles/rude.yaml}
  - {ref: ../principles/vague.yaml}
  - {ref: ../principles/never.yaml, weight: 0.000001, phases: [sl]}
plan: {rounds: 1, draw: weighted}
"""
SCRIPT = """\
replies:
  - when: "^Make it"
    say: A polite answer.
  - when: "what is not rude"
    say: It is rude.
  - when: "what is not"
    say: No problem found.
  - say: ["A rude answer.", "A kind answer."]
scores:
  - when: "what is not"
    options: {"No problem found.": 0.9}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Output) -> Path:
    """A project with a run by a scripted model: under `rude` everything is revised."""
    monkeypatch.chdir(tmp_path)
    Path("constitution").mkdir()
    Path("principles").mkdir()
    for name in ("rude", "vague", "never"):
        Path(f"principles/{name}.yaml").write_text(PRINCIPLE.format(name=name))
    Path("constitution/small.yaml").write_text(CONSTITUTION)
    Path("script.yaml").write_text(SCRIPT)
    Path("prompts.txt").write_text("".join(f"Question {n}?\n" for n in range(12)))
    cai("build-data", "-c", "small", "-p", "prompts.txt", "-m", "scripted:script.yaml", "-q",
        "--out", "runs/demo")  # fmt: skip
    capsys.readouterr()
    return tmp_path


def steps() -> int:
    """The steps in the store."""
    with Store.open("runs/store.sqlite", read_only=True) as store:
        return int(store._db.all("SELECT count(*) FROM steps")[0][0])


def test_without_a_model_and_then_with_the_run_s_own(project: Path, capsys: Output) -> None:
    """Nothing is asked or written at first. Then what is missing is made once, and a third call
    finds it. What `rude` revised is revised no longer."""
    before, count = Path("runs/store.sqlite").read_bytes(), steps()
    cai("ablate", "runs/demo")
    told = capsys.readouterr().out
    assert Path("runs/store.sqlite").read_bytes() == before
    assert told.startswith("small 1.0.0 in r-")
    assert "12 traces" in told and "Nothing changes without never." in told
    (missing,) = re.findall(r"^rude +(\d+) need a model", told, re.M)
    (others,) = re.findall(r"^vague +(\d+) need a model", told, re.M)
    total = int(missing) + int(others)
    assert total == 12  # each prompt drew one of the two
    assert f"Not in the store: {total} steps or more, of {total} tasks without 2 principles" in told
    assert "The model of the run (script.yaml) makes them" in told
    assert "cai ablate runs/demo --model MODEL" in told

    cai("ablate", "runs/demo", "--model", "scripted:script.yaml")
    output = capsys.readouterr()
    assert "[1/2] without rude: " in output.err and "[2/2] without vague: " in output.err
    assert re.search(rf"^rude +{missing} differ +{missing} differ +-0\.\d+ \(", output.out, re.M)
    assert re.search(rf"^rude +labels.jsonl +\d+ +\d+ +{missing}$", output.out, re.M)
    assert "Not in the store" not in output.out
    made = steps()
    assert made > count
    cai("ablate", "runs/demo", "--model", "scripted:script.yaml", "--json")
    values = json.loads(capsys.readouterr().out)
    assert steps() == made
    rude, vague, never = values["ablations"]
    assert rude["finals_changed"] == int(missing) and rude["run"].startswith("r-")
    assert rude["changes"]["revisions"]["after"] == 0.0
    assert vague["changes"]["problems"]["change"]["value"] == pytest.approx(
        int(others) / 12, abs=1e-4
    )
    assert never["traces"] == {"total": 12, "changed": 0, "missing": 0, "steps": 0}
    assert never["run"] is None and all(n["gone"] == 0 for n in never["rows"].values())


def test_one_principle(project: Path, capsys: Output) -> None:
    cai("ablate", "runs/demo", "-k", "rude", "--json")
    (found,) = json.loads(capsys.readouterr().out)["ablations"]
    assert found["principle"] == "rude" and found["steps_missing"] == found["traces"]["missing"] > 0
    assert found["finals_changed"] is None and found["rows"] is None
    cai("ablate", "runs/demo", "-k", "rudeness", exit_code=2)
    assert "has no principle 'rudeness'" in (told := capsys.readouterr().err)
    assert "Did you mean rude?" in told


def test_only_the_model_of_the_run_may_answer(project: Path, capsys: Output) -> None:
    Path("other.yaml").write_text(SCRIPT.replace("It is rude.", "It is very rude."))
    cai("ablate", "runs/demo", "--model", "scripted:other.yaml", exit_code=2)
    told = capsys.readouterr().err
    assert "the generator of r-" in told and "other.yaml is not the same" in told
    cai("ablate", "runs/demo", "--model", "scripted:script.yaml", "--judge", "scripted:other.yaml",
        exit_code=2)  # fmt: skip
    assert "the judge of r-" in capsys.readouterr().err
    cai("ablate", "runs/demo", "--critic", "miniature", exit_code=2)
    assert "no --model" in capsys.readouterr().err


def test_an_interrupted_call_resumes(
    project: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after the first answer that it made, it says how to go on, and has kept that."""
    from cai.backends.scripted import ScriptedBackend

    write = ScriptedBackend._write
    asked: list[object] = []

    def interrupted(self: ScriptedBackend, request: object) -> object:
        asked.append(request)
        if len(asked) > 3:
            raise KeyboardInterrupt
        return write(self, request)  # type: ignore[arg-type]

    monkeypatch.setattr(ScriptedBackend, "_write", interrupted)
    cai("ablate", "runs/demo", "--model", "scripted:script.yaml", "-q", exit_code=130)
    assert "Run the same command again to resume." in capsys.readouterr().err
    monkeypatch.setattr(ScriptedBackend, "_write", write)
    kept = steps()
    cai("ablate", "runs/demo", "--model", "scripted:script.yaml", "-q")
    assert "Not in the store" not in capsys.readouterr().out
    assert steps() > kept


def test_what_can_not_be_ablated(project: Path, capsys: Output) -> None:
    rollouts(project / "ppo")
    cai("ablate", "ppo", exit_code=4)
    assert "manifest.json" in capsys.readouterr().err
    shutil.move("runs/demo", "moved")
    cai("ablate", "moved", exit_code=6)
    assert "there is no store" in capsys.readouterr().err
