"""What a server can do, found out by asking it, before a run spends anything.

Servers ignore fields that they do not know, and some answer with wrong numbers, so a status of 200
proves nothing: each ability is tried, and counts only where the answer shows that it works.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeAlias

from cai.backends.server.client import Answer, RefusedError, refusal
from cai.backends.server.scoring import ECHO, ScoringMethod, echoed
from cai.backends.server.served_model import Call, ServedModel
from cai.backends.server.wire import (
    LLAMA_CPP,
    SGLANG,
    Choice,
    MalformedError,
    ServerToken,
    chat_messages,
    prompt_logprobs,
    text_choices,
    usage_of,
)
from cai.errors import PromptError, ServerError
from cai.types import Message

_HELLO = (Message("user", "Write the names of three animals."),)
_BEGUN = "The first one is a"
_WORDS = ("zebra finch", "quince jelly")
"""Answers that no model gives to `_HELLO` unless it is constrained to them."""
_TOKENS = 12
_TOP = (20, 5)
"""Numbers of likeliest tokens to ask for: what most servers give, and the least that serves."""
_NEAR = 0.02
"""Log-probabilities of one token that agree: a 16-bit cache moves them by less."""
_TRIES = 3

Ability: TypeAlias = Literal["works", "ignored", "wrong", "refused"]
"""wrong: the server answers, with numbers that contradict each other."""


# -- how it answers -------------------------------------------------------------------------------


async def probe_chat(model: ServedModel, url: str, hint: str = "") -> bool:
    """Ask for a first response: learns the name of the token limit; whether the model reasons.

    hint: for the error of a model that the server does not have. Raises `ServerError` where it
    refuses.
    """
    for name in ("max_tokens", "max_completion_tokens"):
        model.token_field = name
        try:
            choice = await _respond(model, url, {})
        except RefusedError as error:
            if name == "max_tokens" and "max_completion_tokens" in error.reason:
                continue
            problem = refusal(error, url)
            unknown = hint and error.status in (400, 404)
            raise ServerError(problem.message, hint=hint if unknown else problem.hint) from None
        return bool(choice.reply.reasoning) or not choice.reply.closed
    raise AssertionError("the last name returned or raised")


async def probe_completion(model: ServedModel, url: str) -> None:
    """Ask for a first completion: learns whether the prompt may be token ids.

    Raises `ServerError` where the server refuses, or counts other tokens than the tokenizer.
    """
    assert model.encoder is not None
    encoded = model.encoder.encode(_HELLO)
    for takes_ids in (True, False):
        model.takes_ids = takes_ids
        try:
            answer = await model.ask(url, model.completion(encoded, 1, {}))
            text_choices(answer)
        except (RefusedError, MalformedError, ServerError) as error:
            if takes_ids:
                continue
            if isinstance(error, RefusedError):
                raise refusal(error, url) from None
            raise ServerError(f"The model server at {url} gives no completion: {error}") from None
        count = usage_of(answer).prompt
        if count == len(encoded.ids) or (not takes_ids and not count):
            return
    raise ServerError(
        f"The model server at {url} reads {count} tokens where the tokenizer makes"
        f" {len(encoded.ids)}",
        hint="Name the served model's own tokenizer in `tokenizer`. Of a server that adds a token"
        " for the beginning of the text, turn that off.",
    )


async def probe_sampling(model: ServedModel, url: str) -> Ability:
    """Whether responses are sampled at a temperature above 0, and not always the likeliest."""
    greedy = await _draw(model, url, {"temperature": 0.0})
    for seed in range(1, 5):
        if await _draw(model, url, {"temperature": 2.0, "top_p": 1.0, "seed": seed}) != greedy:
            return "works"
    return "ignored"


async def probe_seed(model: ServedModel, url: str) -> Ability:
    """Whether equal seeds give equal responses, asked one after the other."""
    fields = {"temperature": 1.5, "top_p": 1.0, "seed": 7}
    first = await _draw(model, url, fields)
    return "works" if await _draw(model, url, fields) == first else "ignored"


async def _draw(model: ServedModel, url: str, fields: Mapping[str, Any]) -> str:
    try:
        reply = (await _respond(model, url, fields)).reply
    except RefusedError as error:
        raise refusal(error, url) from None
    return reply.reasoning + reply.answer


# -- what it can score ----------------------------------------------------------------------------


async def probe_scoring(model: ServedModel, url: str) -> dict[ScoringMethod, Ability]:
    """Which methods of scoring the server has; sets what they need to know on `model`."""
    out: dict[ScoringMethod, Ability] = {}
    out["top-logprobs"] = await _probe_top(model, url)
    if model.encoder is not None:
        out["echo"] = await _probe_echo(model, url)
    else:
        model.continues = await _continues(model, url)
        out["prompt-logprobs"] = await _probe_prompt(model, url)
    out["constrained"] = await _probe_constrained(model, url)
    return out


async def _probe_top(model: ServedModel, url: str) -> Ability:
    """Whether the likeliest tokens are given with a response that has some: one that the model
    ends at once shows nothing."""
    ability: Ability = "refused"
    for number in _TOP:
        fields = {**model.own_distribution, **model.logprob_fields(number)}
        for seed in range(_TRIES):
            try:
                choice = await _respond(model, url, {**fields, "seed": seed})
            except RefusedError:
                break
            sizes = [len(token.top) for token in choice.tokens]
            if sizes and min(sizes) > 1:
                model.top_logprobs = min(number, *sizes)
                return "works"
            ability = "ignored"
            if choice.reply.answer:
                break
    return ability


async def _continues(model: ServedModel, url: str) -> bool:
    """Whether the assistant's last message is continued: the prompt is then shorter than with the
    message closed and a new one begun."""
    begun = model.call(_HELLO, 1, {}, prefill=_BEGUN)
    closed = Call(begun.path, {**begun.body, "messages": chat_messages(_HELLO, _BEGUN)}, 0)
    for name in ("add_generation_prompt", "continue_final_message"):
        closed.body.pop(name, None)
    counts = []
    for call in (begun, closed):
        try:
            counts.append(usage_of(await model.ask(url, call)).prompt)
        except (RefusedError, ServerError):
            return False
    return 0 < counts[0] < counts[1]


async def _probe_prompt(model: ServedModel, url: str) -> Ability:
    """Whether the log-probabilities of a continued prompt are given, and agree with the likeliest
    tokens of a response."""
    if model.identity.software in (SGLANG, *LLAMA_CPP):
        return "ignored"  # they are known to have no such field
    fields = {**model.own_distribution, "prompt_logprobs": 0}
    try:
        answer = await model.ask(url, model.call(_HELLO, 1, fields, prefill=_BEGUN))
        tokens = prompt_logprobs(answer)
    except (RefusedError, ServerError):
        return "refused"
    except MalformedError:
        return "ignored"
    if tokens is None or not model.continues:
        return "ignored"
    count = usage_of(answer).prompt
    return "works" if not count or len(tokens) + 1 == count else "wrong"


async def _probe_echo(model: ServedModel, url: str) -> Ability:
    """Whether an echoed token has the log-probability that it has as the response's first."""
    assert model.encoder is not None
    prompt = model.encoder.encode(_HELLO, "")
    first = await _first_token(model, url)
    if first is None:
        return "ignored"
    for word, logprob in first.top:
        with suppress(PromptError):
            row = model.encoder.encode(_HELLO, word)
            if len(row.ids) != len(prompt.ids) + 1 or row.ids[:-1] != prompt.ids:
                continue
            try:
                call = model.completion(row, 1, {**model.own_distribution, **ECHO})
                tokens = echoed(await model.ask(url, call))
            except (RefusedError, ServerError):
                return "refused"
            except MalformedError:
                return "ignored"
            value = tokens[-1][1] if len(tokens) == len(row.ids) else None
            return "works" if value is not None and abs(value - logprob) < _NEAR else "wrong"
    return "ignored"


