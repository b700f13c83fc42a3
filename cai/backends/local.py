"""A model on this machine behind the port: encoding, keys, queues; the work is in `cai.models`."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from cai.backends.base import GroupResult, ModelInfo, Prepared, Throughput
from cai.decoding import Decoding, key_facts
from cai.digest import digest
from cai.errors import CaiError, PromptError, UsageError
from cai.models.generate import Job, Sampler
from cai.models.load import LoadedModel, load_model
from cai.models.score import OptionScorer, ScoringTask
from cai.text.encode import Encoded
from cai.text.template import TemplateOptions
from cai.types import Generate, Generation, Request, Result, Sampling, Score, Scores

LEAST = 16
"""Tokens a response must have room for (or `max_new_tokens`, where that is less)."""


@dataclass(frozen=True, slots=True)
class _Writing:
    """A prepared `Generate`: what is read, how it is drawn, and the most tokens to write."""

    encoded: Encoded
    limit: int
    sampling: Sampling
    reasoning_limit: int


@dataclass(frozen=True, slots=True)
class _Scoring:
    """A prepared `Score`."""

    encoded: Encoded
    task: ScoringTask


@dataclass
class _Group:
    """A submitted group: its parts, and the results so far."""

    ticket: int
    parts: tuple[Prepared, ...]
    results: dict[int, Result] = field(default_factory=dict)
    failed: bool = False


def _info(loaded: LoadedModel) -> ModelInfo:
    mounted = loaded.adapter
    base = _info(mounted.base) if mounted else None
    adapter = ModelInfo(mounted.name, mounted.digest) if mounted else None
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
    """Answers requests with a loaded model, whose adapter is in use while it works and only then.

    batch_size: responses written at once. It changes speed and memory, and in float32 nothing else.
    """

    def __init__(self, loaded: LoadedModel, batch_size: int = 16) -> None:
        self.encoder = loaded.encoder
        self.context = loaded.context
        self._info = _info(loaded)
        self._capacity = batch_size
        self._weights = loaded.weights
        with self._weights():  # both try out how this very model can be batched
            self._sampler = Sampler(loaded.model, loaded.encoder, batch_size)
            self._scorer = OptionScorer(loaded.model)
        self._scoring: deque[_Group] = deque()
        self._writing: dict[int, tuple[Job, _Group, int]] = {}

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
        """How many conversations are worth keeping open at once."""
        return self._capacity

    @property
    def throughput(self) -> Throughput:
        """Tokens read, written and spared since the backend was made."""
        sampler, counts = self._sampler, self._scorer.counts
        return Throughput(
            sampler.prompt_tokens + counts.read,
            sampler.response_tokens,
            sampler.cached_tokens + counts.spared,
        )

    def prepare(self, request: Request) -> Prepared:
        """Encode a request and compute its key.

        Raises `PromptError` where the text can't be encoded or leaves too little of the context.
        """
        if isinstance(request, Generate):
            encoded = self.encoder.encode(request.messages, request.prefill or None)
            limit = self._limit(len(encoded.ids), request.sampling)
            room = self.context - len(encoded.ids)
            reasoning = 0
            if self.encoder.marker_ids:
                reasoning = min(request.sampling.max_reasoning_tokens, room - limit)
            own = self._info.sampling
            held = replace(request.sampling, **asdict(Decoding.of(request.sampling, own)))
            writing = {"sampling": key_facts(held), "limit": limit}
            if reasoning:
                writing["reasoning"] = reasoning
            key = self._key("generate", encoded, writing)
            return Prepared(request, key, _Writing(encoded, limit, held, reasoning))
        encoded = self.encoder.encode(
            request.messages, request.prefill, reasoning=request.reasoning
        )
        task = self._task(request, encoded)
        key = self._key("score", encoded, {"options": task.options, "start": task.start})
        return Prepared(request, key, _Scoring(encoded, task))

    def submit(self, ticket: int, group: Sequence[Prepared], conversation: str) -> None:
        """Queue a group of requests of one kind."""
        parts = tuple(group)
        opened = _Group(ticket, parts)
        if all(isinstance(p.payload, _Scoring) for p in parts):
            self._scoring.append(opened)
            return
        for place, part in enumerate(parts):
            if not isinstance(part.payload, _Writing) or not isinstance(part.request, Generate):
                raise ValueError("a group holds generations or scores, not both")
            writing = part.payload
            job = Job(
                writing.encoded.ids,
                writing.sampling,
                writing.limit,
                conversation,
                writing.reasoning_limit,
            )
            self._writing[id(job)] = (job, opened, place)
            self._sampler.submit(job)

    def poll(self) -> list[GroupResult]:
        """Work until at least one group is finished; empty only when nothing is queued.

        Scores go first: they are short, and what waits for them comes back to be written.
        """
        with self._weights():
            if self._scoring:
                return [self._score(self._scoring.popleft())]
            done: list[GroupResult] = []
            while not done and self._sampler.busy:
                for job in self._sampler.step():
                    done += self._written(job)
            return done

    def release(self, conversation: str) -> None:
        """Nothing more will come for this conversation: its cache may go."""
        self._sampler.release(conversation)

    # -- requests -------------------------------------------------------------------------------

    def _key(self, kind: str, encoded: Encoded, rest: dict[str, Any]) -> str:
        model = self._info.fingerprint
        return digest({"kind": kind, "model": model, "ids": encoded.ids, **rest})

    def _limit(self, tokens: int, sampling: Sampling) -> int:
        """Most tokens to write behind a prompt of so many tokens."""
        if sampling.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens is {sampling.max_new_tokens}; it must be 1 or more.")
        room = self.context - tokens
        if room < min(LEAST, sampling.max_new_tokens):
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
        payloads = [p.payload for p in group.parts]
        try:
            values = self._scorer.score([p.task for p in payloads])
        except CaiError as error:
            return GroupResult(group.ticket, error=error)
        results = tuple(
            Scores(
                logprobs=logprobs,
                options=part.request.options,
                model=self._info.name,
                rendered_prompt=part.payload.encoded.text,
                prompt_tokens=len(part.payload.encoded.ids),
                key=part.key,
            )
            for part, logprobs in zip(group.parts, values, strict=True)
            if isinstance(part.request, Score)
        )
        return GroupResult(group.ticket, results)

    def _written(self, job: Job) -> list[GroupResult]:
        """Put a finished response in its group; returns the group when that completes it."""
        _, group, place = self._writing.pop(id(job))
        if group.failed:
            return []
        if job.error is not None:
            group.failed = True
            return [GroupResult(group.ticket, error=job.error)]
        part = group.parts[place]
        encoded: Encoded = part.payload.encoded
        group.results[place] = Generation(
            text=job.text,
            token_ids=tuple(job.out),
            finish_reason=job.finish or "length",
            model=self._info.name,
            rendered_prompt=encoded.text,
            prompt_tokens=len(encoded.ids),
            response_tokens=job.written,
            key=part.key,
            reasoning=job.reasoning,
        )
        if len(group.results) < len(group.parts):
            return []
        return [GroupResult(group.ticket, tuple(group.results[i] for i in range(len(group.parts))))]
