"""Builds on model servers that fail, die and are killed: the counts of docs/servers.md.

    python bench/reliability.py [--only 1,4] [--scale 0.1] [--out bench/results/DATE-reliability]

Each trial runs `cai` in processes of its own against `tests/servers/faulty.py` in another, on
loopback; they stand in tests/served/, where tests run them at small sizes. The numbers of the
trials are those of the requirements that they show: 1 kills of a build, 2 kills of an export, 3
orders of completion, 4 server faults, 5 a dead server and back-pressure, 6 no log-probabilities,
13 control sequences, 15 keys, 16 sockets confined to loopback. Writes OUT.json and OUT.md after
each trial; trials that it does not run stay in them as they are. Some forty minutes on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the tests are no part of what is installed

from tests.served.failures import die_and_return, mix_faults  # noqa: E402
from tests.served.keys import hide_keys  # noqa: E402
from tests.served.kills import kill_builds, kill_exports  # noqa: E402
from tests.served.memory import hold_memory  # noqa: E402
from tests.served.offline import run_offline  # noqa: E402
from tests.served.orders import vary_order  # noqa: E402
from tests.served.project import Trial  # noqa: E402
from tests.served.refusals import keep_terminal_clean, refuse_without_logprobs  # noqa: E402

_PACKAGES = ("cai-toolkit", "httpx2", "aiolimiter", "uvicorn", "starlette")


def die_and_hold_memory(folder: Path, *, deaths: int, prompts: int, seconds: int) -> Trial:
    """A server that dies, then one that is slow."""
    trial = Trial(5, "A dead server, and back-pressure from a slow one")
    die_and_return(folder / "dead", trial, deaths=deaths)
    return hold_memory(
        folder / "slow", trial, prompts=prompts, seconds=seconds, warm_up=max(50, prompts // 200)
    )


TRIALS: dict[int, tuple[Callable[..., Trial], dict[str, int]]] = {
    1: (kill_builds, {"prompts": 500, "kills": 50}),
    2: (kill_exports, {"prompts": 500, "kills": 20}),
    3: (vary_order, {"prompts": 40}),
    4: (mix_faults, {"prompts": 125}),
    5: (die_and_hold_memory, {"deaths": 5, "prompts": 100_000, "seconds": 1500}),
    6: (refuse_without_logprobs, {}),
    13: (keep_terminal_clean, {}),
    15: (hide_keys, {}),
    16: (run_offline, {}),
}
"""Number → the trial and its sizes, which `--scale` multiplies."""


def machine() -> dict[str, Any]:
    """Where it runs."""
    models = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {"processor": models[0] if models else platform.processor(), "cores": os.cpu_count()}


def run(number: int, scale: float) -> dict[str, Any]:
    """Run one trial; what it counted."""
    function, full = TRIALS[number]
    sizes = {name: max(3, round(scale * size)) for name, size in full.items()}
    load, begun = os.getloadavg()[0], time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        trial = function(Path(folder) / "trial", **sizes)
    return {
        "title": trial.title,
        "scale": scale,
        "seconds": round(time.monotonic() - begun),
        "load_average": round(load, 1),
        "counts": trial.counts,
        "problems": trial.problems,
    }


def markdown(results: dict[str, Any]) -> str:
    """The results as a page."""
    where, trials = results["machine"], results["trials"]
    versions = ", ".join(f"{name} {text}" for name, text in results["versions"].items())
    lines = [
        f"# Results: builds on model servers that fail, {results['date']}",
        "",
        f"`python bench/reliability.py`, on {where['cores']} cores of a shared machine"
        f" ({where['processor']}),",
        f"{versions}. The server is `tests/servers/faulty.py`",
        "in a process of its own, on loopback; each trial is described in `tests/served/`. Other"
        " processes kept the cores busy,",
        "so the seconds say little: the load average is that at the start of the trial.",
        "",
        "| | trial | holds | seconds | load |",
        "|---|---|---|---|---|",
    ]
    for number, trial in trials.items():
        holds = "**no**" if trial["problems"] else "yes"
        size = "" if trial["scale"] == 1 else f" (at {trial['scale']:g} of the size)"
        lines.append(
            f"| {number} | {trial['title']}{size} | {holds} | {trial['seconds']}"
            f" | {trial['load_average']} |"
        )
    for number, trial in trials.items():
        lines += ["", f"## {number}. {trial['title']}", "", "| | |", "|---|---|"]
        lines += [
            f"| {name.replace('|', '/')} | {str(value).replace('|', '/')} |"
            for name, value in trial["counts"].items()
        ]
        lines += [f"\nDoes not hold: {problem}" for problem in trial["problems"]]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the trials and write their results; exit code 1 if one does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", help="numbers of trials, as in 1,4")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full sizes")
    today = datetime.now(UTC).date().isoformat()
    parser.add_argument("--out", type=Path, default=ROOT / f"bench/results/{today}-reliability")
    options = parser.parse_args()
    numbers = [int(n) for n in options.only.split(",")] if options.only else list(TRIALS)
    if unknown := set(numbers) - TRIALS.keys():
        parser.error(f"--only: there is no trial {unknown.pop()}")
    path = options.out.with_suffix(".json")
    trials = json.loads(path.read_text())["trials"] if path.exists() else {}
    for number in numbers:
        trial = trials[str(number)] = run(number, options.scale)
        results = {
            "date": today,
            "versions": {
                "Python": platform.python_version(),
                "SQLite": sqlite3.sqlite_version,
                **{name: version(name) for name in _PACKAGES},
            },
            "machine": machine(),
            "trials": dict(sorted(trials.items(), key=lambda item: int(item[0]))),
        }
        path.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        options.out.with_suffix(".md").write_text(markdown(results))
        print(f"{number} {trial['title']}: {trial['seconds']} s", *trial["problems"], sep="\n  ")
    if any(trials[str(number)]["problems"] for number in numbers):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
