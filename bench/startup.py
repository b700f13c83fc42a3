"""How long do `cai --help` and `cai lint` take, against a bare Python start? Medians of N runs.

python bench/startup.py [--runs 20]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""What `cai lint` reads."""

COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "cai --help": [sys.executable, "-m", "cai", "--help"],
    "cai lint": [sys.executable, "-m", "cai", "lint"],
}


def seconds(command: list[str]) -> float:
    """Wall time of one run."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    return time.perf_counter() - begin


def main() -> None:
    """Print the medians, runs of the commands in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    runs = parser.parse_args().runs
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(runs):
        for name, command in COMMANDS.items():
            times[name].append(seconds(command))
    for name, values in times.items():
        print(
            f"{name:16s} median {statistics.median(values):.3f} s"
            f"  (min {min(values):.3f}, max {max(values):.3f}, n={runs})"
        )


if __name__ == "__main__":
    main()
