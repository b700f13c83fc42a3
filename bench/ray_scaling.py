"""How does a build on Ray scale from one worker to two?

A script answers every request at a fixed cost, as a model does on a device of its own: `wait`
sleeps, so the machine's other work hardly matters; `processor` computes, so each worker needs a
processor to itself. The workers are started before the clock.

python bench/ray_scaling.py [--kind wait|processor] [--cost 20] [--prompts 100] [--workers 1 2]
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cai
from cai.backends.base import Backend, GroupResult
from cai.backends.ray import RayBackend
from cai.backends.ray_cluster import ray_cluster
from cai.backends.ray_pool import WorkerPool
from cai.backends.scripted import ScriptedBackend
from cai.pipeline.build import build
from cai.pipeline.config import BuildConfig
from cai.store.store import Store
from cai.types import Message, Prompt

REPLIES = ["It is rude to the user.", "Please ask first.", "Look first.", "No problem found."]


class CostlyBackend(ScriptedBackend):
    """Answers by rules, each request at a cost in milliseconds."""

    def __init__(self, kind: str, cost: float) -> None:
        super().__init__([("", REPLIES)], name=f"{kind} {cost}", record=False)
        self._kind, self._seconds = kind, cost / 1000

    def poll(self, timeout: float | None = None) -> list[GroupResult]:
        """Answer the oldest group."""
        groups = super().poll(timeout)
        for group in groups:
            self._pay(len(group.results))
        return groups

    def _pay(self, requests: int) -> None:
        if self._kind == "wait":
            time.sleep(requests * self._seconds)
            return
        end = time.thread_time() + requests * self._seconds
        while time.thread_time() < end:
            sum(range(10_000))


def backends(kind: str, cost: float) -> dict[str, Backend]:
    """What a worker holds."""
    return {"all": CostlyBackend(kind, cost)}


def measure(ray: object, workers: int, prompts: Sequence[Prompt], kind: str, cost: float) -> float:
    """Requests a second of one build; prints a row."""
    pool = WorkerPool(ray, partial(backends, kind, cost), workers)
    remote = RayBackend(pool, "all", CostlyBackend(kind, cost))
    try:
        with (
            tempfile.TemporaryDirectory() as folder,
            Store.open(Path(folder) / "store.sqlite") as store,
        ):
            wall, processor = time.perf_counter(), time.process_time()
            config = BuildConfig(pairs=0, rounds=1)
            build(cai.load_constitution("default"), prompts, store, remote, config)
            wall, processor = time.perf_counter() - wall, time.process_time() - processor
            ((requests,),) = store._db.all("SELECT count(*) FROM steps")
    finally:
        pool.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    share = requests * cost / 1000 / workers / wall
    print(
        f"{workers:7d}  {requests:8d}  {wall:7.1f}  {requests / wall:10.1f}  {share:12.1%}"
        f"  {1000 * processor / requests:15.2f}  {memory:9.0f}",
        flush=True,
    )
    return float(requests) / wall


def main() -> None:
    """Print a row for each number of workers, and the ratio to linear."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", choices=["wait", "processor"], default="wait")
    parser.add_argument("--cost", type=float, default=20, help="milliseconds a request")
    parser.add_argument("--prompts", type=int, default=100)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    prompts = [
        Prompt(f"p{n}", (Message("user", f"Question number {n}?"),)) for n in range(options.prompts)
    ]
    with ray_cluster(None, max(options.workers)) as ray:
        print(
            f"Python {platform.python_version()}, ray {ray.__version__},"
            f" {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f};"
            f" {options.kind}, {options.cost:g} ms a request"
        )
        print("workers  requests  seconds  requests/s  busy workers  driver ms/request  memory MB")
        cost = options.kind, options.cost
        rates = [measure(ray, workers, prompts, *cost) for workers in options.workers]
    first = rates[0] / options.workers[0]
    for workers, rate in zip(options.workers[1:], rates[1:], strict=True):
        print(f"{workers} workers: {rate / first / workers:.1%} of linear")


if __name__ == "__main__":
    main()
