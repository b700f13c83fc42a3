"""Training files of runs and paths, and their rows, one at a time.

An invalid row is yielded as a `SetAside`, and reading continues with the next one. Only a file
without a valid row raises `DataError`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from cai.data.audited import (
    decisions,
    origin_of,
    rejection_reason,
    rejections,
    require_signoff,
    require_unedited,
)
from cai.data.audited_pairs import audited_shape
from cai.data.counts import kind_of
from cai.data.foreign import looks_like, normalize
from cai.data.formats import container_of, rows
from cai.data.labelled_rows import LABEL_SHAPES, LabelledRow, decided
from cai.data.lines import UnreadableRow
from cai.data.manifest import NAME as MANIFEST
from cai.data.messages import RowError, conversation_digest, json_kind, key_names
from cai.data.prompts import PromptFile, excerpt_of
from cai.data.training_rows import (
    DOCUMENT_SHAPE,
    PAIR_SHAPES,
    SFT_SHAPES,
    PairRow,
    SftRow,
    TrainingRowFormat,
)
from cai.data.transcripts import TranscriptError
from cai.data.verdicts import Verdict
from cai.errors import DataError
from cai.text.validation import escape_surrogates
from cai.types import Prompt, SetAside

__all__ = [
    "LabelledRow",
    "PairRow",
    "SftRow",
    "TrainingFiles",
    "TrainingTable",
    "read_audited_pairs",
    "read_labelled",
    "read_pairs",
    "read_sft",
    "read_training_prompts",
    "require_rows",
    "training_files",
]

TrainingTable: TypeAlias = Literal["sft", "preferences", "labels", "prompts"]

RowT = TypeVar("RowT", SftRow, PairRow, LabelledRow, Prompt)
ReadT = TypeVar("ReadT", SftRow, PairRow, tuple[LabelledRow, ...])
"""What a row of a file is read as: one training row, or of a pair the labels of both sides."""


@dataclass(frozen=True, slots=True)
class TrainingFiles:
    """Files to train on, and the held-out files for evaluation (there may be none)."""

    train: tuple[Path, ...]
    test: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class TableSource:
    """How a table is read.

    files: the files of a run that hold it, without their ending. read: yields the rows of files.
    build_hint, keys_hint: how to make some, and what a row looks like, for messages.
    needs_signoff: whether a project may require a sign-off of it. instead: the files that are read
    where a run has no rows in those of `files`.
    """

    files: tuple[str, ...]
    read: Callable[[Sequence[Path]], Iterator[object]]
    build_hint: str
    keys_hint: str
    needs_signoff: bool = True
    instead: tuple[str, ...] = ()


def training_files(
    data: Sequence[Path], table: TrainingTable, *, to_train: bool = True
) -> TrainingFiles:
    """The training files and held-out files of `data`, each once, in order.

    data: files, and folders of runs of `cai build-data`, from which the JSONL (or else Parquet)
    files with rows are read. A file named `NAME.test.ENDING` is held out, as in a run. to_train:
    False to look at the rows alone, which needs no sign-off. Raises `DataError` for missing files,
    without any rows to train on, for files that were changed after they were built, and for data
    without the sign-off that the project requires.
    """
    train: dict[Path, None] = {}
    test: dict[Path, None] = {}
    for path in data:
        if path.is_dir():
            files = _files_of_run(path, table)
            train |= dict.fromkeys(_of_run(path, table, files, ""))
            test |= dict.fromkeys(_of_run(path, table, files, ".test"))
        elif not path.exists():
            raise DataError(
                f"There is no file or folder {path}",
                hint="Check the path; list the runs with: cai runs",
            )
        elif Path(path.name.removesuffix(".gz")).stem.endswith(".test"):
            test[path] = None
        else:
            train[path] = None
    if not train:
        names = ", ".join(map(str, data)) or "no data"
        raise DataError(
            f"nothing to train on in {names}: no {table} rows", hint=_TABLES[table].build_hint
        )
    if to_train and _TABLES[table].needs_signoff:
        require_signoff([*train, *test])
    require_unedited([*train, *test])
    return TrainingFiles(tuple(train), tuple(test))


def require_rows(files: TrainingFiles, table: TrainingTable) -> None:
    """Raise `DataError` if a file has no valid row; each is read up to the first one."""
    read = _TABLES[table].read
    for path in (*files.train, *files.test):
        next((row for row in read([path]) if not isinstance(row, SetAside)), None)


def _files_of_run(folder: Path, table: TrainingTable) -> tuple[str, ...]:
    """The files of a run that a table is read from, without their ending."""
    source = _TABLES[table]
    has_own = any(path and _has_rows(path) for path in _paths(folder, source.files, ""))
    return source.files if has_own or not source.instead else source.instead


def _paths(folder: Path, names: Sequence[str], split: str) -> list[Path | None]:
    """Where a run's files stand; each as JSONL, or else as Parquet, or None."""
    return [
        next((p for p in (folder / f"{n}.jsonl", folder / f"{n}.parquet") if p.exists()), None)
        for n in (f"{name}{split}" for name in names)
    ]


