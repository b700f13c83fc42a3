"""A server without log-probabilities, and texts that would steer a terminal (6 and 13)."""

from __future__ import annotations

import json
import os
import pty
import sys
import time
from pathlib import Path

from tests.served.project import MODEL, WORDS, Ended, Project, Trial, environment
from tests.served.words import ESCAPES
from tests.servers.process import FaultyProcess

HOSTILE = ("--words", "tests.served.words:hostile")
REASON = "the server ignores the fields without a word"
_STEERING = {c for c in ESCAPES if not c.isprintable()}


def refuse_without_logprobs(folder: Path) -> Trial:
    """A server that ignores `logprobs`, or gives empty ones, is refused before the run."""
    trial = Trial(6, "A server that ignores `logprobs`")
    for how in ("ignored", "null", "empty"):
        project = Project(folder / how, 8)
        with FaultyProcess(*WORDS, "--logprobs", how, "--keep", 1000) as server:
            project.register(server)
            ended = project.run(*project.build_arguments("-q"))
            record = server.record()
        steps = project.count_steps()
        trial.counts[f"logprobs {how}"] = (
            f"exit code {ended.code}, {record['answered']} probes, {steps} steps"
        )
        trial.require(ended.code == 8, f"{how}: exit code {ended.code}")
        trial.require(REASON in ended.err, f"{how}: no reason in {ended.err}")
        trial.require(not steps, f"{how}: {steps} steps were made")
    trial.counts["the message says"] = REASON
    return trial


def keep_terminal_clean(folder: Path, *, prompts: int = 8) -> Trial:
    """Control sequences of a served model reach no terminal: through pipes and on a terminal."""
    trial = Trial(13, "Control sequences from a served model")
    project = Project(folder, prompts)
    with FaultyProcess(*HOSTILE) as server:
        project.register(server)
        build = project.run(*project.build_arguments("--rounds", 2, "--sft-share", 0.5))
        (row, *_) = (project.folder / "runs/run/sft.jsonl").read_text().splitlines()
        trace = json.loads(row)["trace_id"]
        trial.require("\\u001b" in row, "the model's text holds no control sequence")
        trial.require(build.code == 0, build.err)
        commands = {
            "build-data": build,
            "trace": project.run("trace", trace, "--prompts"),
            "runs": project.run("runs"),
            "try": project.run(
                "try", "kind0", "--prompt", "Hello?", "-c", "house.yaml", "-m", MODEL
            ),
            "chat": project.run("chat", "-m", MODEL, lines="Hello?\nAnd now?\n"),
        }
        for name, ended in commands.items():
            _require_clean(trial, name, ended)
        for name, arguments in {
            "build-data": project.build_arguments("--rounds", 1, out="runs/terminal"),
            "trace": ["trace", trace, "--prompts"],
        }.items():
            shown = _on_terminal(project, arguments)
            raw = [part for part in ("\x1b[2J", "\x1b]0;", "\u202e", "\u2066") if part in shown]
            trial.counts[f"{name} on a terminal"] = f"{len(raw)} of the model's sequences"
            trial.require(not raw, f"{name} on a terminal shows {raw!r}")
            trial.require(len(shown) > 40, f"{name} on a terminal shows {shown!r}")
    return trial


def _require_clean(trial: Trial, name: str, ended: Ended) -> None:
    shown = ended.out + ended.err
    raw = _STEERING & set(shown)
    trial.counts[f"{name}, characters shown"] = f"{len(shown)}, of them {len(raw)} that steer"
    trial.require(ended.code == 0, f"{name}: {ended.err}")
    trial.require(len(ended.out) > 10, f"{name} shows nothing")
    trial.require(not raw, f"{name} shows {raw!r}")


def _on_terminal(project: Project, arguments: list[str]) -> str:
    """What a command writes to a terminal."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(project.folder)
        os.execve(sys.executable, [sys.executable, "-m", "cai", *arguments], environment())
    pieces, end = [], time.monotonic() + 300
    while time.monotonic() < end:
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # Linux says so when the command has ended
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(terminal)
    os.waitpid(pid, 0)
    return b"".join(pieces).decode("utf-8", "replace")
