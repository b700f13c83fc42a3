"""Commands of `cai` that the long scripts of this folder run, and go on from."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

STOPPED_BY_MONITOR = 7


def run(*arguments: object, done: Path) -> None:
    """`cai …`, unless the record that it writes is there and ended; a run that was interrupted
    goes on. Ends the script where the command fails; a monitor's stop is a result, too."""
    if done.is_file() and json.loads(done.read_bytes()).get("status", "finished") in (
        "finished", "stopped",
    ):  # fmt: skip
        return
    print("$ cai", *arguments, file=sys.stderr, flush=True)
    command = [sys.executable, "-m", "cai", *map(str, arguments)]
    code = subprocess.run(command, check=False).returncode
    if code not in (0, STOPPED_BY_MONITOR):
        sys.exit(code)
