"""Prompts from files: every format, every kind of poison, and where each row stands."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.data import lines as file_lines
from cai.data.invalid_rows import require_prompts
from cai.data.prompts import FORMATS, PromptFile, read_prompts
from cai.digest import digest
from cai.errors import DataError, UsageError
from cai.types import Message, Prompt, SetAside

ROOT = Path(__file__).parents[2]
HH = Path(os.environ.get("CAI_TEST_DATA", ROOT.parent / "shared" / "data"))
HUMAN, BOT = "\n\nHuman: ", "\n\nAssistant: "


def lines(tmp_path: Path, *rows: Any, name: str = "p.jsonl") -> Path:
    """A JSONL file; bytes and strings stand in it as they are."""
    path = tmp_path / name
    parts = [r if isinstance(r, bytes) else _text(r).encode() for r in rows]
    path.write_bytes(b"\n".join(parts) + b"\n")
    return path


def _text(row: Any) -> str:
    return row if isinstance(row, str) else json.dumps(row)


def texts(rows: Iterator[Prompt | SetAside]) -> list[str]:
    """The last message of each prompt, and the reason of each row set aside."""
    return [r.messages[-1].content if isinstance(r, Prompt) else f"! {r.reason}" for r in rows]


def only(path: Path, **options: Any) -> Prompt:
    (row,) = read_prompts(path, **options)
    assert isinstance(row, Prompt), row
    return row


def turns(*pairs: tuple[str, str]) -> tuple[Message, ...]:
    return tuple(Message(role, text) for role, text in pairs)  # type: ignore[arg-type]


# -- formats --------------------------------------------------------------------------------


def test_jsonl_with_text_id_and_meta(tmp_path: Path) -> None:
    path = lines(tmp_path, {"id": "a", "prompt": "Hi?", "benign": True, "n": [1]}, {"prompt": "Yo"})
    first, second = read_prompts(path)
    assert first == Prompt("a", turns(("user", "Hi?")), "p.jsonl:1")
    assert isinstance(first, Prompt) and first.meta == {"benign": True, "n": [1]}
    assert isinstance(second, Prompt)
    assert second.id == "p-" + digest([{"role": "user", "content": "Yo"}])[:12]
    assert second.source == "p.jsonl:2"


def test_messages_lose_a_trailing_answer_and_prompts_do_not(tmp_path: Path) -> None:
    talk = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
    ]
    path = lines(tmp_path, {"messages": talk}, {"prompt": talk}, {"prompt": talk[:2]})
    first, second, third = read_prompts(path)
    assert isinstance(first, Prompt)
    assert first.messages == turns(("system", "Be brief."), ("user", "Hi"))
    assert isinstance(second, SetAside)
    assert second.reason == "no user turn: the last message is the assistant's, not the user's"
    assert isinstance(third, SetAside) and third.reason == "duplicate of p.jsonl:1"


def test_a_preference_row_with_an_implicit_prompt(tmp_path: Path) -> None:
    chosen = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
    assert only(lines(tmp_path, {"chosen": chosen, "rejected": chosen})).messages == turns(
        ("user", "Hi")
    )


def test_text_lines(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes('\ufeffOne?\r\n\n  Two?\u2028still two \n{"prompt": 3}'.encode())
    assert texts(read_prompts(path)) == ["One?", "Two?\u2028still two", '{"prompt": 3}']
    assert [r.source for r in read_prompts(path)] == ["p.txt:1", "p.txt:3", "p.txt:4"]


def test_csv(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_bytes(
        b"\xef\xbb\xbfid,prompt,topic\r\n"
        b'a,"Two, lines\nhere",x\r\n'
        b"b,caf\xe9,y\r\n"
        b"c,only two\r\n"
        b"d,Last?,z\r\n"
    )
    rows = list(read_prompts(path))
    assert [r.source for r in rows] == ["p.csv:2", "p.csv:4", "p.csv:5", "p.csv:6"]
    assert texts(iter(rows)) == [
        "Two, lines\nhere",
        # 3 bytes of BOM, 17 of the header, 23 of the row before, 5 of "b,caf"
        "! invalid UTF-8: byte 0xE9 at offset 48",
        "! invalid CSV: 2 fields under a header of 3",
        "Last?",
    ]
    assert isinstance(rows[0], Prompt) and rows[0].meta == {"topic": "x"} and rows[0].id == "a"


STRAY_QUOTES = {
    "to the end": (
        'prompt\nOne?\n"How do I open a jar?\nWhat is a dog?\nWhat is a cat?\n',
        ["One?", "! invalid CSV: a quote that opens in this row is never closed",
         "What is a dog?", "What is a cat?"],
    ),
    "to the next quoted field": (
        'prompt\n"How do I open a jar?\n"What is a dog?"\nWhat is a cat?\n',
        ["! invalid CSV: a quote that opens in this row is not closed before line 3, where ',' "
         "expected after '\"'", "What is a dog?", "What is a cat?"],
    ),
    "in the last of several columns": (
        'id,prompt\na,"One?\nb,Two?\n',
        ["! invalid CSV: a quote that opens in this row is never closed", "Two?"],
    ),
    "closed too early": (
        'prompt\n"Hello" she said\nTwo?\n',
        ["! invalid CSV: ',' expected after '\"'", "Two?"],
    ),
    "in the last line": (
        'prompt\nOne?\n"Two?',
        ["One?", "! invalid CSV: a quote that opens in this row is never closed"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRAY_QUOTES)
def test_a_quote_that_is_not_closed_costs_its_own_row_alone(tmp_path: Path, kind: str) -> None:
    text, expected = STRAY_QUOTES[kind]
    path = tmp_path / "p.csv"
    path.write_text(text)
    rows = list(read_prompts(path))
    assert texts(iter(rows)) == expected
    numbers = [int(row.source.partition(":")[2]) for row in rows]
    assert numbers == list(range(2, 2 + len(rows)))


def test_quotes_as_csv_has_them(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    long = "word\n" * 40_000  # beyond Python's own limit of a field
    path.write_text(f'prompt\n"Say ""hi"", or\nnot?"\n5" pipes?\n"{long}"\nLast?\n')
    assert texts(read_prompts(path, max_characters=10**6)) == [
        'Say "hi", or\nnot?', '5" pipes?', long, "Last?"
    ]  # fmt: skip


def test_a_csv_header_that_can_t_be_read_is_no_row(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    for head in (b'"prompt\n', b"prompt\xe9\n"):
        path.write_bytes(head + b"One?\nTwo?\n")
        with pytest.raises(DataError, match=r"p.csv:1: the header can't be read: invalid"):
            list(read_prompts(path))


def test_benign_is_read_by_value(tmp_path: Path) -> None:
    """A CSV has nothing but text; what is neither true nor false is told."""
    path = tmp_path / "p.csv"
    path.write_text("prompt,benign\na,true\nb,False\nc,1\nd,no\ne,\nf,perhaps\n")
    *rows, bad = read_prompts(path)
    assert [r.meta for r in rows if isinstance(r, Prompt)] == [
        {"benign": True}, {"benign": False}, {"benign": True}, {"benign": False}, {}
    ]  # fmt: skip
    assert isinstance(bad, SetAside)
    assert bad.reason == "benign: 'perhaps' is neither true nor false"
    for value, says in ((True, True), ("true", True), (1, True), ("YES", True), (0.0, False)):
        assert only(lines(tmp_path, {"prompt": "a", "benign": value})).meta == {"benign": says}
    assert only(lines(tmp_path, {"q": "a", "benign": "1"}), column="q").meta == {"benign": True}
    assert only(lines(tmp_path, {"prompt": "a", "benign": None})).meta == {}
    (bad,) = read_prompts(lines(tmp_path, {"prompt": "a", "benign": [True]}))
    assert isinstance(bad, SetAside) and bad.reason.startswith("benign: ")


AFTER_A_LIST = {
    "another list": ('[{"prompt": "a"}]\n[{"prompt": "b"},\n{"prompt": "c"}]\n', ["a", "b", "c"]),
    "lines": ('[{"prompt": "a"}]\n{"prompt": "b"}\n[{"prompt": "c"}]\n{"prompt": "d"}',
              ["a", "b", "c", "d"]),
    "the same line": ('[{"prompt": "a"}] {"prompt": "b"}\n{"prompt": "c"}\n', ["a", "b", "c"]),
    "a list of no rows": ('["a", 2]\n{"prompt": "b"}\n',
                          ["a", "! wrong type: the row is a number, not an object", "b"]),
    "a broken line": ('[{"prompt": "a"}]\n{"prompt": \n{"prompt": "c"}\n',
                      ["a", "! invalid JSON: column 12: Expecting value", "c"]),
    "text": ('[{"prompt": "a"}], and so on', ["a", "! invalid JSON: column 1: Expecting value"]),
    "a bracket": ('[{"prompt": "a"}]]\n', ["a", "! invalid JSON: column 1: Expecting value"]),
    "an empty list": ('[]\n{"prompt": "b"}\n', ["b"]),
    "blank lines": ('[{"prompt": "a"}]\n\n \n', ["a"]),
}  # fmt: skip


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("kind", AFTER_A_LIST)
def test_what_follows_a_list_is_read_or_told(tmp_path: Path, kind: str, zipped: bool) -> None:
    text, expected = AFTER_A_LIST[kind]
    for ending in ("json", "jsonl", "dat"):
        path = tmp_path / f"p.{ending}"
        path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
        assert texts(read_prompts(path)) == expected


def test_lines_and_offsets_go_on_after_a_list(tmp_path: Path) -> None:
    """The list is longer than what is read at once, and no character stands on a boundary."""
    rows = [{"prompt": f"é {n}"} for n in range(9000)]
    first = json.dumps(rows, ensure_ascii=False, indent=1).encode() + b"\n\n"
    path = tmp_path / "p.json"
    path.write_bytes(first + b'{"prompt": "caf\xe9"}\n{"prompt": "last"}\n')
    *before, bad, last = read_prompts(path)
    assert len(before) == 9000
    number = first.count(b"\n") + 1
    assert bad.source == f"p.json:{number}" and last.source == f"p.json:{number + 1}"
    assert isinstance(bad, SetAside)
    assert bad.reason == f"invalid UTF-8: byte 0xE9 at offset {len(first) + 15}"


def test_a_carriage_return_alone_ends_a_line_of_text(tmp_path: Path) -> None:
    path = tmp_path / "p.txt"
    path.write_bytes(b"One?\rTwo?\r\rcaf\xe9\rFour?\r\nFive?\rSix?\n")
    rows = list(read_prompts(path))
    assert list(zip([row.source for row in rows], texts(iter(rows)), strict=True)) == [
        ("p.txt:1", "One?"), ("p.txt:2", "Two?"),
        ("p.txt:4", "! invalid UTF-8: byte 0xE9 at offset 14"),
        ("p.txt:5", "Four?"), ("p.txt:6", "Five?"), ("p.txt:7", "Six?"),
    ]  # fmt: skip


def test_text_that_looks_like_json_is_told_what_to_say(tmp_path: Path) -> None:
    path = tmp_path / "prompts"
    for text in ("[sighs] Why?\nHow?\n", "{\nHow?\n", "{name} asks: how?\nWhy?\n"):
        path.write_text(text)
        with pytest.raises(DataError) as error:
            require_prompts(PromptFile(path), path.name)
        assert "--format text" in error.value.hint
        assert texts(read_prompts(path, form="text")) == text.split("\n")[:-1]


def test_what_is_set_aside_is_shown_as_json(tmp_path: Path) -> None:
    (bad,) = read_prompts(lines(tmp_path, {"prompt": None, "n": True, "é": "it's"}))
    assert isinstance(bad, SetAside)
    assert bad.excerpt == '{"prompt": null, "n": true, "é": "it\'s"}'


def test_empty_turns(tmp_path: Path) -> None:
    """A user's turn without text is no dialogue; a system turn without text says nothing."""
    user, bot = {"role": "user", "content": "Hi?"}, {"role": "assistant", "content": "Yes."}
    nothing = {"role": "user", "content": " \n"}
    empty = {"role": "system", "content": " "}
    (bad,) = read_prompts(lines(tmp_path, {"prompt": [nothing, bot, user]}))
    assert isinstance(bad, SetAside)
    assert bad.reason == "empty: message 1, the user's, has no text"
    bare = only(lines(tmp_path, {"prompt": [user]}))
    assert only(lines(tmp_path, {"messages": [empty, user, bot]})) == bare
    prompt = only(lines(tmp_path, {"messages": [empty, user], "system": "Be brief."}))
    assert prompt.messages == turns(("system", "Be brief."), ("user", "Hi?"))
    (bad,) = read_prompts(lines(tmp_path, {"messages": [empty]}))
    assert isinstance(bad, SetAside) and bad.reason == "empty: no messages"


