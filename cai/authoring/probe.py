"""Measures how fast models generate and score on this machine, in a few seconds.

The requests are those that `plan_build` collected, so prompts are as long as the build's. Every
text is cut after a few tokens; the time of longer texts is extrapolated by the token.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cai.authoring.planning import PlannedWork
from cai.backends.base import Backend
from cai.errors import PromptError
from cai.pipeline.steps import BuildStage, ModelRole
from cai.types import Generate, Request

SECONDS = 3.0
"""Time limit for texts, and again for scores; a batch that has begun is finished."""
TOKENS = 32
"""Tokens after which a text is cut."""
WRITERS: Mapping[BuildStage, ModelRole] = {
    "response": "generator", "pair": "generator", "revision": "generator", "critique": "critic",
    "reasoning": "judge",
}  # fmt: skip
SCORERS: Mapping[BuildStage, ModelRole] = {"check": "critic", "judgement": "judge"}


@dataclass(frozen=True, slots=True)
class ModelSpeed:
    """A model's throughput.

    tokens: generated per second, prompt processing included. scores: requests scored per second.
    Either is 0 if it was not measured. seconds: how long the measurement took.
    """

    tokens: float
    scores: float
    seconds: float


def measure(backend: Backend, groups: Sequence[Sequence[Request]]) -> ModelSpeed:
    """Measure a model by serving groups of requests for a few seconds, texts first."""
    begin = time.monotonic()
    texts = [[_short(r) for r in g if isinstance(r, Generate)] for g in groups]
    texts = [group for group in texts if group]
    scores = [group for group in groups if not isinstance(group[0], Generate)]
    _serve(backend, texts[:1])  # the first is slow: memory is reserved, kernels are chosen
    _, tokens, seconds = _serve(backend, texts, backend.capacity)
    requests, _, scoring = _serve(backend, scores)
    return ModelSpeed(
        tokens / seconds if tokens else 0.0,
        requests / scoring if requests else 0.0,
        time.monotonic() - begin,
    )


def _short(request: Generate) -> Generate:
    tokens = min(TOKENS, request.sampling.max_new_tokens)
    sampling = replace(request.sampling, max_new_tokens=tokens, max_reasoning_tokens=tokens)
    return replace(request, sampling=sampling)


def _serve(
    backend: Backend, groups: Sequence[Sequence[Request]], at_once: int = 1
) -> tuple[int, int, float]:
    """The number of requests answered, of tokens generated, and the seconds that it took."""
    begin, before = time.monotonic(), backend.throughput.response_tokens
    requests = 0
    waiting = list(enumerate(groups))
    while waiting and time.monotonic() - begin < SECONDS:
        batch, waiting = waiting[:at_once], waiting[at_once:]
        for number, group in batch:
            try:
                prepared = [backend.prepare(request) for request in group]
            except PromptError:
                continue
            backend.submit(number, prepared, f"probe {number}")
        while groups_done := backend.poll():
            requests += sum(len(group_done.results) for group_done in groups_done)
        for number, _ in batch:
            backend.release(f"probe {number}")
    tokens = backend.throughput.response_tokens - before
    return requests, tokens, max(time.monotonic() - begin, 1e-9)


def seconds_of(work: PlannedWork, speeds: Mapping[ModelRole, ModelSpeed]) -> float | None:
    """The time of a build's work, in seconds; None if a speed that it needs is unknown."""
    texts = sum(work.steps[stage] for stage in WRITERS)
    seconds = 0.0
    for stage, role in WRITERS.items():
        if work.steps[stage]:
            if not speeds[role].tokens:
                return None
            seconds += work.steps[stage] * work.written / texts / speeds[role].tokens
    for stage, role in SCORERS.items():
        if work.steps[stage]:
            if not speeds[role].scores:
                return None
            seconds += work.steps[stage] / speeds[role].scores
    return seconds
