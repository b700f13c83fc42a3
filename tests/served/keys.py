"""A key that reaches the server, and nothing else (15)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.served.project import MODEL, WORDS, Ended, Project, Trial, environment
from tests.servers.process import FaultyProcess

CANARY = "sk-canary-0123456789abcdef"
PLACES = ("environment", "address", "registry", "file")
_PROGRAM = """
import logging, os
logging.basicConfig(level=logging.DEBUG)
from cai.backends.server import ServerBackend
backend = ServerBackend.connect(os.environ["SERVER"])
print(backend, vars(backend))
raise SystemError("a fault of ours")
"""
"""A program that logs all it can, shows what it holds, and ends in a traceback."""


def hide_keys(folder: Path, *, places: tuple[str, ...] = PLACES) -> Trial:
    """A key from each place is sent, also to a server that repeats it, and written nowhere."""
    trial = Trial(15, "A canary key")
    for place in places:
        project = Project(folder / place, 8)
        keys = folder / f"{place}.key"
        variables: dict[str, str] = {}
        with (
            FaultyProcess(*WORDS, "--key", CANARY) as right,
            FaultyProcess(*WORDS, "--key", "sk-another") as wrong,
        ):
            ends = []
            for server, out in ((right, "runs/run"), (wrong, "runs/wrong")):
                model = MODEL
                if place in ("environment", "address"):
                    model = f"{server.url}#{server.model}"
                if place == "environment":
                    variables = {"CAI_API_KEY": CANARY}
                elif place == "address":
                    model = model.replace("http://", f"http://{CANARY}@")
                elif place == "registry":
                    project.register(server, api_key_env="TOY_KEY")
                    variables = {"TOY_KEY": CANARY}
                else:
                    keys.write_text(CANARY)
                    project.register(server, api_key_file=f"../{keys.name}")
                arguments = project.build_arguments("--rounds", 1, out=out, model=model)
                ends.append(project.run("--verbose", *arguments, variables=variables))
            sent = [right.record()["authorizations"], wrong.record()["authorizations"]]
        ends.append(project.run("audit", "report", "runs/run"))
        _require_hidden(trial, place, project, ends)
        trial.require([e.code for e in ends] == [0, 8, 0], f"{place}: {[e.err for e in ends]}")
        trial.require(sent == [[f"Bearer {CANARY}"]] * 2, f"{place}: the key was not sent: {sent}")
    _require_hidden_in_traceback(trial, folder)
    return trial


def _require_hidden(trial: Trial, place: str, project: Project, ends: list[Ended]) -> None:
    """The key is in no file of the project and in nothing that a command said."""
    files = [path for path in project.folder.rglob("*") if path.is_file()]
    shown = "".join(ended.out + ended.err for ended in ends)
    names = [str(path) for path in files if CANARY.encode() in path.read_bytes()]
    trial.counts[f"from {place}"] = (
        f"in {len(names)} of {len(files)} files,"
        f" {shown.count(CANARY)} times in {len(shown)} characters of output"
    )
    trial.require(not names, f"{place}: the key is in {names}")
    trial.require(CANARY not in shown, f"{place}: the key is in the output")


def _require_hidden_in_traceback(trial: Trial, folder: Path) -> None:
    """The key is in no traceback: of a refusal, and of a fault while a backend is open."""
    for name, key in (("of a refusal", "sk-another"), ("with an open backend", CANARY)):
        with FaultyProcess(*WORDS, "--key", key) as server:
            address = server.url.replace("http://", f"http://{CANARY}@")
            ended = subprocess.run(
                [sys.executable, "-c", _PROGRAM],
                cwd=folder,
                env=environment({"SERVER": address}),
                capture_output=True,
                text=True,
                check=False,
            )
        shown = ended.stdout + ended.stderr
        count = shown.count(CANARY)
        trial.counts[f"a traceback {name}"] = f"{count} times in {len(shown)} characters"
        trial.require("Traceback" in shown, f"no traceback {name}: {shown}")
        trial.require(not count, f"a traceback {name}: the key is in {shown}")