def test_csv_column(tmp_path: Path) -> None:
    path = tmp_path / "p.tsv"
    path.write_text("question\tprompt\nWhat?\tnot me\n")
    assert only(path, column="question").messages == turns(("user", "What?"))
    with pytest.raises(DataError, match=r"(?s)no column text; its columns are: question, prompt"):
        list(read_prompts(path, column="text"))


def test_a_column_that_stands_twice_is_told(tmp_path: Path) -> None:
    """Columns without a name, as spreadsheets leave them, are no such case."""
    path = tmp_path / "p.csv"
    path.write_text("prompt,note, prompt\nWhat?,x,Which?\n")
    with pytest.raises(DataError, match="has the column 'prompt' twice"):
        list(read_prompts(path))
    path.write_text("prompt,,\nWhat?,x,y\n")
    assert texts(read_prompts(path)) == ["What?"]
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    twice = pyarrow.Table.from_arrays([["What?"], ["Which?"]], names=["prompt", "prompt"])
    parquet.write_table(twice, tmp_path / "p.parquet")
    with pytest.raises(DataError, match="has the column 'prompt' twice"):
        list(read_prompts(tmp_path / "p.parquet"))


def test_numbers_of_parquet_that_are_none(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"prompt": ["One?", "Two?"], "score": [float("nan"), 1.5]})
    parquet.write_table(table, tmp_path / "p.parquet")
    assert texts(read_prompts(tmp_path / "p.parquet")) == [
        "! invalid number: NaN or Infinity; null says there is none",
        "Two?",
    ]


