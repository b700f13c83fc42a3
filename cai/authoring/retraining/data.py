"""The data of each training: all rows, those without a principle, and controls."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cai.authoring.ablation import without
from cai.authoring.ablation_replay import BuiltRecord, replays
from cai.authoring.ablation_sides import content_of
from cai.authoring.replay import Missing
from cai.data.counts import in_order
from cai.data.files import JsonLines, Staging
from cai.data.rows import ExportedRow, ExportSettings, ExportTable
from cai.pipeline.snapshot import constitution_of
from cai.store.records import Run
from cai.store.store import Store
from cai.text.seeds import derive

ALL = "all"
"""The side with all principles."""


@dataclass
class TrainingSide:
    """The data of a training.

    name: `all`, `without-ID` or `control-N`, N rows fewer. rows: to train on. changed: rows of
    `all` that are not in it, or with another text or label. same: whether a trainer reads the same
    in both. held_out: rows of the test file.
    """

    name: str
    principle: str = ""
    rows: int = 0
    held_out: int = 0
    changed: int = 0
    same: bool = True

    @property
    def values(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "side": self.name, "principle": self.principle or None, "rows": self.rows,
            "held_out": self.held_out, "changed": self.changed, "same": self.same,
        }  # fmt: skip


@dataclass
class _Writer:
    """The files of a side while they are written."""

    side: TrainingSide
    train: JsonLines
    test: JsonLines

    def write(self, rows: Sequence[ExportedRow]) -> None:
        for row in rows:
            is_test = row.file.endswith(".test")
            (self.test if is_test else self.train).write(row.values)
            self.side.held_out += is_test
            self.side.rows += not is_test


@dataclass(frozen=True, slots=True)
class Sides:
    """All sides of an ablation.

    folder: of their files. without: a side for each principle. controls: by the number of rows that
    are left out, for the numbers that a principle's side lacks.
    """

    folder: Path
    all: TrainingSide
    without: tuple[TrainingSide, ...]
    controls: Mapping[int, TrainingSide] = field(default_factory=dict)

    def files(self, side: TrainingSide, seed: int) -> list[Path]:
        """The file to train on, and the held-out one where it has rows. A control is drawn for each
        seed, and has the held-out rows of `all`."""
        is_control = side in self.controls.values()
        train = f"{side.name}-s{seed}" if is_control else side.name
        test = ALL if is_control else side.name
        held_out = [self.folder / f"{test}.test.jsonl"] if side.held_out else []
        return [self.folder / f"{train}.jsonl", *held_out]

    def control_of(self, side: TrainingSide) -> TrainingSide | None:
        """The control that has as many rows as a side; None where that has no fewer than `all`."""
        return self.controls.get(self.all.rows - side.rows)

    @property
    def values(self) -> list[dict[str, Any]]:
        """As JSON: all data, then each side without a principle, then the controls."""
        return [side.values for side in (self.all, *self.without, *self.controls.values())]

    @classmethod
    def read(cls, folder: Path, values: Sequence[Mapping[str, Any]]) -> Sides:
        """From JSON. Raises `KeyError` and `TypeError` for other values."""
        everything, *others = (
            TrainingSide(
                row["side"], row["principle"] or "", row["rows"], row["held_out"],
                row["changed"], row["same"],
            )
            for row in values
        )  # fmt: skip
        controls = {everything.rows - s.rows: s for s in others if not s.principle}
        return cls(folder, everything, tuple(s for s in others if s.principle), controls)

    @property
    def trained(self) -> list[TrainingSide]:
        """The sides to train on: those whose data differs from all of it, and has rows."""
        found = [side for side in self.without if not side.same and side.rows]
        kept = {control.name: control for s in found if (control := self.control_of(s))}
        return [self.all, *found, *kept.values()]


def write_sides(
    store: Store, run: Run, principles: Sequence[str], method: str, folder: Path, seeds: int
) -> Sides:
    """Write a method's rows as they are with all principles and without each; then the controls.

    Nothing may be missing in the store. Rows are those of an export; verdicts of auditors change
    none, since the runs without a principle have none. Raises as `replays` does.
    """
    constitution, settings = constitution_of(run.constitution), ExportSettings.of(run)
    rests = {name: without(constitution, name) for name in principles}
    everything = TrainingSide(ALL)
    sides = {name: TrainingSide(f"without-{name}", name) for name in principles}
    table = table_of(method, method != "kto" or _has_labels(store, run, settings))
    staging = Staging(folder)
    try:
        with ExitStack() as files:
            writers = [_open(files, staging, side) for side in (everything, *sides.values())]
            for record, likes in replays(store, run, rests):
                before = _rows(record, settings, table)
                writers[0].write(before)
                for writer in writers[1:]:
                    like = likes[writer.side.principle]
                    assert not isinstance(like, Missing), f"{record.id} is not in the store"
                    after = _rows(like, settings, table)
                    same = _compare(writer.side, before, after)
                    writer.write(before if same else after)  # whose records are in the store
        staging.publish(f"{ALL}.jsonl")
    except BaseException:
        staging.discard()
        raise
    lost = {everything.rows - s.rows for s in sides.values() if not s.same and s.rows}
    controls = {n: _control(everything, n) for n in sorted(lost) if n > 0}
    for left_out, control in controls.items():
        for seed in range(seeds):
            _write_control(folder, control, left_out, seed)
    return Sides(folder, everything, tuple(sides.values()), controls)


def table_of(method: str, has_labels: bool) -> ExportTable:
    """The rows that a method reads; KTO those of pairs where a run has no labels (`cai train`)."""
    tables: dict[str, ExportTable] = {"sft": "sft", "dpo": "preferences", "kto": "labels"}
    return tables[method] if method != "kto" or has_labels else "preferences"


def _has_labels(store: Store, run: Run, settings: ExportSettings) -> bool:
    records = in_order(store.traces(run.id), store.comparisons(run.id))
    return any(row.file == "labels" for r in records for row in _rows(r, settings, "labels"))


def _open(files: ExitStack, staging: Staging, side: TrainingSide) -> _Writer:
    train, test = (
        files.enter_context(staging.lines(f"{side.name}{split}.jsonl")) for split in ("", ".test")
    )
    return _Writer(side, train, test)


def _rows(record: BuiltRecord, settings: ExportSettings, table: ExportTable) -> list[ExportedRow]:
    found = [row for row in settings.rows(record) if isinstance(row, ExportedRow)]
    return [row for row in found if row.table == table]


def _compare(
    side: TrainingSide, before: Sequence[ExportedRow], after: Sequence[ExportedRow]
) -> bool:
    """Count a record's rows that changed; returns whether a trainer reads the same in both.

    A label that only became softer or harder is not counted, and is not the same.
    """
    contents = [{content_of(row) for row in rows} for rows in (before, after)]
    soft = [
        {(content_of(r), r.values.get("probability")) for r in rows} for rows in (before, after)
    ]
    test = {content_of(row) for row in before if row.file.endswith(".test")}
    side.changed += len(contents[0] - contents[1] - test)
    same = soft[0] == soft[1]
    side.same = side.same and same
    return same


def _control(everything: TrainingSide, left_out: int) -> TrainingSide:
    return TrainingSide(
        f"control-{left_out}", rows=everything.rows - left_out, held_out=everything.held_out,
        changed=left_out, same=False,
    )  # fmt: skip


def _write_control(folder: Path, control: TrainingSide, left_out: int, seed: int) -> None:
    """Write the rows of `all` but for some, drawn by the seed."""
    source = folder / f"{ALL}.jsonl"
    draws = sorted((derive(seed, "control", row["id"], n), n) for n, row in _read(source))
    dropped = {n for _, n in draws[:left_out]}
    staging, name = Staging(folder), f"{control.name}-s{seed}.jsonl"
    try:
        with staging.lines(name) as lines:
            for n, row in _read(source):
                if n not in dropped:
                    lines.write(row)
        staging.publish(name)
    except BaseException:
        staging.discard()
        raise


def _read(file: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with file.open(encoding="utf-8") as lines:
        yield from enumerate(map(json.loads, lines))
