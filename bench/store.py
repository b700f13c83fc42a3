"""What does a step cost in the store, as it grows to a million, and how much memory?

Steps are written as a build with a fast backend writes them: looked up, found missing, written,
committed in groups. At each power of ten, stored steps are read in random order.

python bench/store.py [--steps 1000000] [--characters 2000] [--folder DIR]
"""

from __future__ import annotations

import argparse
import platform
import random
import resource
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cai.backends.base import Prepared
from cai.digest import digest
from cai.store.store import Store
from cai.types import Generate, Generation, Message, Sampling

COMMIT_SECONDS = 0.05
"""As in a build."""
READS = 2000
BLOCK = 500
"""Steps measured at once: reading the clocks takes time, too."""


class Stopwatch:
    """Milliseconds of wall and processor time, in the blocks that it measures."""

    def __init__(self) -> None:
        self.wall = self.processor = 0.0

    @contextmanager
    def measure(self) -> Iterator[None]:
        """Measure the block."""
        begin = time.perf_counter(), time.process_time()
        yield
        self.wall += 1e3 * (time.perf_counter() - begin[0])
        self.processor += 1e3 * (time.process_time() - begin[1])


def step(number: int, characters: int) -> tuple[Prepared, Generation]:
    """A generation whose prompt has so many characters, and its request."""
    text = f"Question {number}: " + "who may see the list of members? " * (characters // 33)
    request = Generate((Message("user", text),), Sampling(seed=number))
    key = digest(number)
    answer = Generation(
        "Only the people on it.", (1, 2, 3, 4, 5, 6), "stop", "bench", f"<user>{text}<assistant>",
        characters // 4, 7, key,
    )  # fmt: skip
    return Prepared(request, key), answer


def write(store: Store, begin: int, end: int, characters: int) -> Stopwatch:
    """Write the steps of these numbers."""
    watch = Stopwatch()
    with store.grouped(COMMIT_SECONDS) as commits:
        for first in range(begin, end, BLOCK):
            steps = [step(n, characters) for n in range(first, min(first + BLOCK, end))]
            with watch.measure():
                for request, answer in steps:
                    if store.get_steps([request.key]):
                        raise SystemExit(f"the step {request.key} is there before it was written")
                    store.put_steps([(request, answer)])
                    commits.commit_if_due()
    return watch


def read(store: Store, count: int) -> Stopwatch:
    """Read steps in random order."""
    watch, draw = Stopwatch(), random.Random(count)
    keys = [digest(draw.randrange(count)) for _ in range(READS)]
    with watch.measure():
        for key in keys:
            if not store.get_steps([key]):
                raise SystemExit(f"the step {key} is missing")
    return watch


def peak_memory() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Print a row for each size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--characters", type=int, default=2000, help="of a prompt")
    parser.add_argument("--folder", type=Path, default=None, help="where the store is made")
    options = parser.parse_args()
    print(f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}")
    print("         ms a step written     ms a step read")
    print("  steps    wall  processor    wall  processor   memory MB  store MB")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        path, begin, end = Path(folder) / "store.sqlite", 0, min(1000, options.steps)
        with Store.open(path) as store:
            while True:
                written = write(store, begin, end, options.characters)
                reading = read(store, end)
                count, megabytes = end - begin, path.stat().st_size / 2**20
                print(
                    f"{end:7d}  {written.wall / count:6.4f}     {written.processor / count:6.4f}"
                    f"  {reading.wall / READS:6.4f}     {reading.processor / READS:6.4f}"
                    f"   {peak_memory():9.0f}  {megabytes:8.0f}",
                    flush=True,
                )
                if end == options.steps:
                    break
                begin, end = end, min(10 * end, options.steps)


if __name__ == "__main__":
    main()