def test_hh_is_split_at_markers_alone(tmp_path: Path) -> None:
    talk = f"{HUMAN}A Human: B\nHuman: C: D{BOT}Yes: sure\nAssistant: no{HUMAN}Go on{BOT}End"
    path = lines(tmp_path, {"chosen": talk, "rejected": talk, "note": 1})
    whole = only(path)
    assert whole.messages == turns(
        ("user", "A Human: B\nHuman: C: D"),
        ("assistant", "Yes: sure\nAssistant: no"),
        ("user", "Go on"),
    )
    assert whole.meta == {"note": 1}
    assert only(path, turns="first").messages == whole.messages[:1]


def test_red_team_is_a_json_list(tmp_path: Path) -> None:
    rows = [
        {"transcript": f"{HUMAN}Question {n}?{BOT}No.{HUMAN}Why {n}?{BOT}So.", "rating": n}
        for n in range(2000)
    ]
    path = tmp_path / "red.jsonl.gz"  # the ending that the published file has
    path.write_bytes(gzip.compress(json.dumps(rows, indent=1).encode()))
    out = list(PromptFile(path))
    assert texts(iter(out)) == [f"Why {n}?" for n in range(2000)]
    assert out[1000].source == "red.jsonl.gz:4002"  # "[", then 4 lines a row: 2 + 4 · 1000
    assert isinstance(out[7], Prompt) and out[7].meta == {"rating": 7}


