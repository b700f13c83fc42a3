"""The run that a guard's answers are recorded in: a folder and a store, as those of a build."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from cai.content import shown
from cai.data.export import export, refuse_overwrite
from cai.data.files import store_errors
from cai.data.manifest import NAME, Manifest
from cai.data.served import LOCK, is_served
from cai.errors import StoreError, UsageError
from cai.guard.config import OPTIONS, GuardConfig
from cai.guard.records import RunRecords
from cai.guard.rules import guard_rules
from cai.pipeline.build import Models
from cai.pipeline.run_record import make_run
from cai.store.lock import file_lock
from cai.store.records import Run
from cai.store.store import Store
from cai.types import Constitution


def guard_run(
    constitution: Constitution,
    models: Models,
    config: GuardConfig,
    name: str,
    ranking: Mapping[str, Any] | None = None,
) -> Run:
    """The record of a guard: with the same settings and models, it goes on with the same run.

    ranking: facts of the reward model that ranks n answers, where one does.
    """
    constitution = guard_rules(constitution, config)
    settings = {name: getattr(config, name) for name in OPTIONS}
    sampling = {k: v for k, v in asdict(config.sampling).items() if k != "stop"}
    return make_run(
        constitution,
        models.by_role,
        {**sampling, "guard": {**settings, "ranking": dict(ranking) if ranking else None}},
        config.sampling,
        name,
    )


@contextmanager
def recorded_run(
    out: Path,
    constitution: Constitution,
    models: Models,
    config: GuardConfig,
    ranking: Mapping[str, Any] | None = None,
) -> Iterator[RunRecords]:
    """Records in the folder `out` and the store beside it, for one process at a time.

    The folder is exported at the beginning and at the end, so that it can be audited; no training
    rows are made of what users wrote. Raises `UsageError` where the folder belongs to another kind
    of run or is served already, and `StoreError` where it can't be written.
    """
    refuse_overwrite(out)
    _refuse_build(out)
    with store_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    run = guard_run(constitution, models, config, out.name, ranking)
    with (
        file_lock(out / LOCK, wait=False, busy=lambda: _in_use(out)),
        Store.open(out.parent / "store.sqlite") as store,
    ):
        store.put_run(run)
        store.add_event(run.id, "started")
        _export(store, run.id, out)
        try:
            yield RunRecords(store, run.id)
        except BaseException as error:
            with suppress(StoreError):  # a full disk, say
                store.add_event(run.id, "failed", {"error": str(error)})
            raise
        store.add_event(run.id, "finished")
        _export(store, run.id, out)


def _export(store: Store, run_id: str, out: Path) -> None:
    """Export without the build lock: a build on the same store need not end first."""
    with Store.open(store.path, read_only=True) as reader:
        manifest = export(reader, run_id, out)
    store.add_event(run_id, "exported", {"to": out.name, "rows": manifest.rows})


def _refuse_build(out: Path) -> None:
    if (out / NAME).is_file() and not is_served(Manifest.read(out).config):
        raise UsageError(
            f"{shown(out)} holds a build or documents, and a guard would replace its files",
            hint="Choose another --out.",
        )


def _in_use(out: Path) -> UsageError:
    return UsageError(
        f"{shown(out)} is in use: another process serves it",
        hint="Stop that one, or choose another --out.",
    )
