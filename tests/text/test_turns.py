"""Replies as ids: what is learned and scored begins where a model is sampled."""

from __future__ import annotations

import copy
import datetime
from typing import Any

import pytest

from cai.errors import UsageError
from cai.text.encode import Encoder
from cai.text.template import TemplateOptions, parse_arguments
from cai.types import Message, Messages
from tests.text.families import FAMILIES, family

ASK = (Message("user", "Say hello."),)
TALK = (*ASK, Message("assistant", "Hello."), Message("user", "Again."))


def text_of(encoder: Encoder, ids: tuple[int, ...]) -> str:
    """Ids as text, control tokens by their names."""
    text: str = encoder.tokenizer.decode(list(ids), skip_special_tokens=False)
    return text


def stock(tokenizer: Any, messages: Messages, generation: bool, **options: Any) -> list[int]:
    chat = [{"role": m.role, "content": m.content} for m in messages]
    return list(
        tokenizer.apply_chat_template(
            chat, tokenize=True, add_generation_prompt=generation, return_dict=False, **options
        )
    )


REPLIES = {
    "chatml": "Yes.<|im_end|>",
    "llama3": "Yes.<|eot_id|>",
    "mistral": " Yes.</s>",
    "gemma": "Yes.<end_of_turn>",
    "zephyr": "Yes.</s>",
    "plain": " Yes.<|endoftext|>",
    "qwen3": "<think>\n\n</think>\n\nYes.<|im_end|>",
    "qwen35": "\n</think>\n\nYes.<|im_end|>",
    "r1": "\n</think>\n\nYes.<|eos|>",
    "phi": "Yes.<|end|>",
    "harmony": "<|channel|>final<|message|>Yes.<|return|>",
    "no_end": " Yes.<|endoftext|>",
    "alpaca": "Yes.<|endoftext|>",
}
"""What stands behind each family's generation prompt."""


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("messages", [ASK, TALK], ids=["single-turn", "multi-turn"])
def test_a_reply_stands_behind_the_prompt_that_is_sampled_from(
    name: str, messages: Messages
) -> None:
    encoder = Encoder(family(name))
    turn = encoder.turn(messages, " Yes. ")
    assert turn.prompt == encoder.encode(messages).ids
    assert turn.reply[-1] == encoder.turn_end_id
    # A decoder may drop the space before a text's first word, and add one behind a control token.
    assert text_of(encoder, turn.reply).replace(" ", "") == REPLIES[name].replace(" ", "")
    assert encoder.decode(turn.reply[turn.answer : -1]).strip() == "Yes."


@pytest.mark.parametrize("name", [n for n in FAMILIES if n not in ("plain", "no_end", "r1")])
@pytest.mark.parametrize("messages", [ASK, TALK], ids=["single-turn", "multi-turn"])
def test_where_the_template_agrees_a_turn_is_its_finished_turn(
    name: str, messages: Messages
) -> None:
    """Up to the token that ends the turn: behind it Phi writes one more, others a line break.

    DeepSeek-R1's finished turn leaves out the reasoning that its prompt began. Alpaca's prompt ends
    in a blank line, one token that stock splits before a word: a model that samples can't.
    """
    tokenizer = family(name)
    turn = Encoder(tokenizer).turn(messages, "Yes.")
    whole = (*messages, Message("assistant", "Yes."))
    finished = stock(tokenizer, whole, False)
    same_prompt = tuple(finished[: len(turn.prompt)]) == turn.prompt
    assert same_prompt == (name != "alpaca")
    if same_prompt:
        assert list(turn.ids) == finished[: len(turn.ids)]
    assert tokenizer.decode(finished).startswith(tokenizer.decode(list(turn.ids)))


