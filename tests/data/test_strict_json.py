"""JSON that other readers would take differently is told, and where a value ends is known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.data import lines
from cai.data.formats import rows
from cai.data.lines import FileRow, UnreadableRow
from cai.data.strict_json import MAX_DEPTH, NonStandardJson, end_of_value, loads

VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(VALUES)
def test_sound_json_is_read_as_python_does(value: Any) -> None:
    assert loads(json.dumps(value)) == value


@given(VALUES.filter(lambda value: not isinstance(value, str)))
def test_a_value_ends_where_it_was_written_to(value: Any) -> None:
    """An element of a list, as the streaming reader meets it; text alone is never unsound."""
    text = json.dumps(value)
    assert end_of_value(f"[{text}, 1]", 1) == 1 + len(text)


def test_a_cut_value_has_no_end() -> None:
    assert end_of_value('[1, {"a": "]', 0) is None
    assert end_of_value('["\\"]"', 0) is None
    assert end_of_value("NaN", 0) is None
    assert end_of_value("NaN]", 0) == 3


@pytest.mark.parametrize(
    "text,told",
    [
        ('{"a": 1, "b": 2, "a": 1}', "the key 'a' stands twice in one object"),
        ('[{"a": {"b": 1, "b": 2}}]', "the key 'b' stands twice in one object"),
        ("[NaN]", "NaN is not a number in JSON"),
        ('{"a": -Infinity}', "-Infinity is not a number in JSON"),
        ("[1e400]", "the number 1e400 is too large"),
        ("9" * 5000, "Exceeds the limit"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested too deeply"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a":' * 100_000, "nested too deeply"),
    ],
)
def test_unsound_json_is_told(text: str, told: str) -> None:
    with pytest.raises(NonStandardJson) as error:
        loads(text)
    assert told in str(error.value)


def test_the_depth_counts_what_is_nested_and_not_what_is_many_or_in_text() -> None:
    for text in (
        "[" * MAX_DEPTH + "]" * MAX_DEPTH,
        "[" + "[]," * 500 + "[]]",
        json.dumps({"a": "[" * 500, "b": '\\"' + "{" * 500}),
    ):
        loads(text)


@pytest.mark.parametrize("chunk", [1, 7, 2**16])
def test_one_bad_element_does_not_fail_a_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    """Lines: 1 is `[`, the elements stand on 2 to 9; each element's fate is its own."""
    monkeypatch.setattr(lines, "CHUNK", chunk)
    elements = [
        '{"a": 1}', "[" * 3000 + "]" * 3000, '{"a": 1, "a": "]"}', '{"a": [NaN, "}"]}', "NaN",
        '{"a": ' + "[" * 100 + "]" * 100 + "}", '{"n": ' + "9" * 5000 + "}", '{"b": 2}',
    ]  # fmt: skip
    path = tmp_path / "d.json"
    path.write_text("[\n" + ",\n".join(elements) + "\n]\n")
    good, *bad, last = rows(path, "json")
    assert (good, last) == (FileRow(2, {"a": 1}), FileRow(9, {"b": 2}))
    assert [b.line for b in bad] == [3, 4, 5, 6, 7, 8]
    reasons = [b.reason for b in bad if isinstance(b, UnreadableRow)]
    for reason, words in zip(
        reasons, ["deeply", "'a' stands twice", "NaN", "NaN", "deeply", "Exceeds"], strict=True
    ):
        assert reason.startswith("invalid JSON: ") and words in reason
