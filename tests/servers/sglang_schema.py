"""What SGLang accepts: the fields of its requests, their types and ranges.

Sources: docs.sglang.io/basic_usage/{native_api,sampling_params,openai_api_completions}, and
sgl-project/sglang: python/sglang/srt/entrypoints/openai/protocol.py, managers/io_struct.py
(`GenerateReqInput`, `LoadLoRAAdapterReqInput`) and sampling/sampling_params.py (`verify`).

SGLang itself ignores unknown fields (but not those of `sampling_params`, where `seed` is called
`sampling_seed`). Here they are refused. `UNMODELLED` are documented fields without a model here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from tests.servers.vllm_schema import Int64, Penalty, Share, Strict, Text, TokenId, Turn

_UNMODELLED = """audio_data best_of bootstrap_host bootstrap_port bootstrap_room
custom_logit_processor custom_params ebnf image_data images_config input_embeds json_schema
logit_bias ngram_corpus_id parallel_tool_calls reasoning reasoning_effort response_format
return_hidden_states return_routed_experts session_params stop_regex stream_options structural_tag
suffix task tool_choice tools video_data"""
UNMODELLED = frozenset(_UNMODELLED.split())

TopK = Annotated[int, Field(ge=-1)]
TopP = Annotated[float, Field(gt=0, le=1)]
Repetition = Annotated[float, Field(gt=0, le=2)]
Temperature = Annotated[float, Field(ge=0)]
Ids = Annotated[list[TokenId], Field(min_length=1)]


class SamplingParams(Strict):
    """`sampling_params` of /generate."""

    max_new_tokens: Annotated[int, Field(ge=0)] | None = 128
    min_new_tokens: Annotated[int, Field(ge=0)] = 0
    temperature: Temperature = 1.0
    top_p: TopP = 1.0
    top_k: TopK = -1
    min_p: Share = 0.0
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    repetition_penalty: Repetition = 1.0
    n: Annotated[int, Field(ge=1)] = 1
    sampling_seed: Int64 | None = None
    stop: Text | list[Text] | None = None
    stop_token_ids: list[TokenId] | None = None
    regex: str | None = None
    ignore_eos: bool = False
    skip_special_tokens: Literal[True] = True
    spaces_between_special_tokens: bool = True
    no_stop_trim: Literal[False] = False

    @model_validator(mode="after")
    def validate_values(self) -> Self:
        validate_top_k(self.top_k)
        if self.max_new_tokens is not None and self.min_new_tokens > self.max_new_tokens:
            raise ValueError(
                f"min_new_tokens must be in [0, max_new_tokens({self.max_new_tokens})], got "
                f"{self.min_new_tokens}."
            )
        return self


def validate_top_k(value: int | None) -> None:
    if value == 0:
        raise ValueError("top_k must be -1 (disable) or at least 1, got 0.")


class Generate(Strict):
    """POST /generate."""

    text: Text | Annotated[list[Text], Field(min_length=1)] | None = None
    input_ids: Ids | Annotated[list[Ids], Field(min_length=1)] | None = None
    sampling_params: dict[str, Any] | None = None
    return_logprob: bool | None = False
    logprob_start_len: Annotated[int, Field(ge=-1)] | None = -1
    top_logprobs_num: Annotated[int, Field(ge=0)] | None = 0
    token_ids_logprob: list[TokenId] | None = None
    return_text_in_logprobs: bool = False
    stream: Literal[False] = False
    lora_path: str | None = None
    rid: str | None = None
    log_metrics: bool = True

    @model_validator(mode="after")
    def validate_input(self) -> Self:
        if (self.text is None) == (self.input_ids is None):
            raise ValueError("Either text, input_ids or input_embeds should be provided.")
        return self


class SharedFields(Strict):
    """What chats and completions share."""

    model: str = "default"
    n: Annotated[int, Field(ge=1)] = 1
    frequency_penalty: Penalty = 0.0
    presence_penalty: Penalty = 0.0
    min_tokens: Annotated[int, Field(ge=0)] = 0
    seed: Int64 | None = None
    stop: Text | list[Text] | None = None
    stop_token_ids: list[TokenId] | None = None
    regex: str | None = None
    no_stop_trim: Literal[False] = False
    ignore_eos: bool = False
    skip_special_tokens: Literal[True] = True
    lora_path: str | None = None
    return_token_ids: bool = False
    stream: Literal[False] = False
    user: str | None = None
    rid: str | None = None
    session_id: str | None = None
    cache_salt: str | None = None
    priority: int | None = None


class SglangChat(SharedFields):
    """POST /v1/chat/completions. There is no `add_generation_prompt`."""

    messages: Annotated[list[Turn], Field(min_length=1)]
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0)] | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    temperature: Temperature | None = None
    top_p: TopP | None = None
    top_k: TopK | None = None
    min_p: Share | None = None
    repetition_penalty: Repetition | None = None
    continue_final_message: bool = False
    separate_reasoning: bool = True
    stream_reasoning: bool = True
    chat_template_kwargs: dict[str, Any] | None = None
    input_ids: Ids | None = None
    return_prompt_token_ids: bool = False

    @model_validator(mode="after")
    def validate_top(self) -> Self:
        validate_top_k(self.top_k)
        return self


class SglangCompletion(SharedFields):
    """POST /v1/completions."""

    prompt: Text | Annotated[list[Text] | list[TokenId] | list[Ids], Field(min_length=1)]
    echo: bool = False
    logprobs: Annotated[int, Field(ge=0)] | None = None
    max_tokens: int = 16
    temperature: Temperature = 1.0
    top_p: TopP = 1.0
    top_k: TopK = -1
    min_p: Share = 0.0
    repetition_penalty: Repetition = 1.0

    @model_validator(mode="after")
    def validate_values(self) -> Self:
        validate_top_k(self.top_k)
        if self.max_tokens <= 0:
            raise ValueError("max_tokens must be positive")
        return self


class SglangLoadAdapter(Strict):
    lora_name: Text
    lora_path: Text
    pinned: bool = False


class SglangUnloadAdapter(Strict):
    lora_name: Text


class SglangTokenize(Strict):
    model: str = "default"
    prompt: str | list[str]
    add_special_tokens: bool = True
