"""The folder of a training run: settings, record, metrics, weights.

config.yaml        every setting as resolved
run.json           the record: base, parents, data, status, results, the error that ended it;
                   digests of all files
metrics.jsonl      a line a step, and one for each evaluation on the held-out set
set_aside.jsonl    rows that could not be used, each with its reason
adapter/, head.safetensors, model/    what was trained
run.log            when it began, went on and ended; not digested
checkpoint.safetensors                the state to resume from, removed in the end; so are
                   best.safetensors and good-STEP.safetensors, weights to go back to
"""

from __future__ import annotations

import dataclasses
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from cai import __version__
from cai.data.files import partial_of, store_errors, sweep
from cai.data.manifest import pretty
from cai.data.run_log import NAME as LOG
from cai.data.training_run import (
    FORMAT,
    LOCK,
    NAME,
    TRAIN_ELSEWHERE,
    UNFINISHED,
    is_run,
    read_run,
    require_finished,
)
from cai.digest import digest, file_digest
from cai.errors import CaiError, DataError, Interrupted, StoreError, UsageError
from cai.options import flag
from cai.store.lock import file_lock
from cai.training.config import TrainConfig
from cai.training.metrics_log import METRICS, ROLLOUTS, read_metrics
from cai.training.processes import world
from cai.types import SetAside

WITHOUT_REASONING = "without their reasoning"
"""The count, in a run's facts, of rows whose reasoning is not read."""
_ELSEWHERE = "Choose another --out, or remove the folder."
_STATE = ("checkpoint.safetensors", "best.safetensors", "good-*.safetensors")
"""Patterns of the names of files that a run goes on from."""
_WITHOUT_EFFECT = {
    "micro_tokens", "save_every", "device", "tracker", "model", "adapter", "gradient_checkpointing",
    "parallel", "process_timeout", "rollout_server", "rollout_folder", "rollout_tolerance",
    "monitor", "monitor_every", "monitor_items", "monitor_new_tokens", "monitor_change",
    "monitor_constitution", "monitor_judge",
    "rollout_slots",
}  # fmt: skip
"""Settings that change no result, so that a run may go on under others; what base and adapter are,
their digests say."""


@dataclass(frozen=True, slots=True)
class Facts:
    """The inputs of a run, its settings apart.

    base: name and fingerprint. parents: what it started from, or was rewarded by: name, id, stage,
    and digest of each. data: name and digest of each file. counts: rows used and set aside.
    """

    base: dict[str, Any]
    parents: tuple[dict[str, Any], ...]
    data: tuple[dict[str, Any], ...]
    counts: dict[str, Any]


def settings(config: TrainConfig) -> dict[str, Any]:
    """A configuration as plain values."""
    return dataclasses.asdict(config)


