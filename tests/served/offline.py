"""The whole chain with all sockets confined to loopback (16)."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from cai.audit.runs import open_run
from cai.data.verdicts import Verdict
from tests.served.project import WORDS, Project, Trial
from tests.servers.process import ROOT, FaultyProcess

_HOOK = '''
"""Python runs this at its start: every use of an address that is not loopback is refused."""
import os
import sys

EVENTS = {"socket.connect": 1, "socket.bind": 1, "socket.sendto": 1, "socket.sendmsg": 1,
          "socket.getaddrinfo": 0, "socket.gethostbyname": 0}
LOOPBACK = {"127.0.0.1", "::1", "localhost", None, ""}


def confine(event, arguments):
    if event not in EVENTS:
        return
    address = arguments[EVENTS[event]]
    if isinstance(address, (str, bytes)) and not event.startswith("socket.get"):
        return  # a socket of this machine's files
    host = address[0] if isinstance(address, tuple) else address
    with open(os.environ["SOCKET_LOG"], "a") as log:
        log.write(f"{host in LOOPBACK} {event} {host}\\n")
    if host not in LOOPBACK:
        raise PermissionError(f"{event} {host}: not loopback")


sys.addaudithook(confine)
'''


def run_offline(folder: Path, *, prompts: int = 24, steps: int = 2) -> Trial:
    """From a server's address to a trained adapter, without a socket to anywhere else."""
    trial = Trial(16, "Sockets confined to loopback")
    project = Project(folder / "project", prompts)
    hook, log = folder / "hook", folder / "sockets.log"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(_HOOK)
    path = os.pathsep.join([str(hook), str(ROOT)])
    variables = {"SOCKET_LOG": str(log), "PYTHONPATH": path}
    with FaultyProcess(*WORDS) as server:
        project.register(server)
        chain: list[list[object]] = [
            [*project.build_arguments("--sft-share", 1)],
            ["verify", "runs/run"],
            ["audit", "report", "runs/run"],
            ["audit", "sample", "runs/run", "--n", 3],
            ["audit", "import", "runs/run", "verdicts.jsonl"],
            ["audit", "sign", "runs/run", "--signer", "Ann", "--statement", "Read."],
            ["train", "sft", "-d", "runs/run", "--out", "runs/sft", "--max-steps", steps],
        ]
        for command in chain:
            if "import" in command:
                _judge(project)
            ended = project.run(*command, variables=variables)
            name = " ".join(str(word) for word in command[:2])
            name = name if command[0] in ("audit", "train") else str(command[0])
            trial.counts[f"cai {name}"] = f"exit code {ended.code}"
            trial.require(ended.code == 0, f"cai {name}: {ended.err}")
            if ended.code:
                break
    lines = log.read_text().splitlines() if log.exists() else []
    refused = sorted({line for line in lines if line.startswith("False")})
    trial.counts |= {
        "uses of a loopback address": len(lines) - len(refused),
        "attempts at any other": len(refused),
    }
    trial.require(len(lines) > 0, "the hook saw no socket")
    trial.require(not refused, f"attempts: {refused}")
    return trial


def _judge(project: Project) -> None:
    """Write verdicts that accept every item."""
    with open_run(project.folder / "runs/run") as run:
        verdicts = [
            Verdict(e.item.key, e.item.id, run.id, "accept", "Ann", "2026-01-01T10:00:00Z")
            for e in run.entries()
        ]
    lines = [json.dumps(asdict(verdict)) + "\n" for verdict in verdicts]
    (project.folder / "verdicts.jsonl").write_text("".join(lines))