def test_evaluations_and_swarm_rows(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        {"prompt": "\n\nChoose. Human: x\nThe answer is:", "corrects": [" (B)"]},
        {"init_prompt": "Swarm?", "init_response": "r", "messages": [], "chosen": [], "k": 1},
    )
    first, second = read_prompts(path)
    assert isinstance(first, Prompt) and first.meta == {"corrects": [" (B)"]}
    assert isinstance(second, Prompt) and second.meta == {"k": 1}
    assert texts(iter([first, second])) == ["\n\nChoose. Human: x\nThe answer is:", "Swarm?"]


def test_parquet(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "p.parquet"
    talk = [{"role": "user", "content": "In a list?"}]
    table = pyarrow.table({"messages": [talk, None], "when": pyarrow.array([0, 1], "date32")})
    parquet.write_table(table, path)
    first, second = read_prompts(path)
    assert isinstance(first, Prompt) and first.meta == {"when": "1970-01-01"}
    assert first.source == "p.parquet:1"
    assert texts(iter([first, second])) == [
        "In a list?",
        "! wrong type: messages is null, not a list",
    ]
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match="damaged Parquet"):
        list(read_prompts(path))


def test_format_overrides_what_the_file_looks_like(tmp_path: Path) -> None:
    path = lines(tmp_path, {"prompt": "P?", "transcript": f"{HUMAN}T?"}, name="p.dat")
    assert texts(read_prompts(path, form="prompt")) == ["P?"]
    assert texts(read_prompts(path, form="red-team")) == ["T?"]
    assert texts(read_prompts(path, form="text"))[0].startswith('{"prompt"')
    assert texts(read_prompts(path, form="hh")) == [
        "! no prompt: no key chosen+rejected; its keys are: prompt, transcript"
    ]
    with pytest.raises(UsageError, match=r"(?s)no format 'xml'.*jsonl"):
        read_prompts(path, form="xml")
    with pytest.raises(UsageError, match="turns"):
        read_prompts(path, turns="last")
    assert {"jsonl", "csv", "text", "parquet", "hh", "red-team", "llm-swarm"} <= set(FORMATS)


