"""Training rows from every format, every kind of poison, and what a run's folder stands for."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cai.data.audited import without_manifest
from cai.data.counts import kind_of
from cai.data.export import export
from cai.data.training import (
    PairRow,
    SftRow,
    TrainingFiles,
    read_pairs,
    read_sft,
    read_training_prompts,
    training_files,
)
from cai.digest import digest
from cai.errors import DataError
from cai.store.store import Store
from cai.types import Message, Messages, Prompt, SetAside
from tests.e2e.helpers import cai
from tests.store.samples import comparison, put, run, trace

ROOT = Path(__file__).parents[2]
HH = Path(os.environ.get("CAI_TEST_DATA", ROOT.parent / "shared" / "data"))
HUMAN, BOT = "\n\nHuman: ", "\n\nAssistant: "


def turns(*texts: str, start: int = 0) -> Messages:
    """Messages of user and assistant in turn; `start` 1 begins with the assistant's."""
    roles = ("user", "assistant")
    return tuple(Message(roles[n % 2], t) for n, t in enumerate(texts, start))  # type: ignore[arg-type]


def plain(*texts: str, start: int = 0) -> list[dict[str, str]]:
    return [{"role": m.role, "content": m.content} for m in turns(*texts, start=start)]


def lines(folder: Path, *rows: Any, name: str = "d.jsonl") -> Path:
    """A JSONL file; bytes stand in it as they are."""
    parts = [r if isinstance(r, bytes) else json.dumps(r).encode() for r in rows]
    path = folder / name
    path.write_bytes(b"\n".join(parts) + b"\n")
    return path


def pair(path: Path) -> PairRow:
    (row,) = read_pairs([path])
    assert isinstance(row, PairRow), row
    return row


def parts(row: PairRow) -> tuple[Messages, Messages, Messages]:
    return row.prompt, row.chosen, row.rejected


def learned(path: Path) -> Messages:
    (row,) = read_sft([path])
    assert isinstance(row, SftRow), row
    return row.messages


OURS = {
    "id": "c-1", "prompt": plain("Hi?"), "chosen": plain("Yes", start=1),
    "rejected": plain("No", start=1), "probability": 0.75, "p_ab": 0.7, "p_ba": None,
    "origin": "comparison", "principle_ids": ["kind", "safe"], "trace_id": None,
    "comparison_id": "c-1", "prompt_id": "p-1", "split": "train",
}  # fmt: skip
TEXTS = {"prompt": "Hi?", "chosen": "Yes", "rejected": "No"}
YES_NO = (turns("Hi?"), turns("Yes", start=1), turns("No", start=1))


# -- pairs: formats -------------------------------------------------------------------------


def test_our_own_pair_keeps_its_label_and_its_trail(tmp_path: Path) -> None:
    assert pair(lines(tmp_path, OURS)) == PairRow(
        "c-1", *YES_NO, 0.75, None, "comparison", ("kind", "safe"), "d.jsonl:1"
    )


def test_text_pairs_and_the_id_of_a_row_without_one(tmp_path: Path) -> None:
    """The id is a digest of the three texts, so the file and the format do not matter."""
    row = pair(lines(tmp_path, TEXTS))
    bare = {k: OURS[k] for k in ("prompt", "chosen", "rejected")}
    name = "pair-" + digest([bare["prompt"], bare["chosen"], bare["rejected"]])[:16]
    assert row == PairRow(name, *YES_NO, None, None, "given", (), "d.jsonl:1")
    assert pair(lines(tmp_path, bare)).id == name


IMPLICIT = [
    (plain("Hi?", "Yes"), plain("Hi?", "No"), YES_NO),
    # several turns: what both share is the prompt
    (
        plain("a", "b", "c", "d"),
        plain("a", "b", "c", "e"),
        (turns("a", "b", "c"), turns("d", start=1), turns("e", start=1)),
    ),
    # they part at a user's turn: the prompt still ends with a user's
    (
        plain("a", "b", "c", "d"),
        plain("a", "b", "e", "f"),
        (turns("a"), turns("b", "c", "d", start=1), turns("b", "e", "f", start=1)),
    ),
    # one conversation goes on where the other ends
    (
        plain("a", "b"),
        plain("a", "b", "c", "d"),
        (turns("a"), turns("b", start=1), turns("b", "c", "d", start=1)),
    ),
]


