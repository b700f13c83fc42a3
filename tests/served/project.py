"""A project whose model is behind a server, and its commands, each in a process of its own."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cai.digest import file_digest
from tests.served.words import CRITIQUE, QUESTION, REVISION
from tests.servers.process import ROOT, FaultyProcess

MODEL = "toy"
WORDS = ("--words", "tests.served.words:words")
"""Options of the server."""
PRINCIPLES = 4
_SECONDS = 1800
_CONSTITUTION = """
api: cai/v1
kind: Constitution
id: house
version: 1.0.0
title: House rules
principles:
{refs}plan: {{rounds: 1, check: false}}
feedback: {{mode: letters, principles_per_pair: 1}}
"""
_PRINCIPLE = """
api: cai/v1
kind: Principle
id: kind{number}
version: 1.0.0
title: Kindness, {number}
why: Rude answers help nobody.
stages:
  critique: {critique} in way {number}.
  revise: {revision} so that it is kind in way {number}.
compare: {question}
"""


@dataclass
class Trial:
    """One number of reliability.md: what was run, what was counted, and what did not hold."""

    number: int
    title: str
    counts: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def require(self, holds: bool, problem: str) -> None:
        """Note a problem unless `holds`."""
        if not holds:
            self.problems.append(problem)


class Ended(NamedTuple):
    """A command that has ended."""

    code: int
    out: str
    err: str


class Project:
    """A folder with a constitution, prompts and a registry with one model, `toy`."""

    def __init__(self, folder: Path, prompts: int) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        refs = "".join(f"  - ref: kind{n}.yaml\n" for n in range(PRINCIPLES))
        (folder / "house.yaml").write_text(_CONSTITUTION.format(refs=refs))
        for number in range(PRINCIPLES):
            text = _PRINCIPLE.format(
                number=number, critique=CRITIQUE, revision=REVISION, question=QUESTION
            )
            (folder / f"kind{number}.yaml").write_text(text)
        self.write_prompts([f"Tell me of {n} things." for n in range(prompts)])

    def write_prompts(self, texts: Sequence[str]) -> None:
        """Replace the prompts."""
        with (self.folder / "prompts.jsonl").open("w") as file:
            file.writelines(json.dumps({"prompt": text}) + "\n" for text in texts)

    def register(self, server: FaultyProcess | str, **settings: object) -> None:
        """Write cai.yaml; what the server is called does not depend on its port."""
        url = server if isinstance(server, str) else server.url
        model = {"url": url, "model": FaultyProcess.model, "identity": "toy", **settings}
        (self.folder / "cai.yaml").write_text(json.dumps({"models": {MODEL: model}}))

    def build_arguments(
        self, *options: object, out: str = "runs/run", model: str = MODEL
    ) -> list[str]:
        """The arguments of a build."""
        arguments = [
            "build-data", "-c", "house.yaml", "-p", "prompts.jsonl", "-m", model, "-o", out,
            "--max-new-tokens", 8, "--no-examine", *options,
        ]  # fmt: skip
        return [str(argument) for argument in arguments]

    def start(
        self, arguments: Sequence[object], variables: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start `cai …`."""
        return subprocess.Popen(
            [sys.executable, "-m", "cai", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=environment(variables),
            preexec_fn=_listen_to_ctrl_c,
        )

    def run(
        self, *arguments: object, variables: Mapping[str, str] | None = None, lines: str = ""
    ) -> Ended:
        """Run `cai …` to its end. lines: what it reads."""
        process = self.start(arguments, variables)
        out, err = process.communicate(lines.encode(), timeout=_SECONDS)
        return Ended(process.returncode, out.decode(), err.decode())

    def build(self, *options: object, out: str = "runs/run", exit_code: int = 0) -> Ended:
        """Run a quiet build to its end. Raises `RuntimeError` for another exit code."""
        ended = self.run(*self.build_arguments("-q", *options, out=out))
        if ended.code != exit_code:
            raise RuntimeError(f"exit code {ended.code}, not {exit_code}: {ended.err}")
        return ended

    def steps(self, store: str = "runs/store.sqlite") -> list[str]:
        """The keys of all steps in a store."""
        with closing(_open(self.folder / store)) as opened:
            return sorted(key for (key,) in opened.execute("SELECT key FROM steps"))

    def count_steps(self, store: str = "runs/store.sqlite") -> int:
        """How many steps a store has; 0 if it isn't there yet."""
        try:
            with closing(_open(self.folder / store)) as opened:
                return int(opened.execute("SELECT count(*) FROM steps").fetchone()[0])
        except sqlite3.Error:
            return 0

    def digests(self, out: str = "runs/run") -> dict[str, str]:
        """File name → digest of what a run exported; its log has times and is none of that."""
        files = sorted((self.folder / out).iterdir())
        return {p.name: file_digest(p) for p in files if p.is_file() and p.name != "run.log"}


def environment(variables: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of a command, without a key of the user's."""
    inherited = {name: value for name, value in os.environ.items() if name != "CAI_API_KEY"}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return inherited | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"} | dict(variables or {})


def _open(store: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{store}?mode=ro", uri=True)


def _listen_to_ctrl_c() -> None:
    """A shell starts what runs in its background deaf to Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