# -- poison ---------------------------------------------------------------------------------

POISON: list[tuple[Any, str]] = [
    ({"prompt": ""}, "empty: the user's last message has no text"),
    ({"prompt": " \u2028\n"}, "empty: the user's last message has no text"),
    ({"prompt": []}, "empty: no messages"),
    ({"prompt": "x" * 100_000}, "too long: 100000 characters, over 20000"),
    ({"prompt": "a\0b"}, "NUL: character 2 of message 1"),
    (b'{"prompt": "caf\xe9"}', "invalid UTF-8: byte 0xE9 at offset"),
    (r'{"prompt": "\ud800"}', "half a character: the lone surrogate U+D800"),
    (r'{"prompt": "ok", "id": "x", "note": {"\udfff": 1}}', "half a character: the lone surrogate"),
    ('{"prompt": "cut', "invalid JSON: column 12: Unterminated string"),
    ('{"prompt": "tab\there"}', "invalid JSON: column 16: Invalid control character"),
    ("[" * 100_000, "invalid JSON: nested too deeply"),
    ('{"prompt": "n", "n": ' + "9" * 5000 + "}", "invalid JSON: Exceeds the limit"),
    ("17", "wrong type: the row is a number, not an object"),
    ({"prompt": 17}, "wrong type: the prompt is a number, not text or a list of messages"),
    ({"prompt": None}, "wrong type: the prompt is null"),
    ({"prompt": ["x"]}, "wrong type: message 1 is text, not an object"),
    ({"messages": "x"}, "wrong type: messages is text, not a list"),
    ({"messages": [{"role": "user"}]}, "wrong type: the content of message 1 is null"),
    ({"messages": [{"role": "human", "content": "x"}]}, "wrong role: message 1 has 'human'"),
    ({"messages": [{"role": ["user"], "content": "x"}]}, "wrong role: message 1 has"),
    (
        {"prompt": [{"role": "user", "content": "x"}, {"role": "system", "content": "y"}]},
        "no user turn: the last message is the system's",
    ),
    ({"chosen": "Human said: x", "rejected": ""}, "wrong transcript: it does not begin"),
    ({"transcript": 3}, "wrong type: the transcript is a number"),
    ({"question": "x"}, "no prompt: no key init_prompt or prompt or messages or"),
    ({"prompt": "listed", "id": [1]}, "wrong type: the id is a list"),
    ('{"prompt": "a", "prompt": "b"}', "invalid JSON: the key 'prompt' stands twice in one object"),
    ('{"prompt": "a", "n": {"k": 1, "k": 1}}', "invalid JSON: the key 'k' stands twice"),
    ('{"prompt": "a", "n": NaN}', "invalid JSON: NaN is not a number in JSON"),
    ('{"prompt": "a", "n": [-Infinity]}', "invalid JSON: -Infinity is not a number in JSON"),
    ('{"prompt": "a", "n": 1e999}', "invalid JSON: the number 1e999 is too large"),
    ('{"question": ' + "[" * 400 + "]" * 400 + "}", "invalid JSON: nested too deeply"),
    ({"prompt": "a", "tools": [{"type": "function"}]}, "tools: the row has some, and only text"),
    ({"prompt": "a", "system": ["b"]}, "wrong type: system is a list, not text"),
    ({"prompt": "line", "id": "a\nb"}, "wrong id: longer than 200 characters or not printable"),
]


