"""Probabilities of given answers, read from what a server offers.

- `prompt-logprobs`: the server continues the assistant's message with the answer and gives the
  log-probabilities of the whole prompt (vLLM). Exact, for any answer.
- `echo`: a completion echoes prompt and answer with log-probabilities; the chat template is applied
  here (`tokenizer`). Exact, for any answer.
- `constrained`: the response is constrained to the answer, and its log-probabilities are those
  without the constraint (llama.cpp). Exact, for any answer.
- `top-logprobs`: the likeliest tokens at each place of a response. Exact up to other ways to cut an
  answer into tokens; a letter that is not among the likeliest gets the least of their
  probabilities, an upper bound. For answers of one token; for longer ones, where the server
  continues a message.
- `sampling`: responses are sampled and counted. For any answer, and only if it is asked for. With
  an answer counted c times in n samples among k answers, its probability is
  (c + 1/2) / (n + (k + 1) / 2), the posterior mean under Jeffreys' prior.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from cai.backends.server.client import Answer
from cai.backends.server.served_model import ServedModel
from cai.backends.server.wire import (
    Choice,
    MalformedError,
    ServerToken,
    echo_tokens,
    prompt_logprobs,
    usage_of,
)
from cai.digest import digest
from cai.errors import ServerError
from cai.types import Score

ScoringMethod: TypeAlias = Literal[
    "prompt-logprobs", "echo", "constrained", "top-logprobs", "sampling"
]

ECHO: Mapping[str, Any] = {"echo": True, "logprobs": 1}
_PATH = 8
"""Tokens of a response in which a letter is looked for."""
_SAMPLE_TOKENS = 24
"""Tokens of a sampled answer, beyond the characters of the longest answer that is counted."""
_SEEDS = 1 << 31


@dataclass(frozen=True, slots=True)
class ServerScores:
    """Log-probability of each option of a `Score`, and the number of tokens of its prompt."""

    logprobs: tuple[float, ...]
    prompt_tokens: int


async def score(model: ServedModel, request: Score, method: ScoringMethod) -> ServerScores:
    """The log-probabilities of a request's options, by a method that the server has."""
    by_method = {
        "prompt-logprobs": _by_prompt,
        "echo": _by_echo,
        "constrained": _by_constraint,
        "top-logprobs": _by_top,
        "sampling": _by_counting,
    }
    return await by_method[method](model, request)


# -- exact ----------------------------------------------------------------------------------------


async def _by_prompt(model: ServedModel, request: Score) -> ServerScores:
    async def tokens_of(option: str) -> tuple[tuple[int, float], ...]:
        call = model.call(
            request.messages, 1, {**model.own_distribution, "prompt_logprobs": 0},
            prefill=request.prefill + option, reasoning=request.reasoning,
        )  # fmt: skip
        return await model.post(call, _prompt_tokens)

    prompt, *options = await asyncio.gather(*map(tokens_of, ("", *request.options)))
    start = common_start([i for i, _ in prompt], [[i for i, _ in o] for o in options])
    logprobs = tuple(math.fsum(p for _, p in option[start:]) for option in options)
    return ServerScores(logprobs, len(prompt) + 1)


def _prompt_tokens(answer: Answer) -> tuple[tuple[int, float], ...]:
    tokens = prompt_logprobs(answer)
    if tokens is None:
        raise MalformedError("an answer without the log-probabilities of its prompt")
    return tokens


async def _by_echo(model: ServedModel, request: Score) -> ServerScores:
    assert model.encoder is not None
    rows = [
        model.encoder.encode(request.messages, request.prefill + o, reasoning=request.reasoning)
        for o in ("", *request.options)
    ]
    calls = [model.completion(encoded, 1, {**model.own_distribution, **ECHO}) for encoded in rows]
    echoes = await asyncio.gather(*(model.post(call, echoed) for call in calls[1:]))
    for encoded, tokens in zip(rows[1:], echoes, strict=True):
        if len(encoded.ids) != len(tokens):
            raise ServerError(
                f"The model server read {len(tokens)} tokens where the tokenizer makes"
                f" {len(encoded.ids)}",
                hint="Name the served model's own tokenizer in `tokenizer`.",
            )
    start = common_start(rows[0].ids, [encoded.ids for encoded in rows[1:]])
    sums = (math.fsum(p or 0.0 for _, p in tokens[start:]) for tokens in echoes)
    return ServerScores(tuple(sums), len(rows[0].ids))


