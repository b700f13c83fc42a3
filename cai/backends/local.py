"""The backend of a local model: encoding, cache keys and queues. `cai.models` computes."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cai.backends.base import GroupResult, ModelInfo, Prepared, Throughput
from cai.decoding import Decoding, key_facts
from cai.digest import digest
from cai.errors import CaiError, PromptError, UsageError
from cai.models.generate import Sampler
from cai.models.load import LoadedModel, load_model
from cai.models.response import Job
from cai.models.score import OptionScorer, ScoringTask
from cai.text.encode import Encoded
from cai.text.template import TemplateOptions
from cai.types import Generate, Generation, Request, Result, Sampling, Score, Scores

MIN_RESPONSE = 16
"""Fewest tokens of context left for a response (or `max_new_tokens`, if that is less)."""


@dataclass(frozen=True, slots=True)
class _GeneratePayload:
    """A prepared `Generate`: its tokens, sampling and token limits."""

    encoded: Encoded
    limit: int
    sampling: Sampling
    reasoning_limit: int


@dataclass(frozen=True, slots=True)
class _ScorePayload:
    """A prepared `Score`: its tokens and options."""

    encoded: Encoded
    task: ScoringTask


@dataclass
class _Group:
    """A submitted group: its requests, and the results so far."""

    ticket: int
    requests: tuple[Prepared, ...]
    results: dict[int, Result] = field(default_factory=dict)
    failed: bool = False


def _info(loaded: LoadedModel) -> ModelInfo:
    lora = loaded.adapter
    base = _info(lora.base) if lora else None
    adapter = ModelInfo(lora.name, lora.digest) if lora else None
    template = loaded.encoder.template
    return ModelInfo(
        loaded.name,
        loaded.fingerprint,
        loaded.sampling,
        base,
        adapter,
        template.facts,
        template.thinks,
    )


class LocalBackend:
    """Answers requests with a loaded model; its adapter is active only while it computes.

    batch_size: responses generated at once. In float32 it changes speed and memory alone.
    """

    def __init__(self, loaded: LoadedModel, batch_size: int = 16) -> None:
        self.encoder = loaded.encoder
        self.context = loaded.context
        self._info = _info(loaded)
        self._capacity = batch_size
        self._weights = loaded.weights
        with self._weights():  # both test how this model can be batched
            self._sampler = Sampler(loaded.model, loaded.encoder, batch_size)
            self._scorer = OptionScorer(loaded.model)
        self._scoring: deque[_Group] = deque()
        self._jobs: dict[int, tuple[Job, _Group, int]] = {}

    @classmethod
    def load(
        cls,
        name: str,
        *,
        device: str = "auto",
        dtype: str = "auto",
        adapter: str | None = None,
        batch_size: int = 16,
        template: TemplateOptions | None = None,
    ) -> LocalBackend:
        """Load a model by name, directory or hub id; see `cai.models.load.load_model`.

        Backends that share a base are made from one `LoadedModel` and its `with_adapter`.
        """
        return cls(load_model(name, device, dtype, adapter, template=template), batch_size)

    @property
    def info(self) -> ModelInfo:
        """The model behind it."""
        return self._info

    @property
    def capacity(self) -> int:
        """The number of conversations that the backend can work on at once."""
        return self._capacity

    @property
    def throughput(self) -> Throughput:
        """Token counts since the backend was made."""
        sampler, counts = self._sampler, self._scorer.counts
        return Throughput(
            sampler.prompt_tokens + counts.prompt_tokens,
            sampler.response_tokens,
            sampler.cached_tokens + counts.cached_tokens,
        )

    def verify(self, requests: Sequence[Request]) -> None:
        """Do nothing: all requests can be answered."""

    def prepare(self, request: Request) -> Prepared:
        """Encode a request and compute its cache key.

        Raises `PromptError` when the text can't be encoded or leaves too little of the context.
        """
        if isinstance(request, Generate):
            encoded = self.encoder.encode(request.messages, request.prefill or None)
            limit = self._limit(len(encoded.ids), request.sampling)
            room = self.context - len(encoded.ids)
            reasoning_limit = 0
            if self.encoder.marker_ids:
                reasoning_limit = min(request.sampling.max_reasoning_tokens, room - limit)
            own = self._info.sampling
            sampling = replace(request.sampling, **asdict(Decoding.of(request.sampling, own)))
            facts = {"sampling": key_facts(sampling), "limit": limit}
            if reasoning_limit:
                facts["reasoning"] = reasoning_limit
            key = self._key("generate", encoded, facts)
            return Prepared(
                request, key, _GeneratePayload(encoded, limit, sampling, reasoning_limit)
            )
        encoded = self.encoder.encode(
            request.messages, request.prefill, reasoning=request.reasoning
        )
        task = self._task(request, encoded)
        key = self._key("score", encoded, {"options": task.options, "start": task.start})
        return Prepared(request, key, _ScorePayload(encoded, task))

    def submit(self, ticket: int, group: Sequence[Prepared], conversation: str) -> None:
        """Queue a group of requests of one kind."""
        requests = tuple(group)
        pending = _Group(ticket, requests)
        if all(isinstance(p.payload, _ScorePayload) for p in requests):
            self._scoring.append(pending)
            return
        for place, prepared in enumerate(requests):
            if not isinstance(prepared.payload, _GeneratePayload) or not isinstance(
                prepared.request, Generate
            ):
                raise ValueError("a group holds generations or scores, not both")
            payload = prepared.payload
            job = Job(
                payload.encoded.ids,
                payload.sampling,
                payload.limit,
                conversation,
                payload.reasoning_limit,
            )
            self._jobs[id(job)] = (job, pending, place)
            self._sampler.submit(job)

    def poll(self, timeout: float | None = None) -> list[GroupResult]:
        """Compute until at least one group is finished, or for `timeout` seconds.

        Scores go first: they are short, and tasks that wait for them then have text to generate.
        """
        end = math.inf if timeout is None else time.monotonic() + timeout
        with self._weights():
            if self._scoring:
                return [self._score(self._scoring.popleft())]
            results: list[GroupResult] = []
            while not results and self._sampler.busy:
                for job in self._sampler.step():
                    results += self._finish(job)
                if time.monotonic() >= end:
                    break
            return results

    def release(self, conversation: str) -> None:
        """Free the KV cache of a conversation that is over."""
        self._sampler.release(conversation)

    # -- requests -------------------------------------------------------------------------------

    def _key(self, kind: str, encoded: Encoded, rest: dict[str, Any]) -> str:
        model = self._info.fingerprint
        return digest({"kind": kind, "model": model, "ids": encoded.ids, **rest})

    def _limit(self, tokens: int, sampling: Sampling) -> int:
        """The most tokens of a response to a prompt of `tokens` tokens."""
        if sampling.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens is {sampling.max_new_tokens}; it must be 1 or more.")
        room = self.context - tokens
        if room < min(MIN_RESPONSE, sampling.max_new_tokens):
            raise PromptError(
                f"too long: the prompt has {tokens} tokens; the model takes {self.context} in all,"
                f" which leaves {max(room, 0)} for the response",
                hint="Shorten the row, or use a model with a longer context.",
            )
        return min(sampling.max_new_tokens, room)

    def _task(self, request: Score, encoded: Encoded) -> ScoringTask:
        if not request.options or not all(request.options):
            raise UsageError("A score needs options, and none of them empty.")
        options = [
            self.encoder.encode(
                request.messages, request.prefill + option, reasoning=request.reasoning
            ).ids
            for option in request.options
        ]
        longest = max(map(len, options))
        if longest > self.context:
            raise PromptError(
                f"too long: the prompt with its longest option has {longest} tokens; the model"
                f" takes {self.context}",
                hint="Shorten the row, or use a model with a longer context.",
            )
        return ScoringTask.of(encoded.ids, options)

    # -- results --------------------------------------------------------------------------------

    def _score(self, group: _Group) -> GroupResult:
        payloads = [p.payload for p in group.requests]
        try:
            values = self._scorer.score([p.task for p in payloads])
        except CaiError as error:
            return GroupResult(group.ticket, error=error)
        results = tuple(
            Scores(
                logprobs=logprobs,
                options=prepared.request.options,
                model=self._info.name,
                rendered_prompt=prepared.payload.encoded.text,
                prompt_tokens=len(prepared.payload.encoded.ids),
                key=prepared.key,
            )
            for prepared, logprobs in zip(group.requests, values, strict=True)
            if isinstance(prepared.request, Score)
        )
        return GroupResult(group.ticket, results)

    def _finish(self, job: Job) -> list[GroupResult]:
        """Add a finished response to its group; return the group's results if that completes it."""
        _, group, place = self._jobs.pop(id(job))
        if group.failed:
            return []
        if job.error is not None:
            group.failed = True
            return [GroupResult(group.ticket, error=job.error)]
        prepared = group.requests[place]
        encoded: Encoded = prepared.payload.encoded
        group.results[place] = Generation(
            text=job.text,
            token_ids=tuple(job.out),
            finish_reason=job.finish or "length",
            model=self._info.name,
            rendered_prompt=encoded.text,
            prompt_tokens=len(encoded.ids),
            response_tokens=job.token_count,
            key=prepared.key,
            reasoning=job.reasoning,
        )
        if len(group.results) < len(group.requests):
            return []
        return [
            GroupResult(group.ticket, tuple(group.results[i] for i in range(len(group.requests))))
        ]
