"""Responses sampled from the policy; their log-probabilities and values.

A response is kept as the sampled token ids, with the token that ended it: its mask comes from
there, never from a padding id. Log-probabilities are those of the distribution that was sampled
from: the same adapter, the same temperature, the whole vocabulary.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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
from cai.training.score_parts import ScorePart
from cai.types import Messages, Prompt, Sampling, SetAside, as_dicts


@dataclass(frozen=True, slots=True)
class EncodedPrompt:
    """A prompt and its token ids, up to where the response begins."""

    id: str
    messages: Messages
    ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Response:
    """The policy's response to a prompt.

    ids: every sampled token, the reasoning before the answer and the token that ended the turn
    included. text: the answer alone. reasoning: what came before it. ended: whether the policy
    ended its turn properly, as `has_ended` defines it. The penalty for a missing end, the monitors
    and what auditors read all go by this one field. sampler_logprobs: log-probability of each token
    by the server that sampled it; empty where it was sampled here.
    """

    prompt: EncodedPrompt
    ids: tuple[int, ...]
    text: str
    ended: bool
    reasoning: str = ""
    sampler_logprobs: tuple[float, ...] = ()

    @property
    def tokens(self) -> Tokens:
        """The conversation as sampled; the response's tokens count."""
        return Tokens.counted_from((*self.prompt.ids, *self.ids), len(self.prompt.ids))


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


def encode_prompts(
    encoder: Encoder, prompts: Sequence[Prompt], limit: int
) -> tuple[list[EncodedPrompt], list[SetAside]]:
    """Prompts as token ids; those that can't be encoded or exceed `limit` tokens are set aside."""
    encoded, set_aside = [], []
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
            encoded.append(EncodedPrompt(prompt.id, prompt.messages, ids))
    return encoded, set_aside


def draw_prompts(
    prompts: Sequence[EncodedPrompt], count: int, seed: int, update: int
) -> list[tuple[EncodedPrompt, int]]:
    """The prompts of one update, each with its epoch: the number of the pass over all prompts.

    Every epoch has its own order, a function of (seed, epoch), so there is no state to save.
    """
    orders: dict[int, list[EncodedPrompt]] = {}
    out = []
    for i in range(update * count, (update + 1) * count):
        epoch, k = divmod(i, len(prompts))
        if epoch not in orders:
            orders[epoch] = sorted(prompts, key=lambda p: derive(seed, "order", epoch, p.id))
        out.append((orders[epoch][k], epoch))
    return out


def generate_responses(
    backbone: Backbone,
    policy: str | None,
    prompts: Sequence[tuple[EncodedPrompt, int]],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    update: int,
    max_reasoning_tokens: int = 0,
    slots: int = 64,
) -> list[Response]:
    """Sample a response to each prompt from the policy, seeded by prompt and update.

    prompts: with their epochs, as `draw_prompts` returns them. slots: most at once. The adapters'
    dropout is turned off permanently. Raises `ModelError` if logits contain NaN, or if one response
    does not fit into memory.
    """
    jobs = rollout_jobs(prompts, max_new_tokens, temperature, seed, update, max_reasoning_tokens)
    backbone.train(False)
    with backbone.using(policy):
        # A new sampler each time: the keys and values of an older policy must not be read again.
        sampler = Sampler(backbone.inner, backbone.encoder, min(slots, len(prompts)))
        for job in jobs:
            sampler.submit(job)
        while sampler.busy:
            for job in sampler.step():
                if job.error is not None:
                    raise job.error
    return [
        response_of(prompt, job, backbone.encoder)
        for (prompt, _), job in zip(prompts, jobs, strict=True)
    ]


def rollout_jobs(
    prompts: Sequence[tuple[EncodedPrompt, int]],
    max_new_tokens: int,
    temperature: float,
    seed: int,
    update: int,
    max_reasoning_tokens: int = 0,
) -> list[Job]:
    """The responses to be sampled, each seeded by (seed, prompt, update, epoch)."""
    jobs = []
    for number, (prompt, epoch) in enumerate(prompts):
        prompt_seed = derive(seed, "rollout", prompt.id, update, epoch)
        sampling = Sampling(
            temperature=temperature, max_new_tokens=max_new_tokens, seed=prompt_seed
        )
        jobs.append(Job(prompt.ids, sampling, max_new_tokens, str(number), max_reasoning_tokens))
    return jobs