def echoed(answer: Answer) -> tuple[tuple[str, float | None], ...]:
    """The tokens of an echoed prompt, without the one that was generated behind it."""
    tokens = echo_tokens(answer)
    if tokens is None:
        raise MalformedError("an echo without log-probabilities")
    return tokens[: len(tokens) - usage_of(answer).response]


def common_start(prompt: Sequence[Any], options: Sequence[Sequence[Any]]) -> int:
    """The place of the first token at which an option leaves the prompt.

    A tokenizer may merge an option's first letters with the prompt's last; then the merged token is
    scored, for every option, so that they stay comparable. Each option keeps one token at least.
    """
    rows = [prompt, *options]
    shortest = min(map(len, rows))
    places = zip(*rows, strict=False)
    start = next((n for n, place in enumerate(places) if len(set(place)) > 1), shortest)
    return min(start, *(len(option) - 1 for option in options))


async def _by_constraint(model: ServedModel, request: Score) -> ServerScores:
    assert model.choice_fields is not None
    fields_of = model.choice_fields
    # A message that can't be continued is constrained to begin with the prefill as well.
    continued = model.encoder is not None or model.continues
    begin = "" if continued else request.prefill

    async def logprob_of(option: str) -> tuple[float, int]:
        # The likeliest way to cut the option into tokens, which is nearly always its own.
        fields = {**model.own_distribution, "temperature": 0.0, **model.logprob_fields(1)}
        fields |= fields_of([begin + option])
        call = model.call(
            request.messages, len(begin + option) + 8, fields,
            prefill=request.prefill if continued else "",
            reasoning=request.reasoning if continued else "",
        )  # fmt: skip
        return await model.post(call, lambda answer: _forced(model, answer, begin, option))

    pairs = await asyncio.gather(*map(logprob_of, request.options))
    return ServerScores(tuple(p for p, _ in pairs), pairs[0][1])


def _forced(model: ServedModel, answer: Answer, begin: str, option: str) -> tuple[float, int]:
    """Log-probability of an option in a response that was constrained to `begin` + `option`."""
    tokens = model.choice(answer).tokens
    text, total, words = "", 0.0, begin + option
    for token in tokens:
        if len(text) >= len(words):
            break
        text += token.text
        if len(text) > len(begin):  # the option's own tokens; one across the border is counted
            total += token.logprob
    if not tokens or text.strip() != words.strip():
        raise MalformedError("an answer that the constraint does not allow")
    return total, usage_of(answer).prompt


# -- the likeliest tokens of a response -----------------------------------------------------------


async def _by_top(model: ServedModel, request: Score) -> ServerScores:
    if model.continues or model.encoder is not None:
        return await _Walk(model, request).scores()
    fields = {
        **model.own_distribution,
        "temperature": 0.0,
        **model.logprob_fields(model.top_logprobs),
    }
    call = model.call(request.messages, _PATH, fields)
    tokens, prompt_tokens = await model.post(call, lambda a: _likeliest(model, a))
    return ServerScores(path_logprobs(tokens, request.prefill, request.options), prompt_tokens)


def _likeliest(model: ServedModel, answer: Answer) -> tuple[tuple[ServerToken, ...], int]:
    tokens = model.choice(answer).tokens
    if not tokens or not tokens[0].top:
        raise MalformedError("an answer without log-probabilities")
    return tokens, usage_of(answer).prompt


