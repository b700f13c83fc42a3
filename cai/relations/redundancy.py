"""What a principle adds beyond the others: labels that change without it, and how well the others
predict its verdict."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from cai.data.counts import NEAR_TIE
from cai.evaluation.statistics import Estimate, Floats, bootstrap, share, weighted_sum
from cai.relations.agreement import GROUPS, VerdictMatrix
from cai.types import Feedback

FOLDS = 10
"""Parts of the prompts: what is fitted or chosen on nine is measured on the tenth."""
ROWS_A_PREDICTOR = 10
"""Fewest complete rows for each predictor of a regression, a common rule of thumb (Harrell 2015,
"Regression modeling strategies", section 4.4, asks for 10 to 20)."""

Labels = NDArray[np.int8]


@dataclass(frozen=True, slots=True)
class LabelRule:
    """How a pair's verdicts become its label: weights in the matrix's order, and `Feedback`."""

    weights: tuple[float, ...]
    feedback: Feedback

    @classmethod
    def of(
        cls, principles: Sequence[str], weights: Mapping[str, float], feedback: Feedback
    ) -> LabelRule:
        """The rule of a constitution for a matrix of these principles."""
        return cls(tuple(weights[name] for name in principles), feedback)

    def labels(self, matrix: VerdictMatrix, without: AbstractSet[int] = frozenset()) -> Labels:
        """Each pair's label without some principles, by their place in the matrix.

        1: the first response is better; -1: the second; 0: a near tie, or nobody is left to judge,
        of which a build makes no row. As `cai.pipeline.compare.preference`: the mean of the logits
        by weight over the feedback's temperature, clamped. (A lone letter verdict would there be
        uncapped, which moves the logit of a near tie by less than 0.001.)
        """
        asked = ~np.isnan(matrix.logits)
        asked[:, sorted(without)] = False
        weights = np.where(asked, np.asarray(self.weights), 0.0)
        total = weights.sum(axis=1)
        summed = (weights * np.where(asked, matrix.logits, 0.0)).sum(axis=1)
        mean = summed / np.where(total > 0, total, 1.0) / self.feedback.temperature
        p = 0.5 + 0.5 * np.tanh(mean / 2)  # σ, without overflow
        if self.feedback.clamp:
            p = np.where(total > 0, np.clip(p, *self.feedback.clamp), p)
        near_tie = np.abs(p - 0.5) < NEAR_TIE
        return np.where(near_tie, 0, np.sign(p - 0.5)).astype(np.int8)


@dataclass(frozen=True, slots=True)
class LeftOutEffect:
    """The labels without some principles, against those with all of them.

    changed: the share of pairs whose label is another: first, second, or near tie. flipped: how
    many of these have the other response chosen. units: the places of the changed pairs.
    """

    changed: Estimate
    flipped: int
    units: tuple[int, ...]


def left_out(matrix: VerdictMatrix, rule: LabelRule, without: AbstractSet[int]) -> LeftOutEffect:
    """What leaving some principles out does to the labels."""
    whole, rest = rule.labels(matrix), rule.labels(matrix, without)
    differ = whole != rest
    return LeftOutEffect(
        share([float(d) for d in differ], list(matrix.clusters)),
        int((whole * rest == -1).sum()),
        tuple(int(n) for n in np.flatnonzero(differ)),
    )


@dataclass(frozen=True, slots=True)
class Removal:
    """A step of the greedy removal.

    principle: removed in it. changed: the share of labels that are then another, with all removed
    so far. held_out: the same for as many removals chosen on nine tenths of the prompts and
    measured on the other tenth, ten times; the honest number, since the choice did not see them.
    """

    principle: str
    changed: Estimate
    held_out: Estimate


def greedy_removal(matrix: VerdictMatrix, rule: LabelRule) -> list[Removal]:
    """Remove principles one by one, each time the one that changes the fewest labels, down to one.

    Greedy backward elimination; a subset that is not on its way may be better. Of equal ones the
    lightest goes first, then the later in file order. Labels are compared with those of all.
    """
    whole = rule.labels(matrix)
    every = np.arange(len(whole))
    removed: list[int] = []
    chosen = [n for n, _ in _greedy(matrix, rule, every, whole)]
    held_out = np.zeros((len(chosen), len(whole)))
    folds = np.asarray(matrix.clusters) % FOLDS
    for fold in sorted(set(folds)):
        here, others = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        if len(others):
            for step, labels in enumerate(_greedy(matrix, rule, others, whole)):
                held_out[step, here] = (labels[1] != whole)[here]
    out = []
    clusters = list(matrix.clusters)
    for step, place in enumerate(chosen):
        removed.append(place)
        changed = left_out(matrix, rule, set(removed)).changed
        out.append(
            Removal(matrix.principles[place], changed, share(list(held_out[step]), clusters))
        )
    return out


def _greedy(
    matrix: VerdictMatrix, rule: LabelRule, units: NDArray[np.intp], whole: Labels
) -> Iterator[tuple[int, Labels]]:
    """The principles to remove in order, chosen on these units, and all labels after each."""
    removed: set[int] = set()
    while len(removed) < len(matrix.principles) - 1:
        candidates = {
            n: rule.labels(matrix, removed | {n})
            for n in range(len(matrix.principles))
            if n not in removed
        }
        best = min(
            candidates,
            key=lambda n: (int((candidates[n] != whole)[units].sum()), rule.weights[n], -n),
        )
        removed.add(best)
        yield best, candidates[best]


def held_out_r2(matrix: VerdictMatrix, place: int, *, intercept: bool) -> Estimate | None:
    """R² of a principle's logit from those of the others, on prompts that were not fitted.

    Ordinary least squares in ten folds of prompts: 1 - Σ(y - ŷ)² / Σ(y - ȳ)², ŷ and ȳ from the
    other nine (Stone 1974, on cross-validated choice). intercept: of responses. On pairs there is
    none, and ȳ is 0: which response is the first is arbitrary, and turning a pair over turns every
    logit's sign. 1 where the others say it all; 0 or below where they say nothing. The interval is
    the bootstrap's over prompts, for the fits as they are. None for too few complete rows
    (`ROWS_A_PREDICTOR`), where nothing varies, or where there is no other principle.
    """
    rows = ~np.isnan(matrix.logits).any(axis=1)
    logits, clusters = matrix.logits[rows], np.asarray(matrix.clusters)[rows]
    predictors = logits.shape[1] - 1
    if predictors < 1 or len(logits) < ROWS_A_PREDICTOR * predictors:
        return None
    y, x = logits[:, place], np.delete(logits, place, axis=1)
    if intercept:
        x = np.column_stack([x, np.ones(len(x))])
    residuals, deviations = np.zeros(len(y)), np.zeros(len(y))
    folds = clusters % FOLDS
    for fold in set(folds):
        fitted, here = folds != fold, folds == fold
        if not fitted.any():
            return None
        slopes = np.linalg.lstsq(x[fitted], y[fitted], rcond=None)[0]
        residuals[here] = y[here] - x[here] @ slopes
        deviations[here] = y[here] - (y[fitted].mean() if intercept else 0.0)
    if not np.abs(deviations).max() > 1e-9:
        return None
    codes = np.unique(clusters % GROUPS, return_inverse=True)[1]
    squares = (residuals**2, deviations**2)
    sums = [np.bincount(codes, weights=part).astype(np.float64) for part in squares]
    return replace(bootstrap(_r2, sums), n=len(y))


def _r2(weights: Floats, residuals: Floats, deviations: Floats) -> Floats:
    return np.asarray(1 - weighted_sum(weights, residuals) / weighted_sum(weights, deviations))
