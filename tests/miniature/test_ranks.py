"""Runs of several processes that are interrupted or killed: nothing is left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.helpers import listen_to_ctrl_c

SCRIPT = """
import sys, time
from collections.abc import Callable
from pathlib import Path
import torch.multiprocessing as multiprocessing
from bundled.recipe.ranks import as_rank, deaf_to_interrupts, wait_for

def work(rank, folder):
    import os
    Path(folder, str(rank)).write_text(str(os.getpid()))
    time.sleep(120 if rank or "fail" not in sys.argv else 2)
    raise RuntimeError("rank 0 is out of luck")

if __name__ == "__main__":
    with deaf_to_interrupts():
        ranks = multiprocessing.spawn(as_rank, args=(work, (sys.argv[1],)), nprocs=2, join=False)
    try:
        wait_for(ranks)
    except KeyboardInterrupt:
        sys.exit(130)
"""


def _start(folder: Path, *arguments: str, heeds: bool = True) -> subprocess.Popen[str]:
    """The script in a process group of its own, as a terminal starts it; its two ranks are up."""
    file = folder / "script.py"
    file.write_text(SCRIPT)
    handler = signal.default_int_handler if heeds else signal.SIG_IGN
    started = subprocess.Popen(
        [sys.executable, str(file), str(folder), *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, handler),
    )
    _until(lambda: all((folder / rank).is_file() and (folder / rank).read_text() for rank in "01"))
    return started


def _until(holds: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def _lives(folder: Path, rank: str) -> bool:
    """Whether a rank's process is there and no zombie."""
    try:
        state = Path("/proc", (folder / rank).read_text(), "stat").read_text()
    except FileNotFoundError:
        return False
    return state.rpartition(")")[2].split()[0] != "Z"


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="no /proc here")


@pytest.mark.slow
@needs_proc
@pytest.mark.parametrize("heeds", [True, False])
def test_ranks_end_with_a_killed_parent(tmp_path: Path, heeds: bool) -> None:
    """A shell starts what it puts into the background with SIGINT ignored: no way out by that."""
    parent = _start(tmp_path, heeds=heeds)
    assert _lives(tmp_path, "0") and _lives(tmp_path, "1")
    parent.kill()
    parent.communicate()
    _until(lambda: not (_lives(tmp_path, "0") or _lives(tmp_path, "1")), seconds=10)


@pytest.mark.slow
@needs_proc
def test_an_interrupt_ends_all_and_is_told_once(tmp_path: Path) -> None:
    parent = _start(tmp_path)
    os.killpg(parent.pid, signal.SIGINT)
    _, errors = parent.communicate(timeout=30)
    assert (parent.returncode, errors) == (130, "")
    assert not _lives(tmp_path, "0") and not _lives(tmp_path, "1")


@pytest.mark.slow
@needs_proc
def test_a_rank_that_fails_ends_the_other(tmp_path: Path) -> None:
    parent = _start(tmp_path, "fail")
    _, errors = parent.communicate(timeout=60)
    assert parent.returncode == 1 and "rank 0 is out of luck" in errors
    assert not _lives(tmp_path, "1")


@pytest.mark.slow
def test_an_interrupted_training_says_how_to_go_on(tmp_path: Path) -> None:
    """One step, saved; then on, and Ctrl-C: no traceback, and the save is still there."""
    out = tmp_path / "weights"
    command = [sys.executable, "-m", "bundled.recipe.pretrain", "--out", str(out)]
    command += ["--steps", "4000", "--batch-tokens", "256", "--processes", "1"]
    first = subprocess.run([*command, "--minutes", "0"], check=True, capture_output=True, text=True)
    assert "stopped at step 1 of 4000: go on with --resume" in first.stdout
    again = subprocess.run(command, capture_output=True, text=True, check=False)
    assert again.returncode == 2 and "holds a run: go on with --resume" in again.stderr
    before = (out / "recipe.json").read_bytes()
    record = out / "begun.json"
    mine = record.read_text()
    record.write_text(mine.replace('"digest": "', '"digest": "0'))
    other = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert other.returncode == 2 and "or another world" in other.stderr
    record.write_text("{")
    broken = subprocess.run([*command, "--resume"], capture_output=True, text=True, check=False)
    assert broken.returncode == 2 and "begun.json can't be read" in broken.stderr
    record.write_text(mine)
    pipe = subprocess.PIPE
    going = subprocess.Popen(
        [*command, "--resume"], stdout=pipe, stderr=pipe, text=True, preexec_fn=listen_to_ctrl_c
    )
    assert going.stdout is not None
    assert going.stdout.readline() == f"training {out} from its last save, to step 4000\n"
    going.send_signal(signal.SIGINT)
    _, errors = going.communicate(timeout=30)
    assert going.returncode == 130
    assert errors.strip() == "interrupted: go on from the last save with --resume"
    assert (out / "recipe.json").read_bytes() == before