@pytest.mark.parametrize("chosen,rejected,expected", IMPLICIT)
def test_an_implicit_prompt_is_the_common_beginning(
    tmp_path: Path, chosen: Any, rejected: Any, expected: Any
) -> None:
    assert parts(pair(lines(tmp_path, {"chosen": chosen, "rejected": rejected}))) == expected
    prompts: list[Any] = [chosen[0]["content"], chosen[:1], [], None]
    for beside in prompts:
        row = {"prompt": beside, "chosen": chosen, "rejected": rejected}
        assert parts(pair(lines(tmp_path, row))) == expected


def test_an_explicit_prompt_stays_as_it_is(tmp_path: Path) -> None:
    """A turn that both responses begin with is theirs: the row says where its prompt ends."""
    row = {
        "prompt": plain("a"),
        "chosen": plain("b", "c", "d", start=1),
        "rejected": plain("b", "c", "e", start=1),
    }
    assert pair(lines(tmp_path, row)).prompt == turns("a")
    system = [{"role": "system", "content": ""}, *plain("a")]
    assert pair(lines(tmp_path, row | {"prompt": system})).prompt == (
        Message("system", ""),
        *turns("a"),
    )


def test_transcripts(tmp_path: Path) -> None:
    talk = f"{HUMAN}A Human: B\nHuman: C{BOT}One{HUMAN}Two{BOT}"
    whole = {"chosen": f"{talk}Yes: 1\n\n2 ", "rejected": f"{talk}No"}
    expected = (
        turns("A Human: B\nHuman: C", "One", "Two"),
        turns("Yes: 1\n\n2", start=1),
        turns("No", start=1),
    )
    path = tmp_path / "hh.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(whole).encode()))
    assert parts(pair(path)) == expected
    beside = {"prompt": talk.rstrip(), "chosen": " Yes: 1\n\n2", "rejected": " No"}
    assert parts(pair(lines(tmp_path, beside))) == expected
    assert parts(pair(lines(tmp_path, beside | whole))) == expected


def test_spaces_of_plain_text_are_text(tmp_path: Path) -> None:
    row = pair(lines(tmp_path, {"prompt": "Code?", "chosen": "    x = 1\n", "rejected": " y"}))
    assert (row.chosen[0].content, row.rejected[0].content) == ("    x = 1\n", " y")


SWARM = {
    "init_prompt": "Hi?", "init_response": "No", "critic_prompt": "c?", "critic_response": "c",
    "revision_prompt": "r?", "revision_response": "Yes",
}  # fmt: skip


def test_swarm_rows(tmp_path: Path) -> None:
    row = SWARM | {
        "messages": plain("Hi?", "Yes"),
        "chosen": plain("Hi?", "Yes"),
        "rejected": plain("Hi?", "No"),
    }
    assert parts(pair(lines(tmp_path, row))) == YES_NO
    assert learned(lines(tmp_path, row)) == turns("Hi?", "Yes")
    assert learned(lines(tmp_path, SWARM)) == turns("Hi?", "Yes")
    after = SWARM | {"chosen": plain("Yes", start=1), "rejected": plain("No", start=1)}
    assert parts(pair(lines(tmp_path, after))) == YES_NO


def test_containers(tmp_path: Path) -> None:
    """A CSV has text alone: its numbers are read, its empty fields are not there."""
    csv = tmp_path / "d.csv"
    csv.write_text(
        "id,prompt,chosen,rejected,probability,margin,origin,principle_ids\n"
        "a,Hi?,Yes,No,0.75,1.5,comparison,kind\n"
        "b,Hi?,Yes,No,,,,\n"
    )
    first, second = read_pairs([csv])
    assert first == PairRow("a", *YES_NO, 0.75, 1.5, "comparison", ("kind",), "d.csv:2")
    assert second == PairRow("b", *YES_NO, None, None, "given", (), "d.csv:3")
    listed = tmp_path / "d.json"
    listed.write_text(json.dumps([OURS, TEXTS], indent=1))
    assert [parts(r) for r in read_pairs([listed]) if isinstance(r, PairRow)] == [YES_NO] * 2
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {k: [OURS[k], None] for k in ("id", "prompt", "chosen", "rejected")}
    parquet.write_table(pyarrow.table(columns), tmp_path / "d.parquet")
    good, bad = read_pairs([tmp_path / "d.parquet"])
    assert isinstance(good, PairRow) and parts(good) == YES_NO and good.id == "c-1"
    assert isinstance(bad, SetAside) and bad.reason.startswith("wrong type: chosen is null")


