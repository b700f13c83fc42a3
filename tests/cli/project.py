"""A project with an exported run, and the command run in this process."""

from __future__ import annotations

from pathlib import Path

import pytest

from cai.cli.main import main
from cai.data.export import export
from cai.data.split import side_of
from cai.store.store import Store
from tests.store.samples import comparison, family_of, put, run, trace


def make(folder: Path, run_id: str = "r-1", out: str = "demo", **config: object) -> Path:
    """`folder` with a store and a run of prompts p0 to p9 exported to `out`."""
    with Store.open(folder / "store.sqlite") as store:
        store.put_run(run(run_id, **config))
        store.add_event(run_id, "started")
        for name in (f"p{n}" for n in range(10)):
            put(store, run_id, trace(name, guards=("leaked",) if name == "p7" else ()))
            if side_of(family_of(name), 7, 0.5) == "preference":
                put(store, run_id, comparison(name, swapped=0.3))
        store.add_event(run_id, "finished")
        export(store, run_id, folder / out)
    return folder


def cai(*arguments: object, exit_code: int = 0) -> None:
    with pytest.raises(SystemExit) as stop:
        main([str(a) for a in arguments])
    assert stop.value.code == exit_code
