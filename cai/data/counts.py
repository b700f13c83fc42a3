"""Counts of a run's records, labels and exclusions, for the manifest and the dataset card."""

from __future__ import annotations

import hashlib
import heapq
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from cai.data.documents import DocumentCounts
from cai.store.codec import result_digest, steps_of
from cai.types import Comparison, Trace

_DETAIL = re.compile(r":| \(")
_NUMBER = re.compile(r"\b\d+\b")

NEAR_TIE = 0.05
"""Distance from one half below which a comparison's probability is a near tie."""
NO_SIGNAL = 0.01
"""Probability mass of the answers below which a judge did not answer the question."""
SAME_LABEL = 1e-6
"""Distance below which two labels are equal."""


def is_near_tie(probability: float) -> bool:
    """Whether a pair's probability is too close to one half to say which response is better."""
    return abs(probability - 0.5) < NEAR_TIE


@dataclass
class PrincipleCounts:
    """Counts of one principle.

    critiques: rounds of critique; problems: critiques that named a problem; revised: revisions;
    guarded: responses kept out of the data; no_verdict: critiques that refuse, contradict
    themselves or are empty; judged: verdicts on pairs; swapped: verdicts in both orders; flipped:
    those of them that depend on the order; checked: final responses with a check; remaining: those
    of them with a problem; contrasted: pairs made by contrast.
    """

    critiques: int = 0
    problems: int = 0
    revised: int = 0
    guarded: int = 0
    no_verdict: int = 0
    judged: int = 0
    swapped: int = 0
    flipped: int = 0
    checked: int = 0
    remaining: int = 0
    contrasted: int = 0

    def plain(self) -> dict[str, int]:
        """The values for a manifest, whose keys are older than the names here.

        `contrasted` stands there where it is not 0, so that it changes no other run's manifest.
        """
        older = {"critiques": "asked", "problems": "found", "remaining": "left"}
        out = {older.get(name, name): count for name, count in asdict(self).items()}
        return out if self.contrasted else {n: c for n, c in out.items() if n != "contrasted"}


@dataclass
class Signal:
    """Statistics of a build's labels that show whether they carry a signal.

    labels: their number. mass: sum over labels of the probability that the judge gave to the
    answers it was scored by. weak: labels with less than `NO_SIGNAL` of it. low, high: the least
    and the greatest probability that the first response is better. methods: labels by the way in
    which a model server was asked for probabilities.
    """

    labels: int = 0
    mass: float = 0.0
    weak: int = 0
    low: float = 1.0
    high: float = 0.0
    methods: Counter[str] = field(default_factory=Counter)

    def add(self, record: Trace | Comparison) -> None:
        """Count a record's label, if it has one by the judge."""
        label = record.label if isinstance(record, Trace) else record
        if label is None or label.mass is None:
            return
        self.labels += 1
        self.methods.update([label.method] if label.method else [])
        self.mass += label.mass
        self.weak += label.mass < NO_SIGNAL
        self.low = min(self.low, label.probability)
        self.high = max(self.high, label.probability)

    @property
    def mean_mass(self) -> float | None:
        """The mean mass of a label; None without labels."""
        return self.mass / self.labels if self.labels else None

    @property
    def one_number(self) -> bool:
        """Whether all labels are equal, where there are two or more."""
        return self.labels > 1 and self.high - self.low < SAME_LABEL

    def lacking(self, least: float = NO_SIGNAL) -> str | None:
        """The reason why these labels carry no signal; None if they do.

        least: the lowest mean mass that is accepted.
        """
        if self.one_number:
            return f"all {self.labels} labels are one number, {self.low:.3f}"
        mass = self.mean_mass
        if mass is not None and mass < least:
            return (
                f"the judge gave {mass:.2g} of probability, on average, to the answers that it is "
                f"scored by; at least {least:g} is asked for"
            )
        return None

    def plain(self) -> dict[str, Any]:
        """The values for a manifest."""
        some = self.labels > 0
        return {
            "labels": self.labels,
            "mean_mass": round(self.mass / self.labels, 6) if some else None,
            "weak": self.weak,
            "low": self.low if some else None,
            "high": self.high if some else None,
            "lacking": self.lacking(),
            **({"methods": dict(sorted(self.methods.items()))} if self.methods else {}),
        }


