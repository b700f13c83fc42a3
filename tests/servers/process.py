"""The failing server in a process of its own, as clients in other processes meet it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).resolve().parents[2]


class FaultyProcess:
    """`python -m tests.servers.faulty` with some options; `url` is its address.

    It outlives its clients, and is killed on leaving.
    """

    model = "toy-lm"

    def __init__(self, *options: object) -> None:
        self._options = [str(option) for option in options]
        self.url = ""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.servers.faulty", *self._options],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().decode().strip()
        if not self.url:
            raise RuntimeError("The server of the tests did not start.")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def port(self) -> int:
        return int(self.url.rsplit(":", 1)[1].partition("/")[0])

    def record(self) -> dict[str, Any]:
        """The summary of what it was asked (`tests.servers.record.Record.summary`)."""
        address = f"{self.url.removesuffix('/v1')}/record"
        with urllib.request.urlopen(address, timeout=60) as answer:
            return dict(json.load(answer))
