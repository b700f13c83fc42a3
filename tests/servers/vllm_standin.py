"""A stand-in of `vllm serve`: see `standin` for what it is, `vllm_schema` for what it follows.

As in vLLM: log-probabilities are raw (`--logprobs-mode raw_logprobs`): before temperature,
penalties and constraints; the token that ends a turn has one too; `top_logprobs` lists the sampled
token before the ranks and is then cut. With `reasons`, the model thinks before each chat answer,
and the reasoning is in `message.reasoning`.
"""

from __future__ import annotations

from typing import Any

from tests.servers import openai_format, toy_lm
from tests.servers.standin import (
    Json,
    Refused,
    Schema,
    StandIn,
    pattern,
    read_adapter,
    validate_ids,
)
from tests.servers.toy_lm import Answer, Decoding
from tests.servers.vllm_schema import (
    UNMODELLED,
    Chat,
    Completion,
    Detokenize,
    GuidedChat,
    GuidedCompletion,
    LoadAdapter,
    SamplingFields,
    Templated,
    TokenizeChat,
    TokenizePrompt,
    UnloadAdapter,
)

MODEL = "org/toy-lm"


class VllmStandIn(StandIn):
    """`vllm serve org/toy-lm`, below `address`.

    version: what it says it is; before 0.12 constraints are `guided_*`. runtime_lora: whether
    `VLLM_ALLOW_RUNTIME_LORA_UPDATING` is set; without it the endpoints of adapters are missing.
    """

    model = MODEL

    def __init__(
        self,
        *,
        version: str = "0.32.0",
        context: int = 4096,
        runtime_lora: bool = True,
        reasons: bool = False,
        strict: bool = True,
    ) -> None:
        super().__init__(strict=strict)
        self._version, self._context, self._reasons = version, context, reasons
        major, minor = (int(part) for part in version.split(".")[:2])
        old = (major, minor) < (0, 12)
        self._chat_schema: type[Chat] | type[GuidedChat] = GuidedChat if old else Chat
        self._completion_schema: type[Completion] | type[GuidedCompletion] = (
            GuidedCompletion if old else Completion
        )
        self.routes = {
            ("GET", "/health"): lambda _: "",
            ("GET", "/version"): lambda _: {"version": self._version},
            ("GET", "/v1/models"): self._models,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/detokenize"): self._detokenize,
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._complete,
        }
        if runtime_lora:
            self.routes["POST", "/v1/load_lora_adapter"] = self._load_adapter
            self.routes["POST", "/v1/unload_lora_adapter"] = self._unload_adapter

    def error(self, path: str, refused: Refused) -> Json:
        if refused.kind == "NotFoundError" and str(refused) == "Not Found":
            return {"detail": "Not Found"}
        param = refused.field or None
        return openai_format.error(
            str(refused), kind=refused.kind, param=param, code=refused.status
        )

    def _models(self, _: Json) -> Json:
        entry: Json = {
            "root": MODEL,
            "parent": None,
            "max_model_len": self._context,
            "permission": [],
        }
        answer = openai_format.models(MODEL, owner="vllm", **entry)
        for name, (path, _digest) in self.adapters.items():
            adapter = {**answer["data"][0], "id": name, "root": path, "parent": MODEL}
            answer["data"].append({**adapter, "max_model_len": None})
        return answer

    def _read(self, schema: type[Schema], path: str, body: Json) -> Schema:
        return self.read(schema, path, body, UNMODELLED)

    def _variant(self, model: str | None) -> str:
        if model in (None, MODEL):
            return ""
        if model not in self.adapters:
            message = f"The model `{model}` does not exist."
            raise Refused(404, message, field="model", kind="NotFoundError")
        return self.adapters[model][1]

    def _tokenize(self, body: Json) -> Json:
        if "messages" in body:
            chat = self._read(TokenizeChat, "/tokenize", body)
            ids, strings = prompt_of(chat), chat.return_token_strs
        else:
            plain = self._read(TokenizePrompt, "/tokenize", body)
            ids, strings = toy_lm.encode(plain.prompt), plain.return_token_strs
        self._variant(body.get("model"))
        texts = [toy_lm.decode([id_]) for id_ in ids] if strings else None
        return {
            "count": len(ids),
            "max_model_len": self._context,
            "tokens": ids,
            "token_strs": texts,
        }

    def _detokenize(self, body: Json) -> Json:
        ids = self._read(Detokenize, "/detokenize", body).tokens
        validate_ids([ids], "tokens")
        return {"prompt": toy_lm.decode(ids)}

    def _chat(self, body: Json) -> Json:
        asked = self._read(self._chat_schema, "/v1/chat/completions", body)
        prompt, variant = prompt_of(asked), self._variant(asked.model)
        limit = asked.max_completion_tokens or asked.max_tokens
        room = self._room(prompt, limit)
        thinks = self._reasons and (asked.chat_template_kwargs or {}).get("enable_thinking", True)
        answers, thoughts = [], []
        for decoding in self._decodings(asked, room):
            thought = think(prompt, decoding, variant) if thinks else None
            answers.append(answer_after(prompt, thought, decoding, variant))
            thoughts.append(thought)
        top = (asked.top_logprobs or 0) if asked.logprobs else None
        answer = openai_format.chat_completion(
            f"{self.number()}", asked.model or MODEL, prompt, answers, top=top, ends=True,
            order="sampled first", ids=getattr(asked, "logprob_token_ids", None),
            by_id=bool(asked.return_tokens_as_token_ids),
        )  # fmt: skip
        for choice, one, thought in zip(answer["choices"], answers, thoughts, strict=True):
            message = choice["message"]
            if asked.echo and asked.messages[-1].role == "assistant":
                message["content"] = asked.messages[-1].text + message["content"]
            shown = thought.text if thought is not None and asked.include_reasoning else None
            message |= {"reasoning": shown, "tool_calls": []}
            choice["stop_reason"] = one.stop
            choice["token_ids"] = one.ids if asked.return_token_ids else None
        answer["prompt_logprobs"] = prompt_logprobs(prompt, asked.prompt_logprobs, variant)
        answer["prompt_token_ids"] = prompt if asked.return_token_ids else None
        return answer | {"system_fingerprint": None, "kv_transfer_params": None}

    def _complete(self, body: Json) -> Json:
        asked = self._read(self._completion_schema, "/v1/completions", body)
        prompts, variant = prompts_of(asked.prompt), self._variant(asked.model)
        alone = bool(asked.echo) and asked.max_tokens == 0
        limit = 1 if alone else (16 if asked.max_tokens is None else asked.max_tokens)
        answers = [
            [
                toy_lm.generate(prompt, decoding, variant=variant)
                for decoding in self._decodings(asked, self._room(prompt, limit))
            ]
            for prompt in prompts
        ]
        usage = openai_format.usage(prompts, [one for group in answers for one in group])
        if alone:  # vLLM generates a token and leaves it out, but not of the usage
            answers = [[Answer([], "", "length", None, [])] * asked.n for _ in prompts]
        answer = openai_format.completion(
            f"{self.number()}", asked.model or MODEL, prompts, answers, top=asked.logprobs,
            echo=bool(asked.echo), ends=True, variant=variant,
            by_id=bool(asked.return_tokens_as_token_ids),
        )  # fmt: skip
        answer["usage"] = usage
        for index, choice in enumerate(answer["choices"]):
            which, one = divmod(index, asked.n)
            prompt, written = prompts[which], answers[which][one]
            choice["stop_reason"] = written.stop
            choice["prompt_logprobs"] = prompt_logprobs(prompt, asked.prompt_logprobs, variant)
            choice["token_ids"] = written.ids if asked.return_token_ids else None
            choice["prompt_token_ids"] = prompt if asked.return_token_ids else None
        return answer | {"system_fingerprint": None, "kv_transfer_params": None}

    def _room(self, prompt: list[int], limit: int | None) -> int:
        """How many tokens an answer may have. Raises `Refused` where the prompt leaves no room."""
        left = self._context - len(prompt)
        if left < (limit or 1):
            message = (
                f"This model's maximum context length is {self._context} tokens. However, you "
                f"requested {limit or 1} output tokens and your prompt contains at least "
                f"{len(prompt)} input tokens, for a total of at least "
                f"{len(prompt) + (limit or 1)} tokens. Please reduce the length of the input "
                f"prompt or the number of requested output tokens. (parameter=input_tokens, "
                f"value={len(prompt)})"
            )
            raise Refused(400, message, field="input_tokens", misuse=False)
        return left if limit is None else limit

    def _decodings(self, asked: SamplingFields, room: int) -> list[Decoding]:
        """One for each of `n` answers. A seed is that of the request; the answers still differ."""
        seed = self.number() if asked.seed is None else asked.seed
        stop = [asked.stop] if isinstance(asked.stop, str) else asked.stop or []
        settings: dict[str, Any] = {
            "max_tokens": room,
            "temperature": 1.0 if asked.temperature is None else asked.temperature,
            "top_p": asked.top_p or 1.0,
            "top_k": asked.top_k or 0,
            "min_p": asked.min_p or 0.0,
            "repetition_penalty": asked.repetition_penalty or 1.0,
            "frequency_penalty": asked.frequency_penalty or 0.0,
            "presence_penalty": asked.presence_penalty or 0.0,
            "min_tokens": asked.min_tokens,
            "stop": stop,
            "stop_ids": asked.stop_token_ids or (),
            "ignore_end": asked.ignore_eos,
            "constraint": constraint_of(asked),
        }
        return [Decoding(seed=1000 * seed + index, **settings) for index in range(asked.n)]

    def _load_adapter(self, body: Json) -> str:
        asked = self._read(LoadAdapter, "/v1/load_lora_adapter", body)
        if asked.lora_name in self.adapters and not asked.load_inplace:
            message = (
                f"The lora adapter '{asked.lora_name}' has already been loaded. If you want to "
                "load the adapter in place, set 'load_inplace' to True."
            )
            raise Refused(400, message, field="lora_name", kind="InvalidUserInput")
        self.adapters[asked.lora_name] = asked.lora_path, read_adapter(asked.lora_path)
        return f"Success: LoRA adapter '{asked.lora_name}' added successfully."

    def _unload_adapter(self, body: Json) -> str:
        name = self._read(UnloadAdapter, "/v1/unload_lora_adapter", body).lora_name
        if self.adapters.pop(name, None) is None:
            message = f"The lora adapter '{name}' cannot be found."
            raise Refused(404, message, field="lora_name", kind="NotFoundError")
        return f"Success: LoRA adapter '{name}' removed successfully."