def response_of(
    prompt: EncodedPrompt, job: Job, encoder: Encoder, sampler_logprobs: Sequence[float] = ()
) -> Response:
    """What a finished job wrote to its prompt."""
    return Response(
        prompt, tuple(job.tokens), job.text, has_ended(job, encoder), job.reasoning,
        tuple(sampler_logprobs),
    )  # fmt: skip


def has_ended(job: Job, encoder: Encoder) -> bool:
    """Whether the policy ended its response: by an EOS token or by the end of its turn.

    It did if the last sampled token ends the assistant's turn (`Encoder.eos_ids`), or, in a format
    without a chat template, if the next turn's heading was written (`Encoder.stop_texts`). It
    did not if it ran into the limit, nor if another special token cut it off: a `<|im_start|>`
    in the middle of a turn stops sampling, but does not end the turn.
    """
    if job.finish != "stop":
        return False
    return job.tokens[-1] in encoder.eos_ids or job.tokens[-1] not in encoder.stop_ids


def response_mask(responses: Sequence[Response], device: torch.device) -> Tensor:
    """Mask of the responses' tokens: bool [B, T], T the length of the longest response."""
    lengths = torch.tensor([len(r.ids) for r in responses])
    return to_device(torch.arange(int(lengths.max())) < lengths[:, None], device)


def logprobs_and_values(
    backbone: Backbone,
    adapter: str | None,
    responses: Sequence[Response],
    width: int,
    temperature: float,
    value_head: nn.Module | None = None,
) -> tuple[Tensor, Tensor | None]:
    """Log-probabilities of the sampled tokens, and the values before them: float32 [B, width] each.

    adapter: None for the base alone. temperature: the one that they were sampled at.
    """
    rows = collate([r.tokens for r in responses]).to(backbone.device)
    positions = [b * width + t for b, r in enumerate(responses) for t in range(len(r.ids))]
    flat_index = to_device(torch.tensor(positions), backbone.device)

    def spread(flat: Tensor) -> Tensor:
        out = flat.new_zeros(len(responses) * width).index_put((flat_index,), flat)
        return out.view(len(responses), width)

    with backbone.using(adapter):
        hidden = hidden_states(backbone, rows).flatten(0, 1)[rows.target_positions]
        logprobs = spread(token_logprobs(hidden, backbone.head, rows.targets, temperature))
    return logprobs, None if value_head is None else spread(value_head(hidden))


def rollout_rows(
    update: int,
    responses: Sequence[Response],
    scores: Sequence[float],
    kl: Sequence[float],
    second_scores: Sequence[float] | None,
    parts: Sequence[ScorePart] = (),
    details: Sequence[Mapping[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """The rows of `rollouts.jsonl` for one update; `second_scores`: the second reward's.

    parts: of the scores; a row has what each one adds to its score. number: from 2 on, of the
    further responses to a prompt. details: what a method has to say of each response besides.
    """
    counts: Counter[str] = Counter()
    rows = []
    for i, response in enumerate(responses):
        counts[response.prompt.id] += 1
        number = counts[response.prompt.id]
        rows.append({
            "update": update,
            "prompt_id": response.prompt.id,
            **({"number": number} if number > 1 else {}),
            "prompt": as_dicts(response.prompt.messages),
            "response": response.text,
            **({"reasoning": response.reasoning} if response.reasoning else {}),
            "score": scores[i],
            "kl": kl[i],
            "tokens": len(response.ids),
            "ended": response.ended,
            **({} if second_scores is None else {"second_reward": second_scores[i]}),
            **({"parts": [part.row(i) for part in parts]} if parts else {}),
            **({} if details is None else details[i]),
        })  # fmt: skip
    return rows