# -- pairs: poison --------------------------------------------------------------------------

POISON: list[tuple[Any, str]] = [
    (TEXTS | {"probability": 1.5}, "wrong probability: 1.5 is not between 0 and 1"),
    (TEXTS | {"probability": -0.01}, "wrong probability: -0.01 is not between"),
    (TEXTS | {"probability": float("nan")}, "invalid JSON: NaN is not a number in JSON"),
    (TEXTS | {"probability": "nan"}, "wrong probability: 'nan' is not a number"),
    (TEXTS | {"probability": "high"}, "wrong probability: 'high' is not a number"),
    (TEXTS | {"probability": True}, "wrong probability: 'True' is not a number"),
    (TEXTS | {"probability": [0.5]}, "wrong probability: '[0.5]' is not a number"),
    (TEXTS | {"margin": 10**400}, "wrong margin: '1000000000"),
    (TEXTS | {"chosen": " \n"}, "empty: chosen has no text"),
    (TEXTS | {"rejected": ""}, "empty: rejected has no text"),
    (TEXTS | {"rejected": []}, "empty: rejected has no messages"),
    (TEXTS | {"prompt": " "}, "empty: the prompt's last message has no text"),
    (TEXTS | {"prompt": plain("a", "b"), "chosen": []}, "empty: chosen has no messages"),
    (TEXTS | {"rejected": "Yes"}, "same responses: chosen equals rejected"),
    (TEXTS | {"prompt": None}, "no prompt: the row has none, and chosen is not a transcript"),
    (TEXTS | {"prompt": 3}, "wrong type: prompt is a number, not text or a list"),
    (TEXTS | {"chosen": None}, "wrong type: chosen is null, not text or a list of messages"),
    (TEXTS | {"chosen": [3]}, "wrong type: message 1 is a number, not an object"),
    (TEXTS | {"chosen": [{"role": "bot", "content": "x"}]}, "wrong role: message 1 has 'bot'"),
    (TEXTS | {"prompt": plain("a", "b")}, "roles out of order: message 3 of chosen is the assist"),
    (
        TEXTS | {"prompt": plain("a", "b"), "chosen": plain("c", "d"), "rejected": "No"},
        "wrong prompt: chosen begins with the user's message",
    ),
    (
        TEXTS | {"prompt": [*plain("a"), {"role": "system", "content": "s"}]},
        "roles out of order: message 2 of chosen is the system's, not the assistant's",
    ),
    (
        TEXTS | {"chosen": plain("Yes", "And?", start=1)},
        "no response: the last message of chosen is the user's, not the assistant's",
    ),
    (TEXTS | {"chosen": plain("x", "y"), "rejected": plain("x", "z")}, "wrong prompt: chosen and"),
    (
        {"chosen": plain("a", "b"), "rejected": plain("c", "d")},
        "no shared prompt: chosen and rejected begin with different messages",
    ),
    ({"chosen": "", "rejected": f"{HUMAN}a{BOT}b"}, "empty: chosen has no text"),
    (
        {"chosen": f"{HUMAN}a{BOT}b{BOT}c", "rejected": f"{HUMAN}a{BOT}d"},
        "roles out of order: message 3 of chosen",
    ),
    ({"chosen": f"{HUMAN}a{BOT}", "rejected": f"{HUMAN}a{BOT}d"}, "empty: chosen has no text"),
    ({"chosen": f"{HUMAN}a", "rejected": f"{HUMAN}a{BOT}d"}, "empty: chosen has no messages"),
    (TEXTS | {"rejected": "a\0b"}, "invalid text: NUL: message 2 (assistant) holds one"),
    (TEXTS | {"prompt": "\ud800"}, "invalid text: half a character: message 1 (user) holds"),
    (TEXTS | {"id": "\udfff"}, "wrong id: longer than 200 characters or not printable"),
    (TEXTS | {"id": [1]}, "wrong type: the id is a list"),
    (TEXTS | {"origin": "a\nb"}, "wrong origin: not printable text"),
    (TEXTS | {"principle_ids": [3]}, "wrong principle_ids: not printable text"),
    ({"prompt": "x", "completion": "y"}, "other keys: no chosen+rejected; its keys are: prompt, c"),
    ([1], "wrong type: the row is a list, not an object"),
    (b'{"prompt": "caf\xe9"}', "invalid UTF-8: byte 0xE9 at offset"),
    (b'{"prompt": "cut', "invalid JSON: column 12: Unterminated string"),
    (b"[" * 100_000, "invalid JSON: nested too deeply"),
    (
        b'{"prompt": "x", "chosen": ' + b"[" * 900 + b"]" * 900 + b', "rejected": "x"}',
        "invalid JSON: nested too deeply",
    ),
    (TEXTS | {"rejected": "Yes\n "}, "same responses: chosen and rejected differ in white space"),
    (TEXTS | {"label": False}, "label is false: the response is one to avoid"),
    (TEXTS | {"label": "safe"}, "label: 'safe' is neither true nor false"),
    (TEXTS | {"weight": 0.5}, "weight: the row has 0.5, and rows are not weighted here"),
    (TEXTS | {"images": ["a.png"]}, "images: the row has some, and only text is read here"),
    (TEXTS | {"score_chosen": 3, "score_rejected": 8.5}, "scores: chosen has 3, and rejected has"),
    (TEXTS | {"system": 3}, "wrong type: system is a number, not text"),
    (TEXTS | {"system": "a", "system_prompt": "b"}, "system: system and system_prompt differ"),
    (
        TEXTS | {"system": "a", "prompt": [{"role": "system", "content": "b"}, *plain("Hi?")]},
        "system: the row has one beside its messages, which hold another",
    ),
    (
        {
            "prompt": [{"role": "system", "content": "s"}, *plain("a")],
            "chosen": plain("a", "b"),
            "rejected": plain("a", "c"),
        },
        "system: chosen and rejected do not begin with that of the prompt",
    ),
    (
        {
            "chosen": [*plain("a"), plain("b", start=1)[0] | {"weight": 0}],
            "rejected": plain("a", "c"),
        },
        "weight: the last message of chosen is marked as not to be learned",
    ),
    (
        TEXTS | {"chosen": [plain("Yes", start=1)[0] | {"weight": 0}]},
        "weight: the last message of chosen is marked as not to be learned",
    ),
]


