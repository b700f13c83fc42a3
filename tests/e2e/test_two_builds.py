"""Two processes that build into one folder: one after the other, never mixed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cai.data.files import Staging
from tests.constitution.projects import CONSTITUTION, principle, project
from tests.e2e.helpers import digests, rows

SCRIPT = """
replies:
  - {when: "Say what is", say: ["It is rude to the user."]}
  - {when: "Remove what is", say: ["Please ask first."]}
  - {say: ["Sure, go on and take it.", "Do it.", "Look first."]}
scores:
  - {options: {"No problem found.": 0.4}}
"""
PAUSED = """
import sys
from pathlib import Path
from cai.cli.main import main
left, rename = 3, Path.replace
def paused(source, target):
    global left
    left -= 1
    if left == 0:
        print("paused", flush=True)
        sys.stdin.readline()
    return rename(source, target)
Path.replace = paused
main(sys.argv[1:])
"""
"""`cai`, which stops before the third of the files that it puts in their places."""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    project(tmp_path, rude=principle("rude"), constitution=CONSTITUTION)
    (tmp_path / "model.yaml").write_text(SCRIPT)
    for name in ("a", "b"):
        text = "".join(f"Question {n} of {name}?\n" for n in range(40))
        (tmp_path / f"{name}.txt").write_text(text)
    return tmp_path / "constitution" / "small.yaml"


def start(rules: Path, name: str, out: str, *more: str, code: str = "") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *(("-c", code) if code else ("-m", "cai")),
         "build-data", "-c", str(rules), "-p", f"{name}.txt", "-m", "scripted:model.yaml",
         "--out", out, "-q", *more],
        cwd=rules.parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip


def test_the_files_of_two_builds_never_mix(rules: Path) -> None:
    """While the first build puts its files in their places, the second is refused, or waits."""
    root = rules.parents[1]
    alone = start(rules, "b", "alone/one")
    first = start(rules, "a", "runs/one", code=PAUSED)
    assert first.stdout is not None and first.stdout.readline() == "paused\n"
    refused = start(rules, "b", "runs/one")
    waiting = start(rules, "b", "runs/one", "--wait")
    told = refused.communicate()[1]
    assert refused.returncode == 6 and "another build is using this store" in told
    assert waiting.poll() is None
    for process, line in ((first, "go on\n"), (waiting, None)):
        told = process.communicate(line)[1]  # that all labels are one number
        assert process.returncode == 0 and told.startswith("Warning: The labels carry no signal")
    assert alone.wait() == 0
    assert digests(root / "runs" / "one") == digests(root / "alone" / "one")


def test_a_folder_is_staged_by_two_at_once(tmp_path: Path) -> None:
    """Each writes files of its own: what is published is whole, and is the last one's."""
    one, two = Staging(tmp_path), Staging(tmp_path)
    with one.lines("rows.jsonl") as first, two.lines("rows.jsonl") as second:
        for n in range(3):
            first.write({"of": "one", "n": n})
            second.write({"of": "two", "n": n})
    one.publish("rows.jsonl")
    assert [row["of"] for row in rows(tmp_path / "rows.jsonl")] == ["one"] * 3
    two.publish("rows.jsonl")
    assert [row["of"] for row in rows(tmp_path / "rows.jsonl")] == ["two"] * 3
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]
