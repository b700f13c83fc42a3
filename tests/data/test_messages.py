"""Messages as rows hold them: whose they are, what text they have, and what can't be kept."""

from __future__ import annotations

from typing import Any

import pytest

from cai.data.messages import (
    RowError,
    has_value,
    not_to_learn,
    read_messages,
    refuse_unread_keys,
    with_system,
)
from cai.types import Message

ASK: dict[str, Any] = {"role": "user", "content": "Hi?"}
SAY: dict[str, Any] = {"role": "assistant", "content": "Yes."}


def read(*items: Any) -> list[tuple[str, str]]:
    return [(m.role, m.content) for m in read_messages(list(items))]


def test_the_same_conversation_in_the_words_of_two_formats() -> None:
    expected = [("system", "Be brief."), ("user", "Hi?"), ("assistant", "Yes.")]
    for name in ("system", "developer"):
        assert read({"role": name, "content": "Be brief."}, ASK, SAY) == expected
    for human, bot in (("human", "gpt"), ("user", "assistant"), ("human", "model")):
        assert expected == read(
            {"from": "system", "value": "Be brief."},
            {"from": human, "value": "Hi?"},
            {"from": bot, "value": "Yes."},
        )


def test_text_parts_are_joined_with_nothing_between() -> None:
    parts = [{"type": "text", "text": "Is the "}, {"type": "input_text", "text": "sky blue?"}]
    assert read({"role": "user", "content": parts}) == [("user", "Is the sky blue?")]
    assert read({"role": "user", "content": []}) == [("user", "")]


REFUSED: list[tuple[dict[str, Any], str]] = [
    (ASK | {"name": "ann"}, "name: message 2 has the key 'name'"),
    (ASK | {"images": ["a.png"]}, "images: message 2 has the key 'images'"),
    (SAY | {"reasoning_content": 1}, "wrong type: the reasoning_content of message 2 is a number"),
    (SAY | {"reasoning": "a", "thinking": "b"}, "reasoning: reasoning and thinking of message 2"),
    (SAY | {"content": None, "refusal": "No."}, "refusal: message 2"),
    (SAY | {"content": None, "tool_calls": [{"id": "1"}]}, "tool calls: message 2"),
    (SAY | {"content": None, "function_call": {"name": "w"}}, "tool calls: message 2"),
    ({"role": "tool", "name": "w", "content": "18 C"}, "tool calls: message 2 is a tool's"),
    ({"from": "observation", "value": "18 C"}, "tool calls: message 2 is a observation's"),
    (
        ASK | {"content": [{"type": "image_url", "image_url": {}}]},
        "image_url: message 2 has a part",
    ),
    (ASK | {"content": [{"type": "text", "text": 3}]}, "wrong type: message 2 has text that is a"),
    (ASK | {"content": ["Hi?"]}, "wrong type: message 2 has a part that is text"),
    ({"from": "narrator", "value": "x"}, "wrong role: message 2 has 'narrator'"),
    ({"role": "human", "content": "x"}, "wrong role: message 2 has 'human'"),
    ({"content": "x"}, "wrong role: message 2 has 'None'"),
    ({"from": "human", "content": "x"}, "wrong type: the content of message 2 is null"),
]


@pytest.mark.parametrize("item,reason", REFUSED, ids=[reason[:30] for _, reason in REFUSED])
def test_what_can_t_be_kept_is_named(item: dict[str, Any], reason: str) -> None:
    with pytest.raises(RowError) as error:
        read_messages([SAY, item, ASK])
    assert str(error.value).startswith(reason), error.value


def test_keys_that_say_nothing_are_no_hindrance() -> None:
    empty: dict[str, Any] = {
        "name": None, "tool_calls": [], "refusal": "", "images": [], "weight": 1, "ts": 17,
    }  # fmt: skip
    assert read(ASK | empty) == [("user", "Hi?")]
    values: list[Any] = [None, "", [], {}, False, 0, "x", [0]]
    assert [has_value(v) for v in values] == [False] * 5 + [True] * 3
    refuse_unread_keys(
        {"tools": [], "images": None, "history": "", "category": "sky", "audios": "[]"}
    )
    for key in ("tools", "images", "documents", "history", "chat_template_kwargs"):
        with pytest.raises(RowError, match=f"^{key}: "):
            refuse_unread_keys({key: [1]})


def test_a_dropped_answer_is_not_read() -> None:
    """As a prompt, a row may end in an answer that could not be learned."""
    call = SAY | {"content": None, "tool_calls": [{"id": "1"}]}
    assert read_messages([ASK, call], drop_answer=True) == (Message("user", "Hi?"),)
    with pytest.raises(RowError, match="tool calls: message 2"):
        read_messages([ASK, call, ASK], drop_answer=True)


@pytest.mark.parametrize("key", ["weight", "train", "loss"])
def test_marks_of_what_is_not_to_be_learnt(key: str) -> None:
    """Places count from 0; a user's message is never learned, so its mark says nothing."""
    talk = [ASK | {key: 0}, SAY | {key: False}, ASK, SAY | {key: 0.0}, ASK, SAY | {key: 1}, ASK]
    assert not_to_learn([*talk, SAY]) == (1, 3)
    with pytest.raises(RowError, match=f"^{key}: that of message 2 is neither 0 nor 1"):
        not_to_learn([ASK, SAY | {key: 0.5}])


def test_a_system_column_becomes_the_first_turn() -> None:
    ask = (Message("user", "Hi?"),)
    brief = (Message("system", "Be brief."), *ask)
    for key in ("system", "system_prompt", "system_message"):
        assert with_system({key: "Be brief."}, ask) == brief
        assert with_system({key: "Be brief."}, brief) == brief  # said twice, and the same
        assert with_system({key: ""}, ask) == with_system({key: None}, ask) == ask
    assert with_system({"system": "a", "system_prompt": "a"}, ask)[0].content == "a"
    with pytest.raises(RowError, match=r"^system: the row has one beside its messages"):
        with_system({"system": "Be kind."}, brief)
    with pytest.raises(RowError, match=r"^system: system and system_prompt differ"):
        with_system({"system": "a", "system_prompt": "b"}, ask)


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_is_read_beside_the_answer(key: str) -> None:
    messages = read_messages([ASK, SAY | {key: "Hm."}])
    assert messages[1].reasoning == "Hm." and messages[1].content == SAY["content"]
    with pytest.raises(RowError, match="message 1 is the user's, who does not reason"):
        read_messages([ASK | {key: "Hm."}, SAY])