@pytest.mark.parametrize(
    ("name", "end", "ends"),
    [
        ("phi", "<|end|>", {"<|end|>", "<|endoftext|>"}),
        ("harmony", "<|return|>", {"<|return|>"}),
        ("qwen3", "<|im_end|>", {"<|im_end|>"}),
        ("no_end", "<|endoftext|>", {"<|endoftext|>"}),
        ("r1", "<|eos|>", {"<|eos|>"}),
    ],
)
def test_which_tokens_end_a_reply(name: str, end: str, ends: set[str]) -> None:
    """The template's, and the tokenizer's; a token that begins the next turn is no such end."""
    encoder = Encoder(family(name))
    added = encoder.tokenizer.get_added_vocab()
    assert encoder.turn_end_id == added[end]
    assert encoder.eos_ids == {added[t] for t in ends}
    assert encoder.ends_turns == (name != "no_end")
    inside = {"<think>", "</think>", "<|channel|>", "<|message|>", "<|end|>", "<|start|>"}
    if name != "phi":  # there `<|end|>` is the end
        assert not encoder.stop_ids & {added[t] for t in inside & set(added)}


def test_a_prompt_keeps_its_ids_where_it_could_merge_with_the_answer() -> None:
    """GPT-2's splitting makes two tokens of a blank line before a word, and one of it alone."""
    tokenizer = family("alpaca")
    encoder = Encoder(tokenizer)
    prompt = encoder.encode(ASK).ids
    tokenise = tokenizer.backend_tokenizer.encode
    whole = tokenise(encoder.encode(ASK).text + "Yes.", add_special_tokens=False).ids
    assert tuple(whole[: len(prompt)]) != prompt  # so that the next line can fail
    assert encoder.turn(ASK, "Yes.").ids[: len(prompt)] == prompt


THOUGHTS = {
    "qwen3": "<think>\nhm\n</think>\n\nYes.<|im_end|>",
    "qwen35": "hm\n</think>\n\nYes.<|im_end|>",
    "r1": "hm\n</think>\n\nYes.<|eos|>",
    "harmony": "<|channel|>analysis<|message|>hm<|end|><|start|>assistant"
    "<|channel|>final<|message|>Yes.<|return|>",
}


@pytest.mark.parametrize("name", THOUGHTS)
def test_reasoning_stands_before_the_answer_once(name: str) -> None:
    """One block, its tags as control tokens, however the row holds it."""
    encoder = Encoder(family(name))
    turn = encoder.turn(ASK, "Yes.", "hm")
    assert text_of(encoder, turn.reply) == THOUGHTS[name]
    assert encoder.decode(turn.reply[turn.answer :]).strip() == "Yes."
    opened = encoder.opens_reasoning(turn.prompt)
    assert opened == (name in ("qwen35", "r1"))
    reply = encoder.read(turn.reply, opened)
    assert (reply.answer, reply.reasoning, reply.closed) == ("Yes.", "hm", True)
    tags = encoder.template.markers
    assert tags is not None
    if name != "harmony":
        inline = encoder.reply_of(Message("assistant", "<think>\nhm\n</think>\n\nYes."))
        assert (inline.answer, inline.reasoning) == ("Yes.", "hm")


@pytest.mark.parametrize("name", THOUGHTS)
def test_reasoning_that_never_ends_is_no_answer(name: str) -> None:
    encoder = Encoder(family(name))
    turn = encoder.turn(ASK, "Yes.", "hm")
    closes = encoder.tokenizer.get_added_vocab()["<|end|>" if name == "harmony" else "</think>"]
    cut = turn.reply[: turn.reply.index(closes)]
    reply = encoder.read(cut, encoder.opens_reasoning(turn.prompt))
    assert (reply.answer, reply.reasoning, reply.closed) == ("", "hm", False)


def test_spelled_markers_are_text() -> None:
    """`</think>` in letters is what the model says, not the end of its reasoning."""
    encoder = Encoder(family("qwen3"))
    spelled = encoder.turn(ASK, "Write </think> there.").reply
    reply = encoder.read(spelled)
    assert reply.answer == "Write </think> there." and not reply.reasoning


def test_earlier_reasoning_is_not_shown_again() -> None:
    encoder = Encoder(family("qwen3"))
    thought = (*ASK, Message("assistant", "<think>\nhm\n</think>\n\nHello."), TALK[2])
    assert encoder.encode(thought).ids == encoder.encode(TALK).ids


