"""Groups of commits: whole transactions wait for one another, and a kill takes the last few."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from cai.store.store import Store
from tests.store.samples import prepared, run, say


def committed(path: Path) -> list[str]:
    """The keys of the steps that another process would read."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as opened:
        return sorted(key for (key,) in opened.execute("SELECT key FROM steps"))


def put(store: Store, key: str) -> None:
    step = say("text", key)
    store.put_steps([(prepared(step), step)])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def test_transactions_wait_until_the_commit_is_due(path: Path) -> None:
    with Store.open(path) as store:
        with store.grouped(0.2) as commits:
            assert commits.seconds_left is None
            put(store, "a")
            put(store, "b")
            commits.commit_if_due()
            assert committed(path) == []
            left = commits.seconds_left
            assert left is not None and 0 < left <= 0.2
            time.sleep(0.2)
            put(store, "c")
            commits.commit_if_due()
            assert committed(path) == ["a", "b", "c"]
            assert commits.seconds_left is None
            put(store, "d")
        assert committed(path) == ["a", "b", "c", "d"]
        put(store, "e")
        assert committed(path)[-1] == "e", "after the block each is committed by itself"


def test_what_comes_after_a_pause_is_committed_at_once(path: Path) -> None:
    with Store.open(path) as store, store.grouped(0.05) as commits:
        for key in ("a", "b"):
            time.sleep(0.06)  # as long as a model takes
            put(store, key)
            commits.commit_if_due()
            assert committed(path)[-1] == key


def test_a_transaction_that_fails_is_rolled_back_alone(path: Path) -> None:
    with Store.open(path) as store, store.grouped(60):
        put(store, "a")
        with pytest.raises(RuntimeError), store.transaction():
            put(store, "b")
            raise RuntimeError
        put(store, "c")
        assert sorted(store.get_steps(["a", "b", "c"])) == ["a", "c"]
    assert committed(path) == ["a", "c"]


def test_an_error_ends_the_group_and_keeps_what_was_whole(path: Path) -> None:
    with Store.open(path) as store:
        with pytest.raises(KeyboardInterrupt), store.grouped(60):
            put(store, "a")
            with store.transaction():
                put(store, "b")
                raise KeyboardInterrupt
        assert committed(path) == ["a"]
        put(store, "c")
    assert committed(path) == ["a", "c"]


def test_an_event_waits_for_the_disk(path: Path) -> None:
    statements: list[str] = []
    with Store.open(path) as store:
        store.put_run(run())
        store._db._connection.set_trace_callback(lambda text: statements.append(text))
        store.add_event("r-1", "finished")
        put(store, "a")
    settings = [s for s in statements if s.startswith(("PRAGMA", "BEGIN", "COMMIT"))]
    assert settings == [
        "PRAGMA synchronous = FULL", "BEGIN IMMEDIATE", "COMMIT", "PRAGMA synchronous = NORMAL",
        "BEGIN IMMEDIATE", "COMMIT",
    ]  # fmt: skip


WRITER = """
import sys, time
from cai.store.store import Store
from tests.store.test_commit_group import put
with Store.open(sys.argv[1]) as store, store.grouped(0.1) as commits:
    for number in range(1_000_000):
        put(store, f"{number:07d}")
        commits.commit_if_due()
        if commits.seconds_left is None:
            print(number, flush=True)
"""


def test_a_kill_takes_what_was_not_committed_and_no_more(path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    committed_numbers = [int(process.stdout.readline()) for _ in range(5)]
    process.send_signal(signal.SIGKILL)
    process.communicate()
    keys = committed(path)
    assert keys == [f"{number:07d}" for number in range(len(keys))], "no hole"
    assert len(keys) > committed_numbers[-1] > committed_numbers[0]
