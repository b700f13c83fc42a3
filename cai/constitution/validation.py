"""Validates a file against its schema; each problem says where it is and what to do."""

from __future__ import annotations

import types
import typing
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cai.constitution.schema import API, ConstitutionFile, PrincipleFile
from cai.constitution.source import KeyPath, Source
from cai.errors import Problem

FileModel = TypeVar("FileModel", bound=BaseModel)

KINDS: dict[str, type[BaseModel]] = {"Principle": PrincipleFile, "Constitution": ConstitutionFile}

_PATTERNS = {
    "version": "must be three numbers such as 1.0.0",
    "date": "must be a date such as 2026-01-31",
    "id": "must be lower-case words joined by `.`, `-` or `_`, such as harm.illegal-advice",
    "tags": "must be lower-case words joined by `.`, `-` or `_`",
}


def validate(source: Source, model: type[FileModel]) -> tuple[FileModel | None, list[Problem]]:
    """Validate a file's value. Returns the model, or all problems."""
    if not isinstance(source.value, dict):
        kind = _type_name(source.value)
        what = "the file is empty" if source.value is None else f"the file contains {kind}"
        hint = f"Start it with `api: {API}` and `kind: Principle` or `kind: Constitution`."
        return None, [source.problem((), "C010", what, hint)]
    problems = _header(source, model)
    if problems:
        return None, problems
    return validate_value(source, model, source.value)


def validate_value(
    source: Source, model: type[FileModel], value: Any
) -> tuple[FileModel | None, list[Problem]]:
    """Validate a value of a file, whose keys are those of the file's top. As `validate`."""
    try:
        return model.model_validate(value), []
    except ValidationError as error:
        problems = [_problem(source, model, item) for item in error.errors(include_url=False)]
        return None, problems


def _header(source: Source, model: type[BaseModel]) -> list[Problem]:
    """Problems of `api` and `kind`, which come first: a file of another kind gives many errors."""
    out = []
    header = {"api": API, "kind": next(k for k, m in KINDS.items() if m is model)}
    for key, value in header.items():
        if key not in source.value:
            what = f"`{key}` is missing"
            out.append(source.problem((), "C010", what, f"Add the line `{key}: {value}`."))
        elif source.value[key] != value:
            what = f"`{key}` is {_quote(source.value[key])}, not `{value}`"
            out.append(source.problem((key,), "C013", what, f"Write `{key}: {value}`."))
    return out


def _problem(source: Source, model: type[BaseModel], item: Any) -> Problem:
    place: KeyPath = tuple(item["loc"])
    code, message, hint = _fault(model, item)
    if item["type"] == "missing":
        place = place[:-1]
    return source.problem(place, code, message, hint, key=code in ("C010", "C011"))


_OF_UNIONS = ("int", "str", "list[int]", "list[str]")
"""Parts that pydantic adds to the place of a value that may be of several types."""


def first_fault(error: ValidationError, model: type[BaseModel]) -> str:
    """The first thing that is wrong with an object that is not in a file of its own."""
    item: Any = error.errors(include_url=False)[0]
    if not item["loc"] and item["type"] in ("model_type", "dict_type"):
        return "it is not an object"
    if item["type"] != "extra_forbidden":  # whose last part is a key of the user's
        item["loc"] = tuple(part for part in item["loc"] if part not in _OF_UNIONS)
    code, message, hint = _fault(model, item)
    close = hint.partition("? ")[0] + "?" if code == "C011" and hint.startswith("Did") else ""
    return f"{message}. {close}" if close else message