async def _probe_constrained(model: ServedModel, url: str) -> Ability:
    """Whether a response can be constrained to a text, whose log-probability is that without the
    constraint: an unlikely first token is forced, which a mask would make certain."""
    ability: Ability = "refused"
    for fields in _choice_fields(model.identity.software):
        try:
            choice = await _respond(model, url, fields(_WORDS))
        except (RefusedError, ServerError):
            continue
        ability = "ignored"
        if choice.reply.answer.strip() in _WORDS:
            break
    else:
        return ability
    first = await _first_token(model, url)
    words = [(w, p) for w, p in first.top if re.fullmatch("[A-Za-z]+", w)] if first else []
    for word, logprob in words:
        if logprob > math.log(0.5):
            continue
        forced = {**model.own_distribution, "temperature": 0.0, **model.logprob_fields(1)}
        forced |= fields([word])
        with suppress(RefusedError, ServerError):
            tokens = (await _respond(model, url, forced)).tokens
            if tokens and tokens[0].text == word:
                if abs(tokens[0].logprob - logprob) >= _NEAR:
                    return "wrong"
                model.choice_fields = fields
                return "works"
    return "ignored"


async def _first_token(model: ServedModel, url: str) -> ServerToken | None:
    """The first token of a response with the likeliest ones; None where the server has none."""
    if not model.top_logprobs:
        return None
    fields = {**model.own_distribution, "temperature": 0.0}
    fields |= model.logprob_fields(model.top_logprobs)
    with suppress(RefusedError):
        return next(iter((await _respond(model, url, fields)).tokens), None)
    return None


def _structured_outputs(texts: Sequence[str]) -> dict[str, Any]:
    return {"structured_outputs": {"choice": list(texts)}}


def _regex(texts: Sequence[str]) -> dict[str, Any]:
    return {"regex": "|".join(f"({re.escape(text)})" for text in texts)}


def _grammar(texts: Sequence[str]) -> dict[str, Any]:
    # JSON's strings are GBNF's: an invalid grammar ends the process of llama-cpp-python's server.
    words = " | ".join(json.dumps(text, ensure_ascii=False) for text in texts)
    return {"grammar": f"root ::= {words}"}


ChoiceFields: TypeAlias = Callable[[Sequence[str]], dict[str, Any]]
"""The fields that constrain a response to one of some texts."""


def _choice_fields(software: str) -> tuple[ChoiceFields, ...]:
    """The software's own way to constrain a response; all of them where it is not known."""
    if software == SGLANG:
        return (_regex,)
    if software in LLAMA_CPP:
        return (_grammar,)
    return (_structured_outputs,) if software == "vllm" else (_structured_outputs, _regex, _grammar)


# -- single requests ------------------------------------------------------------------------------


async def _respond(model: ServedModel, url: str, fields: Mapping[str, Any]) -> Choice:
    """The response to a probe. Raises `ServerError` where there is none of use."""
    for _ in range(_TRIES):
        with suppress(MalformedError):
            return model.choice(await _answer(model, url, fields))
        await asyncio.sleep(0.2)
    raise ServerError(
        f"The model server at {url} answers without a response",
        hint="It has to speak OpenAI's API; see its log.",
    )


async def _answer(model: ServedModel, url: str, fields: Mapping[str, Any]) -> Answer:
    return await model.ask(url, model.call(_HELLO, _TOKENS + model.reasoning_tokens, fields))
