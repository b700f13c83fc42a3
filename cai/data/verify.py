"""Verify a run's folder by its digests: files, rows, and the steps behind them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cai.data.counts import StepsDigest, in_order
from cai.data.documents import document_example, document_values
from cai.data.export import CONSTITUTION
from cai.data.manifest import Manifest, pretty
from cai.data.rows import DATA_FILES
from cai.data.sft import LeftOut, without_reasoning
from cai.digest import file_digest
from cai.errors import CaiError
from cai.store.store import Store
from cai.types import Comparison, Trace, message_of


@dataclass
class VerificationReport:
    """Counts of what was verified, and the problems; the text of the first `limit` is kept."""

    limit: int = 20
    files: int = 0
    rows: int = 0
    steps: int = 0
    problems: list[str] = field(default_factory=list)
    total: int = 0

    def add(self, problem: str) -> None:
        """Add a problem."""
        self.total += 1
        if len(self.problems) < self.limit:
            self.problems.append(problem)


def verify(folder: Path, store: Store, *, limit: int = 20) -> VerificationReport:
    """Verify a run's folder against its manifest and the store. Raises `DataError` without one."""
    report, manifest = VerificationReport(limit), Manifest.read(folder)
    _files(folder, manifest, report)
    run_id = manifest.run["id"]
    if run_id not in {run.id for run in store.runs()}:
        report.add(
            f"{store.path}: no run {run_id}: the folder and the store are not of one project"
        )
        return report
    _run(store, manifest, report)
    try:
        _store(store, manifest, report)
        for name in DATA_FILES:
            _rows(folder / f"{name}.jsonl", store, run_id, report)
    except CaiError as error:  # damaged beyond reading
        report.add(error.message)
    return report


def _files(folder: Path, manifest: Manifest, report: VerificationReport) -> None:
    for name, entry in manifest.files.items():
        path = folder / name
        report.files += 1
        try:
            if not path.is_file() or Path(name).name != name:
                report.add(f"{name}: the file is missing")
            elif path.stat().st_size != entry.bytes:
                report.add(f"{name}: {path.stat().st_size} bytes; the manifest says {entry.bytes}")
            elif file_digest(path) != entry.sha256:
                report.add(f"{name}: its digest is not the manifest's: the file was changed")
        except OSError as error:
            report.add(f"{name}: can't be read: {error.strerror}")


def _run(store: Store, manifest: Manifest, report: VerificationReport) -> None:
    """Compare the manifest with the run in the store."""
    run = store.run(manifest.run["id"])
    expected = Manifest.of(run, manifest.counts, manifest.steps, manifest.files)
    for name in ("run", "config", "constitution", "models"):
        if getattr(manifest, name) != getattr(expected, name):
            report.add(f"manifest.json: its {name} is not what the store says of the run")
    entry = manifest.files.get(CONSTITUTION)
    expected_text = pretty(run.constitution).encode()
    if entry is None or entry.sha256 != hashlib.sha256(expected_text).hexdigest():
        report.add(f"{CONSTITUTION}: not the constitution that the store holds for the run")


def _store(store: Store, manifest: Manifest, report: VerificationReport) -> None:
    run_id = manifest.run["id"]
    before = report.total
    for key in store.damaged_steps(run_id):
        report.add(f"{store.path.name}: step {key}: its result was changed")
    for record in store.damaged_records(run_id):
        report.add(f"{store.path.name}: record {record}: it was changed")
    if report.total > before:
        return
    steps = StepsDigest()
    for item in in_order(store.traces(run_id), store.comparisons(run_id)):
        steps.add(item)
    report.steps = steps.count
    if steps.plain() != manifest.steps:
        report.add(
            f"{store.path.name}: the run's records rest on {steps.count} steps that are not the "
            f"manifest's {manifest.steps.get('count')}; if the run went on, export it again"
        )


def _rows(path: Path, store: Store, run_id: str, report: VerificationReport) -> None:
    if not path.is_file():
        return  # reported by `_files`
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            report.rows += 1
            try:
                row = json.loads(line)
                name = row.get("trace_id") or row["comparison_id"]
                record = store.record(run_id, name)
                problem = (
                    f"no record {name} in the run" if record is None else _differs(row, record)
                )
            except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
                problem = f"not a row of this format ({error})"
            if problem:
                report.add(f"{path.name}:{number}: {problem}")


def _differs(row: dict[str, Any], record: Trace | Comparison) -> str:
    """How a row's texts differ from its record's; empty if they are equal."""
    if isinstance(record, Trace) and record.explained is not None:
        document = document_example(record, record.explained, int(row["seed"]))
        if isinstance(document, LeftOut):
            return f"{record.id} has a guard: {document.reason}"
        return "" if row == document_values(document) else f"it is not that of {record.id}"
    texts = set(_texts(record))
    if "messages" in row:
        *prompt_messages, answer = row["messages"]
        answers = [answer]
    else:
        sides = ("completion",) if "completion" in row else ("chosen", "rejected")
        prompt_messages, answers = row["prompt"], [m for side in sides for m in row[side]]
    prompt = tuple(message_of(m) for m in prompt_messages)
    if prompt not in (record.prompt.messages, without_reasoning(record.prompt.messages)):
        return f"its prompt is not that of {record.id}"
    if any(a["role"] != "assistant" or a["content"] not in texts for a in answers):
        return f"a response is not one of {record.id}"
    return ""


def _texts(record: Trace | Comparison) -> Iterator[str]:
    if isinstance(record, Trace):
        yield from record.texts
    else:
        yield from (g.text for g in record.responses)