def path_logprobs(
    tokens: Sequence[ServerToken], prefill: str, options: Sequence[str]
) -> tuple[float, ...]:
    """Log-probabilities of options by the tokens of a greedy response and their alternatives.

    The response may give the option at once (`A`), or behind the prefill (`(A`). An option that is
    not among the alternatives gets the least probability among them, an upper bound.
    """
    sums = [0.0] * len(options)
    text, logprob, bound = "", 0.0, 0.0
    for token in tokens:
        alternatives = {**dict(token.top), token.text: token.logprob}
        bound = logprob + min(alternatives.values())
        for word, value in alternatives.items():
            for place, option in enumerate(options):
                if _answers(text + word, prefill, option):
                    sums[place] += math.exp(logprob + value)
        text, logprob = text + token.text, logprob + token.logprob
        answered = any(_answers(text, prefill, option) for option in options)
        begun = any(t.startswith(text.lstrip()) for o in options for t in (prefill + o, o))
        if answered or not begun:
            break
    return tuple(math.log(p) if p else bound for p in sums)


def _answers(text: str, prefill: str, option: str) -> bool:
    """Whether a response begins with an option, behind the prefill or not, and no letter more."""
    text = text.lstrip()
    targets = (prefill + option, option)
    return any(text.startswith(t) and not text[len(t) :][:1].isalnum() for t in targets)


class _Walk:
    """Follows the options token by token where the server continues the assistant's message."""

    def __init__(self, model: ServedModel, request: Score) -> None:
        self._model, self._request = model, request
        self._logprobs: dict[str, float] = {}
        self._prompt_tokens = 0

    async def scores(self) -> ServerScores:
        await self._step("", list(dict.fromkeys(self._request.options)), 0.0)
        logprobs = tuple(self._logprobs[option] for option in self._request.options)
        return ServerScores(logprobs, self._prompt_tokens)

    async def _step(self, text: str, options: Sequence[str], logprob: float) -> None:
        """Ask for the token behind `text`, with which all these options begin."""
        model, request = self._model, self._request
        fields = {**model.own_distribution, **model.logprob_fields(model.top_logprobs)}
        call = model.call(
            request.messages, 1, fields,
            prefill=request.prefill + text, reasoning=request.reasoning,
        )  # fmt: skip
        tokens, size = await model.post(call, lambda answer: _likeliest(model, answer))
        self._prompt_tokens = self._prompt_tokens or size
        top = dict(tokens[0].top)
        following: dict[str, list[str]] = {}
        for option in options:
            rest = option[len(text) :]
            ending = [p for t, p in top.items() if t.startswith(rest)]
            inside = [t for t in top if t and rest.startswith(t) and t != rest]
            if ending:
                self._logprobs[option] = logprob + math.log(math.fsum(map(math.exp, ending)))
            elif inside:
                following.setdefault(max(inside, key=top.__getitem__), []).append(option)
            else:
                self._logprobs[option] = logprob + min(top.values())
        await asyncio.gather(
            *(self._step(text + t, rest, logprob + top[t]) for t, rest in following.items())
        )


# -- estimated ------------------------------------------------------------------------------------


async def _by_counting(model: ServedModel, request: Score) -> ServerScores:
    samples = model.entry.samples
    longest = max(len(request.prefill + option) for option in request.options)
    limit = longest + _SAMPLE_TOKENS + model.reasoning_tokens
    seed = int(digest([request.messages, request.prefill, request.options])[:8], 16)

    async def sample(number: int) -> tuple[Choice, int]:
        fields = {**model.own_distribution, "seed": (seed + number) % _SEEDS}
        call = model.call(request.messages, limit, fields)
        return await model.post(call, lambda a: (model.choice(a), usage_of(a).prompt))

    responses = await asyncio.gather(*map(sample, range(samples)))
    texts = [choice.reply.answer for choice, _ in responses]
    counts = [
        sum(_answers(text, request.prefill, option) for text in texts) for option in request.options
    ]
    return ServerScores(jeffreys(counts, samples), responses[0][1])


def jeffreys(counts: Sequence[int], samples: int) -> tuple[float, ...]:
    """Log-probabilities of answers counted in samples: posterior means under Jeffreys' prior."""
    total = samples + (len(counts) + 1) / 2
    return tuple(math.log((count + 0.5) / total) for count in counts)
