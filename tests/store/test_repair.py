"""Rows that were really changed in the file: told when they are read, dropped, made again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from cai.errors import StoreError
from cai.store.codec import steps_of
from cai.store.store import Store
from tests.cli.project import cai
from tests.e2e.helpers import digests
from tests.store.samples import comparison, put, run, trace

FIRST = trace("p")
STEP = next(steps_of(FIRST)).key


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Two runs: both hold the trace of p, each has one of its own, and r-1 a comparison."""
    path = tmp_path / "store.sqlite"
    with Store.open(path) as store:
        for run_id, own in (("r-1", "q"), ("r-2", "s")):
            store.put_run(run(run_id))
            put(store, run_id, FIRST, trace(own))
            store.add_event(run_id, "finished")
        put(store, "r-1", comparison("c"))
    return path


def damage(path: Path, table: str, change: str, where: str = "TRUE") -> None:
    """Change a table as no store would: past the triggers that refuse it."""
    with closing(sqlite3.connect(path)) as file, file:
        file.execute(f"DROP TRIGGER {table}_no_update")
        assert file.execute(f"UPDATE {table} SET {change} WHERE {where}").rowcount == 1


CHANGED = f"key = '{STEP}'"
STEPS: dict[str, tuple[str, str]] = {
    "another text": ("result = replace(result, 'First', 'Fisrt')", CHANGED),
    "cut off": ("result = substr(result, 1, 20)", CHANGED),
    "no UTF-8": ("result = CAST(x'7bff7d' AS TEXT)", CHANGED),
    "its digest": ("sha256 = 'f00'", CHANGED),
}


@pytest.mark.parametrize("kind", STEPS)
def test_a_damaged_step_is_told_when_it_is_read(kind: str, path: Path) -> None:
    damage(path, "steps", *STEPS[kind])
    readings: list[Callable[[Store], object]] = [
        lambda store: store.get_steps([STEP]),
        lambda store: list(store.traces("r-1")),
        lambda store: list(store.traces("r-2")),
        lambda store: store.record("r-1", FIRST.id),
        lambda store: store.find(FIRST.id),
    ]
    with Store.open(path) as store:
        for read in readings:
            with pytest.raises(StoreError, match=f"{STEP} can't be used") as error:
                read(store)
            assert "--repair" in error.value.hint
        assert list(store.damaged_steps("r-1")) == [STEP]
        assert len(list(store.comparisons("r-1"))) == 1  # which do not rest on it


@pytest.mark.parametrize("kind", STEPS)
def test_a_repair_drops_the_step_and_what_rests_on_it(kind: str, path: Path) -> None:
    damage(path, "steps", *STEPS[kind])
    with Store.open(path) as store, store.lock():
        dropped = store.repair()
        assert (dropped.steps, dropped.records, dropped.runs) == (1, 1, ("r-1", "r-2"))
        assert list(store.traces("r-1")) == [trace("q")]
        assert list(store.traces("r-2")) == [trace("s")]
        assert ("trace", "p", 0) not in store.record_keys("r-1")
        assert store.get_steps([STEP]) == {}
        assert len(store.get_steps([s.key for s in steps_of(FIRST)])) == 4  # of 5
        assert store.status("r-1") == "interrupted"
        assert store.events("r-2")[-1].detail == {"steps": 1, "records": 1}
        put(store, "r-1", FIRST)
        assert list(store.traces("r-1")) == [FIRST, trace("q")]
        assert not store.repair()
        with pytest.raises(StoreError, match="append-only"):
            store._db.execute("DELETE FROM steps")


OTHERS = {
    "a prompt": ("prompts", "body = replace(body, 'Question', 'Answer')", "id = 'p'"),
    "a record": ("records", "body = replace(body, '1.2.0', '9.9.9')", "id = 't-p'"),
    "a record's place": ("record_steps", "step = step + 1", "record = 1 AND position = 4"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_damaged_prompts_and_records_are_dropped_too(kind: str, path: Path) -> None:
    damage(path, *OTHERS[kind])
    with Store.open(path) as store, store.lock():
        dropped = store.repair()
        assert (dropped.steps, dropped.records, dropped.runs) == (0, 1, ("r-1", "r-2"))
        put(store, "r-1", FIRST)
        assert list(store.traces("r-1")) == [FIRST, trace("q")]
        assert list(store.damaged_records("r-1")) == []


SCRIPT = """
replies:
  - {when: "Is it", say: ["Take what you like.", "Help yourself."]}
  - {say: ["It is rude to the user."]}
scores:
  - {options: {"No problem found.": 0.4}}
"""


def test_one_command_drops_damaged_steps_and_makes_them_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The folder is byte for byte what it was; only what was damaged is asked again."""
    monkeypatch.chdir(tmp_path)
    Path("model.yaml").write_text(SCRIPT)
    Path("p.txt").write_text("".join(f"Is it {n}?\n" for n in range(6)))
    build = ("build-data", "-p", "p.txt", "-m", "scripted:model.yaml", "-o", "runs/a",
             "--no-examine")  # fmt: skip
    cai(*build)
    before = digests(Path("runs/a"))
    damage(
        Path("runs/store.sqlite"), "steps", "result = replace(result, 'Take', 'Tkae')",
        "seq = (SELECT min(seq) FROM steps WHERE result LIKE '%Take%')",
    )  # fmt: skip
    cai(*build, exit_code=6)
    assert "--repair" in capsys.readouterr().err
    cai("verify", "runs/a", exit_code=4)
    output = capsys.readouterr()
    assert "its result was changed" in output.out and "--repair" in output.err
    cai(*build, "--repair")
    output = capsys.readouterr()
    assert "Dropped 1 damaged step, and 1 record" in output.err
    assert "Generated 1 step;" in output.out
    assert digests(Path("runs/a")) == before
    cai("verify", "runs/a")
    cai(*build, "--repair", "-q")
    assert "Nothing in the store is damaged." in capsys.readouterr().err
