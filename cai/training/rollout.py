"""Responses drawn from the policy, and how policy, reference and value head read them.

A response is kept as the token ids that were drawn, the token that ended it among them: its mask
comes from there, never from a padding id. What is scored is the distribution that was drawn from:
the same adapter, the same temperature, the whole vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from cai.errors import PromptError
from cai.models.backbone import Backbone
from cai.models.generate import Sampler
from cai.models.logprobs import token_logprobs
from cai.models.response import Job
from cai.text.encode import Encoder
from cai.text.seeds import derive
from cai.training.batches import Tokens, collate, hidden_states, to_device
from cai.types import Messages, Prompt, Sampling, SetAside, as_dicts

SLOTS = 64
"""Most responses written at once."""


@dataclass(frozen=True, slots=True)
class ReadyPrompt:
    """A prompt and its token ids, up to where the response begins."""

    id: str
    messages: Messages
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Response:
    """The policy's response to a prompt.

    ids: every token drawn, with the one that ended the turn, and with reasoning before the answer.
    text: the answer alone. reasoning: what came before it. ended: whether the policy ended its turn
    properly, as `has_ended` defines it. The penalty for a missing end, the monitors and what
    auditors read all go by this one field.
    """

    prompt: ReadyPrompt
    ids: tuple[int, ...]
    text: str
    ended: bool
    reasoning: str = ""

    @property
    def tokens(self) -> Tokens:
        """The conversation as it was drawn; the response's tokens count."""
        before = len(self.prompt.ids)
        return Tokens((*self.prompt.ids, *self.ids), (False,) * before + (True,) * len(self.ids))


class Rollout(NamedTuple):
    """B responses of up to T tokens, as they were before the update.

    mask: bool [B, T], True for the tokens of a response. logprobs, reference_logprobs: float32
    [B, T], of each token under policy and reference. values: float32 [B, T], the critic's before
    each token. scores: float32 [B]. All are 0 where the mask is False.
    """

    mask: Tensor
    logprobs: Tensor
    reference_logprobs: Tensor
    values: Tensor
    scores: Tensor

    @property
    def kl(self) -> Tensor:
        """Estimate of each response's KL to the reference: float32 [B], nats a sequence."""
        return (self.logprobs - self.reference_logprobs).sum(dim=1)


def ready_prompts(
    encoder: Encoder, prompts: Sequence[Prompt], limit: int
) -> tuple[list[ReadyPrompt], list[SetAside]]:
    """Encode prompts; those that can't be, or have more than `limit` tokens, are set aside."""
    ready, set_aside = [], []
    for prompt in prompts:
        try:
            ids = encoder.encode(prompt.messages).ids
            if len(ids) > limit:
                raise PromptError(
                    f"too long: the prompt has {len(ids)} tokens; with the response's the context"
                    f" allows {max(limit, 0)}"
                )
        except PromptError as error:
            set_aside.append(SetAside(prompt.source or prompt.id, error.message))
        else:
            ready.append(ReadyPrompt(prompt.id, prompt.messages, ids))
    return ready, set_aside


def draw_prompts(
    prompts: Sequence[ReadyPrompt], count: int, seed: int, update: int
) -> list[tuple[ReadyPrompt, int]]:
    """The prompts of one update, each with the number of the pass over all prompts it is part of.

    Every pass has its own order, a function of (seed, pass), so nothing has to be remembered.
    """
    orders: dict[int, list[ReadyPrompt]] = {}
    out = []
    for place in range(update * count, (update + 1) * count):
        turn, k = divmod(place, len(prompts))
        if turn not in orders:
            orders[turn] = sorted(prompts, key=lambda p: derive(seed, "order", turn, p.id))
        out.append((orders[turn][k], turn))
    return out


