"""One request at a time or many, in any order of completion: the same bytes (3)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cai.digest import file_digest
from tests.served.project import WORDS, Project, Trial
from tests.servers.process import FaultyProcess

ORDERS: dict[str, dict[str, Any]] = {
    "one at a time": {"concurrency": 1},
    "eight at once": {"concurrency": 8},
    "one at a time, random delays": {"concurrency": 1, "jitter": 0.02},
    "eight at once, random delays": {"concurrency": 8, "jitter": 0.1},
    "eight at once, other random delays": {"concurrency": 8, "jitter": 0.3},
    "32 at once, random delays": {"concurrency": 32, "jitter": 0.3},
    "two addresses of eight, random delays": {"concurrency": 8, "jitter": 0.1, "addresses": 2},
}


def vary_order(
    folder: Path, *, prompts: int = 100, rounds: int = 2, names: Sequence[str] = tuple(ORDERS)
) -> Trial:
    """Builds that differ in concurrency and in the order of answers export the same bytes."""
    trial = Trial(3, "One worker or eight, any order of completion")
    first: dict[str, str] | None = None
    trial.counts |= {"prompts": prompts, "rounds": rounds}
    for name in names:
        exported, peak = _export(folder / name.replace(" ", "-"), prompts, rounds, **ORDERS[name])
        first = first or exported
        equal = sum(exported.get(file) == digest for file, digest in first.items())
        trial.counts[name] = f"{equal} of {len(first)} files equal; {peak} in flight at most"
        trial.require(exported == first, f"other bytes with {name}")
    return trial


def _export(
    folder: Path, prompts: int, rounds: int, *, concurrency: int, jitter: float = 0.0,
    addresses: int = 1,
) -> tuple[dict[str, str], int]:  # fmt: skip
    """The digests of what a build exports, its audit report included; the most in flight."""
    project = Project(folder, prompts)
    delays = ("--slow", 0.01, "--jitter", jitter)
    with FaultyProcess(*WORDS, *delays) as one, FaultyProcess(*WORDS, *delays) as two:
        urls = [server.url for server in (one, two)][:addresses]
        project.register(one, url=urls, concurrency=concurrency)
        project.build("--rounds", rounds)
        peak = one.record()["peak"]
    ended = project.run("audit", "report", "runs/run", "--out", "report.html")
    if ended.code:
        raise RuntimeError(ended.err)
    report = file_digest(folder / "report.html")
    return {**project.digests(), "report.html": report}, peak