@pytest.mark.parametrize("row,reason", POISON, ids=[reason[:50] for _, reason in POISON])
def test_a_poison_pair_is_set_aside_and_the_others_go_on(
    tmp_path: Path, row: Any, reason: str
) -> None:
    path = lines(tmp_path, TEXTS | {"id": "before"}, row, TEXTS | {"id": 7})
    before, bad, after = read_pairs([path])
    assert isinstance(bad, SetAside) and bad.reason.startswith(reason), bad
    assert bad.source == "d.jsonl:2"
    assert kind_of(bad.reason) != bad.reason  # `kind: detail`, so that reasons can be counted
    (bad.reason + bad.excerpt).encode()
    assert isinstance(before, PairRow) and before.id == "before"
    assert isinstance(after, PairRow) and after.id == "7"


def test_text_that_only_looks_dangerous_is_kept(tmp_path: Path) -> None:
    for text in ("\ufeffbom", "\u202eright to left", "a\u2028b", "x" * 100_000, "<|im_end|>"):
        assert pair(lines(tmp_path, TEXTS | {"chosen": text})).chosen == turns(text, start=1)
    assert pair(lines(tmp_path, TEXTS | {"probability": 0.5})).probability == 0.5
    assert pair(lines(tmp_path, TEXTS | {"probability": 1})).probability == 1.0


TEXT = st.sampled_from(["a", "b", "", " ", "\0", "\ud800", f"{HUMAN}a{BOT}b", f"{HUMAN}a"])
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["system", "user", "assistant"]), "content": TEXT}
)
VALUE: st.SearchStrategy[Any] = st.one_of(
    st.lists(MESSAGE, max_size=4), TEXT, st.sampled_from([None, True, 0.5, 7, float("inf"), {}])
)


