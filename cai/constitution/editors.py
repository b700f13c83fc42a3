"""JSON Schema (draft-07) of both kinds of file: completion, hover and validation in an editor.

Draft-07 is what yaml-language-server supports best. The schemas are made from `schema` and `keys`;
problems across values and files (references, contradictions) are left to `cai lint`.
"""

from __future__ import annotations

import json
from typing import Any

from cai.constitution.keys import KEYS
from cai.constitution.validation import KINDS

FOLDER = ".cai/schema"
DRAFT = "http://json-schema.org/draft-07/schema#"
NAMES = {kind: f"{kind.lower()}.v1.json" for kind in KINDS}
"""Kind → file name in `FOLDER`."""
_ONE_OR_MORE = {("ConstitutionFile", "extends"), ("ConstitutionFile", "no_problem")} | {
    ("ExpectFile", name) for name in ("contains", "not_contains", "renders")
}
"""Lists that may be written as one text."""
_PAIR = {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2}
_SPECIAL: dict[tuple[str, str], dict[str, Any]] = {
    ("FeedbackFile", "principles_per_pair"): {
        "anyOf": [{"const": "all"}, {"type": "integer", "minimum": 1}]
    },
    ("FeedbackFile", "clamp"): {"anyOf": [_PAIR, {"type": "null"}]},
}
"""Keys with a validator in code, of which pydantic makes no schema."""


def editor_schema(kind: str) -> dict[str, Any]:
    """The schema of a kind of file, `Principle` or `Constitution`."""
    raw = KINDS[kind].model_json_schema(ref_template="#/definitions/{model}")
    definitions = {name: _described(name, part) for name, part in raw.pop("$defs", {}).items()}
    top = _described(KINDS[kind].__name__, raw)
    top["title"] = f"cai {kind.lower()}"
    if kind == "Principle":
        _may_inherit(top, definitions["StagesFile"])
    return {"$schema": DRAFT, **top, "definitions": definitions}


def editor_files() -> dict[str, str]:
    """Path from the project's root → text of each schema."""
    return {
        f"{FOLDER}/{name}": json.dumps(editor_schema(kind), indent=1, ensure_ascii=False) + "\n"
        for kind, name in NAMES.items()
    }


def modeline(kind: str, depth: int) -> str:
    """The comment that points an editor to the schema. depth: folders between root and file."""
    return f"# yaml-language-server: $schema={'../' * depth}{FOLDER}/{NAMES[kind]}\n"


def _may_inherit(top: dict[str, Any], stages: dict[str, Any]) -> None:
    """Make the inherited keys of a principle optional if it has `extends`."""
    inherited = ("why", "stages", "compare")
    top["required"] = [key for key in top["required"] if key not in inherited]
    whole = {"properties": {"stages": {"required": stages.pop("required")}}}
    top["anyOf"] = [{"required": ["extends"]}, {"required": list(inherited), **whole}]


def _described(model: str, part: dict[str, Any]) -> dict[str, Any]:
    """The schema of a model, with the meaning of each key, without pydantic's titles."""
    properties = {key: _key(model, key, value) for key, value in part.get("properties", {}).items()}
    rest = {k: v for k, v in part.items() if k not in ("title", "description", "properties")}
    return {**rest, "properties": properties}


def _key(model: str, key: str, value: dict[str, Any]) -> dict[str, Any]:
    out = {k: v for k, v in value.items() if k not in ("title", "description")}
    if (model, key) in _SPECIAL:
        default = {"default": out["default"]} if "default" in out else {}
        out = {**_SPECIAL[model, key], **default}
    if (model, key) in _ONE_OR_MORE:
        out = _one_or_more(out)
    if "$ref" in out:  # draft-07 ignores everything beside a $ref
        out = {"allOf": [{"$ref": out.pop("$ref")}], **out}
    return {"description": KEYS[model][key], **out}


def _one_or_more(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema of a list that may also be one of its items."""
    options = schema.pop("anyOf", None) or [
        {k: schema.pop(k) for k in list(schema) if k in ("type", "items", "minItems", "maxItems")}
    ]
    many = next(o for o in options if o.get("type") == "array")
    return {"anyOf": [many["items"], *options], **schema}
