"""docs/servers.md, from a server's address to a signed run, against llama.cpp."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from cai.audit.runs import open_run
from cai.data.verdicts import Verdict, verdict_line
from tests.cli.project import cai
from tests.servers.running import ModelServer
from tests.test_docs import ROOT

pytestmark = pytest.mark.servers

ADDRESS = "http://127.0.0.1:8000/v1"


def blocks() -> list[list[str]]:
    """The commands of the walk, block by block."""
    text = (ROOT / "docs" / "servers.md").read_text(encoding="utf-8")
    walk = text.partition("## From an address to a signed run")[2]
    found = re.findall(r"^```sh\n(.*?)^```", walk, re.MULTILINE | re.DOTALL)
    return [block.splitlines() for block in found]


def test_from_an_address_to_a_signed_run(
    llama: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    build, sign = blocks()
    assert ADDRESS in " ".join(build)
    run(build, llama, monkeypatch)
    judge_everything(Path("runs/first"), Path("verdicts-first.jsonl"))
    run(sign, llama, monkeypatch)
    assert Path("runs/first/audit/signoff.yaml").is_file()
    record = json.loads(Path("runs/sft/run.json").read_text())
    assert record["status"] == "finished"


def run(commands: list[str], server: ModelServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for command in commands:
        words = shlex.split(command.replace(ADDRESS, server.url))
        if words[0] == "cd":
            monkeypatch.chdir(words[1])
        else:
            cai(*words[1:])


def judge_everything(run_folder: Path, verdicts: Path) -> None:
    """What a reader's clicks on the page would export."""
    with open_run(run_folder) as run:
        marks = [
            Verdict(e.item.key, e.item.id, run.id, "accept", "Ann", "2026-01-01T00:00:00Z")
            for e in run.entries()
        ]
    verdicts.write_bytes(b"".join(map(verdict_line, marks)))
