"""A stand-in of SGLang's server: see `standin` for what it is, `sglang_schema` for what it follows.

As in SGLang: log-probabilities of generated tokens are those after the temperature (unless
`SGLANG_RETURN_ORIGINAL_LOGPROB` is set, see sampler.py), those of the prompt are raw, and the first
one asked for is None, wherever `logprob_start_len` lies (scheduler_output_processor_mixin.py, "pad
the first one with None"). With `max_new_tokens: 0` there is no text, but one token's distribution.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tests.servers import openai_format, toy_lm
from tests.servers.sglang_schema import (
    UNMODELLED,
    Generate,
    SamplingParams,
    SglangChat,
    SglangCompletion,
    SglangLoadAdapter,
    SglangTokenize,
    SglangUnloadAdapter,
)
from tests.servers.standin import (
    Json,
    Refused,
    Schema,
    StandIn,
    pattern,
    read_adapter,
    validate_ids,
)
from tests.servers.toy_lm import Answer, Decoding, Scores
from tests.servers.vllm_standin import answer_after, prompts_of, think

MODEL = "org/toy-lm"


class SglangStandIn(StandIn):
    """`sglang.launch_server --model org/toy-lm`, below `address`."""

    model = MODEL

    def __init__(
        self,
        *,
        version: str = "0.5.9",
        context: int = 4096,
        original_logprobs: bool = False,
        reasons: bool = False,
        strict: bool = True,
    ) -> None:
        super().__init__(strict=strict)
        self._version, self._context, self._reasons = version, context, reasons
        self._original = original_logprobs
        self.routes = {
            ("GET", "/health"): lambda _: "",
            ("GET", "/v1/models"): self._models,
            ("GET", "/model_info"): self._model_info,
            ("GET", "/get_model_info"): self._model_info,
            ("GET", "/server_info"): self._server_info,
            ("GET", "/get_server_info"): self._server_info,
            ("POST", "/tokenize"): self._tokenize,
            ("POST", "/generate"): self._generate,
            ("POST", "/v1/chat/completions"): self._chat,
            ("POST", "/v1/completions"): self._complete,
            ("POST", "/load_lora_adapter"): self._load_adapter,
            ("POST", "/unload_lora_adapter"): self._unload_adapter,
        }

    def error(self, path: str, refused: Refused) -> Json:
        """Flat for OpenAI's endpoints, and nested for the native ones."""
        if refused.status == 404:
            return {"detail": "Not Found"}
        if path == "/load_lora_adapter":
            return {"success": False, "error_message": str(refused)}
        if not path.startswith("/v1/"):
            return {"error": {"message": str(refused)}}
        return {
            "object": "error",
            "message": str(refused),
            "type": refused.kind,
            "param": None,
            "code": refused.status,
        }

    def _models(self, _: Json) -> Json:
        fields = {"root": MODEL, "parent": None, "max_model_len": self._context}
        answer = openai_format.models(MODEL, owner="sglang", **fields)
        for name, (path, _digest) in self.adapters.items():
            adapter = {**answer["data"][0], "id": name, "root": path, "parent": MODEL}
            answer["data"].append({**adapter, "max_model_len": None})
        return answer

    def _model_info(self, _: Json) -> Json:
        return {
            "model_path": MODEL,
            "tokenizer_path": MODEL,
            "is_generation": True,
            "preferred_sampling_params": None,
            "weight_version": "default",
        }

    def _server_info(self, _: Json) -> Json:
        return {
            "model_path": MODEL,
            "context_length": self._context,
            "version": self._version,
            "internal_states": [],
        }

    def _read(self, schema: type[Schema], path: str, body: Json) -> Schema:
        return self.read(schema, path, body, UNMODELLED)

    def _variant(self, model: str, adapter: str | None) -> str:
        """`base:adapter` as a model's name, or `lora_path`; other names of models are not read."""
        name = adapter or model.partition(":")[2]
        if not name:
            return ""
        if name not in self.adapters:
            raise Refused(
                400, f"Got LoRA adapter that has never been loaded: {name}", field="model"
            )
        return self.adapters[name][1]

    def _tokenize(self, body: Json) -> Json:
        prompt = self._read(SglangTokenize, "/tokenize", body).prompt
        if isinstance(prompt, str):
            ids = toy_lm.encode(prompt)
            return {"tokens": ids, "count": len(ids), "max_model_len": self._context}
        several = [toy_lm.encode(one) for one in prompt]
        counts = [len(ids) for ids in several]
        return {"tokens": several, "count": counts, "max_model_len": self._context}

    def _generate(self, body: Json) -> Json | list[Any]:
        asked = self._read(Generate, "/generate", body)
        wanted = self._read(SamplingParams, "/generate", dict(asked.sampling_params or {}))
        source: Any = asked.text if asked.input_ids is None else asked.input_ids
        prompts, variant = prompts_of(source), self._variant("", asked.lora_path)
        validate_ids([asked.token_ids_logprob or []], "token_ids_logprob")
        answers: list[Any] = []
        for prompt in prompts:
            start = asked.logprob_start_len
            if start is not None and start >= len(prompt):
                message = f"logprob_start_len={start} is higher than the number of input tokens"
                raise Refused(400, f"{message} {len(prompt)}.", field="logprob_start_len")
            for decoding in self._decodings(wanted, self._room(prompt, wanted.max_new_tokens)):
                written = self._write(prompt, decoding, variant)
                answers.append(self._native(asked, prompt, written, variant))
        single = len(answers) == 1 and prompts_are_single(source)
        return dict(answers[0]) if single else answers

    def _write(self, prompt: list[int], decoding: Decoding, variant: str) -> Answer:
        """An answer. Of no tokens, it still has the scores of the one that would come."""
        answer = toy_lm.generate(
            prompt, replace(decoding, max_tokens=max(decoding.max_tokens, 1)), variant=variant
        )
        answer = self._heated(answer, decoding)
        if decoding.max_tokens == 0:
            return Answer([], "", "length", None, answer.scores)
        return answer

    def _heated(self, answer: Answer, decoding: Decoding) -> Answer:
        if self._original or decoding.temperature in (0, 1):
            return answer
        rows = [toy_lm.at_temperature(row, decoding.temperature) for row in answer.scores]
        return replace(answer, scores=rows)

    def _native(self, asked: Generate, prompt: list[int], answer: Answer, variant: str) -> Json:
        reason: Json = {"type": answer.finish_reason}
        if answer.finish_reason == "stop":
            reason["matched"] = toy_lm.END_ID if answer.stop is None else answer.stop
        else:
            reason["length"] = len(answer.ids)
        info: Json = {
            "id": asked.rid or f"{self.number():032x}",
            "finish_reason": reason,
            "prompt_tokens": len(prompt),
            "completion_tokens": len(answer.ids),
            "cached_tokens": 0,
            "weight_version": "default",
        }
        if asked.return_logprob:
            start = asked.logprob_start_len
            start = len(prompt) - 1 if start is None or start < 0 else start
            rows: list[Scores | None] = toy_lm.score(prompt, variant=variant)[start:]
            rows[0] = None
            info |= _rows("input", prompt[start:], rows, asked)
            info |= _rows("output", answer.ids, [*answer.scores], asked)
        return {"text": answer.text, "output_ids": answer.ids, "meta_info": info}

    def _chat(self, body: Json) -> Json:
        asked = self._read(SglangChat, "/v1/chat/completions", body)
        switch = (asked.chat_template_kwargs or {}).get("enable_thinking", True)
        text = toy_lm.chat_text(
            [{"role": turn.role, "content": turn.text} for turn in asked.messages],
            continue_final_message=asked.continue_final_message,
            enable_thinking=bool(switch),
        )
        prompt = toy_lm.encode(text) if asked.input_ids is None else asked.input_ids
        validate_ids([prompt], "input_ids")
        variant = self._variant(asked.model, asked.lora_path)
        room = self._room(prompt, asked.max_completion_tokens or asked.max_tokens)
        answers, thoughts = [], []
        for decoding in self._decodings(asked, room):
            thought = think(prompt, decoding, variant) if self._reasons and switch else None
            written = answer_after(prompt, thought, decoding, variant)
            answers.append(self._heated(written, decoding))
            thoughts.append(thought)
        top = (asked.top_logprobs or 0) if asked.logprobs else None
        answer = openai_format.chat_completion(
            f"{self.number()}", asked.model, prompt, answers, top=top, ends=True
        )
        for choice, one, thought in zip(answer["choices"], answers, thoughts, strict=True):
            message = choice["message"]
            message |= {"reasoning_content": None, "tool_calls": None}
            if thought is not None and asked.separate_reasoning:
                message["reasoning_content"] = thought.text
            elif thought is not None:
                message["content"] = f"<think>\n{thought.text}\n</think>\n\n{message['content']}"
            _finish(choice, one, prompt, asked.return_token_ids)
        return answer

    def _complete(self, body: Json) -> Json:
        asked = self._read(SglangCompletion, "/v1/completions", body)
        prompts = prompts_of(asked.prompt)
        variant = self._variant(asked.model, asked.lora_path)
        answers = [
            [
                self._write(prompt, decoding, variant)
                for decoding in self._decodings(asked, self._room(prompt, asked.max_tokens))
            ]
            for prompt in prompts
        ]
        answer = openai_format.completion(
            f"{self.number()}", asked.model, prompts, answers, top=asked.logprobs,
            echo=asked.echo, ends=True, variant=variant,
        )  # fmt: skip
        for index, choice in enumerate(answer["choices"]):
            which, one = divmod(index, asked.n)
            _finish(choice, answers[which][one], prompts[which], asked.return_token_ids)
            if choice["logprobs"] is not None:  # "not supported yet", in openai/utils.py
                offsets = choice["logprobs"]["text_offset"]
                choice["logprobs"]["text_offset"] = [-1] * len(offsets)
        return answer

    def _room(self, prompt: list[int], limit: int | None) -> int:
        left = self._context - len(prompt)
        if left < (limit or 1):
            message = (
                f"Requested token count exceeds the model's maximum context length of "
                f"{self._context} tokens. You requested a total of {len(prompt) + (limit or 1)} "
                f"tokens: {len(prompt)} tokens from the input messages and {limit or 1} tokens for "
                "the completion. Please reduce the number of tokens in the input messages or the "
                "completion to fit within the limit."
            )
            raise Refused(400, message, misuse=False)
        return left if limit is None else limit

    def _decodings(
        self, asked: SamplingParams | SglangChat | SglangCompletion, room: int
    ) -> list[Decoding]:
        native = isinstance(asked, SamplingParams)
        seed = asked.sampling_seed if isinstance(asked, SamplingParams) else asked.seed
        seed = self.number() if seed is None else seed
        least = asked.min_new_tokens if isinstance(asked, SamplingParams) else asked.min_tokens
        field = "sampling_params.regex" if native else "regex"
        settings: dict[str, Any] = {
            "max_tokens": room,
            "min_tokens": least,
            "temperature": 1.0 if asked.temperature is None else asked.temperature,
            "top_p": asked.top_p or 1.0,
            "top_k": asked.top_k or 0,
            "min_p": asked.min_p or 0.0,
            "repetition_penalty": asked.repetition_penalty or 1.0,
            "frequency_penalty": asked.frequency_penalty,
            "presence_penalty": asked.presence_penalty,
            "stop": [asked.stop] if isinstance(asked.stop, str) else asked.stop or (),
            "stop_ids": asked.stop_token_ids or (),
            "ignore_end": asked.ignore_eos,
            "constraint": None if asked.regex is None else pattern(asked.regex, field=field),
        }
        return [Decoding(seed=1000 * seed + index, **settings) for index in range(asked.n)]

    def _load_adapter(self, body: Json) -> Json:
        asked = self._read(SglangLoadAdapter, "/load_lora_adapter", body)
        if asked.lora_name in self.adapters:
            message = f"LoRA adapter '{asked.lora_name}' already exists."
            raise Refused(400, message, field="lora_name")
        try:
            self.adapters[asked.lora_name] = asked.lora_path, read_adapter(asked.lora_path)
        except Refused as refused:
            raise Refused(400, str(refused), field=refused.field) from None
        return self._loaded()

    def _unload_adapter(self, body: Json) -> Json:
        name = self._read(SglangUnloadAdapter, "/unload_lora_adapter", body).lora_name
        if self.adapters.pop(name, None) is None:
            raise Refused(400, f"LoRA adapter '{name}' is not loaded.", field="lora_name")
        return self._loaded()

    def _loaded(self) -> Json:
        paths = {name: path for name, (path, _digest) in self.adapters.items()}
        return {"success": True, "error_message": "", "loaded_adapters": paths}