def write_responses(
    backbone: Backbone,
    policy: str | None,
    prompts: Sequence[tuple[ReadyPrompt, int]],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    update: int,
    max_reasoning_tokens: int = 0,
) -> list[Response]:
    """Draw a response to each prompt from the policy, one seed each: (seed, prompt, update, pass).

    The adapters' dropout is turned off for good. Raises `ModelError` where the model gives no
    numbers, or one response does not fit into memory.
    """
    jobs = []
    backbone.train(False)
    with backbone.using(policy):
        # A new sampler each time: the keys and values of an older policy must not be read again.
        sampler = Sampler(backbone.inner, backbone.encoder, min(SLOTS, len(prompts)))
        for number, (prompt, turn) in enumerate(prompts):
            prompt_seed = derive(seed, "rollout", prompt.id, update, turn)
            sampling = Sampling(
                temperature=temperature, max_new_tokens=max_new_tokens, seed=prompt_seed
            )
            jobs.append(
                Job(prompt.ids, sampling, max_new_tokens, str(number), max_reasoning_tokens)
            )
            sampler.submit(jobs[-1])
        while sampler.busy:
            for job in sampler.step():
                if job.error is not None:
                    raise job.error
    return [
        Response(
            prompt, tuple(job.tokens), job.text, has_ended(job, backbone.encoder), job.reasoning
        )
        for (prompt, _), job in zip(prompts, jobs, strict=True)
    ]


def has_ended(job: Job, encoder: Encoder) -> bool:
    """Whether a response came to a proper end.

    It did where the last token drawn ends the assistant's turn (`Encoder.eos_ids`), or, in a format
    without a chat template, where the next turn's heading was written (`Encoder.stop_texts`). It
    did not where it ran into the limit, nor where another special token cut it off: a
    `<|im_start|>` in the middle of a turn stops the drawing, and is no end.
    """
    if job.finish != "stop":
        return False
    return job.tokens[-1] in encoder.eos_ids or job.tokens[-1] not in encoder.stop_ids


def response_mask(responses: Sequence[Response], device: torch.device) -> Tensor:
    """Which places of [B, T] hold a token: bool, T the longest response's length."""
    lengths = torch.tensor([len(r.ids) for r in responses])
    return to_device(torch.arange(int(lengths.max())) < lengths[:, None], device)


def read_responses(
    backbone: Backbone,
    adapter: str | None,
    responses: Sequence[Response],
    width: int,
    temperature: float,
    value_head: nn.Module | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of the tokens drawn, and the values before them: float32 [B, width] each.

    adapter: who reads, None for the base alone. temperature: the one they were drawn with.
    """
    rows = collate([r.tokens for r in responses]).to(backbone.device)
    steps = [b * width + t for b, r in enumerate(responses) for t in range(len(r.ids))]
    at = to_device(torch.tensor(steps), backbone.device)

    def spread(flat: Tensor) -> Tensor:
        out = flat.new_zeros(len(responses) * width).index_put((at,), flat)
        return out.view(len(responses), width)

    with backbone.using(adapter):
        hidden = hidden_states(backbone, rows).flatten(0, 1)[rows.places]
        logprobs = spread(token_logprobs(hidden, backbone.head, rows.targets, temperature))
    return logprobs, None if value_head is None else spread(value_head(hidden))


def rollout_rows(
    update: int,
    responses: Sequence[Response],
    scores: Sequence[float],
    kl: Sequence[float],
    second_scores: Sequence[float] | None,
) -> list[dict[str, Any]]:
    """The rows of `rollouts.jsonl` for one update; `second_scores`: the second reward's."""
    return [
        {
            "update": update,
            "prompt_id": response.prompt.id,
            "prompt": as_dicts(response.prompt.messages),
            "response": response.text,
            **({"reasoning": response.reasoning} if response.reasoning else {}),
            "score": scores[i],
            "kl": kl[i],
            "tokens": len(response.ids),
            "ended": response.ended,
            **({} if second_scores is None else {"check": second_scores[i]}),
        }
        for i, response in enumerate(responses)
    ]
