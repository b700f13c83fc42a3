"""Exports: equal bytes, whole files, nothing overwritten that is not ours, every change noticed."""

from __future__ import annotations

import errno
import json
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from cai.data import files
from cai.data.export import export
from cai.data.files import json_line
from cai.data.manifest import Manifest
from cai.data.rows import DATA_FILES
from cai.data.split import side_of
from cai.data.verify import verify
from cai.digest import file_digest
from cai.errors import DataError, StoreError, UsageError
from cai.store.store import Store
from cai.types import Message, Prompt, SetAside
from tests.store.samples import comparison, family_of, put, run, trace

ALL = {
    *(f"{name}.jsonl" for name in DATA_FILES),
    "set_aside.jsonl",
    "constitution.json",
    "README.md",
    "manifest.json",
}


PAIRS = 15
"""Of p00 to p29, the prompts on the preference side."""


def fill(store: Store, names: list[str], run_id: str = "r-1") -> None:
    """A run over these prompts, recorded in this order."""
    with store.transaction():
        store.put_run(run(run_id))
        for name in names:
            guards = ("leaked", "loop") if name.endswith("7") else ()
            put(store, run_id, trace(name, guards=guards))
            if side_of(family_of(name), 7, 0.5) == "preference":
                put(store, run_id, comparison(name, swapped=0.3))
        store.put_set_aside(run_id, "", SetAside("prompts.jsonl:3", "too long: 20001 characters"))
        store.put_set_aside(
            run_id, "", SetAside("prompts.jsonl:12", "duplicate of prompts.jsonl:1")
        )


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """A folder of runs with a store of one run of 30 prompts."""
    folder = tmp_path / "runs"
    with Store.open(folder / "store.sqlite") as store:
        fill(store, [f"p{n:02d}" for n in range(30)])
    return folder


def exported(runs: Path, out: Path | None = None, run_id: str = "r-1", **options: Any) -> Manifest:
    with Store.open(runs / "store.sqlite") as store:
        return export(store, run_id, out or runs / "demo", **options)


def digests(folder: Path) -> dict[str, str]:
    return {p.name: file_digest(p) for p in folder.iterdir()}


