"""Completion in a real shell, set up by the line that docs/commands.md gives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

DOC = Path(__file__).parents[2] / "docs" / "commands.md"
COMPLETE = """
{line}
COMP_WORDS=({words}) COMP_CWORD={place}
_cai_completion cai
printf '%s\\n' "${{COMPREPLY[@]}}"
"""


@pytest.mark.skipif(not shutil.which("bash"), reason="no bash")
@pytest.mark.parametrize(
    ("words", "completions"),
    [
        ("cai bu", ["build-data", "build-documents"]),
        ("cai train d", ["distill", "dpo"]),
        ("cai build-data --dr", ["--dry-run"]),
        ("cai build-data --config none.yaml --dtype b", ["bfloat16"]),
    ],
)
def test_bash(words: str, completions: list[str], tmp_path: Path) -> None:
    (line,) = re.findall(r"^\| bash .*`(eval .*)` \|$", DOC.read_text("utf-8"), re.MULTILINE)
    command = tmp_path / "cai"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m cai "$@"\n')
    command.chmod(0o755)
    script = COMPLETE.format(line=line, words=words, place=len(words.split()) - 1)
    done = subprocess.run(
        ["bash", "--norc", "-c", script], capture_output=True, text=True, check=True,
        env=os.environ | {"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}",
                          "PYTHONPATH": str(DOC.parents[1])},
    )  # fmt: skip
    assert done.stdout.split() == completions and done.stderr == ""