def _of_run(folder: Path, table: TrainingTable, names: Sequence[str], split: str) -> list[Path]:
    """Those of a run's files of these names that have rows."""
    paths = _paths(folder, names, split)
    out = [path for path in paths if path is not None and _has_rows(path)]
    if out or split:
        return out
    if any(paths):
        raise DataError(f"the run {folder} has no {table} rows", hint=_TABLES[table].build_hint)
    if (folder / MANIFEST).exists():
        raise DataError(
            f"the run {folder} has lost its {names[0]}.jsonl", hint=_TABLES[table].build_hint
        )
    raise DataError(
        f"{folder} is not the folder of a finished run: it has no {names[0]}.jsonl",
        hint="Run the same cai build-data again to finish it, or name a file.",
    )


def _has_rows(path: Path) -> bool:
    return path.stat().st_size > 0 and any(True for _ in rows(path, container_of(path)))


def read_sft(paths: Sequence[Path]) -> Iterator[SftRow | SetAside]:
    """The SFT rows of all files, in order: conversations to learn, and documents.

    Rows: `messages`; `prompt` and `completion`; llm-swarm; pairs, of which `chosen` is learned;
    `text` with the origin `document`.
    Raises `DataError` if a file is missing, damaged or has no valid row.
    """
    for path in paths:
        yield from _usable(path, _trained_rows(path, (*SFT_SHAPES, DOCUMENT_SHAPE)), "sft")


def read_pairs(paths: Sequence[Path]) -> Iterator[PairRow | SetAside]:
    """The preference rows of all files, in order: pairs of responses.

    Rows: our own; conversational or text `chosen` and `rejected`, with the prompt beside or inside
    them; HH-RLHF; llm-swarm. Raises `DataError` if a file is missing, damaged or has no valid row.
    """
    for path in paths:
        yield from _usable(path, _trained_rows(path, PAIR_SHAPES), "preferences")


def read_audited_pairs(
    paths: Sequence[Path], reversed_by: Collection[str]
) -> Iterator[PairRow | SetAside]:
    """The pairs of runs whose comparison an auditor decided, with the auditor's label.

    Accepted: as it is. Rejected for one of the reasons in `reversed_by`: the other way around. All
    other rows are set aside, those of revisions too: a verdict on a trace says nothing of which of
    its texts is better. Raises `DataError` as `read_pairs` does.
    """
    for path in paths:
        verdicts = decisions(path.resolve().parent)
        shapes = [audited_shape(shape, verdicts, reversed_by) for shape in PAIR_SHAPES]
        yield from _usable(path, _rows_of(path, shapes, lambda row: None), "preferences")


def read_labelled(
    paths: Sequence[Path], verdict_weight: float = 1.0
) -> Iterator[LabelledRow | SetAside]:
    """The labelled responses of all files, in order; of a pair both sides.

    Rows: `labels.jsonl` of a run; `messages`, or `prompt` and `completion`, with a `label` or
    `kto_tag`; pairs. Where an auditor accepted or rejected the final response of a trace, that is
    its label, with `verdict_weight`. Raises `DataError` if a file is missing, damaged or has no
    valid row.
    """
    for path in paths:
        yield from _usable(path, _labelled_rows(path, verdict_weight), "labels")


def _labelled_rows(path: Path, verdict_weight: float) -> Iterator[LabelledRow | SetAside]:
    run = path.resolve().parent
    verdicts = decisions(run)
    rejected = rejections(run)

    def refusal(row: dict[str, Any]) -> Verdict | None:
        """A rejected comparison leaves its rows out; a rejected trace is a label."""
        return rejected.get(str(row.get("comparison_id") or ""))

    for item in _rows_of(path, LABEL_SHAPES, refusal):
        if isinstance(item, SetAside):
            yield item
        else:
            yield from decided(item, verdicts, verdict_weight)