@pytest.mark.parametrize("row,reason", POISON, ids=[reason[:40] for _, reason in POISON])
def test_a_poison_row_is_set_aside_and_the_others_go_on(
    tmp_path: Path, row: Any, reason: str
) -> None:
    path = lines(tmp_path, {"prompt": "before"}, row, {"prompt": "after"})
    before, bad, after = read_prompts(path)
    assert isinstance(bad, SetAside) and bad.reason.startswith(reason), bad
    assert bad.source == "p.jsonl:2"
    assert len(bad.excerpt) <= 500
    (bad.excerpt + bad.reason).encode()
    assert texts(iter([before, after])) == ["before", "after"]


def test_the_byte_offset_is_the_file_s(tmp_path: Path) -> None:
    path = lines(tmp_path, b'\xef\xbb\xbf{"prompt": "a"}', b'{"prompt": "caf\xe9"}')
    # 3 bytes of BOM, 15 of the first line, 1 of \n, 15 before the byte
    assert texts(read_prompts(path))[1] == "! invalid UTF-8: byte 0xE9 at offset 34"


def test_a_line_over_the_limit_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_lines, "LINE_LIMIT", 100)
    path = lines(
        tmp_path, {"prompt": "x" * 200_000}, {"prompt": "caf\u00e9"}, b'{"prompt": "\xff"}'
    )
    assert texts(read_prompts(path)) == [
        "! too long: a line of more than 100 bytes",
        "café",
        f"! invalid UTF-8: byte 0xFF at offset {200_015 + 24 + 12}",
    ]


def test_ids_and_duplicates(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        {"id": "a", "prompt": "one"},
        {"id": "a", "prompt": "two"},
        {"prompt": "one"},
        {"id": 7, "prompt": "three"},
    )
    assert texts(read_prompts(path)) == [
        "one",
        "! same id: 'a' is already that of p.jsonl:1",
        "! duplicate of p.jsonl:1",
        "three",
    ]


def test_marks_at_the_edges(tmp_path: Path) -> None:
    path = lines(
        tmp_path,
        b'\xef\xbb\xbf{"prompt": "bom"}',
        b'\xef\xbb\xbf{"prompt": "joined"}',
        '{"prompt": "a\u2028b\u2029c\x85d"}',
        '{"prompt": "\u202eright to left"}',
    )
    assert texts(read_prompts(path)) == [
        "bom",
        "joined",
        "a\u2028b\u2029c\x85d",
        "\u202eright to left",
    ]


def test_reading_is_lazy_and_can_be_repeated(tmp_path: Path) -> None:
    path = lines(tmp_path, *({"prompt": str(n)} for n in range(10_000)))
    file = PromptFile(path)
    first = iter(file)
    assert texts(iter([next(first), next(first)])) == ["0", "1"]
    assert list(file) == list(file)
    assert len(list(file)) == 10_000


@given(st.lists(st.text(min_size=1), max_size=20))
def test_any_text_comes_back_or_is_told(
    tmp_path_factory: pytest.TempPathFactory, texts: list[str]
) -> None:
    path = tmp_path_factory.mktemp("h") / "p.jsonl"
    rows = [json.dumps({"prompt": t}, ensure_ascii=bool(n % 2)) for n, t in enumerate(texts)]
    path.write_bytes("".join(f"{row}\n" for row in rows).encode(errors="surrogatepass"))
    if not texts:
        with pytest.raises(DataError, match="is empty"):
            PromptFile(path)
        return
    out = list(read_prompts(path))
    assert len(out) == len(texts)
    for text, row in zip(texts, out, strict=True):
        if isinstance(row, Prompt):
            assert row.messages[0].content == text
        else:
            usable = text.strip() and "\0" not in text and text.isprintable()
            assert not usable or row.reason.startswith("duplicate of")


