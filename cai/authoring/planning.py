"""What a build would ask and need, before it starts: by running it on a model that writes nothing.

The build's own procedures are run on some of the prompts, twice: once with a critic that never
finds anything, once with one that always does. What is counted is what would be asked, so nothing
here can disagree with the build. Texts of an assumed length stand for what models would write.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cai.backends.base import Prepared
from cai.backends.scripted import ScriptedBackend
from cai.errors import PromptError
from cai.pipeline.build import BuildConfig, Models, Progress, build
from cai.pipeline.steps import BuildStage, ModelRole
from cai.store.store import Store
from cai.types import (
    Constitution,
    Generation,
    Message,
    Messages,
    Prompt,
    Request,
    Result,
    Score,
    Scores,
    SetAside,
)

SAMPLE = 64
"""Prompts that are gone through; the numbers of all are scaled from theirs."""

KEPT = 32
"""Groups of requests that are kept of each role and kind."""

Count = Callable[[Messages, str], int]
"""Tokens of messages and the beginning of an answer, as a model reads them."""


@dataclass(frozen=True, slots=True)
class PlannedWork:
    """What would be asked: steps by stage, tokens of all prompts, and tokens that are written."""

    steps: Counter[BuildStage]
    read: int
    written: int


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """A build before it starts.

    prompts: that can be used; unusable: rows that can't. sampled: of the prompts, those that were
    gone through. least, most: the work where no critique finds anything, and where every one does.
    longest: tokens of the longest prompt of a step. too_long: of the sampled prompts, those that
    leave too little of the context. requests: by role, the first groups of requests as the build
    would ask them, to measure a model's speed with.
    """

    prompts: int
    unusable: int
    sampled: int
    least: PlannedWork
    most: PlannedWork
    longest: int
    too_long: int
    requests: Mapping[ModelRole, tuple[tuple[Request, ...], ...]]


class DryBackend(ScriptedBackend):
    """Answers at once with a text that stands for one; counts tokens as a model would read them.

    text: what it writes, of `tokens` tokens; varied: with the request's seed at its end. context:
    positions of the model; None for no limit. Its throughput counts each prompt whole.
    """

    def __init__(
        self, count: Count, text: str, tokens: int, context: int | None, *, varied: bool = False
    ) -> None:
        super().__init__(default=text, name="dry")
        self.longest = 0
        self.groups: list[tuple[Request, ...]] = []
        self._count, self._tokens, self._context, self._varied = count, tokens, context, varied

    def prepare(self, request: Request) -> Prepared:
        """Count its tokens. Raises `PromptError` where they leave no room for an answer."""
        tokens = self._count(request.messages, request.prefill)
        if self._context is not None and tokens >= self._context:
            raise PromptError(f"{tokens} tokens, and the model takes {self._context}")
        self.longest = max(self.longest, tokens)
        return replace(super().prepare(request), payload=tokens)

    def submit(self, ticket: int, group: Sequence[Prepared], conversation: str) -> None:
        """Queue a group; the first few of texts and of scores are kept."""
        kind = type(group[0].request)
        if sum(isinstance(kept[0], kind) for kept in self.groups) < KEPT:
            self.groups.append(tuple(prepared.request for prepared in group))
        super().submit(ticket, group, conversation)

    def _answer(self, prepared: Prepared) -> Result:
        request, tokens = prepared.request, prepared.payload
        self._prompt_tokens += tokens
        if isinstance(request, Score):
            even = (-1.0,) * len(request.options)
            return Scores(even, request.options, self.info.name, "", tokens, prepared.key)
        self._response_tokens += self._tokens
        # Two responses to one prompt differ, or there would be nothing to judge.
        text = f"{self.default} {request.sampling.seed}" if self._varied else self.default
        return Generation(text, (), "stop", self.info.name, "", tokens, self._tokens, prepared.key)


def plan_build(
    constitution: Constitution,
    prompts: Iterable[Prompt | SetAside],
    config: BuildConfig,
    count: Count,
    *,
    context: int | None = None,
    written: int = 64,
) -> BuildPlan:
    """BuildPlan a build of these prompts. written: tokens that a text is assumed to have."""
    rows = list(prompts)
    usable = [row for row in rows if isinstance(row, Prompt)][: config.limit]
    step = max(1, len(usable) // SAMPLE)
    some = usable[::step][:SAMPLE]
    scale = len(usable) / max(1, len(some))
    filler = _filler(count, written)
    least, longest, too_long, _ = _gone_through(
        constitution, some, config, count, context, (filler, constitution.no_problem[0]), written
    )
    most, longer, more, requests = _gone_through(
        constitution, some, config, count, context, (filler, f"{filler} wrong"), written
    )
    return BuildPlan(
        len(usable), len(rows) - sum(isinstance(r, Prompt) for r in rows), len(some),
        _scaled(least, scale), _scaled(most, scale), max(longest, longer), max(too_long, more),
        requests,
    )  # fmt: skip


def _gone_through(
    constitution: Constitution,
    prompts: Sequence[Prompt],
    config: BuildConfig,
    count: Count,
    context: int | None,
    texts: tuple[str, str],
    written: int,
) -> tuple[PlannedWork, int, int, dict[ModelRole, tuple[tuple[Request, ...], ...]]]:
    """The work of some prompts, the longest prompt of a step, how many were set aside, and the
    first groups of requests of each role.

    texts: what the generator writes, and what the critic says.
    """
    says, finds = texts
    generator = DryBackend(count, says, written, context, varied=True)
    critic, judge = (DryBackend(count, finds, written, context) for _ in range(2))
    seen: list[Progress] = []
    aside: set[str] = set()
    with (
        tempfile.TemporaryDirectory(prefix="cai-") as folder,
        Store.open(Path(folder) / "store.sqlite") as store,
    ):
        if prompts:
            run = build(
                constitution, prompts, store, Models(generator, critic, judge),
                replace(config, limit=None), progress=seen.append,
            )  # fmt: skip
            aside = {left.source for left in store.set_asides(run.id)}
    backends = (generator, critic, judge)
    last = seen[-1].tally if seen else None
    used = [backend.throughput for backend in backends]
    work = PlannedWork(
        Counter(last.generated) if last else Counter(),
        sum(t.prompt_tokens for t in used),
        sum(t.response_tokens for t in used),
    )
    requests: dict[ModelRole, tuple[tuple[Request, ...], ...]] = {
        "generator": tuple(generator.groups),
        "critic": tuple(critic.groups),
        "judge": tuple(judge.groups),
    }
    return work, max(b.longest for b in backends), len(aside), requests


def _scaled(work: PlannedWork, scale: float) -> PlannedWork:
    steps = Counter({stage: round(n * scale) for stage, n in work.steps.items()})
    return PlannedWork(steps, round(work.read * scale), round(work.written * scale))


def _filler(count: Count, tokens: int) -> str:
    """A text of about so many tokens."""

    def length(words: int) -> int:
        return count((Message("user", "and " * words),), "")

    each = max(0.1, (length(40) - length(8)) / 32)
    return "and " * max(1, round(tokens / each))