def read_training_prompts(paths: Sequence[Path]) -> Iterator[Prompt | SetAside]:
    """The prompts of all files that `PromptFile` reads, in order; each conversation once.

    A row of ours keeps its `prompt_id` as the prompt's id. Duplicates are left out without a
    message, since several rows share a prompt. Raises `DataError` as the other readers do.
    """
    digests: set[bytes] = set()
    for path in paths:
        for row in _usable(path, iter(PromptFile(path)), "prompts"):
            if isinstance(row, SetAside):
                if kind_of(row.reason) != "duplicate":
                    yield row
                continue
            if (key := conversation_digest(row.messages)) in digests:
                continue
            digests.add(key)
            name = row.meta.get("prompt_id")
            yield replace(row, id=name) if isinstance(name, str) and name else row


def _trained_rows(
    path: Path, shapes: Sequence[TrainingRowFormat[ReadT]]
) -> Iterator[ReadT | SetAside]:
    """A file's rows without those whose record an auditor rejected."""
    rejected = rejections(path.resolve().parent)
    yield from _rows_of(path, shapes, lambda row: rejected.get(origin_of(row)))


def _rows_of(
    path: Path,
    shapes: Sequence[TrainingRowFormat[ReadT]],
    refusal: Callable[[dict[str, Any]], Verdict | None],
) -> Iterator[ReadT | SetAside]:
    """A file's rows, all read in the format of the first one that has known keys.

    refusal: the verdict that leaves a row out, or None.
    """
    container, shape = container_of(path), None
    for row in rows(path, container):
        source = f"{path.name}:{row.line}"
        if isinstance(row, UnreadableRow):
            yield SetAside(source, row.reason, escape_surrogates(row.excerpt))
            continue
        try:
            if not isinstance(row.value, dict):
                raise RowError(f"wrong type: the row is {json_kind(row.value)}, not an object")
            if (verdict := refusal(row.value)) is not None:
                yield SetAside(
                    source, escape_surrogates(rejection_reason(verdict)), excerpt_of(row.value)
                )
                continue
            ours = normalize(row.value)
            shape = shape or next((s for s in shapes if s.fits(ours)), None)
            if shape is None or not shape.fits(ours):
                raise _other_keys(row.value, ours, (shape,) if shape else shapes)
            yield shape.read(ours, source)
        except (RowError, TranscriptError) as error:
            yield SetAside(source, escape_surrogates(str(error)), excerpt_of(row.value))


def _other_keys(
    row: dict[str, Any], ours: dict[str, Any], shapes: Sequence[TrainingRowFormat[ReadT]]
) -> RowError:
    """The error for a row, given under its own and under our keys, that no format fits."""
    first, *others = ("+".join(s.keys) for s in shapes)
    keys = f"neither {' nor '.join([first, *others])}" if others else f"no {first}"
    reason = f"other keys: {keys}; its keys are: {key_names(row)}"
    likely_format = looks_like(ours, as_pair=shapes[0] is PAIR_SHAPES[0])
    return RowError(f"{reason}; {likely_format}" if likely_format else reason)


def _usable(
    path: Path, items: Iterator[RowT | SetAside], table: TrainingTable
) -> Iterator[RowT | SetAside]:
    """The items unchanged. Raises `DataError` at the end if all of them were invalid rows."""
    usable, first = False, None
    for item in items:
        if not isinstance(item, SetAside):
            usable = True
        elif first is None:
            first = item
        yield item
    if not usable:
        why = f"{first.source}: {first.reason}" if first else "it holds no rows"
        raise DataError(f"{path} has no row that can be used: {why}", hint=_TABLES[table].keys_hint)


_TABLES: dict[TrainingTable, TableSource] = {
    "sft": TableSource(
        ("sft",),
        read_sft,
        "Build some with: cai build-data --sft-share 0.5",
        "An SFT row has messages, or prompt and completion, or chosen and rejected; a document has"
        " text, and the origin `document`.",
    ),
    "preferences": TableSource(
        ("preferences",),
        read_pairs,
        "Build some with: cai build-data --pairs 1 --sft-share 0.5",
        "A preference row has chosen and rejected, and usually a prompt.",
    ),
    "labels": TableSource(
        ("labels",),
        read_labelled,
        "Build some with: cai build-data --pairs 1, under a constitution that judges pointwise or"
        " has a final check.",
        "A labelled row has messages, or prompt and completion, and a label (true or false); or"
        " chosen and rejected.",
        instead=("preferences",),
    ),
    "prompts": TableSource(
        ("preferences", "sft"),
        read_training_prompts,
        "Build some with: cai build-data",
        "A row has a prompt, messages, or chosen and rejected.",
        needs_signoff=False,  # nobody judges a prompt
    ),
}
"""A training method that reads other rows adds its table here, and its name to `TrainingTable`."""