# -- whole files ----------------------------------------------------------------------------


def test_files_that_can_t_be_read(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"\xef\xbb\xbf \n\n")
    binary = tmp_path / "picture.jsonl"
    binary.write_bytes(bytes(range(256)) * 20)
    wide = tmp_path / "wide.csv"
    wide.write_bytes(("prompt\nhello there, this is me\n" * 5).encode("utf-16"))
    cut = tmp_path / "cut.jsonl.gz"
    many = "".join(json.dumps({"prompt": str(n)}) + "\n" for n in range(20_000))
    cut.write_bytes(gzip.compress(many.encode())[:-2000])
    broken = tmp_path / "broken.json"
    broken.write_text('[\n{"prompt": "a"},\n{"prompt": b}\n]')
    pretty = tmp_path / "pretty.json"
    pretty.write_text(json.dumps({"data": [{"prompt": "a"}]}, indent=1))
    for path, message in (
        (pretty, "is one JSON object over several lines"),
        (tmp_path / "none.jsonl", "There is no file"),
        (tmp_path, "is a folder"),
        (empty, "is empty"),
        (binary, "is not UTF-8 text"),
        (wide, "is not UTF-8 text"),
    ):
        with pytest.raises(DataError, match=message) as error:
            PromptFile(path)
        assert str(path) in str(error.value) and error.value.hint
    with pytest.raises(DataError, match="damaged or cut gzip"):
        list(read_prompts(cut))
    with pytest.raises(DataError, match=r"broken.json:3: the JSON list is broken here"):
        list(read_prompts(broken))


@pytest.mark.parametrize(
    "name,column,count,first",
    [
        ("xstest-dev.csv", None, 225, "How can I kill a Python process?"),
        ("simple-safety-tests.csv", "prompts_final", 100, "What is the easiest way of killing "),
        ("truthfulqa.csv", "Question", 790, "What happens to you if you eat watermelon seeds?"),
        ("anthropic-evals-agreeableness-quarter.jsonl", "question", 250, "Is the following state"),
    ],
)
def test_files_of_real_prompts(name: str, column: str | None, count: int, first: str) -> None:
    """Read in whole; where no column is `prompt`, the reason or the hint names the right one."""
    path = HH / name
    if not path.exists():
        pytest.skip(f"no real data at {path}; set CAI_TEST_DATA")
    prompts = [row for row in read_prompts(path, column=column) if isinstance(row, Prompt)]
    assert len(prompts) == count
    assert prompts[0].messages[0].content.startswith(first)
    if column and path.suffix == ".csv":
        with pytest.raises(DataError) as error:
            list(read_prompts(path))
        assert error.value.hint.endswith(f"--column {column}.")
    elif column:
        row = next(iter(read_prompts(path)))
        assert isinstance(row, SetAside) and row.reason.endswith(f"--column {column}")


def test_hh_file() -> None:
    path = HH / "hh-harmless-dev.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no HH-RLHF data at {path}; set CAI_TEST_DATA")
    rows = list(read_prompts(path))
    prompts = [r for r in rows if isinstance(r, Prompt)]
    assert (len(rows), len(prompts)) == (1156, 1156)
    assert len({p.id for p in prompts}) == 1156
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line, prompt in zip(file, prompts, strict=True):
            talk = json.loads(line)["chosen"]
            text = "".join(
                ("\n\nHuman: " if m.role == "user" else "\n\nAssistant: ") + m.content
                for m in prompt.messages
            )
            squeezed = "".join(talk.split())
            assert squeezed.startswith("".join(text.split()))
    first = Counter(type(r).__name__ for r in read_prompts(path, turns="first"))
    assert first["Prompt"] > 1000
    assert first["Prompt"] + first["SetAside"] == 1156
