"""From the store to a folder of training data: rows, manifest, constitution, dataset card.

Records stream by in the order of prompt ids, whatever the size of the run. Equal runs make equal
bytes. A kill leaves each file old or new, never a part of it.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

from cai.data.card import card
from cai.data.counts import Counts, StepsDigest, in_order, kind_of
from cai.data.files import JsonLines, ParquetRows, Staging, sweep
from cai.data.manifest import NAME, Manifest, pretty
from cai.data.rows import DATA_FILES, Sides
from cai.data.sft import LeftOut
from cai.errors import DataError, UsageError
from cai.store.store import Store

SET_ASIDE = "set_aside.jsonl"
CONSTITUTION = "constitution.json"
CARD = "README.md"
_NAMES = (
    *(f"{name}.{ending}" for name in DATA_FILES for ending in ("jsonl", "parquet")),
    SET_ASIDE, CONSTITUTION, CARD, NAME,
)  # fmt: skip
"""All files that an export may write."""


def export(
    store: Store,
    run_id: str,
    out_dir: Path | str,
    *,
    parquet: bool = False,
    licence: str = "unknown",
) -> Manifest:
    """Write a run's training data to a folder, replacing an earlier export.

    parquet: also write each file of rows as Parquet. licence: for the dataset card, in the words
    of the hub (`mit`, `cc-by-4.0`, …). Unless the store is opened for reading alone, its build lock
    is held meanwhile, so that the files of two runs never mix. Raises `UsageError` where the folder
    holds files that an export would overwrite but did not write, `StoreError` where it can't be
    written or another process is building.
    """
    out = Path(out_dir)
    check_folder(out)
    if store.read_only:
        return _export(store, run_id, out, parquet, licence)
    with store.lock():
        sweep(out, _NAMES)
        return _export(store, run_id, out, parquet, licence)


def _export(store: Store, run_id: str, out: Path, parquet: bool, licence: str) -> Manifest:
    run = store.run(run_id)
    sides, counts, steps = Sides.of(run), Counts(), StepsDigest()
    staging = Staging(out)
    try:
        with ExitStack() as open_files:
            files: dict[str, list[JsonLines | ParquetRows]] = {}
            for name in DATA_FILES:
                files[name] = [open_files.enter_context(staging.lines(f"{name}.jsonl"))]
                if parquet:
                    table = name.partition(".")[0]
                    files[name].append(
                        open_files.enter_context(staging.parquet(f"{name}.parquet", table))
                    )
            for record in in_order(store.traces(run_id), store.comparisons(run_id)):
                counts.add(record)
                steps.add(record)
                for row in sides.rows(record):
                    if isinstance(row, LeftOut):
                        counts.left_out[row.reason] += 1
                        continue
                    for file in files[row.file]:
                        file.write(row.values)
            aside = open_files.enter_context(staging.lines(SET_ASIDE))
            for left in store.set_asides(run_id):
                aside.write({"source": left.source, "reason": left.reason, "excerpt": left.excerpt})
                counts.set_aside[kind_of(left.reason)] += 1
        staging.text(CONSTITUTION, pretty(run.constitution))
        rows = {name: e.rows for name, e in staging.entries.items() if e.rows is not None}
        examination = store.examination(run_id)
        staging.text(CARD, card(run, counts, rows, licence, examination))
        manifest = Manifest.of(
            run, counts.plain(), steps.plain(), staging.entries, licence, examination
        )
        staging.text(NAME, manifest.text())
        staging.publish(NAME, gone=_gone(out, manifest))
    except BaseException:
        staging.discard()
        raise
    if not store.read_only:
        store.add_event(run_id, "exported", {"to": out.name, "rows": manifest.rows})
    return manifest


def check_folder(out: Path) -> None:
    """Raise `UsageError` where an export would overwrite somebody else's files."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", hint="Name a folder for the run.")
    if (out / SET_ASIDE).exists():  # every export writes it, and before the files named below
        return
    for name in (CARD, NAME, CONSTITUTION):
        if (out / name).exists():
            raise UsageError(
                f"{out} holds a {name} that is not of a run",
                hint="Name another folder, such as runs/first.",
            )


def _gone(out: Path, manifest: Manifest) -> list[str]:
    """Files of the export before that this one does not make again."""
    try:
        before = Manifest.read(out).files
    except DataError:
        return []
    known = {f"{name}.parquet" for name in DATA_FILES}
    return [name for name in before if name in known and name not in manifest.files]