@pytest.mark.parametrize(
    ("name", "prompt"),
    [
        ("qwen3", "<|im_start|>assistant\n<think>\n\n</think>\n\n"),  # its own switch
        ("qwen35", "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        ("r1", "<|Assistant|><think>\n\n</think>\n\n"),
        ("harmony", "<|start|>assistant<|channel|>final<|message|>"),
    ],
)
def test_thinking_is_turned_off(name: str, prompt: str) -> None:
    """Then the prompt holds the empty block, and a reply begins with the answer."""
    encoder = Encoder(family(name), options=TemplateOptions(thinking="off"))
    assert encoder.encode(ASK).text.endswith(prompt)
    turn = encoder.turn(ASK, "Yes.", "hm")
    assert turn.prompt == encoder.encode(ASK).ids == encoder.encode(ASK, prefill="").ids
    assert turn.answer == 0 and encoder.decode(turn.reply).strip() == "Yes."
    assert not encoder.opens_reasoning(turn.prompt)


def test_an_answer_may_be_scored_behind_reasoning() -> None:
    encoder = Encoder(family("qwen35"))
    question = encoder.encode(ASK, prefill="(", reasoning="hm")
    assert question.text.endswith("<think>\nhm\n</think>\n\n(")
    assert encoder.encode(ASK, prefill="(").text.endswith("<think>\n\n</think>\n\n(")


DATED = ": " + "{% for m in messages %}{{ m['content'] }}<|im_end|>" \
    "{% endfor %}"  # fmt: skip


@pytest.mark.parametrize(
    "source",
    [
        "{{ strftime_now('%d %b %Y') }}",
        "{% set form = '%d %b %Y' %}{{ strftime_now(form) }}",
        "{% macro today() %}{{ strftime_now('%d ' ~ '%b %Y') }}{% endmacro %}{{ today() }}",
        "{% if strftime_now is defined %}{{ strftime_now('%-d %b %Y') }}{% endif %}",
        "\n{{ strftime_now('%d %b %Y') }} 100%",
    ],
)
def test_a_template_is_given_the_date(source: str) -> None:
    """However it asks for it; all else is as it was."""
    tokenizer = copy.deepcopy(family("chatml"))
    tokenizer.chat_template = source + DATED
    encoder = Encoder(tokenizer, options=TemplateOptions(date="2024-02-29"))
    assert encoder.template.writes_date
    start = "\n" * source.startswith("\n")
    end = " 100%" * source.endswith("100%")
    assert encoder.encode(ASK).text == f"{start}29 Feb 2024{end}: Say hello.<|im_end|>"
    assert not Encoder(family("chatml")).template.writes_date


def test_every_directive_of_a_date_is_known() -> None:
    tokenizer = copy.deepcopy(family("chatml"))
    marks = "|".join(f"%{c}" for c in "aAbBdeFjmUwWyY") + "|%-m|%%d"
    tokenizer.chat_template = "{{ strftime_now('" + marks + "') }}" + DATED
    encoder = Encoder(tokenizer, options=TemplateOptions(date="2024-02-29"))
    day = datetime.date(2024, 2, 29)
    assert encoder.encode(ASK).text == f"{day.strftime(marks)}: Say hello.<|im_end|>"


def test_template_arguments_reach_the_template() -> None:
    tokenizer = family("qwen3")
    options = TemplateOptions(arguments=parse_arguments(["enable_thinking=false"]))
    messages = Encoder(tokenizer, options=options).encode(ASK)
    assert list(messages.ids) == stock(tokenizer, ASK, True, enable_thinking=False)
    with pytest.raises(UsageError, match="no variable 'enable_thinkin'") as error:
        Encoder(tokenizer, options=TemplateOptions(arguments=(("enable_thinkin", True),)))
    assert "enable_thinking" in str(error.value.hint)
    with pytest.raises(UsageError, match="is not KEY=VALUE"):
        parse_arguments(["enable_thinking"])
    assert parse_arguments(["b=x y", "a=[1]"]) == (("a", [1]), ("b", "x y"))
