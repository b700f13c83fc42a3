"""The store: what goes in comes out equal, once, in order, and stays as it was."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

import pytest

from cai.errors import StoreError, UsageError
from cai.store import migrations
from cai.store.codec import steps_of
from cai.store.records import RunEvent, status_of
from cai.store.store import Store
from cai.types import Result, SetAside
from tests.store.samples import comparison, prepared, put, run, say, score, trace


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "store.sqlite"


def test_steps_come_back_equal(path: Path) -> None:
    steps: list[Result] = [say("hé\u2028\0👍", "a", "length"), score("b", float("-inf"), -0.1)]
    with Store.open(path) as store:
        store.put_steps((prepared(s), s) for s in steps)
        store.put_steps([(prepared(steps[0]), say("another text", "a"))])  # the first one stays
    with Store.open(path) as store:
        assert store.get_steps(["a", "b", "missing"]) == {"a": steps[0], "b": steps[1]}
        assert store.get_steps([]) == {}


def test_many_keys_are_asked_in_parts(path: Path) -> None:
    with Store.open(path) as store:
        steps = [say(str(n), f"k{n}") for n in range(1203)]
        store.put_steps((prepared(s), s) for s in steps)
        assert store.get_steps([s.key for s in steps]) == {s.key: s for s in steps}


def test_a_result_under_another_key_is_refused(path: Path) -> None:
    with Store.open(path) as store, pytest.raises(ValueError, match="key b"):
        store.put_steps([(prepared(say("x", "a")), say("x", "b"))])


def test_records_come_back_equal_and_in_order(path: Path) -> None:
    names = [f"p-{n:03d}" for n in range(100)]
    with Store.open(path) as store:
        store.put_run(run())
        with store.transaction():
            for name in reversed(names):
                put(store, "r-1", trace(name), comparison(name, 1), comparison(name, 0))
    with Store.open(path, read_only=True) as store:
        assert list(store.traces("r-1")) == [trace(n) for n in names]
        assert list(store.comparisons("r-1")) == [
            comparison(n, pair) for n in names for pair in (0, 1)
        ]
        assert next(store.traces("r-1")).prompt.meta == {"benign": True, "tags": ["a"]}
        assert store.record_keys("r-1") == {
            *(("trace", n, 0) for n in names),
            *(("comparison", n, pair) for n in names for pair in (0, 1)),
        }
        assert store.counts("r-1") == {"trace": 100, "comparison": 200, "set_aside": 0}


def test_texts_are_stored_once(path: Path) -> None:
    with Store.open(path) as store:
        store.put_run(run("r-1"))
        store.put_run(run("r-2"))
        put(store, "r-1", trace("p"), comparison("p"))
        put(store, "r-2", trace("p"))
        put(store, "r-2", trace("p"))
    with sqlite3.connect(path) as plain:
        counts = [
            plain.execute(f"SELECT count(*) FROM {t}").fetchone()[0]
            for t in ("prompts", "records", "run_records")
        ]
        assert counts == [1, 2, 3]
        (bodies,) = plain.execute("SELECT group_concat(body) FROM records").fetchone()
    assert "Better" not in bodies


def test_a_record_needs_its_steps(path: Path) -> None:
    with Store.open(path) as store:
        store.put_run(run())
        with pytest.raises(StoreError, match="refers to 5 steps"):
            store.put_trace("r-1", trace("p"))
        assert list(store.traces("r-1")) == []
        assert store.record_keys("r-1") == set()


def test_a_run_holds_one_record_a_place(path: Path) -> None:
    with Store.open(path) as store:
        store.put_run(run())
        put(store, "r-1", trace("p"))
        with pytest.raises(StoreError, match="another trace for prompt 'p'"):
            put(store, "r-1", trace("p", guards=("leaked",)))
        assert list(store.traces("r-1")) == [trace("p")]


def test_runs_and_events(path: Path) -> None:
    with Store.open(path) as store:
        store.put_run(run())
        store.put_run(run())
        assert store.runs() == [run()]
        assert store.run("r-1") == run()
        assert store.status("r-1") == "new"
        for event in ("started", "interrupted", "started", "finished", "exported"):
            store.add_event("r-1", event, {"n": 1})
        events = store.events("r-1")
        assert [e.event for e in events][-1] == "exported"
        assert events[0].detail == {"n": 1}
        assert events[0].at.endswith("Z") and events[0].at <= events[-1].at
        assert store.status("r-1") == "finished"
        with pytest.raises(UsageError, match="no run 'r-9'"):
            store.add_event("r-9", "started")


def test_a_killed_run_stays_started() -> None:
    events = [RunEvent("r", e, {}, "") for e in ("started", "failed", "started")]
    assert status_of(events) == "started"


def test_set_asides_once_and_in_order(path: Path) -> None:
    rows = [
        ("", SetAside("p.jsonl:2", "empty")),
        ("", SetAside("p.jsonl:10", "NUL: character 1 of message 1", "\\0")),
        ("p-1", SetAside("p.jsonl:1", "too long")),
    ]
    with Store.open(path) as store:
        store.put_run(run())
        for name, row in [*reversed(rows), *rows]:
            store.put_set_aside("r-1", name, row)
        assert list(store.set_asides("r-1")) == [row for _, row in rows]
        store.put_set_aside("r-1", "", SetAside("p.jsonl:11", "half", "\ud800"))
        assert [s.excerpt for s in store.set_asides("r-1")][2] == "\\ud800"


def test_find_by_id_prefix_and_prompt(path: Path) -> None:
    with Store.open(path) as store:
        store.put_run(run("r-1"))
        store.put_run(run("r-2"))
        put(store, "r-1", trace("p-ab"), comparison("p-ab"), trace("p-b"))
        put(store, "r-2", trace("p-ab"))
        (record,) = store.find("t-p-ab")
        assert (record.kind, record.record, record.runs) == ("trace", trace("p-ab"), ("r-1", "r-2"))
        assert [f.record for f in store.find("c-")] == [comparison("p-ab")]
        assert [f.record for f in store.find("p-a")] == [trace("p-ab"), comparison("p-ab")]
        with pytest.raises(UsageError, match="2 ids begin with 't-': t-p-ab, t-p-b"):
            store.find("t-")
        for name in ("", "nothing", "%", "t_p"):
            with pytest.raises(UsageError, match="no trace, comparison or prompt"):
                store.find(name)
        assert store.record("r-1", "t-p-b") == trace("p-b")
        assert store.record("r-2", "t-p-b") is None


def test_an_exact_id_wins_over_longer_ones(path: Path) -> None:
    with Store.open(path) as store:
        store.put_run(run())
        put(store, "r-1", trace("p"), trace("p2"))
        assert [f.record for f in store.find("p")] == [trace("p")]


def test_a_transaction_is_all_or_nothing(path: Path) -> None:
    with Store.open(path) as store:
        store.put_run(run())
        with pytest.raises(KeyboardInterrupt), store.transaction():
            put(store, "r-1", trace("p"))
            raise KeyboardInterrupt
        assert store.record_keys("r-1") == set()
        with store.transaction():
            put(store, "r-1", trace("q"))
            with pytest.raises(ZeroDivisionError), store.transaction():
                put(store, "r-1", trace("p"))
                raise ZeroDivisionError
        assert store.record_keys("r-1") == {("trace", "q", 0)}


@pytest.mark.parametrize("table", ["steps", "prompts", "records", "record_steps", "runs",
                                   "run_records", "set_aside", "events", "locks"])  # fmt: skip
def test_nothing_is_changed_or_deleted(path: Path, table: str) -> None:
    with Store.open(path) as store:
        store.put_run(run())
        put(store, "r-1", trace("p"))
        store.add_event("r-1", "started")
        store.put_set_aside("r-1", "", SetAside("x", "y"))
        with store.lock():
            pass
    plain = sqlite3.connect(path)
    column = plain.execute(f"SELECT name FROM pragma_table_info('{table}')").fetchone()[0]
    for statement in (f"UPDATE {table} SET {column} = {column}", f"DELETE FROM {table}"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            plain.execute(statement)
    plain.close()


def test_replace_is_refused_too(path: Path) -> None:
    with Store.open(path) as store:
        store.put_run(run())
        with pytest.raises(StoreError, match="append-only"):
            store._db.execute("REPLACE INTO runs (id, body) VALUES ('r-1', '{}')")


def test_lone_surrogates_never_get_in(path: Path) -> None:
    with Store.open(path) as store:
        bad = say("half \ud800", "k")
        with pytest.raises(StoreError, match=r"lone surrogate U\+D800"):
            store.put_steps([(prepared(say("fine", "f")), say("fine", "f")), (prepared(bad), bad)])
        assert store.get_steps(["k", "f"]) == {}


def test_damaged_steps_are_named(path: Path) -> None:
    with Store.open(path) as store:
        store.put_run(run())
        put(store, "r-1", trace("p"))
        assert list(store.damaged_steps("r-1")) == []
        victim = next(steps_of(trace("p"))).key
    plain = sqlite3.connect(path)
    plain.execute("DROP TRIGGER steps_no_update")
    changed = "UPDATE steps SET result = replace(result, 'First', 'Fisrt') WHERE key = ?"
    assert plain.execute(changed, (victim,)).rowcount == 1
    plain.commit()
    plain.close()
    with Store.open(path) as store:
        assert list(store.damaged_steps("r-1")) == [victim]


def test_the_journal_is_safe(path: Path) -> None:
    with Store.open(path) as store:
        pragmas = [
            store._db.all(f"PRAGMA {p}")[0][0]
            for p in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert pragmas == ["wal", 1, 1]


def test_newer_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = [*migrations.MIGRATIONS, ("0002-later", "CREATE TABLE later (x INTEGER) STRICT;")]
    with Store.open(path):
        pass
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "MIGRATIONS", newer)
        with pytest.raises(StoreError, match="older version"):
            Store.open(path, read_only=True)
        with Store.open(path) as store:  # the older store is brought up to date
            store.put_run(run())
    with pytest.raises(StoreError, match=r"newer version of cai.*0002-later") as error:
        Store.open(path)
    assert "Update your checkout of cai" in str(error.value)


def test_files_that_are_no_store(tmp_path: Path) -> None:
    text = tmp_path / "notes.sqlite"
    text.write_text("these are my notes, and not a database\n" * 100)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as plain:
        plain.execute("CREATE TABLE mine (x)")
    for path, message in ((text, "is not a store"), (other, "not a store of cai's")):
        before = path.read_bytes()
        with pytest.raises(StoreError, match=message):
            Store.open(path)
        assert path.read_bytes() == before
    with pytest.raises(StoreError, match=r"(?s)no store at .*cai build-data"):
        Store.open(tmp_path / "none.sqlite", read_only=True)
    assert not (tmp_path / "none.sqlite").exists()
    with pytest.raises(StoreError, match="can't be opened"):
        Store.open(tmp_path)
    with pytest.raises(StoreError, match=r"folder .* can't be made"):
        Store.open(text / "below" / "store.sqlite")


def test_a_full_disk_is_told_and_leaves_the_store_whole(path: Path) -> None:
    with Store.open(path) as store:
        store.put_run(run())
        put(store, "r-1", trace("p"))
        pages = store._db.all("PRAGMA page_count")[0][0]
        store._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(StoreError, match="no space is left") as error, store.transaction():
            for n in range(500):
                put(store, "r-1", trace(f"q{n}"))
        assert error.value.exit_code == 6
    with Store.open(path) as store:  # there is room again
        assert store._db.all("PRAGMA integrity_check") == [("ok",)]
        assert store.record_keys("r-1") == {("trace", "p", 0)}
        put(store, "r-1", trace("q0"))


def test_a_damaged_file_is_told(path: Path) -> None:
    with Store.open(path) as store:
        store.put_run(run())
        with store.transaction():
            for n in range(50):
                put(store, "r-1", trace(f"q{n}"))
    data = bytearray(path.read_bytes())
    for page in range(8, len(data) // 4096):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(StoreError, match="is damaged"), Store.open(path) as store:
        list(store.traces("r-1"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_places(path: Path) -> None:
    with Store.open(path) as store:
        store.put_run(run())
    path.chmod(0o444)
    path.parent.chmod(0o555)
    try:
        with Store.open(path, read_only=True) as store:
            assert store.runs() == [run()]
        with pytest.raises(StoreError, match="can't be"), Store.open(path) as store:
            store.add_event("r-1", "started")
    finally:
        path.parent.chmod(0o755)


def test_statements_of_a_script() -> None:
    script = "CREATE TABLE a (x);\nCREATE TRIGGER t BEFORE UPDATE ON a BEGIN\n SELECT 1; END;\n"
    first, second = migrations.statements(script)
    assert first == "CREATE TABLE a (x);"
    assert second.startswith("CREATE TRIGGER") and second.endswith("END;")
