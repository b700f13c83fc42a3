"""Estimates the work of a build before it starts, by a dry run without a model.

The build's own procedures run on a sample of the prompts, twice: once with a critic that never
finds a problem, once with one that always does. The examination of critic and judge, which is the
same for any number of prompts, runs in full. The requests are counted, so the estimate can't
disagree with the build. Texts of an assumed length stand in for what models would write.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from cai.backends.base import Prepared
from cai.backends.scripted import ScriptedBackend
from cai.errors import PromptError
from cai.pipeline.build import Models, Progress, build
from cai.pipeline.config import BuildConfig, with_rounds
from cai.pipeline.drive import Tally
from cai.pipeline.examine import examine
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
"""Prompts in the sample; their counts are scaled up to all prompts."""

GROUPS = 32
"""Groups of requests that are kept for each role and kind."""

_SCORERS: tuple[ModelRole, ModelRole] = ("critic", "judge")

Count = Callable[[Messages, str], int]
"""(Messages, prefill) → tokens, as a model reads them."""


@dataclass(frozen=True, slots=True)
class PlannedWork:
    """Steps by stage, prompt tokens (`read`) and generated ones (`written`), both by role, too."""

    steps: Counter[BuildStage]
    read: int
    written: int
    by_role: Mapping[ModelRole, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def none(cls) -> PlannedWork:
        """No work."""
        return cls(Counter(), 0, 0)


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """The estimate for a build.

    prompts: usable ones; unusable: invalid rows. sampled: prompts in the sample. least, most: the
    work if no critique finds a problem, and if every one does. examination: the work of examining
    critic and judge first, which neither of them includes. longest: tokens of the longest
    prompt of a step. too_long: sampled prompts that leave too little of the context. requests: role
    → the first groups of requests as the build would make them, to measure a model's speed with.
    """

    prompts: int
    unusable: int
    sampled: int
    least: PlannedWork
    most: PlannedWork
    examination: PlannedWork
    longest: int
    too_long: int
    requests: Mapping[ModelRole, tuple[tuple[Request, ...], ...]]


class DryBackend(ScriptedBackend):
    """Answers at once with a placeholder text, and counts tokens as a model would read them.

    text: the placeholder, counted as `tokens` tokens; varied: the request's seed is appended.
    context: positions of the model; None for no limit. samples: responses that are sampled for a
    score; 0 where its probabilities are read. Every prompt token is counted: there is no prefix
    cache.
    """

    def __init__(
        self,
        count: Count,
        text: str,
        tokens: int,
        context: int | None,
        *,
        varied: bool = False,
        samples: int = 0,
    ) -> None:
        super().__init__(default=text, name="dry")
        self.longest = 0
        self.groups: list[tuple[Request, ...]] = []
        self._count, self._tokens, self._context, self._varied = count, tokens, context, varied
        self._samples = samples

    def prepare(self, request: Request) -> Prepared:
        """Count the tokens. Raises `PromptError` if they leave no room for an answer."""
        tokens = self._count(request.messages, request.prefill)
        if self._context is not None and tokens >= self._context:
            raise PromptError(f"{tokens} tokens, and the model takes {self._context}")
        self.longest = max(self.longest, tokens)
        return replace(super().prepare(request), payload=tokens)

    def submit(self, ticket: int, group: Sequence[Prepared], conversation: str) -> None:
        """Queue a group; the first groups of each kind are kept."""
        kind = type(group[0].request)
        if sum(isinstance(other[0], kind) for other in self.groups) < GROUPS:
            self.groups.append(tuple(prepared.request for prepared in group))
        super().submit(ticket, group, conversation)

    def _answer(self, prepared: Prepared) -> Result:
        request, tokens = prepared.request, prepared.payload
        if isinstance(request, Score):
            self._prompt_tokens += tokens * max(1, self._samples)
            self._response_tokens += self._samples * self._sampled_tokens(request)
            even = (-1.0,) * len(request.options)
            return Scores(even, request.options, self.info.name, "", tokens, prepared.key)
        self._prompt_tokens += tokens
        self._response_tokens += self._tokens
        # Two responses to one prompt differ, or there would be nothing to judge.
        text = f"{self.default} {request.sampling.seed}" if self._varied else self.default
        return Generation(text, (), "stop", self.info.name, "", tokens, self._tokens, prepared.key)

    def _sampled_tokens(self, request: Score) -> int:
        """Tokens of a sampled answer: those of the longest that is counted."""
        return max(self._count((Message("user", option),), "") for option in request.options)


def plan_build(
    constitution: Constitution,
    prompts: Iterable[Prompt | SetAside],
    config: BuildConfig,
    count: Count,
    *,
    context: int | None = None,
    written: int = 64,
    examined: bool = True,
    samples: Mapping[ModelRole, int] | None = None,
) -> BuildPlan:
    """Estimate a build of these prompts.

    written: assumed tokens of a generated text. examined: whether the build examines critic and
    judge. samples: of the roles that score by sampled responses, how many they take.
    """
    rows = list(prompts)
    usable = [row for row in rows if isinstance(row, Prompt)][: config.limit]
    step = max(1, len(usable) // SAMPLE)
    sample = usable[::step][:SAMPLE]
    scale = len(usable) / max(1, len(sample))
    filler = _filler(count, written)
    least, longest, too_long, _ = _sample_work(
        constitution, sample, config, count, context, (filler, constitution.no_problem[0]), written,
        samples or {},
    )  # fmt: skip
    most, longer, more, requests = _sample_work(
        constitution, sample, config, count, context, (filler, f"{filler} wrong"), written,
        samples or {},
    )  # fmt: skip
    examination = PlannedWork.none()
    if examined:
        critic, judge = (
            DryBackend(count, filler, written, context, samples=(samples or {}).get(role, 0))
            for role in _SCORERS
        )
        examination = _examination_work(constitution, config, critic, judge)
        requests["critic"] += tuple(critic.groups)
        requests["judge"] += tuple(judge.groups)
    return BuildPlan(
        len(usable), len(rows) - sum(isinstance(r, Prompt) for r in rows), len(sample),
        _scaled(least, scale), _scaled(most, scale), examination, max(longest, longer),
        max(too_long, more), requests,
    )  # fmt: skip


def _examination_work(
    constitution: Constitution, config: BuildConfig, critic: DryBackend, judge: DryBackend
) -> PlannedWork:
    """The work of the examination that precedes a build."""
    tallies: list[Tally] = []
    with (
        tempfile.TemporaryDirectory(prefix="cai-") as folder,
        Store.open(Path(folder) / "store.sqlite") as store,
    ):
        examine(
            with_rounds(constitution, config),
            {"critic": critic, "judge": judge},
            store,
            config.draws,
            judge=config.asks_judge(constitution),
            tick=tallies.append,
        )
    return _work(tallies[-1].generated, {"critic": critic, "judge": judge})


def _work(steps: Counter[BuildStage], backends: Mapping[ModelRole, DryBackend]) -> PlannedWork:
    by_role = {
        role: (backend.throughput.prompt_tokens, backend.throughput.response_tokens)
        for role, backend in backends.items()
    }
    read, written = (sum(tokens[i] for tokens in by_role.values()) for i in (0, 1))
    return PlannedWork(Counter(steps), read, written, by_role)


def _sample_work(
    constitution: Constitution,
    prompts: Sequence[Prompt],
    config: BuildConfig,
    count: Count,
    context: int | None,
    texts: tuple[str, str],
    written: int,
    samples: Mapping[ModelRole, int],
) -> tuple[PlannedWork, int, int, dict[ModelRole, tuple[tuple[Request, ...], ...]]]:
    """The work of some prompts, tokens of the longest prompt of a step, how many prompts were set
    aside, and the first groups of requests of each role.

    texts: what the generator writes, and what the critic writes.
    """
    response, critique = texts
    generator = DryBackend(count, response, written, context, varied=True)
    critic, judge = (
        DryBackend(count, critique, written, context, samples=samples.get(role, 0))
        for role in _SCORERS
    )
    reports: list[Progress] = []
    set_aside: set[str] = set()
    with (
        tempfile.TemporaryDirectory(prefix="cai-") as folder,
        Store.open(Path(folder) / "store.sqlite") as store,
    ):
        if prompts:
            run = build(
                constitution, prompts, store, Models(generator, critic, judge),
                replace(config, limit=None), progress=reports.append,
            )  # fmt: skip
            set_aside = {row.source for row in store.set_asides(run.id)}
    backends = (generator, critic, judge)
    last = reports[-1].tally if reports else None
    steps: Counter[BuildStage] = last.generated if last else Counter()
    work = _work(steps, {"generator": generator, "critic": critic, "judge": judge})
    requests: dict[ModelRole, tuple[tuple[Request, ...], ...]] = {
        "generator": tuple(generator.groups),
        "critic": tuple(critic.groups),
        "judge": tuple(judge.groups),
    }
    return work, max(b.longest for b in backends), len(set_aside), requests


def _scaled(work: PlannedWork, scale: float) -> PlannedWork:
    steps = Counter({stage: round(n * scale) for stage, n in work.steps.items()})
    by_role = {r: (round(a * scale), round(b * scale)) for r, (a, b) in work.by_role.items()}
    return PlannedWork(steps, round(work.read * scale), round(work.written * scale), by_role)


def _filler(count: Count, tokens: int) -> str:
    """A text of about `tokens` tokens."""

    def length(words: int) -> int:
        return count((Message("user", "and " * words),), "")

    each = max(0.1, (length(40) - length(8)) / 32)
    return "and " * max(1, round(tokens / each))
