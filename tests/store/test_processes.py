"""Real processes: kills while writing, and two builds on one store."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cai.errors import StoreError
from cai.store.store import Store
from tests.store.samples import run, trace

WRITER = """
import sys
from cai.store.store import Store
from tests.store.samples import put, run, trace
with Store.open(sys.argv[1]) as store, store.lock():
    store.put_run(run())
    done = store.record_keys("r-1")
    print("writing", flush=True)
    for n in range(100000):
        if ("trace", f"p{n}", 0) not in done:
            with store.transaction():
                put(store, "r-1", trace(f"p{n}"))
            print(n, flush=True)
"""
HOLDER = """
import sys, time
from cai.store.store import Store
with Store.open(sys.argv[1]) as store, store.lock():
    print("held", flush=True)
    time.sleep(60)
"""


def start(script: str, path: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(path)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def test_ten_kills_lose_nothing_that_was_committed(tmp_path: Path) -> None:
    path, chance = tmp_path / "store.sqlite", random.Random(3)
    acknowledged: set[int] = set()
    for _ in range(10):
        process = start(WRITER, path)
        time.sleep(chance.uniform(0.02, 0.2))
        process.send_signal(signal.SIGKILL)
        out, _ = process.communicate()
        acknowledged |= {int(line) for line in out.split("\n")[:-1]}
        with Store.open(path) as store:
            assert store._db.all("PRAGMA integrity_check") == [("ok",)]
            traces = sorted(store.traces("r-1"), key=lambda t: int(t.prompt.id[1:]))
            assert traces == [trace(f"p{n}") for n in range(len(traces))]
            assert acknowledged <= set(range(len(traces)))
            assert list(store.damaged_steps("r-1")) == []
    assert len(acknowledged) > 10


def test_a_second_build_is_refused_until_the_first_is_killed(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    process = start(HOLDER, path)
    with Store.open(path) as store:
        assert store.locked()
        with pytest.raises(StoreError, match=rf"process {process.pid}, since 20\d\d-") as error:
            store.lock().__enter__()
        assert "--wait" in str(error.value)
        store.put_run(run())  # reading and exporting go on meanwhile
        process.kill()
        process.wait()
        with store.lock():
            assert store.locked()
        assert not store.locked()


def test_waiting_for_the_lock(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    process = start(HOLDER, path)
    with Store.open(path) as store:
        killer = subprocess.Popen(["sh", "-c", f"sleep 0.4; kill -9 {process.pid}"])
        begin = time.monotonic()
        with store.lock(wait=True):
            assert time.monotonic() - begin > 0.3
        killer.wait()
    process.wait()


def test_many_processes_make_one_store(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    script = (
        "import sys; from cai.store.store import Store; from tests.store.samples import run\n"
        "print('.', flush=True)\n"
        "for n in range(20):\n"
        "    with Store.open(sys.argv[1]) as store: store.put_run(run(f'r-{n}'))"
    )
    for attempt in range(2):
        processes = [start(script, path.with_name(f"{attempt}.sqlite")) for _ in range(4)]
        assert [p.wait() for p in processes] == [0, 0, 0, 0]