def prompt_of(chat: Templated) -> list[int]:
    """The token ids of a chat."""
    text = toy_lm.chat_text(
        [{"role": turn.role, "content": turn.text} for turn in chat.messages],
        add_generation_prompt=chat.add_generation_prompt,
        continue_final_message=chat.continue_final_message,
        enable_thinking=bool((chat.chat_template_kwargs or {}).get("enable_thinking", True)),
    )
    return toy_lm.encode(text)


def prompts_of(prompt: Any) -> list[list[int]]:
    """A completion's prompts as token ids: a text, texts, ids or lists of ids."""
    several = isinstance(prompt, list) and not isinstance(prompt[0], int)
    every = prompt if several else [prompt]
    prompts = [toy_lm.encode(one) if isinstance(one, str) else list(one) for one in every]
    validate_ids(prompts, "prompt")
    return prompts


def constraint_of(asked: Any) -> toy_lm.Constraint | None:
    structured = asked.structured_outputs
    if structured is None:
        return None
    if structured.choice is not None:
        return toy_lm.Choices(structured.choice)
    if structured.regex is not None:
        return pattern(structured.regex, field="structured_outputs.regex")
    raise Refused(400, "The stand-in writes no JSON and no grammars.", field="structured_outputs")


def think(prompt: list[int], decoding: Decoding, variant: str) -> Answer:
    """A reasoning in `<think>`, as the first tokens of an answer. Its text is without the tags."""
    begin, end = toy_lm.encode("<think>\n"), toy_lm.encode("\n</think>\n\n")
    settings = Decoding(max_tokens=8, seed=decoding.seed, ignore_end=True)
    thought = toy_lm.generate([*prompt, *begin], settings, variant=variant)
    ids = [*begin, *thought.ids, *end]
    rows = toy_lm.score([*prompt, *ids], variant=variant)[len(prompt) :]
    return Answer(ids, thought.text, "stop", None, [row for row in rows if row is not None])


