"""Refusals that no retry helps with, in the words of the servers that give them."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from tests.servers import openai_format

ContextWords = Literal["openai", "vllm", "vllm input", "llama.cpp", "llama-cpp-python"]


@dataclass(frozen=True)
class Refusal:
    """A status and its JSON body. retry_after: whole seconds, for the header."""

    status: int
    body: dict[str, Any]
    retry_after: float | None = None

    @classmethod
    def of(
        cls, status: int, message: str, kind: str, param: str | None = None, code: Any = None
    ) -> Self:
        return cls(status, openai_format.error(message, kind=kind, param=param, code=code))

    def after(self, seconds: float | None) -> Self:
        return replace(self, retry_after=seconds)

    @property
    def content(self) -> bytes:
        return json.dumps(self.body).encode()

    @property
    def headers(self) -> dict[str, str]:
        return {} if self.retry_after is None else {"retry-after": f"{self.retry_after:.0f}"}


INVALID = Refusal.of(
    400,
    "Invalid type or value of a parameter.",
    "invalid_request_error",
    code="invalid_value",
)
BAD_JSON = Refusal.of(
    400,
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using "
    "your HTTP library correctly.)",
    "invalid_request_error",
)
NO_QUOTA = Refusal.of(
    429,
    "You exceeded your current quota, please check your plan and billing details.",
    "insufficient_quota",
    code="insufficient_quota",
)
"""A 429 that waiting doesn't help with."""


def unauthorized(authorization: str | None) -> Refusal:
    """401. It repeats the key, as some proxies do."""
    if authorization is None:
        return Refusal.of(401, "You didn't provide an API key.", "invalid_request_error")
    key = authorization.removeprefix("Bearer ")
    message = f"Incorrect API key provided: {key}."
    return Refusal.of(401, message, "invalid_request_error", None, "invalid_api_key")


def no_model(name: str) -> Refusal:
    message = f"The model `{name}` does not exist or you do not have access to it."
    return Refusal.of(404, message, "invalid_request_error", None, "model_not_found")


def not_found(method: str, path: str) -> Refusal:
    return Refusal.of(404, f"Invalid URL ({method} {path})", "invalid_request_error")


def incomplete(path: str) -> Refusal:
    name = "messages" if "chat" in path else "prompt"
    message = f"Missing or invalid required parameter: '{name}'."
    return Refusal.of(400, message, "invalid_request_error", name, "missing_required_parameter")


def context_refusal(words: ContextWords, limit: int, prompt: int, room: int) -> Refusal:
    """400 for a prompt that is too long, as each server words it.

    openai: the API's `context_length_exceeded`. vllm: before 0.12, and `vllm input` what newer ones
    say (vllm/renderers, "parameter=input_tokens"). llama.cpp: ggml-org/llama.cpp#15780.
    llama-cpp-python: its server, 0.3.36, which has vLLM's words and OpenAI's code.
    """
    total = prompt + room
    if words == "openai":
        return Refusal.of(
            400,
            f"This model's maximum context length is {limit} tokens. However, your messages "
            f"resulted in {prompt} tokens. Please reduce the length of the messages.",
            "invalid_request_error",
            "messages",
            "context_length_exceeded",
        )
    if words == "vllm":
        return Refusal.of(
            400,
            f"This model's maximum context length is {limit} tokens. However, you requested "
            f"{total} tokens ({prompt} in the messages, {room} in the completion). Please reduce "
            "the length of the messages or completion.",
            "BadRequestError",
            code=400,
        )
    if words == "vllm input":
        return Refusal.of(
            400,
            f"This model's maximum context length is {limit} tokens. However, you requested {room} "
            f"output tokens and your prompt contains at least {prompt} input tokens, for a total "
            f"of at least {total} tokens. Please reduce the length of the input prompt or the "
            f"number of requested output tokens. (parameter=input_tokens, value={prompt})",
            "BadRequestError",
            "input_tokens",
            400,
        )
    if words == "llama.cpp":
        return Refusal(
            400,
            {
                "error": {
                    "code": 400,
                    "message": "the request exceeds the available context size, try increasing it",
                    "type": "exceed_context_size_error",
                    "n_prompt_tokens": prompt,
                    "n_ctx": limit,
                }
            },
        )
    return Refusal.of(
        400,
        f"This model's maximum context length is {limit} tokens. However, you requested {total} "
        f"tokens ({prompt} in the messages, {room} in the completion). Please reduce the length of "
        "the messages or completion.",
        "invalid_request_error",
        "messages",
        "context_length_exceeded",
    )
