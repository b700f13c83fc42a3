"""Adapters and bases of training runs, found by a run, its `best`, or a folder in it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from cai.data.training_run import TRAIN_ELSEWHERE, is_run, read_run, require_finished
from cai.digest import digest, file_digest
from cai.errors import DataError, ModelError, UsageError
from cai.models.fingerprint import ADAPTER_FILES, adapter_digest, fingerprint
from cai.models.folders import local_folder
from cai.models.names import best_or_last, part_of_run, resolve_model
from cai.text.template import TemplateOptions, parse_arguments
from cai.training.config import CONFIGS, DTYPES
from cai.types import Constitution

Use: TypeAlias = Literal["speak", "merge", "start"]
"""The use of an adapter; a reward model can't speak, but a run may start from one."""


@dataclass(frozen=True, slots=True)
class Record:
    """The identity of a training run, from its `run.json`.

    model: the name of the base. fingerprint: that base's. quantize: as the setting.
    """

    id: str
    stage: str
    model: str
    fingerprint: str
    quantize: str | None


@dataclass(frozen=True, slots=True)
class Adapter:
    """A trained adapter.

    name: of its run, or of its own folder. folder: its files in PEFT's layout. base: the model
    that it was trained on; empty where nothing says it. record: None where no training run made it.
    """

    name: str
    folder: Path
    base: str
    record: Record | None

    def fits(self, model: str) -> bool:
        """Whether a model is the base that the run's record names by its fingerprint.

        The fingerprint covers the number format, of which the record says only what was asked
        for: any of them will do. True where there is no record.
        """
        if self.record is None:
            return True
        folder = local_folder(resolve_model(model), model)
        dtypes = ("+".join(filter(None, (f, self.record.quantize))) for f in DTYPES)
        return self.record.fingerprint in (fingerprint(folder, f) for f in dtypes)

    def facts(self, part: str) -> dict[str, Any]:
        """The entry in the record of a run that uses it; part: its role there."""
        return {
            "name": self.name,
            "part": part,
            "stage": self.record.stage if self.record else "?",
            "id": self.record.id if self.record else "?",
            "digest": adapter_digest(self.folder),
        }


def find_home(path: str | Path) -> Path | None:
    """The training run that a folder is or lies in: RUN, RUN/adapter, RUN/best/adapter."""
    place = _place(path)
    if not place.exists():  # a hub id, whoever's folder we are in
        return None
    return next((f for f in (place, *list(place.parents)[:2]) if is_run(f)), None)


def find_adapter(name: str, use: Use = "speak") -> Adapter:
    """An adapter by its training run's folder, the run's `best`, its own folder or its hub id.

    Raises `UsageError` for a reward model's that should speak, `DataError` for that of a run that
    is not finished or stopped itself, and for damaged records, `ModelError` where there is none.
    """
    place, home = _place(name), find_home(name)
    record = _record(home, place, use) if home else None
    folder = local_folder(part_of_run(name, "adapter"))
    verify_files(home, (folder / name for name in ADAPTER_FILES))
    inside = place.relative_to(home).parts if home else ()
    parts = [home.name if home else place.name, *(p for p in inside if p != "adapter")]
    return Adapter("-".join(parts), folder, record.model if record else _base_name(folder), record)


TEMPLATE = ("thinking", "template_arg")
"""Settings of a run that say how its chat template is called."""


def template_settings(adapters: Iterable[str]) -> dict[str, Any]:
    """How the chat template was called when adapters were trained, if that was not the default.

    Raises `UsageError` where they were trained with different settings.
    """
    by_adapter: dict[str, dict[str, Any]] = {}
    for adapter in adapters:
        if home := find_home(adapter):
            settings = read_run(home)["settings"]
            by_adapter[adapter] = {n: settings.get(n) for n in TEMPLATE if settings.get(n)}
            if by_adapter[adapter].get("thinking") == "auto":
                del by_adapter[adapter]["thinking"]
    variants = list(by_adapter.values())
    if any(other != variants[0] for other in variants[1:]):
        raise UsageError(
            "The adapters were trained with different template settings: "
            + "; ".join(f"{name}: {values or 'defaults'}" for name, values in by_adapter.items()),
            hint="Say which to use: --thinking, --template-arg.",
        )
    return variants[0] if variants else {}