def test_the_better_side_is_the_one_that_the_judge_prefers(tmp_path: Path) -> None:
    """A probability of 0.1 for `chosen` is 0.9 for the other; the id is the row's, as it stands."""
    as_told = pair(lines(tmp_path, TEXTS | {"probability": 0.9, "margin": 1.5}))
    turned = pair(lines(tmp_path, TEXTS | {"probability": 0.1, "margin": -1.5}))
    assert turned.probability == 0.9 and turned.id == as_told.id
    assert turned.margin == as_told.margin == 1.5  # by how much the better one leads
    assert (turned.chosen, turned.rejected) == (as_told.rejected, as_told.chosen)
    assert learned(lines(tmp_path, TEXTS | {"probability": 0.1})) == turns("Hi?", "No")
    _, tie = read_sft([lines(tmp_path, TEXTS, TEXTS | {"probability": 0.5})])
    assert isinstance(tie, SetAside) and kind_of(tie.reason) == "tie"


KEYS = ("prompt", "init_prompt", "chosen", "rejected", "probability", "id")


@given(st.dictionaries(st.sampled_from(KEYS), VALUE))
def test_any_row_is_a_pair_or_is_told(
    tmp_path_factory: pytest.TempPathFactory, row: dict[str, Any]
) -> None:
    path = lines(tmp_path_factory.mktemp("h"), TEXTS, row)
    good, out = read_pairs([path])
    assert isinstance(good, PairRow)
    if isinstance(out, PairRow):
        assert out.prompt[-1].role == "user" and out.chosen != out.rejected
        for response in (out.chosen, out.rejected):
            assert (response[0].role, response[-1].role) == ("assistant", "assistant")


# -- conversations to learn -----------------------------------------------------------------


@pytest.mark.parametrize(
    "row",
    [
        {"messages": plain("Hi?", "Yes")},
        {"prompt": "Hi?", "completion": "Yes"},
        {"prompt": plain("Hi?"), "completion": plain("Yes", start=1), "label": True},
        {"prompt": f"{HUMAN}Hi?{BOT}", "completion": " Yes"},
        {"prompt": "ignored", "messages": plain("Hi?", "Yes"), "chosen": [], "rejected": []},
        TEXTS,
        {"chosen": f"{HUMAN}Hi?{BOT}Yes", "rejected": f"{HUMAN}Hi?{BOT}No"},
    ],
)
def test_every_format_of_a_conversation(tmp_path: Path, row: Any) -> None:
    path = lines(tmp_path, row)
    name = "sft-" + digest([turns("Hi?", "Yes")])[:16]
    assert list(read_sft([path])) == [SftRow(name, turns("Hi?", "Yes"), "d.jsonl:1")]


def test_several_turns_and_an_empty_system_message(tmp_path: Path) -> None:
    talk = [{"role": "system", "content": ""}, *plain("a", "b", "c", "d")]
    expected = (Message("system", ""), *turns("a", "b", "c", "d"))
    assert learned(lines(tmp_path, {"messages": talk})) == expected
    assert learned(lines(tmp_path, {"prompt": talk[:-1], "completion": "d"})) == expected


@pytest.mark.parametrize(
    "row,reason",
    [
        ({"messages": []}, "invalid text: empty: the conversation has no messages"),
        ({"messages": plain("a")}, "no response: there is no assistant turn"),
        ({"messages": plain("a", "b", "c")}, "no response: the last message is the user's"),
        ({"messages": plain("b", start=1)}, "roles out of order: message 1 is the assistant's"),
        ({"messages": plain("a", " ", "c", "d")}, "empty: message 2 has no text"),
        ({"messages": plain("a", "\0")}, "invalid text: NUL: message 2 (assistant) holds one"),
        ({"messages": None}, "wrong type: messages is null"),
        ({"prompt": "a", "completion": "b"}, "other keys: no messages; its keys are: prompt, comp"),
    ],
)
def test_a_poison_conversation(tmp_path: Path, row: Any, reason: str) -> None:
    good = {"messages": plain("Hi?", "Yes"), "id": "s-1"}
    _, bad, after = read_sft([lines(tmp_path, good, row, good)])
    assert isinstance(bad, SetAside) and bad.reason.startswith(reason), bad
    assert bad.source == "d.jsonl:2"
    assert isinstance(after, SftRow) and after.id == "s-1"


