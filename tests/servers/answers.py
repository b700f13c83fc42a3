"""What the failing server says where it does not fail: right answers, and some that lie.

The words depend on the body of the request alone.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, Literal

from tests.servers import openai_format, toy_lm

Json = dict[str, Any]
Reasoning = Literal["reasoning_content", "reasoning", "inline", "unclosed"]
"""Where an answer's reasoning is: in a field, or in `<think>` (which may never be closed)."""

Logprobs = Literal["served", "ignored", "empty", "null", "shifted"]
"""shifted: an echoed token has the log-probability of the position after it, as with
llama-cpp-python (abetlen/llama-cpp-python#1983)."""


class Answers:
    """Answers of one model. words: what it says to a request, instead of the toy model's words."""

    def __init__(self, model: str) -> None:
        self._model = model
        self.logprobs: Logprobs = "served"
        self.reasoning: Reasoning | None = None
        self.words: Callable[[Json], str] | None = None

    def body(self, path: str, body: bytes, digest: str) -> Json:
        """The response to a request. digest: of the request, the seed where it has none."""
        if path == "/v1/models":
            return openai_format.models(self._model, owner="tests")
        asked = json.loads(body)
        prompts = prompts_of(path, asked)
        answers = [self._say(prompt, path, asked, digest) for prompt in prompts]
        if "chat" in path:
            top = int(asked.get("top_logprobs") or 0) if asked.get("logprobs") else None
            answer = openai_format.chat_completion(
                digest, self._model, prompts[0], answers[0], top=top
            )
        else:
            top, echo = asked.get("logprobs"), bool(asked.get("echo"))
            answer = openai_format.completion(
                digest, self._model, prompts, answers, top=top, echo=echo
            )
            if echo and top is not None and self.logprobs == "shifted":
                for index, choice in enumerate(answer["choices"]):
                    _shift(choice["logprobs"], prompts[index // len(answers[0])])
        for choice in answer["choices"]:
            self._hide_logprobs(choice)
            if "message" in choice:
                self._reason(choice["message"], asked, digest)
        return answer

    def _say(self, prompt: list[int], path: str, asked: Json, digest: str) -> list[toy_lm.Answer]:
        count = int(asked.get("n") or 1)
        if self.words is not None:
            return [toy_lm.spoken(prompt, self.words(asked))] * count
        seed = int(digest, 16) if asked.get("seed") is None else int(asked["seed"])
        stop = asked.get("stop") or ()
        settings: Json = {
            "max_tokens": max_tokens_of(path, asked),
            "temperature": 1.0 if asked.get("temperature") is None else asked["temperature"],
            "top_p": 1.0 if asked.get("top_p") is None else asked["top_p"],
            "stop": [stop] if isinstance(stop, str) else stop,
        }
        return [
            toy_lm.generate(prompt, toy_lm.Decoding(seed=1000 * seed + index, **settings))
            for index in range(count)
        ]

    def _hide_logprobs(self, choice: Json) -> None:
        if self.logprobs == "ignored":
            del choice["logprobs"]
        elif self.logprobs == "null":
            choice["logprobs"] = None
        elif self.logprobs == "empty" and choice["logprobs"] is not None:
            choice["logprobs"] = {name: [] for name in choice["logprobs"] if name != "refusal"}

    def _reason(self, message: Json, asked: Json, digest: str) -> None:
        switch = (asked.get("chat_template_kwargs") or {}).get("enable_thinking", True)
        if self.reasoning is None or not switch:
            return
        prompt = toy_lm.encode(digest)
        thought = toy_lm.generate(prompt, toy_lm.Decoding(max_tokens=12, ignore_end=True)).text
        if self.reasoning == "inline":
            message["content"] = f"<think>\n{thought}\n</think>\n\n{message['content']}"
        elif self.reasoning == "unclosed":
            message["content"] = f"<think>\n{thought}"
        else:
            message[self.reasoning] = thought


def has_prompt(path: str, asked: Json) -> bool:
    """Whether there is something to answer."""
    if "chat" not in path:
        return bool(asked.get("prompt"))
    turns = asked.get("messages")
    return isinstance(turns, list) and all(
        isinstance(turn, dict) and isinstance(turn.get(name), str)
        for turn in turns
        for name in ("role", "content")
    )


def prompts_of(path: str, asked: Json) -> list[list[int]]:
    """The prompts of a request as token ids."""
    if "chat" in path:
        return [toy_lm.encode(toy_lm.chat_text(asked["messages"]))]
    prompt = asked["prompt"]
    many = prompt if isinstance(prompt, list) and not isinstance(prompt[0], int) else [prompt]
    return [toy_lm.encode(one) if isinstance(one, str) else one for one in many]


def max_tokens_of(path: str, asked: Json) -> int:
    """How many tokens an answer may have."""
    wanted = asked.get("max_completion_tokens", asked.get("max_tokens"))
    return (64 if "chat" in path else 16) if wanted is None else int(wanted)


def _shift(logprobs: Json, prompt: list[int]) -> None:
    rows = toy_lm.score([*prompt, toy_lm.END_ID])[1:]
    for position, (id_, row) in enumerate(zip(prompt, rows, strict=True)):
        if position and row is not None:
            logprobs["token_logprobs"][position] = float(row[id_])
