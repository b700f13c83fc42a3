"""Back-pressure: many prompts and a slow server need no more memory than few (5)."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from tests.served.project import WORDS, Project, Trial
from tests.servers.process import FaultyProcess


def hold_memory(
    folder: Path, trial: Trial, *, prompts: int = 100_000, seconds: float = 360.0,
    slow: float = 0.2, concurrency: int = 64, warm_up: int = 2000,
) -> Trial:  # fmt: skip
    """A build of many prompts, ended by Ctrl-C after some seconds if it takes longer.

    warm_up: steps before memory is first read.
    """
    project = Project(folder, prompts)
    with FaultyProcess(*WORDS, "--slow", slow, "--keep", 10) as server:
        project.register(server, concurrency=concurrency)
        options = ("-q", "--rounds", 0, "--pairs", 0, "--sft-share", 1)
        process = project.start(project.build_arguments(*options))
        begun, first, most, steps = time.monotonic(), 0.0, 0.0, 0
        while process.poll() is None and time.monotonic() - begun < seconds:
            time.sleep(0.5)
            steps = project.count_steps()
            if steps >= warm_up:
                most = max(most, _resident(process.pid))
                first = first or most
        if whole := process.poll() is not None:
            _, err = process.communicate()
        else:
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        record = server.record()
    took = time.monotonic() - begun
    trial.counts |= {
        "prompts in the file": prompts,
        "prompts answered": project.count_steps(),
        "seconds of one answer": slow,
        "answers a second": round(steps / took),
        "in flight at most": f"{record['peak']} (limit {concurrency})",
        f"memory after {warm_up} answers, MB": round(first),
        "memory at most, MB": round(most),
        "growth, MB": round(most - first, 1),
        "ended by": "the last prompt" if whole else f"Ctrl-C after {took:.0f} s",
    }
    expected = 0 if whole else 130
    trial.require(process.returncode == expected, f"{process.returncode}: {err.decode()}")
    trial.require(first > 0, f"only {steps} answers")
    trial.require(most - first < 100, f"memory grew by {most - first:.0f} MB")
    trial.require(record["peak"] <= concurrency, f"{record['peak']} in flight")
    return trial


def _resident(process: int) -> float:
    """The memory of a process, in MB; 0 where it has ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    sizes = [line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")]
    return int(sizes[0]) / 1024 if sizes else 0.0