def _fault(model: type[BaseModel], item: Any) -> tuple[str, str, str]:
    """The code, the message and the hint of one of pydantic's errors."""
    place: KeyPath = tuple(item["loc"])
    kind, value, context = item["type"], item["input"], item.get("ctx", {})
    name = _dotted(place)
    if kind == "extra_forbidden":
        key = str(place[-1])
        keys = _keys(model, place[:-1])
        close = get_close_matches(key, keys, n=1)
        hint = f"Did you mean `{close[0]}`? " if close else ""
        hint += f"Known here: {', '.join(keys)}."
        return "C011", f"unknown key `{name}`", hint
    if kind == "missing":
        hint = f"Add it below `{_dotted(place[:-1])}`." if len(place) > 1 else "Add it."
        return "C010", f"`{name}` is missing", hint
    if kind == "value_error":
        text = str(context.get("error", item["msg"]))
        whole = isinstance(value, dict)  # a rule between several keys
        message = (f"{name}: {text}" if name else text) if whole else f"`{name}` {text}"
        return "C014" if whole else "C012", message, ""
    text, hint = _describe(kind, value, context, place)
    return "C012", f"`{name}` {text}", hint


def _describe(kind: str, value: Any, context: dict[str, Any], place: KeyPath) -> tuple[str, str]:
    if kind == "literal_error":
        expected = str(context["expected"]).replace("'", "`")
        options = [part.strip("`") for part in expected.replace(" or ", ", ").split(", ")]
        close = get_close_matches(str(value), options, n=1)
        hint = f"Did you mean `{close[0]}`?" if close else ""
        return f"is {_quote(value)}; it must be {expected}", hint
    if kind == "string_type" and place and place[-1] == "version":
        return f"{_PATTERNS['version']}, but is {_type_name(value)}", ""
    if kind == "string_type":
        hint = "Put it in quotes." if isinstance(value, int | float) else "Write a text."
        return f"must be text, but is {_type_name(value)}", hint
    if kind == "string_pattern_mismatch":
        names = [str(p).rpartition("_")[2] for p in place if isinstance(p, str)]  # include_tags
        rule = next((_PATTERNS[n] for n in reversed(names) if n in _PATTERNS), "is not well formed")
        return f"{rule}, but is {_quote(value)}", ""
    if kind in ("string_too_long", "string_too_short"):
        if not value:
            return "must not be empty", ""
        return (
            f"has {len(value):,} characters; {context['max_length']:,} are allowed",
            "Shorten it.",
        )
    if kind in ("greater_than", "greater_than_equal", "less_than", "less_than_equal"):
        words = {
            "gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most",
        }  # fmt: skip
        bound = next((f"{words[k]} {v:g}" for k, v in context.items() if k in words), "smaller")
        return f"must be {bound}, but is {value}", ""
    if kind == "too_short":
        return "must not be empty", ""
    kinds = {
        "bool_type": "true or false", "int_type": "a whole number", "float_type": "a number",
        "list_type": "a list", "model_type": "a mapping of keys", "dict_type": "a mapping of keys",
        "int_from_float": "a whole number", "finite_number": "a finite number",
    }  # fmt: skip
    if kind in kinds:
        return f"must be {kinds[kind]}, but is {_type_name(value)}", ""
    return f"is invalid: {kind.replace('_', ' ')}", ""


def _keys(model: type[BaseModel], place: KeyPath) -> list[str]:
    """The keys that the schema has at a path."""
    current: type[BaseModel] | None = model
    for part in place:
        if current is None or not isinstance(part, str) or part not in current.model_fields:
            continue
        current = _inner(current.model_fields[part].annotation)
    return [f.alias or name for name, f in current.model_fields.items()] if current else []


def _inner(annotation: Any) -> type[BaseModel] | None:
    """The model inside an annotation such as `list[Annotated[Model, …]] | None`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    for argument in typing.get_args(annotation):
        inner = _inner(argument)
        if inner is not None:
            return inner
    return None


def _dotted(place: KeyPath) -> str:
    """`principles[2].weight`, without the parts that pydantic adds for unions."""
    out = ""
    for part in place:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else str(part)
    return out


def _type_name(value: Any) -> str:
    if value is None:
        return "empty"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, int | float):
        return f"the number {value:g}" if isinstance(value, float) else f"the number {value}"
    if isinstance(value, str):
        return _quote(value)
    return "a list" if isinstance(value, list) else "a mapping of keys"


def _quote(value: Any) -> str:
    text = value if isinstance(value, str) else _type_name(value)
    if not isinstance(value, str):
        return text
    return f"`{text if len(text) <= 40 else text[:39] + '…'}`"
