"""Kill −9 during a served build and during an export (1 and 2). The server survives."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

from tests.served.project import WORDS, Project, Trial
from tests.servers.process import FaultyProcess

_POLL_SECONDS = 0.01
_LATE = 0.05
"""Seconds after the moment of a kill, at most: it is not always a step that has just been kept."""


def kill_builds(
    folder: Path, *, prompts: int = 500, rounds: int = 4, kills: int = 50, concurrency: int = 16
) -> Trial:
    """A build killed at random moments exports what a straight one does."""
    trial = Trial(1, "Kill −9 at random moments of a served build")
    draw = random.Random(kills)
    options = ("--rounds", rounds)
    with FaultyProcess(*WORDS) as server:
        straight = Project(folder / "straight", prompts)
        straight.register(server, concurrency=concurrency)
        straight.build(*options)
        steps = straight.steps()
    with FaultyProcess(*WORDS) as server:
        killed = Project(folder / "killed", prompts)
        killed.register(server, concurrency=concurrency)
        effective, begun = 0, time.monotonic()
        for moment in sorted(draw.sample(range(len(steps)), kills)):
            process = killed.start(killed.build_arguments("-q", *options))
            while process.poll() is None and killed.count_steps() < moment:
                time.sleep(_POLL_SECONDS)
            time.sleep(draw.uniform(0, _LATE))
            effective += _kill(process)
        killed.build(*options)
        seconds, record = time.monotonic() - begun, server.record()
        killed_steps = killed.steps()
    trial.counts |= {
        "prompts": prompts,
        "rounds": rounds,
        "kills of a running build": effective,
        "steps of the straight build": len(steps),
        "steps of the killed build": len(killed_steps),
        "steps lost": len(set(steps) - set(killed_steps)),
        "steps that are there twice": len(killed_steps) - len(set(killed_steps)),
        "requests that the server answered": record["answered"],
        "requests that came again after a kill, the probes of each start included": record[
            "repeats"
        ],
        "exported files with equal sha256": _equal(straight, killed),
        "seconds of the killed build": round(seconds),
    }
    trial.require(effective >= 0.8 * kills, f"only {effective} of {kills} kills met a build")
    trial.require(killed_steps == steps, "the steps differ")
    trial.require(killed.digests() == straight.digests(), "the exports differ")
    return trial


def kill_exports(folder: Path, *, prompts: int = 500, kills: int = 20) -> Trial:
    """An export that is killed leaves each file old or new, never a part of one."""
    trial = Trial(2, "Kill −9 during an export")
    draw = random.Random(kills)
    project = Project(folder, prompts)
    with FaultyProcess(*WORDS) as server:
        project.register(server)
        sizes = (prompts // 2, prompts)
        exports = []
        for size in sizes:
            project.build("--limit", size)
            exports.append(project.digests())
        process = project.start(project.build_arguments("-q", "--limit", sizes[0]))
        begin = _wait_for_export(project, process)
        process.communicate()
        seconds = time.monotonic() - begin
        before, starts, effective, torn, missing = exports[0], 0, 0, 0, 0
        files: Counter[str] = Counter()
        while effective < kills and starts < 3 * kills:
            size = sizes[(starts + 1) % 2]
            process = project.start(project.build_arguments("-q", "--limit", size))
            _wait_for_export(project, process)
            time.sleep(draw.uniform(0, seconds))
            effective += _kill(process)
            starts += 1
            after = {n: d for n, d in project.digests().items() if n in exports[0]}
            torn += sum(d not in (e[n] for e in exports) for n, d in after.items())
            missing += after.keys() != exports[0].keys()
            files["old" if after == before else "new" if after in exports else "mixed"] += 1
            before = after
        project.build("--limit", prompts)
    trial.counts |= {
        "prompts": f"{sizes[0]} and {sizes[1]}, in turn",
        "kills of a running export": effective,
        "seconds of an export": round(seconds, 2),
        "files that are neither old nor new": torn,
        "exports with a file missing": missing,
        "starts that ended with all files old": files["old"],
        "starts that ended with all files new": files["new"],
        "starts that ended with some old and some new": files["mixed"],
        "files left over after the next export": len(project.digests().keys() - exports[1].keys()),
    }
    trial.require(effective == kills, f"only {effective} of {kills} kills met an export")
    trial.require(not torn, "a file was torn")
    trial.require(not missing, "a file was missing")
    trial.require(project.digests() == exports[1], "the export after the kills differs")
    return trial


def _kill(process: subprocess.Popen[bytes]) -> bool:
    """Kill a process; whether it was still running."""
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def _wait_for_export(project: Project, process: subprocess.Popen[bytes]) -> float:
    """Wait for the first new file in the run's folder; the moment at which it came."""
    run = project.folder / "runs" / "run"
    before = {path.name for path in run.iterdir()}
    while process.poll() is None and {path.name for path in run.iterdir()} <= before:
        time.sleep(0.001)
    return time.monotonic()


def _equal(one: Project, other: Project) -> str:
    first, second = one.digests(), other.digests()
    equal = sum(second.get(name) == digest for name, digest in first.items())
    return f"{equal} of {len(first)}"
