"""Verdicts that were made up: matrices, comparisons, and runs of planted principles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from cai.data.counts import NEAR_TIE
from cai.pipeline.compare import preference
from cai.pipeline.snapshot import snapshot
from cai.relations.agreement import VerdictMatrix
from cai.stats import logit
from cai.types import (
    Check,
    Comparison,
    Constitution,
    Feedback,
    Judgement,
    Member,
    Phase,
    Plan,
    Principle,
    Templates,
    Trace,
)
from tests.audit.runs import write
from tests.store import samples


def matrix_of(clusters: Sequence[int] | None = None, /, **columns: Any) -> VerdictMatrix:
    """A matrix of pairs. columns: principle → probability on each pair that the first response is
    better; NaN where it was not asked."""
    p = np.array(list(columns.values()), dtype=float).T
    logits = np.vectorize(lambda x: x if np.isnan(x) else logit(x))(p)
    sides = np.where(np.isnan(p) | (np.abs(p - 0.5) < NEAR_TIE), 0, np.sign(p - 0.5))
    return VerdictMatrix(tuple(columns), logits, sides, clusters or range(len(p)))


def principle(name: str) -> Principle:
    return Principle(name, "1.0.0", f"Be {name}", "", f"critique {name}", f"revise {name}",
                     f"which is more {name}?", digest=f"digest-{name}")  # fmt: skip


def constitution(
    weights: dict[str, float], phases: tuple[Phase, ...] = ("sl", "rl"), **feedback: Any
) -> Constitution:
    members = tuple(Member(principle(name), w, phases) for name, w in weights.items())
    return Constitution("planted", "1.0.0", "", members, Templates("", "", "", ""), Plan(),
                        Feedback(**feedback), digest="planted")  # fmt: skip


def comparison(rules: Constitution, name: str, verdicts: dict[str, float]) -> Comparison:
    """A pair that was judged pointwise: principle → probability that the first one is better."""
    judgements = tuple(
        Judgement(
            p, "1.0.0", value, None,
            (samples.score(f"{name}/{p}/a", -0.1), samples.score(f"{name}/{p}/b", -0.2)),
        )
        for p, value in verdicts.items()
    )  # fmt: skip
    plain = samples.comparison(name)
    members = [m for m in rules.members if m.principle.id in verdicts]
    return replace(
        plain,
        judgements=judgements,
        mode=rules.feedback.mode,
        probability=preference(rules, members, judgements),
        p_ab=None,
        p_ba=None,
    )


def trace(name: str, masses: dict[str, float]) -> Trace:
    """A trace whose final response was checked: principle → probability that nothing is wrong."""
    checks = tuple(
        Check(p, samples.score(f"{name}/check/{p}", float("-inf"), float(np.log(mass))))
        for p, mass in masses.items()
    )
    return replace(samples.trace(name), revisions=(), checks=checks)


def planted_verdicts(n: int, seed: int = 0) -> list[dict[str, float]]:
    """`twin` says what `manners` says; `rebel` the opposite; `idle` never decides; `own` is by
    itself, and seldom clear."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(n):
        manners = float(rng.choice([0.02, 0.1, 0.2, 0.8, 0.9, 0.98]))
        rows.append(
            {
                "manners": manners,
                "twin": manners,
                "rebel": 1 - manners,
                "idle": 0.5 + 0.04 * float(rng.uniform(-1, 1)),
                "own": float(rng.choice([0.3, 0.35, 0.65, 0.7])),
            }
        )
    return rows


WEIGHTS = {"manners": 2.0, "twin": 1.0, "rebel": 1.0, "idle": 1.0, "own": 1.0}


def planted_run(folder: Path, n: int = 60, rules: Constitution | None = None) -> Path:
    """The folder of a run of n pairs with these verdicts."""
    rules = rules or constitution(WEIGHTS)
    records = [
        comparison(rules, f"p{i}", verdicts) for i, verdicts in enumerate(planted_verdicts(n))
    ]
    return write(folder, "planted", records, "r-planted", recorded=snapshot(rules))
