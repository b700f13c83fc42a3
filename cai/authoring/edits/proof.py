"""What drafts do: on texts that auditors judged, and on their prompts, before and after.

The texts are those that the critic was not shown (held out), beside those that it was: a wording
that is right on the texts that it was made for, and not on others, was made for these alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from cai.authoring.diff import DiffResult, Watch, build_diff
from cai.authoring.sides import Side
from cai.authoring.testing import PrincipleCase, Trials, run_on
from cai.pipeline.build import Models
from cai.pipeline.config import BuildConfig
from cai.stats import Paired
from cai.store.store import Store
from cai.types import Constitution, PrincipleTest, Prompt

ProofSet: TypeAlias = Literal[
    "rejected, held out", "accepted, held out", "rejected, shown", "own tests"
]
"""The texts of a proof. Nothing is shown where no critic was asked, so all are held out then. `own
tests`: those that the principle had before."""


@dataclass(frozen=True, slots=True)
class TextsProof:
    """How many of a principle's texts are treated as they should be, before and after the edit."""

    principle: str
    texts: ProofSet
    right: Paired


@dataclass(frozen=True, slots=True)
class EditProof:
    """The proof of drafts, before and after.

    diff: of the builds on held-out prompts; None where there are none, or where models read the
    same on both sides.
    """

    texts: tuple[TextsProof, ...]
    before: Side
    after: Side
    diff: DiffResult | None


def prove_texts(
    before: Constitution,
    after: Constitution,
    sets: Mapping[str, Mapping[ProofSet, Sequence[PrincipleTest]]],
    store: Store,
    models: Models,
    seed: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[TextsProof, ...]:
    """Run tests under the principles as they were and as they are drafted, greedily.

    sets: principle → texts as tests, by where they come from. Each test runs as `cai test` runs it;
    answers are kept in the store.
    """
    sides = []
    for constitution in (before, after):
        principles = {m.principle.id: m.principle for m in constitution.members}
        cases = [
            PrincipleCase(principles[name], replace(test, name=f"{texts}: {test.name}"))
            for name, by_set in sets.items()
            for texts, tests in by_set.items()
            for test in tests
        ]
        results, _ = run_on(models, cases, constitution, Trials.greedy(seed), progress, store)
        sides.append([result.status == "passed" for result in results])
    passed = iter(zip(*sides, strict=True))
    return tuple(
        TextsProof(name, texts, Paired.of([next(passed) for _ in tests]))
        for name, by_set in sets.items()
        for texts, tests in by_set.items()
        if tests
    )


def prove_effect(
    before: Side,
    after: Side,
    prompts: Sequence[Prompt],
    store: Store,
    models: Models,
    config: BuildConfig,
    *,
    source: str,
    watch: Watch,
) -> DiffResult | None:
    """What the drafts change on the held-out prompts, as `cai diff` tells it. Arguments as there.

    None without prompts, and where models read the same on both sides.
    """
    if not prompts or before.content["digest"] == after.content["digest"]:
        return None
    return build_diff(before, after, prompts, store, models, config, source=source, watch=watch)