def trained_template(adapters: Iterable[str], date: str | None = None) -> TemplateOptions:
    """The options of the chat template in the training of adapters, as of a given day.

    Raises as `template_settings`.
    """
    settings = template_settings(adapters)
    arguments = parse_arguments((settings.get("template_arg") or "").splitlines())
    return TemplateOptions(date, settings.get("thinking", "auto"), arguments)


def base_facts(model: str) -> list[dict[str, Any]]:
    """The record's entry for the run that trained a base; empty if none did.

    Raises as `find_adapter`.
    """
    home = find_home(model)
    if home is None:
        return []
    record = _record(home, _place(model), "start")
    verify_files(home, _place(model).rglob("*.safetensors"))
    files = digest(read_run(home)["files"])
    return [
        {"name": home.name, "part": "base", "stage": record.stage, "id": record.id, "digest": files}
    ]


def constitution_facts(constitution: Constitution, part: str) -> dict[str, Any]:
    """The entry of a constitution in the record of a run; part: its role there."""
    return {
        "name": constitution.id, "part": part, "stage": "constitution",
        "id": constitution.version, "digest": constitution.digest,
    }  # fmt: skip


def _place(path: str | Path) -> Path:
    return best_or_last(Path(path).expanduser()).resolve()


def verify_files(home: Path | None, files: Iterable[Path]) -> None:
    """Raise `DataError` if a file of a run is not as the run wrote it."""
    recorded = read_run(home)["files"] if home else {}
    for file in files:
        place = file.resolve()
        if home is None or not place.is_file() or not place.is_relative_to(home):
            continue
        expected = recorded.get(place.relative_to(home).as_posix())
        if expected and file_digest(place) != expected:
            raise DataError(
                f"{file} is not as the training run {home.name} wrote it",
                hint="Restore it, or train again in another --out. An adapter can be used as it is"
                " from a copy of its own folder, without the run's.",
            )


def _record(home: Path, place: Path, use: Use) -> Record:
    """The record of a folder's run. Raises if its weights may not be used this way."""
    run = require_finished(home)
    try:
        if run["status"] == "stopped" and use != "speak" and place == home:
            output = "model" if (home / "model").is_dir() else "adapter"
            best = (
                f"{home / 'best'}, from before the alarm; or " if (home / "best").is_dir() else ""
            )
            raise DataError(
                f"The training run {home} stopped itself: {run['results']['stopped']}",
                hint=f"Give {best}{home / output}, the last weights.",
            )
        stage = CONFIGS.get(run["stage"])
        if stage and not stage.writes_text and use != "start":
            raise UsageError(
                f"{home} is a {stage.title.lower()}: it scores responses and writes none",
                hint="Give the run of another stage. List them with: cai models",
            )
        settings = run["settings"]
        return Record(
            run["id"],
            run["stage"],
            settings["model"],
            run["base"]["fingerprint"],
            settings["quantize"],
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{home}/run.json lacks {error}", hint=TRAIN_ELSEWHERE) from None


def _base_name(folder: Path) -> str:
    """The base that `adapter_config.json` names."""
    file = folder / "adapter_config.json"
    try:
        config = json.loads(file.read_bytes())
        return str(config.get("base_model_name_or_path") or "")
    except FileNotFoundError:
        raise ModelError(
            f"{folder} holds no adapter_config.json",
            hint="Give the folder of a training run, or of an adapter in PEFT's layout.",
        ) from None
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{file} can't be read: {error}", hint=TRAIN_ELSEWHERE) from None
