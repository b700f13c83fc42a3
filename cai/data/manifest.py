"""The manifest of an exported run: its configuration, and a digest of every file.

It holds no time and no path, so equal runs have equal manifests on every machine.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cai.content import shown
from cai.data import training_run
from cai.data.files import FileEntry
from cai.errors import DataError
from cai.store.records import Run

NAME = "manifest.json"
FORMAT = "cai-run/1"
"""The version of the run format; it changes when readers have to change."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """The content of `manifest.json`.

    run: `id` and `seed`. constitution: id, version, digest, and each principle's. models: role →
    name and fingerprint. counts: see `cai.data.counts`. steps: the number of model steps behind the
    run's records, and one digest over all. files: every other file of the folder. licence: of the
    data, as in its card. examination: the accuracy of the critic and the judge on known cases, None
    without one.
    """

    run: dict[str, Any]
    config: dict[str, Any]
    constitution: dict[str, Any]
    models: dict[str, Any]
    counts: dict[str, Any]
    steps: dict[str, Any]
    files: dict[str, FileEntry]
    licence: str = "unknown"
    examination: dict[str, Any] | None = None

    @classmethod
    def of(
        cls,
        run: Run,
        counts: dict[str, Any],
        steps: dict[str, Any],
        files: dict[str, FileEntry],
        licence: str = "unknown",
        examination: dict[str, Any] | None = None,
    ) -> Manifest:
        """The manifest of a run."""
        constitution = run.constitution
        return cls(
            run={"id": run.id, "seed": run.seed},
            config=run.config,
            constitution={
                **{k: constitution.get(k) for k in ("id", "version", "title", "digest")},
                "principles": [
                    {k: p.get(k) for k in ("id", "version", "digest")}
                    for p in constitution.get("principles", [])
                ],
            },
            models=run.config.get("models", {}),
            counts=counts,
            steps=steps,
            files=dict(sorted(files.items())),
            licence=licence,
            examination=examination,
        )

    @property
    def rows(self) -> dict[str, int]:
        """File name → number of rows, for the files that have rows."""
        return {name: f.rows for name, f in self.files.items() if f.rows is not None}

    def text(self) -> str:
        """The text of `manifest.json`."""
        return pretty({"format": FORMAT, **asdict(self)})

    @classmethod
    def beside(cls, file: Path) -> Manifest | None:
        """The manifest in a file's folder; None if that is no run's folder.

        Raises `DataError` if it can't be read.
        """
        folder = file.resolve().parent
        if not (folder / NAME).is_file():
            return None
        try:
            values = json.loads((folder / NAME).read_bytes())
        except (OSError, ValueError, RecursionError):
            return cls.read(folder)  # which says what is wrong
        is_ours = isinstance(values, dict) and str(values.get("format", "")).startswith("cai-run/")
        return cls.read(folder) if is_ours else None  # another program's file of that name

    @classmethod
    def read(cls, folder: Path | str) -> Manifest:
        """The manifest of a run's folder. Raises `DataError`."""
        path = Path(folder) / NAME
        try:
            values = json.loads(path.read_bytes())
            if values.pop("format") != FORMAT:
                raise DataError(
                    f"{shown(path)} has another format than {FORMAT}",
                    hint="Use the version of cai that wrote it, or run its build-data command"
                    " again.",
                )
            files = {name: FileEntry(**entry) for name, entry in values.pop("files").items()}
            return cls(**values, files=files)
        except FileNotFoundError:
            raise DataError(
                f"{shown(path.parent)} is not the folder of a run: it has no {NAME}",
                hint=_runs_within(path.parent) or "List the runs with: cai runs",
            ) from None
        except OSError as error:
            raise DataError(f"{shown(path)} can't be read: {error.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise DataError(
                f"{path} is not a manifest: {error}", hint="Run its build-data command again."
            ) from None


def _runs_within(folder: Path) -> str:
    """The runs in a folder's folders, as a chain leaves them; empty if there are none."""
    records = (*folder.glob(f"*/{NAME}"), *folder.glob(f"*/{training_run.NAME}"))
    names = [shown(record.parent) for record in sorted(records)]
    return f"There are runs in it: {', '.join(names)}" if names else ""


def pretty(values: Any) -> str:
    """Sorted and indented JSON, with a final line break."""
    return json.dumps(values, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