@dataclass
class RunCounts:
    """Counts of a run: records, guards by name, rows left out by reason, invalid rows by kind.

    changed: traces whose last text is not their first; guarded: traces with a guarded response;
    critiques: by outcome; announced: revisions whose preamble was removed; flipped: comparisons
    with a verdict that depends on the order; near_ties: see `NEAR_TIE`; signal: of the labels;
    contrasts: comparisons without a judge, whose label is by construction. documents: traces that
    are documents, which are counted apart.
    """

    traces: int = 0
    changed: int = 0
    guarded: int = 0
    comparisons: int = 0
    flipped: int = 0
    near_ties: int = 0
    announced: int = 0
    contrasts: int = 0
    documents: DocumentCounts = field(default_factory=DocumentCounts)
    signal: Signal = field(default_factory=Signal)
    critiques: Counter[str] = field(default_factory=Counter)
    guards: Counter[str] = field(default_factory=Counter)
    left_out: Counter[str] = field(default_factory=Counter)
    set_aside: Counter[str] = field(default_factory=Counter)
    principles: dict[str, PrincipleCounts] = field(default_factory=dict)

    def add(self, record: Trace | Comparison) -> None:
        """Count a record."""
        self.signal.add(record)
        if isinstance(record, Comparison):
            self.comparisons += 1
            self.flipped += any(j.flipped for j in record.judgements)
            near = is_near_tie(record.probability)
            self.near_ties += near and bool(record.judgements)
            if record.contrast is not None:
                self.contrasts += 1
                self._of(record.contrast.principle_id).contrasted += 1
            for judgement in record.judgements:
                counts = self._of(judgement.principle_id)
                counts.judged += 1
                counts.swapped += judgement.p_first_swapped is not None
                counts.flipped += judgement.flipped
            return
        self.traces += 1
        if record.explained is not None:
            self.documents.add(record.explained)
            self.guards.update(record.explained.guards)
        self.changed += record.final != record.response.text
        self.guarded += any(r.guards for r in record.revisions)
        for revision in record.revisions:
            counts = self._of(revision.principle_id)
            counts.critiques += 1
            counts.problems += revision.outcome == "problem"
            if revision.outcome is not None:
                self.critiques[revision.outcome] += 1
                counts.no_verdict += revision.outcome not in ("problem", "no-problem")
            self.announced += revision.stripped is not None
            counts.revised += revision.response is not None
            counts.guarded += bool(revision.guards)
            self.guards.update(revision.guards)
        for check in record.checks:
            counts = self._of(check.principle_id)
            counts.checked += 1
            counts.remaining += check.scores.mass < 0.5

    def _of(self, principle_id: str) -> PrincipleCounts:
        return self.principles.setdefault(principle_id, PrincipleCounts())

    def plain(self) -> dict[str, Any]:
        """The values for a manifest, in a fixed order."""
        return {
            "traces": self.traces,
            "changed": self.changed,
            "guarded": self.guarded,
            "comparisons": self.comparisons,
            **({"contrasts": self.contrasts} if self.contrasts else {}),
            **({"documents": documents} if (documents := self.documents.plain()) else {}),
            "flipped": self.flipped,
            "near_ties": self.near_ties,
            "signal": self.signal.plain(),
            "critiques": dict(sorted(self.critiques.items())),
            "announced": self.announced,
            "guards": dict(sorted(self.guards.items())),
            "left_out": dict(sorted(self.left_out.items())),
            "set_aside": dict(sorted(self.set_aside.items())),
            "principles": {i: c.plain() for i, c in sorted(self.principles.items())},
        }


class StepsDigest:
    """One digest over all steps of the added records, in their order."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self.count = 0

    def add(self, record: Trace | Comparison) -> None:
        """Add a record's steps: their keys and results."""
        for step in steps_of(record):
            self._digest.update(f"{step.key} {result_digest(step)}\n".encode())
            self.count += 1

    def plain(self) -> dict[str, Any]:
        """The values for a manifest."""
        return {"count": self.count, "digest": self._digest.hexdigest()}


def kind_of(reason: str) -> str:
    """`too long: 20001 characters, …` → `too long`; `duplicate of p.jsonl:3` → `duplicate`.

    A bracket ends it too, and numbers become N, so that reasons with other details (those of a
    template, or of earlier versions) are counted together.
    """
    kind = _DETAIL.split(reason, maxsplit=1)[0]
    return "duplicate" if kind.startswith("duplicate of ") else _NUMBER.sub("N", kind)


def in_order(
    traces: Iterable[Trace], comparisons: Iterable[Comparison]
) -> Iterable[Trace | Comparison]:
    """Both streams as one, in the order of prompt ids; a prompt's trace before its pairs."""
    return heapq.merge(traces, comparisons, key=_place)


def _place(record: Trace | Comparison) -> tuple[str, int]:
    return record.prompt.id, -1 if isinstance(record, Trace) else record.pair
