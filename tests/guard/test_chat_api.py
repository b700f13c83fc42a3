"""What a request to the chat completions may say, and what it is told else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cai.errors import GuardError, ModelError, PromptError
from cai.guard.chat_api import ApiError, ChatRequest, api_error, read_chat
from cai.guard.session import AnswerTimeoutError
from cai.guard.worker import QueueFullError
from cai.types import Message

USER = {"role": "user", "content": "Hello."}


def read(**fields: Any) -> ChatRequest:
    values = {"model": "miniature", "messages": [USER], **fields}
    return read_chat(json.dumps(values).encode(), "miniature")


def refused(**fields: Any) -> ApiError:
    with pytest.raises(ApiError) as error:
        read(**fields)
    return error.value


def test_what_is_read() -> None:
    chat = read(
        messages=[
            {"role": "developer", "content": "Be brief."}, USER,
            {"role": "assistant", "content": [{"type": "text", "text": "Hi."}]}, USER,
        ],
        temperature=0, top_p=1, max_tokens=5, stop="END", seed=-3, user="ann", stream=True,
        stream_options={"include_usage": True},
    )  # fmt: skip
    request = chat.request
    assert request.messages == (
        Message("system", "Be brief."), Message("user", "Hello."), Message("assistant", "Hi."),
        Message("user", "Hello."),
    )  # fmt: skip
    assert (request.temperature, request.top_p, request.max_new_tokens) == (0.0, 1.0, 5)
    assert (request.stop, request.seed, request.user) == (("END",), -3, "ann")
    assert chat.stream and chat.include_usage


def test_what_is_left_out_is_left_to_the_guard() -> None:
    chat = read(temperature=None, stop=None, max_tokens=3, max_completion_tokens=4)
    assert (chat.request.temperature, chat.request.stop, chat.request.seed) == (None, (), None)
    assert chat.request.max_new_tokens == 4  # the newer name of the two
    assert not chat.stream


def test_what_changes_nothing_is_accepted() -> None:
    read(
        n=1, presence_penalty=0, frequency_penalty=0.0, logprobs=False, tools=[], store=False,
        response_format={"type": "text"}, logit_bias={}, service_tier="auto",
    )  # fmt: skip


@pytest.mark.parametrize(
    "fields",
    [
        {"n": 2}, {"n": True}, {"presence_penalty": 0.5}, {"logprobs": True}, {"top_logprobs": 3},
        {"tools": [{"type": "function"}]}, {"response_format": {"type": "json_object"}},
        {"temperature": 3}, {"temperature": "1"}, {"temperature": True}, {"top_p": 0},
        {"max_tokens": 0}, {"max_tokens": 2.5}, {"max_completion_tokens": "4"}, {"seed": 1.5},
        {"seed": 2**63}, {"stop": 3}, {"stop": [""]}, {"stop": ["a"] * 5}, {"stream": "yes"},
        {"stream_options": []}, {"user": 3}, {"user": "x" * 300}, {"logit_bias": {"5": 1}},
        {"top_k": 3}, {"echo": True},
    ],
)  # fmt: skip
def test_what_is_not_supported_is_refused_by_name(fields: dict[str, Any]) -> None:
    error = refused(**fields)
    assert error.status == 400
    body = error.body["error"]
    assert body["param"] == next(iter(fields)) and body["type"] == "invalid_request_error"
    assert body["param"] in body["message"]


def test_a_slip_is_named() -> None:
    assert "Did you mean 'temperature'?" in str(refused(temprature=1))


@pytest.mark.parametrize(
    "messages",
    [
        None, [], "Hello.", [3], [{"role": "user"}], [{"role": "tool", "content": "x"}],
        [USER, {"role": "assistant", "content": "Hi."}], [{"role": "king", "content": "x"}],
        [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}],
        [{"role": "user", "content": "x", "name": "ann"}],
    ],
)  # fmt: skip
def test_messages_that_can_t_be_answered_are_refused(messages: Any) -> None:
    assert refused(messages=messages).body["error"]["param"] == "messages"


def test_another_model_is_not_found() -> None:
    error = refused(model="gpt-4o")
    assert error.status == 404 and error.body["error"]["code"] == "model_not_found"
    assert "'miniature'" in str(error)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"3", b"\xff", b"[" * 50_000, b'{"temperature": NaN, "model": "miniature"}',
     b'{"model": "miniature", "messages": [{"role": "user", "content": "\\ud800"}]}'],
)  # fmt: skip
def test_bodies_that_are_none(body: bytes) -> None:
    with pytest.raises(ApiError) as error:
        read_chat(body, "miniature")
    assert error.value.status == 400


def test_whose_fault_it_is_decides_the_status() -> None:
    told = {
        error: (api_error(error).status, api_error(error).body["error"]["type"])
        for error in (
            PromptError("too long: 9 tokens"), GuardError("x"), AnswerTimeoutError("x"),
            ModelError("x"), QueueFullError(7),
        )
    }  # fmt: skip
    assert list(told.values()) == [
        (400, "invalid_request_error"), (503, "guard_error"), (504, "timeout"),
        (503, "server_error"), (429, "rate_limit_exceeded"),
    ]  # fmt: skip
    assert api_error(PromptError("too long: 9")).body["error"]["code"] == "context_length_exceeded"
    assert api_error(QueueFullError(7)).headers == {"Retry-After": "7"}
