"""Bodies of responses in the format of OpenAI's API, from what the toy model says.

Sources: https://platform.openai.com/docs/api-reference (chat, completions, models, errors);
vLLM's extra fields as in vllm/entrypoints/openai/{chat_completion,completion}/protocol.py.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from tests.servers import toy_lm
from tests.servers.toy_lm import Answer, Scores

Json = dict[str, Any]
Order = Literal["ranked", "sampled first"]
"""How `top_logprobs` are ordered. vLLM puts the sampled token before the ranks and then cuts the
list, so that the last rank may be missing (`OpenAIServingChat._get_top_logprobs`)."""


def error(message: str, *, kind: str, param: str | None = None, code: Any = None) -> Json:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def models(*names: str, owner: str, **fields: Any) -> Json:
    entry = {"object": "model", "created": 1_700_000_000, "owned_by": owner, **fields}
    return {"object": "list", "data": [{"id": name, **entry} for name in names]}


def chat_completion(
    id_: str,
    model: str,
    prompt: Sequence[int],
    answers: Sequence[Answer],
    *,
    top: int | None,
    order: Order = "ranked",
    ends: bool = False,
    ids: Sequence[int] | None = None,
    by_id: bool = False,
) -> Json:
    """A `chat.completion`. top: how many log-probabilities a token, None for no logprobs.

    ends: whether the token that ends a turn has an entry of its own. ids: tokens to list instead of
    the best ones. by_id: tokens are written `token_id:5`. All as with vLLM.
    """
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": answer.text},
            "logprobs": (
                None
                if top is None
                else chat_logprobs(answer, top, order, ends=ends, ids=ids, by_id=by_id)
            ),
            "finish_reason": answer.finish_reason,
        }
        for index, answer in enumerate(answers)
    ]
    return {
        "id": f"chatcmpl-{id_}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": choices,
        "usage": usage([prompt], answers),
    }


def completion(
    id_: str,
    model: str,
    prompts: Sequence[Sequence[int]],
    answers: Sequence[Sequence[Answer]],
    *,
    top: int | None,
    echo: bool,
    ends: bool = False,
    by_id: bool = False,
    variant: str = "",
) -> Json:
    """A `text_completion`. answers: those of each prompt, which become choices in order."""
    choices: list[Json] = []
    for prompt, group in zip(prompts, answers, strict=True):
        for answer in group:
            text = (toy_lm.decode(prompt) if echo else "") + answer.text
            logprobs = None
            if top is not None:
                read = prompt if echo else []
                logprobs = completion_logprobs(
                    read, answer, top, ends=ends, by_id=by_id, variant=variant
                )
            choices.append(
                {
                    "index": len(choices),
                    "text": text,
                    "logprobs": logprobs,
                    "finish_reason": answer.finish_reason,
                }
            )
    return {
        "id": f"cmpl-{id_}",
        "object": "text_completion",
        "created": int(time.time()),
        "model": model,
        "choices": choices,
        "usage": usage(prompts, [answer for group in answers for answer in group]),
    }


def usage(prompts: Sequence[Sequence[int]], answers: Sequence[Answer]) -> dict[str, int]:
    read, written = sum(map(len, prompts)), sum(len(answer.ids) for answer in answers)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def chat_logprobs(
    answer: Answer,
    top: int,
    order: Order = "ranked",
    *,
    ends: bool,
    ids: Sequence[int] | None = None,
    by_id: bool = False,
) -> Json:
    """`logprobs` of a chat's choice."""
    content = []
    for id_, row in _tokens(answer, ends=ends):
        ranks = ranked(row, top) if ids is None else list(ids)
        if order == "sampled first":
            ranks = [id_, *(rank for rank in ranks if rank != id_)]
            ranks = ranks[:top] if ids is None else ranks
        listed = [_entry(rank, row, by_id) for rank in ranks]
        content.append({**_entry(id_, row, by_id), "top_logprobs": listed})
    return {"content": content, "refusal": None}


def completion_logprobs(
    prompt: Sequence[int],
    answer: Answer,
    top: int,
    *,
    ends: bool,
    by_id: bool = False,
    variant: str = "",
) -> Json:
    """`logprobs` of a completion's choice, those of `prompt` first. Nothing precedes its first."""
    rows = list(zip(prompt, toy_lm.score(prompt, variant=variant), strict=True))
    rows += _tokens(answer, ends=ends)
    offsets, at = [], 0
    for id_, _ in rows:
        offsets.append(at)
        at += len(toy_lm.decode([id_]))
    return {
        "tokens": [name(id_, by_id) for id_, _ in rows],
        "token_logprobs": [None if row is None else float(row[id_]) for id_, row in rows],
        "top_logprobs": [None if row is None else _top(id_, row, top, by_id) for id_, row in rows],
        "text_offset": offsets,
    }


def ranked(row: Scores, count: int) -> list[int]:
    """The ids of the most probable tokens, best first; -1 for all."""
    order = [int(id_) for id_ in (-row).argsort(kind="stable")]
    return order if count == -1 else order[:count]


def _tokens(answer: Answer, *, ends: bool) -> Iterator[tuple[int, Scores]]:
    for id_, row in zip(answer.ids, answer.scores, strict=True):
        if ends or id_ != toy_lm.END_ID:
            yield id_, row


def name(id_: int, by_id: bool) -> str:
    """How a token is written."""
    return f"token_id:{id_}" if by_id else toy_lm.decode([id_])


def _entry(id_: int, row: Scores, by_id: bool) -> Json:
    token = name(id_, by_id)
    return {"token": token, "logprob": float(row[id_]), "bytes": list(toy_lm.piece(id_))}


def _top(id_: int, row: Scores, top: int, by_id: bool) -> dict[str, float]:
    """By text, as OpenAI does it, so that tokens of equal text share an entry; `id_` has one."""
    ids = [*reversed(ranked(row, top)), id_]
    return {name(rank, by_id): float(row[rank]) for rank in ids}
