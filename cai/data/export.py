"""Export a run from the store to a folder: training rows, manifest, constitution, dataset card.

Records are streamed in the order of prompt ids, whatever the size of the run. Equal runs make equal
bytes. A kill leaves each file old or new, never a part of it.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from cai.data.card import card
from cai.data.counts import RunCounts, StepsDigest, in_order, kind_of
from cai.data.files import JsonLines, ParquetRows, Staging, leftovers, sweep
from cai.data.manifest import NAME, Manifest, pretty
from cai.data.rows import DATA_FILES, ExportSettings
from cai.data.sft import LeftOut
from cai.data.training_run import is_run
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

    parquet: also write each file of rows as Parquet. licence: for the dataset card, by its name on
    the hub (`mit`, `cc-by-4.0`, …). Holds the build lock, unless the store is read-only, so that
    the files of two runs never mix. Raises `UsageError` when the folder holds files of the same
    names that no export wrote, and `StoreError` when it can't be written or another process is
    building.
    """
    out = Path(out_dir)
    refuse_overwrite(out, parquet=parquet)
    if store.read_only:
        return _export(store, run_id, out, parquet, licence)
    with store.lock():
        sweep(out, _NAMES)
        return _export(store, run_id, out, parquet, licence)


def _export(store: Store, run_id: str, out: Path, parquet: bool, licence: str) -> Manifest:
    run = store.run(run_id)
    settings, counts, steps = ExportSettings.of(run), RunCounts(), StepsDigest()
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
                for row in settings.rows(record):
                    if isinstance(row, LeftOut):
                        counts.left_out[row.reason] += 1
                        continue
                    for file in files[row.file]:
                        file.write(row.values)
            invalid_file = open_files.enter_context(staging.lines(SET_ASIDE))
            for invalid in store.set_asides(run_id):
                invalid_file.write(
                    {"source": invalid.source, "reason": invalid.reason, "excerpt": invalid.excerpt}
                )
                counts.set_aside[kind_of(invalid.reason)] += 1
        staging.text(CONSTITUTION, pretty(run.constitution))
        rows = {name: e.rows for name, e in staging.entries.items() if e.rows is not None}
        examination = store.examination(run_id)
        staging.text(CARD, card(run, counts, rows, licence, examination))
        manifest = Manifest.of(
            run, counts.plain(), steps.plain(), staging.entries, licence, examination
        )
        staging.text(NAME, manifest.text())
    except BaseException:
        staging.discard()
        raise
    # what a stop leaves here tells `refuse_overwrite` that the files before it are of an export
    staging.publish(NAME, stale=_stale_files(out, manifest))
    if not store.read_only:
        store.add_event(run_id, "exported", {"to": out.name, "rows": manifest.rows})
    return manifest


def refuse_overwrite(out: Path, *, parquet: bool = False) -> None:
    """Raise `UsageError` if an export would overwrite files that no export wrote, or a training."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is a file", hint="Name a folder for the run.")
    if is_run(out):
        raise UsageError(
            f"{out} is the folder of a training run",
            hint="Name another folder for the data, such as runs/first.",
        )
    ours = _export_names(out)
    for name in _NAMES:
        exported = parquet or not name.endswith(".parquet")
        if exported and name not in ours and os.path.lexists(out / name):
            raise UsageError(
                f"{out} holds a {name} that is not of a run",
                hint="Name another folder, such as runs/first.",
            )


def _export_names(out: Path) -> Collection[str]:
    """Names of the files in a folder that an earlier export wrote.

    The manifest lists them. Without one that can be read, they are known by what a killed export
    left, or by two files that hardly anyone else has beside each other.
    """
    if any(leftovers(out, (name for name in _NAMES if name not in (CARD, SET_ASIDE)))):
        return _NAMES  # a training leaves those two as well
    try:
        return {NAME, *Manifest.read(out).files}
    except DataError:
        unreadable = (out / SET_ASIDE).exists() and (out / CONSTITUTION).exists()
        return _NAMES if unreadable else ()


def _stale_files(out: Path, manifest: Manifest) -> list[str]:
    """Files of the previous export that are not in this one."""
    try:
        before = Manifest.read(out).files
    except DataError:
        return []
    parquet_names = {f"{name}.parquet" for name in DATA_FILES}
    return [name for name in before if name in parquet_names and name not in manifest.files]