def answer_after(
    prompt: list[int], thought: Answer | None, decoding: Decoding, variant: str
) -> Answer:
    """An answer with its reasoning: the tokens of both, the text of the answer."""
    if thought is None:
        return toy_lm.generate(prompt, decoding, variant=variant)
    answer = toy_lm.generate([*prompt, *thought.ids], decoding, variant=variant)
    ids, rows = [*thought.ids, *answer.ids], [*thought.scores, *answer.scores]
    return Answer(ids, answer.text, answer.finish_reason, answer.stop, rows)


def prompt_logprobs(prompt: list[int], count: int | None, variant: str) -> list[Any] | None:
    """vLLM's `prompt_logprobs`: None, then for each token its own entry and the best ones'."""
    if count is None:
        return None
    entries: list[Any] = []
    for id_, row in zip(prompt, toy_lm.score(prompt, variant=variant), strict=True):
        if row is None:
            entries.append(None)
            continue
        order = openai_format.ranked(row, -1)
        ids = [id_, *(rank for rank in order[: count if count >= 0 else None] if rank != id_)]
        entries.append(
            {
                str(one): {
                    "logprob": float(row[one]),
                    "rank": order.index(one) + 1,
                    "decoded_token": toy_lm.decode([one]),
                }
                for one in ids
            }
        )
    return entries
