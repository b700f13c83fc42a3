"""What vLLM accepts: the fields of its requests, their types and ranges.

Sources: docs.vllm.ai/en/v0.32.0/serving/openai_compatible_server ("Extra parameters"), and
vllm-project/vllm: vllm/entrypoints/openai/{chat_completion,completion}/protocol.py,
entrypoints/serve/{tokenize,lora}/protocol.py and sampling_params.py (`_verify_args`).
`guided_*` became `structured_outputs` in 0.12 (docs.vllm.ai/en/latest/features/structured_outputs).

vLLM itself ignores unknown fields without a word. Here they are refused, so that a misspelled one
is found. `UNMODELLED` are documented fields that the stand-in has no model of: it refuses them too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

MAX_LOGPROBS = 20
"""The server's `--max-logprobs`, by default."""

_UNMODELLED = """allowed_token_ids bad_words chat_template documents ec_transfer_params
kv_transfer_params length_penalty logit_bias media_io_kwargs mm_processor_kwargs
parallel_tool_calls prompt_embeds reasoning_effort repetition_detection response_format
return_mm_kwargs return_prompt_text return_token_offsets routed_experts_prompt_start
stream_interval stream_options suffix thinking_token_budget tool_choice tools
truncate_prompt_tokens truncation_side use_beam_search vllm_xargs watermarking"""
UNMODELLED = frozenset(_UNMODELLED.split())

Int64 = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Penalty = Annotated[float, Field(ge=-2, le=2)]
Share = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
TokenId = Annotated[int, Field(ge=0)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class TextPart(Strict):
    type: Literal["text"]
    text: str


class Turn(Strict):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart]
    name: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "\n".join(part.text for part in self.content)


class StructuredOutputs(Strict):
    """`StructuredOutputsParams`: one kind of constraint."""

    choice: Annotated[list[str], Field(min_length=1)] | None = None
    regex: str | None = None
    json_: str | dict[str, Any] | None = Field(None, alias="json")
    grammar: str | None = None
    json_object: bool | None = None
    structural_tag: str | None = None
    disable_any_whitespace: bool = False
    disable_additional_properties: bool = False
    whitespace_pattern: str | None = None

    @model_validator(mode="after")
    def validate_kinds(self) -> Self:
        texts = (self.regex, self.json_, self.grammar, self.structural_tag)
        kinds = (self.choice, self.json_object, *texts)
        if sum(kind is not None for kind in kinds) != 1:
            raise ValueError("You can only use one kind of constraints for structured outputs")
        return self


class SamplingFields(Strict):
    """What chats and completions share."""

    model: str | None = None
    n: Annotated[int, Field(ge=1)] = 1
    temperature: Annotated[float, Field(ge=0)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1)] | None = None
    min_p: Share | None = None
    frequency_penalty: Penalty | None = None
    presence_penalty: Penalty | None = None
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    seed: Int64 | None = None
    stop: Text | list[Text] | None = []
    stop_token_ids: list[TokenId] | None = []
    include_stop_str_in_output: Literal[False] = False
    ignore_eos: bool = False
    min_tokens: Annotated[int, Field(ge=0)] = 0
    skip_special_tokens: Literal[True] = True
    spaces_between_special_tokens: bool = True
    prompt_logprobs: Annotated[int, Field(ge=-1, le=MAX_LOGPROBS)] | None = None
    return_tokens_as_token_ids: bool | None = None
    return_token_ids: bool | None = None
    stream: Literal[False] | None = False
    user: str | None = None
    request_id: str | None = None
    session_id: str | None = None
    cache_salt: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    priority: Literal[0] = 0

    @model_validator(mode="after")
    def validate_greedy(self) -> Self:
        if self.temperature == 0 and self.n > 1:
            raise ValueError(f"n must be 1 when using greedy sampling, got {self.n}.")
        return self


class Templated(Strict):
    """What a chat and its tokens share: how messages become a prompt."""

    messages: Annotated[list[Turn], Field(min_length=1)]
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False
    chat_template_kwargs: dict[str, Any] | None = None

    @model_validator(mode="after")
    def validate_generation_prompt(self) -> Self:
        """Both are an error even where only one is sent: the other's default is True."""
        if self.continue_final_message and self.add_generation_prompt:
            raise ValueError(
                "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
            )
        return self


class ChatRequest(SamplingFields, Templated):
    logprobs: bool | None = False
    top_logprobs: Annotated[int, Field(ge=-1)] | None = 0
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    echo: bool = False
    include_reasoning: bool = True

    @model_validator(mode="after")
    def validate_logprobs(self) -> Self:
        if self.top_logprobs and not self.logprobs:
            raise ValueError("when using `top_logprobs`, `logprobs` must be set to true.")
        validate_count(self.top_logprobs)
        return self


class CompletionRequest(SamplingFields):
    prompt: (
        Text
        | Annotated[
            list[Text] | list[TokenId] | list[Annotated[list[TokenId], Field(min_length=1)]],
            Field(min_length=1),
        ]
    )
    echo: bool | None = False
    logprobs: Annotated[int, Field(ge=-1)] | None = None
    max_tokens: Annotated[int, Field(ge=0)] | None = 16
    add_special_tokens: bool = True

    @model_validator(mode="after")
    def validate_lengths(self) -> Self:
        if self.max_tokens == 0 and not self.echo:
            raise ValueError("max_tokens must be at least 1, got 0.")
        validate_count(self.logprobs)
        return self


def validate_count(count: int | None) -> None:
    """-1 is the whole vocabulary, which the default `--max-logprobs` does not allow."""
    if count is not None and (count == -1 or count > MAX_LOGPROBS):
        raise ValueError(
            f"Requested sample logprobs of {count}, which is greater than max allowed: "
            f"{MAX_LOGPROBS}"
        )


class Chat(ChatRequest):
    """From 0.12 on."""

    structured_outputs: StructuredOutputs | None = None
    logprob_token_ids: Annotated[list[TokenId], Field(min_length=1)] | None = None

    @model_validator(mode="after")
    def validate_token_ids(self) -> Self:
        if self.logprob_token_ids is not None and not self.logprobs:
            raise ValueError("when using `logprob_token_ids`, `logprobs` must be set to true.")
        return self


class Completion(CompletionRequest):
    """From 0.12 on."""

    structured_outputs: StructuredOutputs | None = None


class Guided(Strict):
    """Constraints before 0.12."""

    guided_choice: Annotated[list[str], Field(min_length=1)] | None = None
    guided_regex: str | None = None
    guided_json: str | dict[str, Any] | None = None
    guided_grammar: str | None = None

    @property
    def structured_outputs(self) -> StructuredOutputs | None:
        names = ("choice", "regex", "json", "grammar")
        values = {name: getattr(self, f"guided_{name}") for name in names}
        given = {name: value for name, value in values.items() if value is not None}
        return StructuredOutputs(**given) if given else None


class GuidedChat(ChatRequest, Guided):
    """Before 0.12."""


class GuidedCompletion(CompletionRequest, Guided):
    """Before 0.12."""


class TokenizeChat(Templated):
    model: str | None = None
    return_token_strs: bool | None = False


class TokenizePrompt(Strict):
    model: str | None = None
    prompt: str
    add_special_tokens: bool = True
    return_token_strs: bool | None = False


class Detokenize(Strict):
    model: str | None = None
    tokens: list[TokenId]


class LoadAdapter(Strict):
    lora_name: Text
    lora_path: Text
    load_inplace: bool = False


class UnloadAdapter(Strict):
    lora_name: Text
    lora_int_id: int | None = None