def test_a_completion_to_avoid_is_not_learnt(tmp_path: Path) -> None:
    rows = [{"prompt": "a", "completion": "b", "label": label} for label in (True, False)]
    good, bad = read_sft([lines(tmp_path, *rows)])
    assert isinstance(good, SftRow)
    assert isinstance(bad, SetAside) and kind_of(bad.reason) == "label is false"


# -- files ----------------------------------------------------------------------------------


def test_a_file_without_a_usable_row(tmp_path: Path) -> None:
    for read, keys in ((read_pairs, "chosen and rejected"), (read_sft, "messages")):
        path = lines(tmp_path, {"question": "x"}, {"question": "y"})
        with pytest.raises(DataError, match=r"no row that can be used: d.jsonl:1: other") as error:
            list(read([path]))
        assert str(path) in error.value.message and keys in error.value.hint
    path.write_text("[]")
    with pytest.raises(DataError, match="it holds no rows"):
        list(read_pairs([path]))
    with pytest.raises(DataError, match="no file"):
        list(read_sft([tmp_path / "gone.jsonl"]))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An exported run of 30 prompts, Parquet beside JSONL."""
    pytest.importorskip("pyarrow")
    with Store.open(tmp_path / "store.sqlite") as store:
        with store.transaction():
            store.put_run(run("r-1"))
            for n in range(30):
                put(store, "r-1", trace(f"p{n:02d}"))
                put(store, "r-1", comparison(f"p{n:02d}"))
        export(store, "r-1", tmp_path / "demo", parquet=True)
    return tmp_path / "demo"


def test_the_rows_of_a_run(folder: Path) -> None:
    """What was exported is what is read, ids and labels included, from either container."""
    files = training_files([folder], "preferences")
    assert files == TrainingFiles(
        (folder / "preferences.jsonl",), (folder / "preferences.test.jsonl",)
    )
    pairs = [r for r in read_pairs(files.train) if isinstance(r, PairRow)]
    rows = [json.loads(x) for x in (folder / "preferences.jsonl").read_text().splitlines()]
    assert [(p.id, p.probability, p.origin, list(p.principle_ids)) for p in pairs] == [
        (w["id"], w["probability"], w["origin"], w["principle_ids"]) for w in rows
    ]
    assert {p.origin for p in pairs} == {"revision", "comparison"}
    learn = list(read_sft(training_files([folder], "sft").train))
    assert all(isinstance(r, SftRow) and r.id.startswith("t-") for r in learn)
    for path in folder.glob("*.jsonl"):
        path.unlink()
    files = training_files([folder], "preferences")
    assert files.train == (folder / "preferences.parquet",)
    again = [r for r in read_pairs(files.train) if isinstance(r, PairRow)]
    assert [(r.id, parts(r), r.probability) for r in again] == [
        (r.id, parts(r), r.probability) for r in pairs
    ]


def test_the_prompts_of_a_run_come_once(folder: Path) -> None:
    files = training_files([folder, folder], "prompts")
    assert [p.name for p in files.train] == ["preferences.jsonl", "sft.jsonl"]
    assert [p.name for p in files.test] == ["preferences.test.jsonl", "sft.test.jsonl"]
    names = []
    for row in [*read_training_prompts(files.train), *read_training_prompts(files.test)]:
        assert isinstance(row, Prompt)
        assert row.messages == turns(f"Question {row.id}?")
        names.append(row.id)
    assert sorted(names) == [f"p{n:02d}" for n in range(30)]


def test_prompts_of_other_files(tmp_path: Path) -> None:
    text = tmp_path / "p.txt"
    text.write_text("Hi?\nHi?\nYo?\na\0b\n")
    rows = list(read_training_prompts([text, lines(tmp_path, OURS, {"prompt": "New?"})]))
    assert [r.messages[-1].content if isinstance(r, Prompt) else r.reason for r in rows] == [
        "Hi?", "Yo?", "NUL: character 2 of message 1", "New?",
    ]  # fmt: skip
    text.write_text("a\0b\n")
    with pytest.raises(DataError, match=r"no row that can be used: p\.txt:1: NUL"):
        list(read_training_prompts([text]))


def test_runs_and_files_together(folder: Path, tmp_path: Path) -> None:
    more, held = lines(tmp_path, TEXTS), lines(tmp_path, TEXTS, name="more.test.jsonl")
    files = training_files([more, folder, held, more], "preferences")
    assert files.train == (more, folder / "preferences.jsonl")
    assert files.test == (folder / "preferences.test.jsonl", held)
    with pytest.raises(DataError, match=r"nothing to train on in .*more.test.jsonl"):
        training_files([held], "preferences")
    with pytest.raises(DataError, match="nothing to train on in no data"):
        training_files([], "sft")


def test_what_is_missing_is_told_with_what_to_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no file or folder") as error:
        training_files([tmp_path / "gone"], "sft")
    assert "cai runs" in error.value.hint
    with pytest.raises(DataError, match="not the folder of a finished run"):
        training_files([tmp_path], "sft")
    for path in folder.glob("preferences*"):
        path.unlink()
    with pytest.raises(DataError, match=r"has lost its preferences.jsonl"):
        training_files([folder], "preferences")


def test_a_build_without_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A real build; without a test share its held-out files are there and empty."""
    monkeypatch.chdir(tmp_path)
    Path("script.yaml").write_text(
        'replies:\n  - {when: "no such problem", say: ["It is rude."]}\n'
        '  - {say: ["Ask first.", "Look first."]}\n'
        'scores:\n  - {options: {"No problem found.": 0.4}}\n'
    )
    Path("prompts.txt").write_text("One?\nTwo?\nThree?\n")
    cai(
        "build-data", "-m", "scripted:script.yaml", "-p", "prompts.txt", "-o", "runs/a",
        "--pairs", 0, "--rounds", 1, "--test-share", 0, "--quiet",
    )  # fmt: skip
    files = training_files([Path("runs/a")], "sft")
    assert files == TrainingFiles((Path("runs/a/sft.jsonl"),), ())
    rows = list(read_sft(files.train))
    assert rows and all(isinstance(r, SftRow) for r in rows)
    with pytest.raises(DataError, match=r"the run runs/a has no preferences rows") as error:
        training_files([Path("runs/a")], "preferences")
    assert "cai build-data --pairs 1" in error.value.hint
    assert training_files([Path("runs/a")], "prompts").train == files.train
    assert without_manifest([Path("runs/a"), Path("runs/a/sft.jsonl")]) == []
    shutil.copy("runs/a/sft.jsonl", "runs/a/extra.jsonl")
    with pytest.raises(DataError, match=r"manifest\.json does not list the file"):
        training_files([Path("runs/a/extra.jsonl")], "sft")
    for manifest in ("{}", None):  # another program's, and none
        Path("runs/a/manifest.json").unlink()
        if manifest is not None:
            Path("runs/a/manifest.json").write_text(manifest)
        training_files([Path("runs/a")], "sft")
        (warning,) = without_manifest([Path("runs/a")])
        assert warning.startswith("runs/a has no manifest.json of a run")


