"""The editor schemas: valid draft-07, as strict as the loader, every key explained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from pydantic import BaseModel

from cai.constitution import schema
from cai.constitution.editors import DRAFT, editor_files, editor_schema
from cai.constitution.keys import KEYS
from cai.constitution.source import read_source
from cai.content import packaged
from tests.e2e.helpers import cai

MODELS = {
    name: model
    for name, model in vars(schema).items()
    if isinstance(model, type) and issubclass(model, BaseModel) and name.endswith("File")
}


def test_every_key_is_explained_and_no_other() -> None:
    assert {name: set(model.model_fields) for name, model in MODELS.items()} == {
        name: set(keys) for name, keys in KEYS.items()
    }


@pytest.mark.parametrize(
    ("kind", "pattern"),
    [("Principle", "principles/**/*.yaml"), ("Constitution", "constitution/*.yaml")],
)
def test_the_shipped_content_meets_its_schema(kind: str, pattern: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    schema_of_kind = editor_schema(kind)
    assert schema_of_kind["$schema"] == DRAFT and "$defs" not in json.dumps(schema_of_kind)
    jsonschema.Draft7Validator.check_schema(schema_of_kind)
    files = sorted(packaged().glob(pattern))
    assert len(files) > 4
    for file in files:
        source, _ = read_source(file)
        assert source is not None
        jsonschema.Draft7Validator(schema_of_kind).validate(source.value)


def test_the_command_writes_and_prints(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cai("schema", tmp_path)
    assert {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.json")} == set(
        editor_files()
    )
    capsys.readouterr()
    cai("schema", "--print", "principle")
    assert json.loads(capsys.readouterr().out) == editor_schema("Principle")
