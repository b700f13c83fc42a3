"""`cai audit export`: a run as a table, or as a project of a labeling tool, an item a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeAlias

from cai.audit.card import ExportTally, card
from cai.audit.forms.argilla import write_argilla
from cai.audit.forms.label_studio import write_label_studio
from cai.audit.forms.rows import FormRows, json_safe
from cai.audit.forms.tables import write_csv, write_jsonl, write_parquet
from cai.audit.runs import AuditedRun
from cai.data.files import write_whole
from cai.data.verdicts import Verdict

Form: TypeAlias = Literal["jsonl", "csv", "parquet", "argilla", "label-studio"]


def write_export(
    run: AuditedRun,
    out: Path,
    form: Form,
    verdicts: Sequence[Verdict],
    keys: frozenset[str] | None = None,
) -> int:
    """Write a run's items and the verdicts on them, and return how many items.

    out: a file; of `argilla` a folder, for `rg.Dataset.from_disk`; of `label-studio` the file of
    tasks, beside which `STEM.config.xml` holds the labeling interface. Beside it, `NAME.card.md`
    says what it is. verdicts: all; the standing ones are written. keys: write these
    items alone, such as a sample's. Raises `DataError` where there is nothing to write or pyarrow
    is missing, `StoreError` where a file can't be written.
    """
    nul = "\0" if form in ("jsonl", "parquet") else "␀"  # the other readers stop at it, or fail
    count = _WRITERS[form](FormRows(run, verdicts, keys, nul), out)
    text = card(run, out.name, ExportTally.of(run, verdicts, keys))
    write_whole(out.parent / f"{out.name}.card.md", json_safe(text, "␀"))
    return count


_WRITERS: dict[Form, Callable[[FormRows, Path], int]] = {
    "jsonl": write_jsonl,
    "csv": write_csv,
    "parquet": write_parquet,
    "argilla": write_argilla,
    "label-studio": write_label_studio,
}
