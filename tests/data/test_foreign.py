"""Rows of other tools' formats: as prompts, as conversations to learn and as pairs, or named."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from cai.data.foreign import likely_column, looks_like, normalize
from cai.data.messages import RowError
from cai.data.prompts import FORMATS, PromptFile
from cai.data.training import read_pairs, read_sft, read_training_prompts
from cai.data.training_rows import PairRow, SftRow
from cai.errors import DataError
from cai.types import Message, Messages, Prompt, SetAside
from tests.data.test_training import lines, plain, turns

SKY, YES, NO = "Is the sky blue?", "Yes.", "No."
BRIEF = Message("system", "Be brief.")


def turn(who: str, text: str) -> dict[str, str]:
    return {"from": who, "value": text}


def of_openai(**beside: Any) -> dict[str, Any]:
    return {
        "input": {"messages": plain(SKY), **beside},
        "preferred_output": plain(YES, start=1),
        "non_preferred_output": plain(NO, start=1),
    }


# each row: the prompt, the response to learn (None: it has none), and the rejected one (None: it is
# no pair)
READ: list[tuple[str, dict[str, Any], Messages, str | None, str | None]] = [
    ("sharegpt", {"conversations": [turn("human", SKY), turn("gpt", YES)]}, turns(SKY), YES, None),
    ("sharegpt with a system turn",
     {"conversations": [turn("system", "Be brief."), turn("human", SKY), turn("gpt", YES)]},
     (BRIEF, *turns(SKY)), YES, None),
    ("sharegpt with a system column",
     {"conversations": [turn("human", SKY), turn("gpt", YES)], "system": "Be brief."},
     (BRIEF, *turns(SKY)), YES, None),
    ("conversation, in OpenAI's words", {"conversation": plain("a", "b", SKY, YES)},
     turns("a", "b", SKY), YES, None),
    ("sharegpt pair of LLaMA-Factory",
     {"conversations": [turn("human", SKY)], "chosen": turn("gpt", YES),
      "rejected": turn("gpt", NO)}, turns(SKY), YES, NO),
    ("alpaca", {"instruction": SKY, "input": "", "output": YES}, turns(SKY), YES, None),
    ("alpaca without input", {"instruction": SKY, "output": YES}, turns(SKY), YES, None),
    ("alpaca with all", {"instruction": "Answer.", "input": SKY, "output": YES,
                         "system": "Be brief.", "history": [["Hi", "Hello"]], "text": "…"},
     (BRIEF, *turns("Hi", "Hello", f"Answer.\n{SKY}")), YES, None),
    ("alpaca pair", {"instruction": SKY, "input": "", "chosen": YES, "rejected": NO},
     turns(SKY), YES, NO),
    ("alpaca, labelled", {"instruction": SKY, "output": YES, "kto_tag": True}, turns(SKY), YES,
     None),
    ("instructions alone", {"instruction": SKY}, turns(SKY), None, None),
    ("dolly", {"instruction": SKY, "context": "Look up.", "response": YES, "category": "qa"},
     turns(f"{SKY}\nLook up."), YES, None),
    ("openai", {"messages": [{"role": "developer", "content": "Be brief."}, *plain(SKY, YES)]},
     (BRIEF, *turns(SKY)), YES, None),
    ("openai parts", {"messages": [{"role": "user", "content": [{"type": "text", "text": SKY}]},
                                   *plain(YES, start=1)]}, turns(SKY), YES, None),
    ("openai preference", of_openai(tools=[], parallel_tool_calls=True), turns(SKY), YES, NO),
    ("orca pair", {"system": "Be brief.", "question": SKY, "chosen": YES, "rejected": NO},
     (BRIEF, *turns(SKY)), YES, NO),
    ("axolotl pair", {"messages": plain(SKY), "chosen": plain(YES, start=1)[0],
                      "rejected": plain(NO, start=1)[0]}, turns(SKY), YES, NO),
    ("ultrafeedback", {"prompt": SKY, "prompt_id": "x1", "messages": plain(SKY, YES),
                       "chosen": plain(SKY, YES), "rejected": plain(SKY, NO),
                       "score_chosen": 8.0, "score_rejected": 3.0}, turns(SKY), YES, NO),
    ("trl conversational", {"prompt": plain(SKY), "completion": plain(YES, start=1)},
     turns(SKY), YES, None),
    ("trl with a system column", {"prompt": SKY, "completion": YES, "system": "Be brief."},
     (BRIEF, *turns(SKY)), YES, None),
    ("trl implicit", {"chosen": plain(SKY, YES), "rejected": plain(SKY, NO)}, turns(SKY), YES, NO),
    ("trl implicit with a system column",
     {"chosen": plain(SKY, YES), "rejected": plain(SKY, NO), "system_prompt": "Be brief."},
     (BRIEF, *turns(SKY)), YES, NO),
    ("trl kto", {"prompt": SKY, "completion": YES, "label": True}, turns(SKY), YES, None),
]  # fmt: skip


@pytest.mark.parametrize("container", ["jsonl", "json"])
@pytest.mark.parametrize("name,row,prompt,chosen,rejected", READ, ids=[n for n, *_ in READ])
def test_a_format_is_read_as_prompts_and_as_training_rows(
    tmp_path: Path,
    name: str,
    row: dict[str, Any],
    prompt: Messages,
    chosen: str | None,
    rejected: str | None,
    container: str,
) -> None:
    path = tmp_path / f"d.{container}"
    path.write_text(json.dumps([row], indent=1) if container == "json" else json.dumps(row))
    (first,) = PromptFile(path)
    assert isinstance(first, Prompt) and first.messages == prompt, first
    (second,) = read_training_prompts([path])
    assert isinstance(second, Prompt) and second.messages == prompt
    if chosen is None:
        with pytest.raises(DataError, match="no row that can be used"):
            list(read_sft([path]))
    else:
        (learned,) = read_sft([path])
        assert isinstance(learned, SftRow), learned
        assert learned.messages == (*prompt, Message("assistant", chosen))
    if rejected is None:
        with pytest.raises(DataError, match=r"no row that can be used: d.json.*other keys"):
            list(read_pairs([path]))
    else:
        assert chosen is not None
        (pair,) = read_pairs([path])
        assert isinstance(pair, PairRow), pair
        sides = (turns(chosen, start=1), turns(rejected, start=1))
        assert (pair.prompt, pair.chosen, pair.rejected) == (prompt, *sides)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"instruction": 3}, "wrong type: instruction and input are not both text"),
    ({"instruction": SKY, "history": "a"}, "wrong type: history is not a list of (instruction,"),
    ({"instruction": SKY, "history": [["a"]]}, "wrong type: history is not a list of"),
    (of_openai() | {"input": SKY}, "wrong type: input is text, not an object with messages"),
    (of_openai(tools=[{"type": "function"}]), "tools: the row has some"),
    ({"conversations": [turn("human", SKY), turn("function_call", "{}")]}, "tool calls: message 2"),
    ({"conversations": SKY}, "wrong type: messages is text, not a list"),
]


@pytest.mark.parametrize("row,reason", REFUSED, ids=[reason[:40] for _, reason in REFUSED])
def test_a_row_that_is_not_whole_is_set_aside(
    tmp_path: Path, row: dict[str, Any], reason: str
) -> None:
    before, bad = PromptFile(lines(tmp_path, {"prompt": "Hi?"}, row))
    assert isinstance(before, Prompt)
    assert isinstance(bad, SetAside) and bad.reason.startswith(reason), bad


def test_our_own_keys_come_first_and_a_named_format_before_them(tmp_path: Path) -> None:
    row = {"prompt": "Ours: Theirs?", "instruction": "Theirs?", "output": YES}
    path = lines(tmp_path, row, {"prompt": "Other?"})
    ours, other = PromptFile(path)
    assert isinstance(ours, Prompt) and ours.messages == turns("Ours: Theirs?")
    assert ours.meta == {"instruction": "Theirs?", "output": YES}
    theirs, other = PromptFile(path, form="alpaca")
    assert isinstance(theirs, Prompt) and theirs.messages == turns("Theirs?")
    assert isinstance(other, SetAside)
    assert other.reason == "other keys: no instruction of the format alpaca; its keys are: prompt"
    assert {"sharegpt", "alpaca", "openai-preference", "orca", "axolotl"} <= set(FORMATS)
    (named,) = PromptFile(lines(tmp_path, {"instruction": "a", "q": "b"}), column="q")
    assert isinstance(named, Prompt) and named.messages == turns("b")


TWO: list[tuple[dict[str, Any], str]] = [
    ({"prompt": "x", "messages": plain("y", YES)}, "messages"),
    ({"instruction": "I1", "prompt": "P2"}, "instruction"),
    ({"question": "Q1", "prompt": "P1"}, "question"),
    ({"init_prompt": "x", "prompt": "y"}, "prompt"),
    ({"prompt": "x", "conversations": [turn("human", "y"), turn("gpt", YES)]}, "conversations"),
    ({"instruction": "x", "conversation": plain("y", YES)}, "instruction"),
    ({"prompt": "x"} | of_openai(), "input"),
    ({"prompt": "x", "chosen": plain(SKY, YES), "rejected": plain(SKY, NO)}, "chosen"),
    ({"prompt": "x", "transcript": "\n\nHuman: y\n\nAssistant: z"}, "transcript"),
    ({"messages": plain("a", "b", "c"), "prompt": "d"}, "messages"),
]


@pytest.mark.parametrize("row,key", TWO, ids=["+".join(row) for row, _ in TWO])
def test_a_row_with_two_prompts_is_set_aside_unless_one_is_chosen(
    tmp_path: Path, row: dict[str, Any], key: str
) -> None:
    path = lines(tmp_path, row)
    (bad,) = PromptFile(path)
    assert isinstance(bad, SetAside)
    assert bad.reason == f"two prompts: {key} holds another text than the prompt that was read"
    if "prompt" in row:
        options: list[dict[str, Any]] = [{"column": "prompt"}, {"form": "prompt"}]
        for option in options:
            (chosen,) = PromptFile(path, **option)
            assert isinstance(chosen, Prompt)
            assert chosen.messages == turns(row["prompt"])


ONE: list[tuple[dict[str, Any], Messages]] = [
    # UltraChat and No Robots: the prompt is the first turn, messages the whole conversation
    ({"prompt": SKY, "prompt_id": "x", "messages": plain(SKY, YES, "Why?", "So.")}, turns(SKY)),
    ({"prompt": SKY, "messages": [{"role": "system", "content": "s"}, *plain(SKY, YES)]},
     turns(SKY)),
    # Magpie
    ({"instruction": SKY, "response": YES,
      "conversations": [turn("human", SKY), turn("gpt", YES)]}, turns(SKY)),
    # llm-swarm
    ({"init_prompt": SKY, "prompt": SKY, "messages": plain(SKY, YES),
      "chosen": plain(SKY, YES), "rejected": plain(SKY, NO)}, turns(SKY)),
    # a template filled with the question; Alpaca's text
    ({"prompt": f"Answer: {SKY}", "question": SKY}, turns(f"Answer: {SKY}")),
    ({"instruction": SKY, "text": f"Below is an instruction. {SKY}"}, turns(SKY)),
    ({"prompt": plain("a", "b", SKY), "messages": plain("a", "b", SKY, YES)}, turns("a", "b", SKY)),
    ({"prompt": SKY, "chosen": YES, "rejected": NO, "question": None, "messages": []}, turns(SKY)),
    ({"prompt": SKY, "conversation": "c-17", "transcript": "of a call"}, turns(SKY)),
    ({"prompt": f"{SKY} \n", "question": SKY}, turns(f"{SKY} \n")),
]  # fmt: skip


@pytest.mark.parametrize("row,prompt", ONE, ids=["+".join(row) for row, _ in ONE])
def test_keys_that_say_the_same_are_one_prompt(
    tmp_path: Path, row: dict[str, Any], prompt: Messages
) -> None:
    (only,) = PromptFile(lines(tmp_path, row))
    assert isinstance(only, Prompt), only
    assert only.messages == prompt


def test_a_row_of_ours_is_left_alone() -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": SKY, "conversations": []},
        {"messages": [], "chosen": [], "rejected": []},
    ]
    for row in rows:
        assert normalize(row) is row
    with pytest.raises(
        RowError, match=r"neither conversations nor conversation of the format sharegpt"
    ):
        normalize({"prompt": SKY}, "sharegpt")


# -- labels and weights -----------------------------------------------------------------------


@pytest.mark.parametrize("label", [False, 0, 0.0, "False", "false", "0", " NO ", "undesirable"])
@pytest.mark.parametrize("key", ["label", "kto_tag"])
def test_a_response_labelled_bad_is_never_learnt(tmp_path: Path, key: str, label: Any) -> None:
    """In every format that SFT reads, and whatever stands for false."""
    rows: list[dict[str, Any]] = [
        {"prompt": SKY, "completion": NO},
        {"instruction": SKY, "output": NO},
        {"messages": plain(SKY, NO)},
        {"conversations": [turn("human", SKY), turn("gpt", NO)]},
        {"prompt": SKY, "chosen": NO, "rejected": YES},
    ]
    for row in rows:
        good, bad = read_sft([lines(tmp_path, row, row | {key: label})])
        assert isinstance(good, SftRow)
        assert isinstance(bad, SetAside) and bad.reason.startswith(f"{key} is false: ")


def test_labels_are_read_by_value(tmp_path: Path) -> None:
    row = {"prompt": SKY, "completion": YES}
    for label in (True, 1, 1.0, "True", "1", "desirable", None, ""):
        (good,) = read_sft([lines(tmp_path, row | {"label": label})])
        assert isinstance(good, SftRow)
    others: list[Any] = ["safe", 2, -1, [True], "nan"]
    for label in others:
        _, bad = read_sft([lines(tmp_path, row, row | {"label": label})])
        assert isinstance(bad, SetAside)
        assert bad.reason == f"label: {str(label)!r} is neither true nor false"
    csv = tmp_path / "d.csv"
    csv.write_text(f"prompt,completion,label\n{SKY},{YES},True\n{SKY},{NO},False\n{SKY},{YES},\n")
    assert [isinstance(r, SftRow) for r in read_sft([csv])] == [True, False, True]


def test_weights_of_messages_say_what_is_learnt(tmp_path: Path) -> None:
    """A system column moves all places by one; the last response has to be learned."""
    talk = plain("a", "b", "c", "d", "e", "f")
    for place, weight in ((1, 0), (3, 0), (5, 1)):
        talk[place] |= {"weight": weight}  # type: ignore[dict-item]
    first, second, bad = read_sft(
        [
            lines(
                tmp_path,
                {"messages": talk},
                {"messages": talk, "system": "Be brief."},
                {"messages": talk[:4]},
            )
        ]
    )
    assert isinstance(first, SftRow) and first.not_to_learn == (1, 3)
    assert isinstance(second, SftRow) and second.not_to_learn == (2, 4)
    assert isinstance(bad, SetAside)
    assert bad.reason == "weight: the last message of messages is marked as not to be learned"
    apart = {"prompt": talk[:3], "completion": talk[3:], "system": "Be brief."}
    (third,) = read_sft([lines(tmp_path, apart)])
    assert isinstance(third, SftRow) and third.not_to_learn == (2, 4)
    _, pair = read_sft(
        [
            lines(
                tmp_path,
                {"prompt": SKY, "chosen": YES, "rejected": NO},
                {"prompt": talk[:3], "chosen": YES, "rejected": NO},
            )
        ]
    )
    assert isinstance(pair, SetAside) and pair.reason.startswith("weight: messages of a pair")
    talk[1] |= {"weight": 1}  # type: ignore[dict-item]
    (some,) = read_sft([lines(tmp_path, {"messages": talk})])
    assert isinstance(some, SftRow) and some.not_to_learn == (3,)
    (plain_row,) = read_sft([lines(tmp_path, {"messages": plain("a", "b", "c", "d")})])
    assert isinstance(plain_row, SftRow) and plain_row.not_to_learn == ()


# -- what can't be read -----------------------------------------------------------------------

NAMED: list[tuple[dict[str, Any], str]] = [
    ({"text": "<|im_start|>user\nHi"}, "text as TRL and Axolotl pre-train on it"),
    (
        {"question": SKY, "response_j": YES, "response_k": NO},
        "rename question to prompt, response_j",
    ),
    ({"question": SKY, "answer": YES}, "rename question to prompt and answer to completion"),
    ({"prompt": SKY, "response": YES}, "rename response to completion"),
    ({"prompt": SKY, "completions": [YES], "labels": [True]}, "TRL's stepwise supervision"),
    ({"prompt": SKY, "response_0": YES, "response_1": NO}, "pairs of PKU-SafeRLHF"),
    ({"segments": [{"label": True, "text": SKY}]}, "Axolotl's template-free segments"),
    ({"contents": [{"role": "user", "parts": [{"text": SKY}]}]}, "Gemini's contents"),
    ({"instruction": SKY, "completions": [{}]}, "UltraFeedback before it was binarized"),
]


@pytest.mark.parametrize("row,told", NAMED, ids=[told[:30] for _, told in NAMED])
def test_a_format_that_can_t_be_read_is_named(
    tmp_path: Path, row: dict[str, Any], told: str
) -> None:
    path = lines(tmp_path, row)
    for read in (read_sft, read_pairs):
        with pytest.raises(DataError) as error:
            list(read([path]))
        assert f"its keys are: {', '.join(row)}; this looks like" in error.value.message
        assert told in error.value.message


def test_rows_with_one_response_are_named_where_pairs_are_wanted(tmp_path: Path) -> None:
    for row, name in (
        ({"prompt": SKY, "completion": YES, "label": True}, "TRL's KTO rows"),
        ({"instruction": SKY, "output": YES}, "prompts with a response each"),
        ({"conversations": [turn("human", SKY), turn("gpt", YES)]}, "conversations"),
    ):
        with pytest.raises(DataError, match=f"this looks like {name}.*cai train sft learns"):
            list(read_pairs([lines(tmp_path, row)]))
        assert "cai train sft" not in looks_like(row)


def test_the_hint_names_the_column_that_may_hold_the_prompts(tmp_path: Path) -> None:
    (row,) = PromptFile(lines(tmp_path, {"question": SKY}))
    assert isinstance(row, SetAside)
    assert row.reason.endswith("if one of them holds the prompt, name it with --column question")
    csv = tmp_path / "p.csv"
    csv.write_text("id,category,prompts_final\na,b,c\n")
    with pytest.raises(DataError, match="its columns are: id, category, prompts_final") as error:
        list(PromptFile(csv))
    assert error.value.hint == "Name the one that holds the prompts with --column prompts_final."
    csv.write_text("How do I open a jar?,a\nWhat is a dog?,b\n")
    with pytest.raises(DataError, match=r"its columns are: How do I open a jar\?, a") as error:
        list(PromptFile(csv))
    assert "The first line is read as the names of the columns" in error.value.hint
    for keys, column in (
        (["Type", "Question", "Best Answer"], "Question"),
        (["question", "prompt_text"], "prompt_text"),
        (["question", "question_id"], ""),  # either may be meant
        (["context", "question"], ""),  # a question without its context is another question
        (["text_a", "text_b"], ""),
        (["n"], ""),
        (["What is the best question to ask?", "b"], ""),  # a row, no name
    ):
        assert likely_column(keys) == column, keys


# -- standard input ---------------------------------------------------------------------------


def feed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))


def test_standard_input_is_read_as_often_as_it_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    feed(monkeypatch, b'{"prompt": "One?"}\n{"prompt": 2}\n{"prompt": "Three?"}\n')
    file = PromptFile("-")
    assert file.path.name == "<stdin>"
    first = list(file)
    assert [r.source for r in first] == ["<stdin>:1", "<stdin>:2", "<stdin>:3"]
    assert [type(r) for r in first] == [Prompt, SetAside, Prompt]
    assert list(file) == list(file) == first
    folder = file.path.parent
    assert folder.is_dir()
    del file
    assert not folder.exists()


def test_standard_input_in_every_container(monkeypatch: pytest.MonkeyPatch) -> None:
    for data, form, expected in (
        (b"One?\nTwo?\n", None, ["One?", "Two?"]),
        (b'[{"instruction": "One?", "output": "x"}]', None, ["One?"]),
        (b"id,prompt\na,One?\n", "csv", ["One?"]),
        (b"id\tprompt\na\tOne?\n", "tsv", ["One?"]),
        (b'{"prompt": "One?"}\n', "text", ['{"prompt": "One?"}']),
        (b"{\nOne?\n", "text", ["{", "One?"]),
    ):
        feed(monkeypatch, data)
        rows = list(PromptFile("-", form=form))
        assert [r.messages[-1].content for r in rows if isinstance(r, Prompt)] == expected
    feed(monkeypatch, b"")
    with pytest.raises(DataError, match=r"^<stdin> is empty"):
        PromptFile(Path("-"))