def test_hh_file() -> None:
    """1,156 pairs: four with an empty response, two with two assistant turns in a row."""
    path = HH / "hh-harmless-dev.jsonl.gz"
    if not path.exists():
        pytest.skip(f"no HH-RLHF data at {path}; set CAI_TEST_DATA")
    rows = list(read_pairs([path]))
    reasons = Counter(kind_of(r.reason) for r in rows if isinstance(r, SetAside))
    assert (len(rows), reasons) == (1156, {"empty": 4, "roles out of order": 2})
    assert len({r.id for r in rows if isinstance(r, PairRow)}) == 1150
    with gzip.open(path, "rt", encoding="utf-8") as file:
        for line, row in zip(file, rows, strict=True):
            if isinstance(row, SetAside):
                continue
            assert (len(row.chosen), len(row.rejected)) == (1, 1)
            for name, side in (("chosen", row.chosen), ("rejected", row.rejected)):
                text = "".join(
                    (HUMAN if m.role == "user" else BOT) + m.content for m in row.prompt + side
                )
                assert "".join(json.loads(line)[name].split()) == "".join(text.split())
    assert sum(isinstance(r, SftRow) for r in read_sft([path])) == 1150
    assert sum(isinstance(r, Prompt) for r in read_training_prompts([path])) == 1156