def prompts_are_single(source: Any) -> bool:
    """Whether /generate was asked for one prompt rather than a batch."""
    return isinstance(source, str) or isinstance(source[0], int)


def _finish(choice: Json, answer: Answer, prompt: list[int], ids: bool) -> None:
    end = toy_lm.END_ID if answer.finish_reason == "stop" else None
    choice["matched_stop"] = end if answer.stop is None else answer.stop
    if ids:
        choice |= {"token_ids": answer.ids, "prompt_token_ids": prompt}


def _rows(side: str, ids: list[int], rows: list[Scores | None], asked: Generate) -> Json:
    """The log-probabilities of a side: of its tokens, of the best ones, of those asked for."""

    def entry(id_: int, row: Scores | None) -> list[Any]:
        text = toy_lm.decode([id_]) if asked.return_text_in_logprobs else None
        return [None if row is None else float(row[id_]), id_, text]

    def entries(chosen: list[int], row: Scores | None) -> list[Any] | None:
        return None if row is None else [entry(id_, row) for id_ in chosen]

    info: Json = {f"{side}_token_logprobs": [entry(*pair) for pair in zip(ids, rows, strict=False)]}
    if asked.top_logprobs_num:
        count = asked.top_logprobs_num
        info[f"{side}_top_logprobs"] = [
            None if row is None else entries(openai_format.ranked(row, count), row) for row in rows
        ]
    if asked.token_ids_logprob:
        chosen = asked.token_ids_logprob
        info[f"{side}_token_ids_logprobs"] = [entries(chosen, row) for row in rows]
    return info
