"""Running the command in this process, and small inputs for it."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from cai.cli.main import main
from cai.digest import file_digest

EXPORTED = ("sft.jsonl", "sft.test.jsonl", "preferences.jsonl", "preferences.test.jsonl")


def cai(*arguments: object, exit_code: int = 0) -> None:
    """`cai …` in this process (torch is imported once); fails on another exit code."""
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    assert stop.value.code == exit_code


def listen_to_ctrl_c() -> None:
    """A shell starts what runs in its background deaf to Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


def digests(run: Path) -> dict[str, str]:
    """File name → digest of everything a run exported; its log has times and is none of that."""
    files = (p for p in sorted(run.iterdir()) if p.is_file() and p.name != "run.log")
    return {p.name: file_digest(p) for p in files}


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write_rows(path: Path, items: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(i, ensure_ascii=False) + "\n" for i in items), "utf-8")
    return path
