"""The settings of a project: `cai.yaml` at its root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, TypeAlias

from cai.constitution.model_registry import ModelEntry, ModelRegistry
from cai.constitution.source import Source, read_source
from cai.constitution.validation import validate_value
from cai.content import SUFFIXES, find_constitution, nearby
from cai.errors import ContentError, Problem

NAME = "cai.yaml"
Audit: TypeAlias = Literal["optional", "required"]
_KEYS: dict[str, tuple[str, ...] | None] = {
    "audit": ("optional", "required"),
    "constitution": None,
    "prompts": None,
    "models": None,
}
"""Key → the allowed values; None for any text, or for a mapping of its own."""


@dataclass(frozen=True, slots=True)
class Project:
    """Settings of a project.

    audit: whether training asks for a sign-off of its data. constitution: the name or file of the
    default constitution. prompts: the default prompts file. models: names for local and served
    models. Files are resolved against the folder of cai.yaml. path: the file of the settings, or
    None.
    """

    audit: Audit = "optional"
    constitution: str | None = None
    prompts: Path | None = None
    models: Mapping[str, ModelEntry] = field(default_factory=dict)
    path: Path | None = None


def find_project(places: Sequence[Path]) -> Project:
    """The strictest of the projects that contain the places, each by the nearest file above.

    Raises `ContentError` for an invalid file.
    """
    files = {file: None for place in places if (file := settings_above(place.resolve()))}
    projects = [read_project(file) for file in files]
    return next((p for p in projects if p.audit == "required"), next(iter(projects), Project()))


def settings_above(place: Path) -> Path | None:
    """The nearest settings file, in a folder or above it; None if there is none."""
    return next((f for p in (place, *place.parents) if (f := p / NAME).is_file()), None)


def read_project(path: Path) -> Project:
    """A project's settings. Raises `ContentError` with file:line:col."""
    values, problems = _read_settings(path)
    if problems:
        raise ContentError(problems)
    constitution, prompts = values.get("constitution"), values.get("prompts")
    models: dict[str, ModelEntry] = values.get("models", {})
    return Project(
        audit=values.get("audit", "optional"),
        constitution=None if constitution is None else _constitution(path, constitution),
        prompts=None if prompts is None else path.parent / prompts,
        models={name: _placed(path, entry) for name, entry in models.items()},
        path=path,
    )


def project_problems(path: Path) -> list[Problem]:
    """The problems of a settings file, each with file:line:col."""
    return _read_settings(path)[1] or reference_problems(path, "constitution", "prompts")


def reference_problems(path: Path, *keys: Literal["constitution", "prompts"]) -> list[Problem]:
    """A problem for each of these keys of a valid settings file whose file does not exist."""
    source, _ = read_source(path)
    values = source.value if source is not None else None
    problems: list[Problem] = []
    for key in keys:
        name = values.get(key) if isinstance(values, dict) else None
        hint = "" if name is None else _missing_hint(path, key, name)
        if source is not None and hint:
            what = f"`{key}` is `{name}`, which does not exist"
            problems.append(source.problem((key,), "C021", what, hint))
    return problems


def _missing_hint(path: Path, key: str, name: str) -> str:
    """What to write instead of a name of a settings file; empty where the file exists."""
    if key == "prompts":
        prompts = path.parent / name
        return "" if prompts.exists() else nearby(prompts, "Check the path, relative to this file.")
    try:
        find_constitution(_constitution(path, name), path.parent)
    except ContentError as error:
        return error.problems[0].hint
    return ""


def _constitution(path: Path, name: str) -> str:
    """The constitution of a settings file: its name, or its path from that file's folder."""
    return str(path.parent / name) if name.endswith(SUFFIXES) or "/" in name else name


def _placed(path: Path, entry: ModelEntry) -> ModelEntry:
    """An entry whose files are found from any folder: relative ones lie beside cai.yaml."""
    changes = {}
    for name in ("path", "adapter", "tokenizer", "api_key_file"):
        value = getattr(entry, name)
        if value is None:
            continue
        file = path.parent / Path(value).expanduser()
        if file.exists() or name == "api_key_file":
            changes[name] = str(file)
    return entry.model_copy(update=changes)


def _models(source: Source, value: Any) -> tuple[dict[str, ModelEntry], list[Problem]]:
    registry, problems = validate_value(source, ModelRegistry, {"models": value})
    return (registry.models if registry else {}), problems


def _read_settings(path: Path) -> tuple[dict[str, Any], list[Problem]]:
    source, problems = read_source(path)
    if source is None:
        return {}, problems
    values = {} if source.value is None else source.value
    if not isinstance(values, dict):
        return {}, [source.problem((), "C012", "not a mapping", "Write `key: value`.")]
    for key, value in list(values.items()):
        if key == "models":
            models, model_problems = _models(source, value)
            values = {**values, "models": models}
            problems += model_problems
        elif key not in _KEYS:
            close = get_close_matches(key, _KEYS, n=1)
            hint = f"Did you mean `{close[0]}`?" if close else f"Known: {', '.join(_KEYS)}."
            problems.append(source.problem((key,), "C011", f"unknown key `{key}`", hint, key=True))
        elif (choices := _KEYS[key]) is not None and value not in choices:
            hint = f"Choose one of: {', '.join(choices)}."
            problems.append(source.problem((key,), "C012", f"`{key}` is {value!r}", hint))
        elif choices is None and not (isinstance(value, str) and value.strip()):
            hint = "Write a name or a path." if key == "constitution" else "Write a path."
            problems.append(source.problem((key,), "C012", f"`{key}` is {value!r}", hint))
    return values, problems
