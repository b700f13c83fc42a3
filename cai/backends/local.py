"""The backend of a local model: its queues. `cai.models` computes."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from cai.backends.base import GroupResult, ModelInfo, Prepared, Throughput
from cai.backends.encoding import GeneratePayload, RequestEncoder, ScorePayload
from cai.errors import CaiError
from cai.models.generate import Sampler
from cai.models.load import LoadedModel, load_model
from cai.models.response import Job
from cai.models.score import OptionScorer
from cai.text.encode import Encoded
from cai.text.template import TemplateOptions
from cai.types import Generate, Generation, Request, Result, Score, Scores


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
        self._info = _info(loaded)
        self.encoder = loaded.encoder
        self.context = loaded.context
        """Most tokens of a prompt with its response."""
        self._requests = RequestEncoder(self._info, loaded.encoder, loaded.context)
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
        return self._requests.prepare(request)

    def submit(self, ticket: int, group: Sequence[Prepared], conversation: str) -> None:
        """Queue a group of requests of one kind."""
        requests = tuple(group)
        pending = _Group(ticket, requests)
        if all(isinstance(p.payload, ScorePayload) for p in requests):
            self._scoring.append(pending)
            return
        for place, prepared in enumerate(requests):
            if not isinstance(prepared.payload, GeneratePayload) or not isinstance(
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