def load(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_files_rows_and_manifest(runs: Path) -> None:
    manifest = exported(runs)
    out = runs / "demo"
    assert {p.name for p in out.iterdir()} == ALL
    assert Manifest.read(out) == manifest
    assert set(manifest.files) == ALL - {"manifest.json"}
    for name, entry in manifest.files.items():
        assert (entry.sha256, entry.bytes) == (
            file_digest(out / name),
            (out / name).stat().st_size,
        )
    prompts: dict[str, set[object]] = {}
    for name in DATA_FILES:
        rows = load(out / f"{name}.jsonl")
        assert len(rows) == manifest.rows[f"{name}.jsonl"] > 0
        ids = [r["prompt_id"] for r in rows]
        assert ids == sorted(ids)  # type: ignore[type-var]
        prompts[name] = set(ids)
    sides = [name for name in DATA_FILES if not name.startswith("labels")]
    for a in sides:
        assert all(a == b or not prompts[a] & prompts[b] for b in sides)
    for split in ("", ".test"):  # each whole final response was checked, whatever its row
        assert prompts[f"labels{split}"] == prompts[f"sft{split}"] | {
            str(r["prompt_id"]) for r in load(out / f"preferences{split}.jsonl")
            if r["origin"] == "revision"
        }  # fmt: skip
    # of 30 prompts 15 are for SFT; each trace and each pair makes one row, but 3 are guarded
    pairs = 30 - sum(side_of(family_of(f"p{n:02d}"), 7, 0.5) == "sft" for n in range(30))
    assert pairs == PAIRS
    assert manifest.counts["left_out"] == {"guarded: leaked, loop": 3}
    assert sum(manifest.rows[f"{n}.jsonl"] for n in sides) == 30 + PAIRS - 3
    assert manifest.rows["labels.jsonl"] + manifest.rows["labels.test.jsonl"] == 30 - 3
    assert manifest.counts["guards"] == {"leaked": 3, "loop": 3}
    assert manifest.counts["set_aside"] == {"duplicate": 1, "too long": 1}
    kind = manifest.counts["principles"]["kind"]
    assert kind == {
        "asked": 30, "found": 30, "revised": 30, "guarded": 3, "no_verdict": 0, "judged": PAIRS,
        "swapped": PAIRS, "flipped": PAIRS,
        "checked": 30, "left": 0,
    }  # fmt: skip
    # 4 steps of text and 1 check a trace; 2 responses, 1 score, 1 reasoning a pair
    assert manifest.steps["count"] == 30 * 5 + PAIRS * 4
    assert manifest.constitution["principles"][0] == {
        "id": "kind",
        "version": "1.2.0",
        "digest": "digest-kind",
    }
    assert [r["source"] for r in load(out / "set_aside.jsonl")] == [
        "prompts.jsonl:3",
        "prompts.jsonl:12",
    ]


def test_equal_runs_make_equal_bytes(runs: Path, tmp_path: Path) -> None:
    exported(runs, parquet=True)
    other = tmp_path / "elsewhere" / "deep" / "store.sqlite"
    names = [f"p{n:02d}" for n in range(30)]
    random.Random(1).shuffle(names)
    with Store.open(other) as store:
        fill(store, names)
        export(store, "r-1", other.parent / "demo", parquet=True)
    first = digests(runs / "demo")
    assert digests(other.parent / "demo") == first
    exported(runs, parquet=True)
    assert digests(runs / "demo") == first
    everything = b"".join(p.read_bytes() for p in (runs / "demo").iterdir())
    assert str(tmp_path).encode() not in everything


def test_the_card_is_for_the_hub_and_for_people(runs: Path) -> None:
    exported(runs)
    text = (runs / "demo" / "README.md").read_text("utf-8")
    front = yaml.safe_load(text.split("---\n")[1])
    assert front["license"] == "unknown"
    assert front["configs"][0] == {
        "config_name": "sft",
        "data_files": [
            {"split": "train", "path": "sft.jsonl"},
            {"split": "test", "path": "sft.test.jsonl"},
        ],
    }
    assert (
        "| `kind` Be kind &#124; always | 1.2.0 | 30 | 30 | 0 | 30 | 3 "
        f"| {PAIRS} | {PAIRS} (100%) |" in text
    )
    assert "| guarded: leaked, loop | 3 |" in text
    assert "| duplicate | 1 |" in text
    assert "One model writes, critiques and judges" in text
    assert "cai trace ID" in text


def test_files_without_rows_are_no_splits(tmp_path: Path) -> None:
    with Store.open(tmp_path / "store.sqlite") as store:
        store.put_run(run(test_share=0.0, sft_share=1.0))
        put(store, "r-1", trace("p"))
        export(store, "r-1", tmp_path / "demo", licence="cc-by-4.0")
    front = yaml.safe_load((tmp_path / "demo" / "README.md").read_text().split("---\n")[1])
    assert front["license"] == "cc-by-4.0"
    assert front["configs"] == [
        {"config_name": name, "data_files": [{"split": "train", "path": f"{name}.jsonl"}]}
        for name in ("sft", "labels")
    ]
    assert (tmp_path / "demo" / "preferences.jsonl").read_bytes() == b""


def test_parquet_says_the_same_and_goes_when_it_is_not_asked_for(runs: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    manifest = exported(runs, parquet=True)
    for name in DATA_FILES:
        rows = parquet.read_table(runs / "demo" / f"{name}.parquet").to_pylist()
        for row in rows:  # a column of served judges; JSONL has the key only there
            assert row.pop("judge_method", None) is None
        assert rows == load(runs / "demo" / f"{name}.jsonl")
        assert manifest.rows[f"{name}.parquet"] == len(rows)
    with Store.open(runs / "store.sqlite") as store:
        assert verify(runs / "demo", store).total == 0
    exported(runs)
    assert {p.name for p in (runs / "demo").iterdir()} == ALL


def test_an_event_is_noted_and_a_read_only_store_exports_too(runs: Path) -> None:
    exported(runs)
    with Store.open(runs / "store.sqlite", read_only=True) as store:
        (event,) = store.events("r-1")
        assert (event.event, event.detail["to"]) == ("exported", "demo")
        export(store, "r-1", runs / "again")
    assert digests(runs / "again") == digests(runs / "demo")


def test_other_people_s_files_are_not_overwritten(runs: Path) -> None:
    project = runs.parent / "project"
    project.mkdir()
    (project / "README.md").write_text("My project")
    with pytest.raises(UsageError, match=r"holds a README.md that is not of a run"):
        exported(runs, project)
    assert (project / "README.md").read_text() == "My project"
    assert len(list(project.iterdir())) == 1
    with pytest.raises(UsageError, match="is a file"):
        exported(runs, project / "README.md")


@pytest.mark.parametrize(
    "name", sorted({*ALL, *(f"{name}.parquet" for name in DATA_FILES)}), ids=str
)
def test_no_file_of_somebody_else_is_overwritten(runs: Path, name: str) -> None:
    """Whatever an export writes; Parquet beside an export without it too."""
    other = runs / "other"
    other.mkdir()
    (other / name).write_text("mine")
    with pytest.raises(UsageError, match=rf"holds a {name} that is not of a run"):
        exported(runs, other, parquet=True)
    assert [p.read_text() for p in other.iterdir()] == ["mine"]
    if name.endswith(".parquet"):
        exported(runs, other)
        with pytest.raises(UsageError, match=rf"holds a {name} that is not of a run"):
            exported(runs, other, parquet=True)
        assert (other / name).read_text() == "mine"


def test_the_folder_of_a_training_is_not_overwritten(runs: Path) -> None:
    """It has files of the same names."""
    (runs / "sft").mkdir()
    for name in ("README.md", "set_aside.jsonl", ".README.md.1-2.partial"):
        (runs / "sft" / name).write_text("of a training")
    with pytest.raises(UsageError, match=r"that is not of a run"):
        exported(runs, runs / "sft")


def test_a_training_run_is_named_as_what_it_is(runs: Path) -> None:
    (runs / "sft").mkdir()
    (runs / "sft" / "run.json").write_text("{}")
    with pytest.raises(UsageError, match="sft is the folder of a training run") as error:
        exported(runs, runs / "sft")
    assert "Name another folder" in error.value.hint


def test_a_damaged_manifest_says_what_helps(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(DataError, match="is not a manifest") as error:
        Manifest.read(tmp_path)
    assert error.value.hint == "Run its build-data command again."


def test_an_export_that_stopped_between_renames_is_finished_by_the_next(
    runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A first one: the folder has no manifest yet, and the files that are there are ours."""
    rename, renames = Path.replace, [2]

    def stopping(source: Path, target: Path) -> Path:
        renames[0] -= 1
        if renames[0] < 0:
            raise KeyboardInterrupt
        return rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stopping)
        with pytest.raises(KeyboardInterrupt):
            exported(runs)
    there = {p.name for p in (runs / "demo").iterdir()}
    assert len(there & ALL) == 2
    exported(runs)
    assert {p.name for p in (runs / "demo").iterdir()} == ALL


def test_a_damaged_manifest_is_mended_by_exporting_again(runs: Path) -> None:
    exported(runs)
    before = digests(runs / "demo")
    (runs / "demo" / "manifest.json").write_text("{")
    exported(runs)
    assert digests(runs / "demo") == before


def test_a_failure_leaves_the_old_export(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exported(runs)
    before = digests(runs / "demo")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(files, "_sync", full)
    with Store.open(runs / "store.sqlite") as store:
        fill(store, ["z1"], "r-2")
        with pytest.raises(StoreError, match="no space is left"):
            export(store, "r-2", runs / "demo")
    assert digests(runs / "demo") == before


EXPORTER = """
import sys
from pathlib import Path
from cai.data.export import export
from cai.store.store import Store
with Store.open(sys.argv[1] + "/store.sqlite", read_only=True) as store:
    print("exporting", flush=True)
    while True:
        for run_id in ("r-1", "r-2"):
            export(store, run_id, sys.argv[1] + "/demo", parquet=True)
"""


def test_a_killed_export_leaves_whole_files(runs: Path) -> None:
    """Two runs are exported in turn to one folder; after each kill every file is one of the two."""
    with Store.open(runs / "store.sqlite") as store:
        fill(store, [f"q{n:02d}" for n in range(20)], "r-2")
    whole: dict[str, set[str]] = {}
    for run_id in ("r-1", "r-2"):
        exported(runs, runs / run_id, run_id, parquet=True)
        for name, digest in digests(runs / run_id).items():
            whole.setdefault(name, set()).add(digest)
    chance, partial = random.Random(2), 0
    for _ in range(10):
        process = subprocess.Popen(
            [sys.executable, "-c", EXPORTER, str(runs)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert process.stdout is not None and process.stdout.readline()
        time.sleep(chance.uniform(0.1, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        files = digests(runs / "demo")
        partial += any(name.endswith(".partial") for name in files)
        for name, digest in files.items():
            assert name.endswith(".partial") or digest in whole[name], name
    assert partial, "no kill came while files were being written"
    exported(runs, run_id="r-2", parquet=True)
    assert digests(runs / "demo") == digests(runs / "r-2")


DYING_EXPORTER = """
import os, signal, sys
from pathlib import Path
from cai.data.export import export
from cai.store.store import Store

runs, left, rename = sys.argv[1], int(sys.argv[2]), Path.replace

def written(event, arguments):
    if event == "open" and f"{runs}/demo/" in str(arguments[0]) and "w" in str(arguments[1]):
        print(Path(arguments[0]).name, flush=True)

def dying(source, target):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(source, target)

sys.addaudithook(written)
Path.replace = dying
with Store.open(f"{runs}/store.sqlite", read_only=True) as store:
    export(store, "r-2", f"{runs}/demo")
"""


@pytest.mark.parametrize("renames", [0, 3, 7])
def test_a_kill_between_any_two_renames(runs: Path, renames: int) -> None:
    """Only `.partial` files are ever opened for writing; so many new files are in their place."""
    with Store.open(runs / "store.sqlite") as store:
        fill(store, [f"q{n:02d}" for n in range(20)], "r-2")
    old, new = digests_of(runs, "r-1"), digests_of(runs, "r-2")
    exported(runs)
    done = subprocess.run(
        [sys.executable, "-c", DYING_EXPORTER, str(runs), str(renames)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr
    names = done.stdout.split()
    assert len(names) == len(ALL) and all(name.endswith(".partial") for name in names)
    files = {name: digest for name, digest in digests(runs / "demo").items() if name in ALL}
    assert all(digest in (old[name], new[name]) for name, digest in files.items())
    changed = {name for name in ALL if old[name] != new[name]}
    assert sum(files[name] == new[name] for name in changed) <= renames
    assert files["manifest.json"] == old["manifest.json"]  # it comes last
    exported(runs, run_id="r-2")
    assert digests(runs / "demo") == new


def digests_of(runs: Path, run_id: str) -> dict[str, str]:
    """What a straight export of a run makes."""
    exported(runs, runs / run_id, run_id)
    return digests(runs / run_id)


def test_a_first_export_killed_between_renames_is_finished_by_the_next(runs: Path) -> None:
    exported(runs)
    before = digests(runs / "demo")
    (runs / "demo" / "manifest.json").unlink()
    exported(runs)
    assert digests(runs / "demo") == before


# -- verify ---------------------------------------------------------------------------------


def checked(runs: Path) -> list[str]:
    with Store.open(runs / "store.sqlite", read_only=True) as store:
        return verify(runs / "demo", store).problems


def test_an_untouched_run_verifies(runs: Path) -> None:
    manifest = exported(runs)
    with Store.open(runs / "store.sqlite", read_only=True) as store:
        report = verify(runs / "demo", store)
    assert (report.total, report.problems) == (0, [])
    assert (report.files, report.steps) == (9, 30 * 5 + PAIRS * 4)
    assert report.rows == sum(manifest.rows[f"{n}.jsonl"] for n in DATA_FILES)


@pytest.mark.parametrize("keep", [False, True])
def test_a_run_whose_prompts_hold_reasoning_verifies(tmp_path: Path, keep: bool) -> None:
    """Exported without what was thought in earlier turns, or with it."""
    talk = (Message("user", "Hi?"), Message("assistant", "Yes.", "Hm."), Message("user", "Why?"))
    with Store.open(tmp_path / "store.sqlite") as store:
        store.put_run(run(export_reasoning=keep))
        for name in ("p00", "p01"):
            put(store, "r-1", replace(trace(name), prompt=Prompt(name, talk)))
        export(store, "r-1", tmp_path / "demo")
        assert verify(tmp_path / "demo", store).problems == []
    exports = (tmp_path / "demo").glob("*.jsonl")
    assert any(b"Hm." in path.read_bytes() for path in exports) == keep


@pytest.mark.parametrize("name", sorted(ALL))
def test_one_changed_byte_is_noticed(runs: Path, name: str) -> None:
    exported(runs)
    path = runs / "demo" / name
    data = bytearray(path.read_bytes())
    place = data.rindex(b"e")
    data[place : place + 1] = b"a"
    path.write_bytes(data)
    try:
        assert any(p.startswith((name, "manifest.json", "store.sqlite")) for p in checked(runs))
    except DataError:
        assert name == "manifest.json"


def test_missing_and_foreign_things_are_named(runs: Path) -> None:
    exported(runs)
    (runs / "demo" / "README.md").unlink()
    with (runs / "demo" / "set_aside.jsonl").open("a") as file:
        file.write("more\n")
    problems = checked(runs)
    assert problems[0] == "README.md: the file is missing"
    assert problems[1].startswith("set_aside.jsonl: ")
    shutil.rmtree(runs / "demo")
    with pytest.raises(DataError, match="not the folder of a run"):
        checked(runs)


def change(runs: Path, sql: str, *triggers: str) -> None:
    plain = sqlite3.connect(runs / "store.sqlite")
    for trigger in triggers:
        plain.execute(f"DROP TRIGGER {trigger}")
    assert plain.execute(sql).rowcount == 1
    plain.commit()
    plain.close()


def test_changes_in_the_store_are_noticed(runs: Path) -> None:
    exported(runs)
    whole = (runs / "store.sqlite").read_bytes()
    swap = (
        "UPDATE steps SET result = replace(result, 'Better', 'Bitter') WHERE key = 'p01/revision'"
    )
    change(runs, swap, "steps_no_update")
    problems = checked(runs)
    assert problems[0] == "store.sqlite: step p01/revision: its result was changed"
    (runs / "store.sqlite").write_bytes(whole)
    lie = "UPDATE records SET body = replace(body, '0.8', '0.2') WHERE id = 'c-p00-0'"
    change(runs, lie, "records_no_update")
    assert checked(runs) == ["store.sqlite: record c-p00-0: it was changed"]
    (runs / "store.sqlite").write_bytes(whole)
    cut = "UPDATE steps SET result = substr(result, 9) WHERE key = 'p01/revision'"
    change(runs, cut, "steps_no_update")
    assert any("step p01/revision: its result was changed" in p for p in checked(runs))


def test_a_row_and_manifest_changed_together_are_noticed(runs: Path) -> None:
    """Somebody edits a response and mends the manifest: the store still knows better."""
    exported(runs)
    path, manifest = runs / "demo" / "sft.jsonl", runs / "demo" / "manifest.json"
    old = file_digest(path)
    path.write_bytes(path.read_bytes().replace(b"Better", b"Bitter", 1))
    manifest.write_text(manifest.read_text().replace(old, file_digest(path)))
    (problem,) = checked(runs)
    assert problem.startswith("sft.jsonl:1: a response is not one of t-p")


def test_only_the_first_problems_are_told(runs: Path) -> None:
    exported(runs)
    path = runs / "demo" / "sft.jsonl"
    path.write_bytes(b"{}\n" * 50)
    with Store.open(runs / "store.sqlite") as store:
        report = verify(runs / "demo", store, limit=5)
    assert (len(report.problems), report.total) == (5, 51)


# -- lines ----------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("a\x85b\u2028c\u2029d\x1ce\r\n")
def test_any_text_is_one_line_and_comes_back(text: str) -> None:
    line = json_line({"text": text})
    assert len(line.decode().splitlines()) == 1  # not at U+2028 either
    assert json.loads(line) == {"text": text}


@pytest.mark.peers
def test_the_folder_loads_as_a_dataset(runs: Path) -> None:
    datasets = pytest.importorskip("datasets")
    exported(runs)
    loaded = datasets.load_dataset(str(runs / "demo"), "preferences", cache_dir=str(runs / "cache"))
    assert set(loaded) == {"train", "test"}
    assert loaded["train"].to_list() == load(runs / "demo" / "preferences.jsonl")
