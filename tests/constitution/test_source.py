"""Strict YAML: hostile files are refused quickly and with a position; plain ones stay plain."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from cai.constitution import source
from cai.constitution.source import read_source

LOADERS = ["CSafeLoader", "SafeLoader"]


@pytest.fixture(params=LOADERS)
def _each_loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """libyaml's parser where it is there, and the one in Python."""
    if not hasattr(yaml, request.param):
        pytest.skip("PyYAML without libyaml")
    monkeypatch.setattr(source, "_LOADER", getattr(yaml, request.param))
    yield request.param


def read(tmp_path: Path, data: str | bytes) -> tuple[Any, list[Any]]:
    path = tmp_path / "file.yaml"
    path.write_bytes(data if isinstance(data, bytes) else data.encode("utf-8", "surrogatepass"))
    begin = time.process_time()
    result, problems = read_source(path)
    assert time.process_time() - begin < 1.0
    assert (result is None) == bool(problems)
    return result, problems


BOMB = "a: &a [x, x]\n" + "".join(
    f"{b}: &{b} [*{a}, *{a}, *{a}, *{a}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)

HOSTILE: dict[str, tuple[str | bytes, str, int, int]] = {
    "alias bomb": (BOMB, "C006", 1, 4),
    "anchor": ("a: &x 1", "C006", 1, 4),
    "merge with alias": ("a: {b: 1}\n<<: *x\n", "C006", 2, 5),
    "depth of brackets": ("[" * 20_000, "C007", 1, 33),
    "depth of braces": ("{a: " * 20_000, "C007", 1, 129),
    "depth of dashes": ("- " * 20_000, "C007", 1, 65),
    "depth of blocks": ("".join(" " * n + "a:\n" for n in range(40)), "C007", 33, 33),
    "10 MB": (b"a: " + b"x" * 10_000_000, "C002", 1, 1),
    "many values": ("[" + "a," * 60_000 + "a]", "C002", 1, 20_000),
    "duplicate key": ("a: 1\nb: 2\na: 3\n", "C008", 3, 1),
    "duplicate key inside": ("a:\n  b: 1\n  c: 2\n  b: 3\n", "C008", 4, 3),
    "duplicate key, once quoted": ("a: 1\n'a': 2\n", "C008", 2, 1),
    "python tag": ("a: !!python/object/apply:os.system [ls]", "C006", 1, 4),
    "python name": ("!!python/name:os.system", "C006", 1, 1),
    "plain tag": ("a: !!str 1", "C006", 1, 4),
    "binary tag": ("a: !!binary aGk=", "C006", 1, 4),
    "local tag": ("a: !x 1", "C006", 1, 4),
    "yaml directive": ("%YAML 1.1\n---\na: 1\n", "C006", 1, 1),
    "tag directive": ("%TAG ! tag:x,2000:\n---\na: 1\n", "C006", 1, 1),
    "two documents": ("a: 1\n---\nb: 2\n", "C006", 2, 1),
    "list as a key": ("? [a, b]\n: 1\n", "C006", 1, 3),
    "mapping as a key": ("? {a: b}\n: 1\n", "C006", 1, 3),
    "tab": ("a:\n\tb: 1\n", "C005", 2, 1),
    "two colons": ("a: b: c\n", "C005", 1, 5),
    "open quote": ("a: 'x\nb: 1\n", "C005", 3, 1),
    "open bracket": ("a: [1, 2\nb: 3\n", "C005", 2, 2),
    "bad utf-8": (b"a: x\nb: \xff\n", "C003", 2, 4),
    "cut utf-8": (b"a: \xe2\x82", "C003", 1, 4),
    "utf-16": ("a: 1".encode("utf-16"), "C003", 1, 1),
    "surrogate": ("a: \ud800", "C003", 1, 4),
    "NUL": (b"a: x\0y", "C004", 1, 5),
    "escape": (b"a: \x1b[31m", "C004", 1, 4),
    "delete": (b"a: x\x7f", "C004", 1, 5),
    "next line": ("a: x\x85", "C004", 1, 5),
    "line separator": ("a: x\u2028b: 1", "C004", 1, 5),
    "right-to-left override": ("# \u202e\na: 1", "C004", 1, 3),
    "isolate": ("a: \u2066x", "C004", 1, 4),
    "tag characters": ("a: x\U000e0041", "C004", 1, 5),
    "zero width": ("a\u200b: 1", "C004", 1, 2),
    "escaped NUL": ('a: "\\0"', "C004", 1, 4),
    "escaped override": ('a: "\\u202E"', "C004", 1, 4),
    "escaped override in a key": ('"\\u202E": 1', "C004", 1, 1),
}


@pytest.mark.usefixtures("_each_loader")
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_yaml_is_refused_with_its_place(name: str, tmp_path: Path) -> None:
    data, code, line, column = HOSTILE[name]
    _, problems = read(tmp_path, data)
    first = problems[0]
    assert (first.code, first.line) == (code, line), problems
    if code != "C005":  # the two parsers differ in where they notice bad syntax
        assert first.column == column
    assert first.file.endswith("file.yaml")


def test_a_megabyte_of_anything_is_quick(tmp_path: Path) -> None:
    for piece in (
        "a: b\n",
        "- ",
        "[",
        "{",
        "'",
        '"',
        "? ",
        "&a ",
        "!a ",
        "#\n",
        "\n",
        "a",
        "| ",
        ":",
    ):
        read(tmp_path, piece * (999_000 // len(piece)))


def test_the_byte_of_bad_utf8_is_told(tmp_path: Path) -> None:
    _, (problem,) = read(tmp_path, "ä: ".encode() + b"\xfe")
    assert "0xfe at offset 4" in problem.message
    assert (problem.line, problem.column) == (1, 4)


def test_a_missing_file_and_a_folder(tmp_path: Path) -> None:
    assert read_source(tmp_path / "none.yaml")[1][0].code == "C001"
    assert read_source(tmp_path)[1][0].code == "C001"


def test_no_endless_list_of_problems(tmp_path: Path) -> None:
    _, problems = read(tmp_path, "[" + "&a 1, " * 5_000 + "1]")
    assert len(problems) == source.PROBLEM_LIMIT


CORE: list[tuple[str, object]] = [
    ("no", "no"), ("yes", "yes"), ("on", "on"), ("Off", "Off"), ("y", "y"),
    ("true", True), ("False", False), ("TRUE", True), ("tRue", "tRue"),
    ("null", None), ("~", None), ("", None), ("nil", "nil"),
    ("012", 12), ("0o14", 12), ("0x1F", 31), ("+3", 3), ("-7", -7), ("1_000", "1_000"),
    ("0b11", "0b11"), ("190:20:30", "190:20:30"), ("9" * 30, "9" * 30),
    ("1.5", 1.5), (".5", 0.5), ("1e3", 1000.0), ("-2.", -2.0), (".inf", float("inf")),
    ("1.0.0", "1.0.0"), ("2026-11-20", "2026-11-20"),
    ("2026-11-20T10:00:00Z", "2026-11-20T10:00:00Z"),
    ("=", "="), ("'no'", "no"), ("'1'", "1"), ('"true"', "true"), ("'~'", "~"),
    ("🙂 ü 你", "🙂 ü 你"),
]  # fmt: skip


@pytest.mark.usefixtures("_each_loader")
@pytest.mark.parametrize(("text", "value"), CORE)
def test_the_core_schema(text: str, value: object, tmp_path: Path) -> None:
    result, problems = read(tmp_path, f"a: {text}\n")
    assert not problems
    assert result.value["a"] == value
    assert type(result.value["a"]) is type(value)


def test_keys_are_text_and_merge_keys_are_plain(tmp_path: Path) -> None:
    result, _ = read(tmp_path, "no: 1\n12: 2\ntrue: 3\n<<: {a: 4}\n")
    assert result.value == {"no": 1, "12": 2, "true": 3, "<<": {"a": 4}}


@pytest.mark.usefixtures("_each_loader")
def test_positions(tmp_path: Path) -> None:
    result, _ = read(tmp_path, "# head\na:\n  - b: 1\n    ü: |\n      text\n  - {c: [x, y]}\n")
    assert result.value == {"a": [{"b": 1, "ü": "text\n"}, {"c": ["x", "y"]}]}
    assert result.position(()) == (2, 1)
    assert result.position(("a",), key=True) == (2, 1)
    assert result.position(("a", 0, "ü")) == (4, 8)
    assert result.position(("a", 0, "ü"), key=True) == (4, 5)
    assert result.position(("a", 1, "c", 1)) == (6, 13)
    assert result.position(("a", 1, "missing")) == (6, 5)
    assert result.position(("a", "union-tag", 1, "c")) == (6, 9)


def test_a_byte_order_mark_and_windows_lines(tmp_path: Path) -> None:
    result, _ = read(tmp_path, b"\xef\xbb\xbfa: 1\r\nb: |\r\n  x\r\n  y\r\n")
    assert result.value == {"a": 1, "b": "x\ny\n"}


@pytest.mark.parametrize(
    ("text", "hint"), [("a:\n\tb: 1", "spaces, not tabs"), ("a: b: c", "needs quotes")]
)
def test_syntax_errors_say_what_to_do(text: str, hint: str, tmp_path: Path) -> None:
    _, (problem,) = read(tmp_path, text)
    assert hint in problem.hint