class RunFolder:
    """The folder of one training run."""

    def __init__(self, path: Path, config: TrainConfig, facts: Facts) -> None:
        self.path = path
        self.config = config
        self.facts = facts
        self.id = _run_id(
            {"stage": config.stage, "settings": settings(config), **dataclasses.asdict(facts)}
        )

    def open(self) -> bool:
        """Make the folder, or resume the run that was interrupted in it; True for the latter.

        A run that took no step is no hindrance to another. Raises `UsageError` where another run,
        or this one where it stopped itself, is in the way.
        """
        sweep(self.path, (NAME, METRICS, ROLLOUTS, *_STATE))
        for partial in self.path.glob(".good-*partial"):
            partial.unlink(missing_ok=True)
        if not is_run(self.path):
            self._begin()
            return False
        record = read_run(self.path)
        if record["id"] != self.id:
            if record["status"] in UNFINISHED and not _has_begun(self.path):
                self._begin()
                return False
            raise UsageError(
                f"{self.path} holds another run: {_difference(record, self)}", hint=_ELSEWHERE
            )
        if record["status"] == "stopped":
            raise UsageError(
                f"{self.path} already holds this run, and it stopped itself:"
                f" {record['results'].get('stopped')}",
                hint="Change a setting, and choose another --out.",
            )
        if record["status"] == "failed":
            self._write("running", {})
        return True

    @contextmanager
    def failure_recorded(self) -> Iterator[None]:
        """Record an error that ends the run; Ctrl-C is none. The run can be resumed either way."""
        try:
            yield
        except Interrupted:
            raise
        except Exception as error:
            if read_run(self.path)["status"] == "running":  # not stopped by its monitors
                with suppress(StoreError):  # a full disk: the error itself says so
                    text = error.message if isinstance(error, CaiError) else repr(error)
                    self._write("failed", {}, error=text)
            raise

    @property
    def results(self) -> dict[str, Any] | None:
        """The results of this run, if the folder holds it and it is finished."""
        record = read_run(self.path) if is_run(self.path) else {}
        same = record.get("id") == self.id and record["status"] == "finished"
        return dict(record["results"]) if same else None

    @property
    def other_monitors(self) -> str:
        """A sentence for a run that was watched by other monitors than are asked for now."""
        before, now = read_run(self.path)["settings"], settings(self.config)
        names = [name for name in now if name.startswith("monitor")]
        if all(before.get(name) == now[name] for name in names):
            return ""
        return " It was watched by other monitors: to train it under these, choose another --out."

    def _begin(self) -> None:
        self._write("running", {})  # first: it is what makes this the folder of a run
        with store_errors(self.path):
            text = yaml.safe_dump(
                {"stage": self.config.stage, **settings(self.config)}, sort_keys=False
            )
            (self.path / "config.yaml").write_text(text, encoding="utf-8")

    def set_aside(self, rows: Sequence[SetAside]) -> None:
        """Keep the rows that could not be used."""
        lines = [json.dumps(dataclasses.asdict(row), ensure_ascii=False) for row in rows]
        with store_errors(self.path):
            text = "".join(f"{line}\n" for line in lines)
            (self.path / "set_aside.jsonl").write_text(text, encoding="utf-8", errors="replace")

    def finish(self, results: Mapping[str, Any], status: str = "finished") -> None:
        """Write the results and the digests of all that was made; then the checkpoint may go."""
        self._write(status, results)
        for file in [file for name in _STATE for file in self.path.glob(name)]:
            file.unlink(missing_ok=True)

    def _write(self, status: str, results: Mapping[str, Any], error: str | None = None) -> None:
        files = {
            str(p.relative_to(self.path)): file_digest(p)
            for p in sorted(self.path.rglob("*"))
            if p.is_file()
            and p.name not in (NAME, "README.md", LOG)
            and not any(p.match(name) for name in _STATE)
            and status not in UNFINISHED
            and not p.name.startswith(".")
        }
        values = {
            "format": FORMAT,
            "id": self.id,
            "stage": self.config.stage,
            "status": status,
            **dataclasses.asdict(self.facts),
            "results": dict(results),
            **({"error": error} if error is not None else {}),
            "settings": settings(self.config),
            "processes": world().size,
            "versions": versions(),
            "files": files,
        }
        partial = partial_of(self.path / NAME)
        with store_errors(self.path):
            partial.write_text(pretty(values), encoding="utf-8")
            partial.replace(self.path / NAME)


@contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Let no other process train in a folder meanwhile. Raises `StoreError` if one does.

    Where nothing was begun in it, a folder that was made for the lock is removed again.
    """
    with store_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)

    def busy() -> StoreError:
        return StoreError(
            f"another process is training in {folder}",
            hint="Let it finish, or choose another --out.",
        )

    try:
        with file_lock(folder / LOCK, wait=False, busy=busy):
            try:
                yield
            finally:  # a run that came to its end, well or not, is nothing to guard any more
                if not is_run(folder) or read_run(folder)["status"] != "running":
                    (folder / LOCK).unlink(missing_ok=True)
    finally:
        with suppress(OSError):  # it holds something
            folder.rmdir()


def require_same_run(folder: Path, config: TrainConfig, data: Sequence[Mapping[str, Any]]) -> None:
    """Raise `UsageError` if a folder holds a run of other settings or other data.

    That much shows before a model is loaded. config: `resolve`d. data: as in `Facts`.
    """
    record = read_run(folder) if is_run(folder) else None
    if record is None or (record["status"] in UNFINISHED and not _has_begun(folder)):
        return
    difference = _other_settings(record, config)
    if not difference and [d["sha256"] for d in record["data"]] != [d["sha256"] for d in data]:
        difference = "of other data"
    if difference:
        raise UsageError(f"{folder} holds another run: {difference}", hint=_ELSEWHERE)


def _has_begun(folder: Path) -> bool:
    return (folder / "checkpoint.safetensors").exists() or bool(read_metrics(folder))


def verify_run(folder: Path) -> tuple[int, list[str]]:
    """Recompute every digest of a training run: how many files, and what differs, in words.

    The run's id is a digest of its settings, base, parents and data, and is recomputed too. Raises
    `DataError` where the folder holds no training run, or one that has not come to its end.
    """
    run = require_finished(folder)
    try:
        problems = [] if run["id"] == _run_id(run) else [
            f"{NAME}: its id is not that of the settings, base, parents and data it names"
        ]  # fmt: skip
        for name, sha in run["files"].items():
            file = folder / name
            if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
                problems.append(f"{name}: the file is missing")
            elif file_digest(file) != sha:
                problems.append(f"{name}: its digest is not the run's: the file was changed")
        return len(run["files"]), problems
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{folder / NAME} lacks {error}", hint=TRAIN_ELSEWHERE) from None


def validate_out(folder: Path) -> None:
    """Raise `UsageError` if a folder holds other files, before anything is loaded."""
    with store_errors(folder):
        if folder.exists() and not is_run(folder):
            others = [p.name for p in folder.iterdir() if p.name not in (LOCK, f"{LOCK}-journal")]
            if others:
                raise UsageError(
                    f"{folder} is not empty, and holds no training run",
                    hint="Choose another --out, or empty it.",
                )


def versions() -> dict[str, str]:
    """Versions of all that decides a run's result."""
    names = ("torch", "transformers", "peft", "accelerate", "safetensors")
    return {
        "cai": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def _run_id(run: Mapping[str, Any]) -> str:
    """A run's id: a digest of all that decides its result."""
    identity = {
        "stage": run["stage"],
        "settings": {k: v for k, v in run["settings"].items() if k not in _WITHOUT_EFFECT},
        "base": run["base"]["fingerprint"],
        "parents": [p["digest"] for p in run["parents"]],
        "data": [d["sha256"] for d in run["data"]],
    }
    return f"m-{digest(identity)[:12]}"


def _difference(record: Mapping[str, Any], run: RunFolder) -> str:
    """How the run in a folder differs from this one."""
    changed = _other_settings(record, run.config)
    if changed:
        return changed
    names = {p["name"]: p["digest"] for p in record["parents"]}
    others = [p["name"] for p in run.facts.parents if names.get(p["name"]) != p["digest"]]
    if others:
        return f"{', '.join(others)} changed"
    same = record["base"]["fingerprint"] == run.facts.base["fingerprint"]
    return "of other data" if same else f"of another base, {record['base']['name']}"


def _other_settings(record: Mapping[str, Any], config: TrainConfig) -> str:
    """The settings in which a run's record differs; empty if they lead to the same."""
    if record["stage"] != config.stage:
        return f"of the stage {record['stage']}"
    before, now = record["settings"], settings(config)
    changed = [
        f"{flag(name)} {shown(before.get(name))} there, {shown(now[name])} here"
        for name in now
        if before.get(name) != now[name] and name not in _WITHOUT_EFFECT
    ]
    return "; ".join(changed[:4])


def shown(value: Any) -> str:
    """A setting's value as on the command line."""
    if value is None:
        return "not set"
    return str(value).lower() if isinstance(value, bool) else str(value)
