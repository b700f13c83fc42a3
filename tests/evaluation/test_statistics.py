"""Estimates and their intervals: known values, closed forms, and simulated coverage."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t as student_t

from cai.evaluation.statistics import (
    Estimate,
    agreement,
    bootstrap,
    expected_calibration_error,
    mean,
    ratio,
    share,
    weighted_sum,
)
from cai.stats import Proportion, Ratio, calibration_error, clustered, logit


def ends(estimate: Estimate) -> tuple[float, float]:
    return estimate.low, estimate.high


def nowhere(estimate: Estimate) -> bool:
    return math.isnan(estimate.low) and math.isnan(estimate.high)


class TestShare:
    def test_wilson(self) -> None:
        """8 of 10 (Wilson 1927): (0.490, 0.943)."""
        estimate = share([1] * 8 + [0] * 2)
        assert (estimate.value, estimate.n) == (0.8, 10)
        assert ends(estimate) == pytest.approx((0.4902, 0.9433), abs=1e-3)
        assert share([True] * 8 + [False] * 2, range(10)) == estimate

    def test_clusters(self) -> None:
        """Four answers to each of ten prompts, all right or all wrong, are no more than ten."""
        outcomes = [i // 4 % 2 for i in range(40)]
        estimate = share(outcomes, [i // 4 for i in range(40)])
        groups = [Proportion(4 * (i % 2), 4) for i in range(10)]
        assert ends(estimate) == clustered(groups)
        assert estimate.high - estimate.low > 1.9 * (share(outcomes).high - share(outcomes).low)

    def test_too_little(self) -> None:
        assert math.isnan(share([]).value) and ends(share([])) == (0, 1)
        assert ends(share([1, 0, 1], "aaa")) == (0, 1)
        assert ends(share([1] * 10)) == pytest.approx((0.7225, 1), abs=1e-3)

    def test_mistakes(self) -> None:
        with pytest.raises(ValueError, match=r"0 or 1, not 0\.5"):
            share([0.5])
        with pytest.raises(ValueError, match="2 items, but the clusters of 3"):
            share([0, 1], "abc")


class TestBootstrap:
    def test_two_clusters(self) -> None:
        """Of the values 0 and 1 a resample has the mean 0, 1/2 or 1."""
        assert mean([0, 1]) == Estimate(0.5, 0, 1, 2)

    def test_the_interval_of_student(self) -> None:
        """For normal values, that is mean ± t·s/√n: within 10 % of its width, also for few."""
        for n in (8, 30, 300):
            values = np.random.default_rng(n).normal(5, 2, n)
            half = student_t.ppf(0.975, n - 1) * values.std(ddof=1) / math.sqrt(n)
            estimate = mean(list(values), draws=20_000)
            assert estimate.value == pytest.approx(values.mean())
            assert estimate.low == pytest.approx(values.mean() - half, abs=0.2 * half)
            assert estimate.high == pytest.approx(values.mean() + half, abs=0.2 * half)

    def test_repeating_items_adds_nothing(self) -> None:
        """Every item three times, as a cluster: the interval of the items once. Taken for
        independent, it would be narrower by √3."""
        once = list(np.random.default_rng(0).exponential(size=40))
        thrice = [value for value in once for _ in range(3)]
        estimate = mean(thrice, [i // 3 for i in range(120)])
        assert ends(estimate) == pytest.approx(ends(mean(once)))
        assert estimate.n == 120
        assert mean(thrice).high - mean(thrice).low == pytest.approx(
            (estimate.high - estimate.low) / math.sqrt(3), rel=0.1
        )

    def test_equal_each_time(self) -> None:
        values = list(np.random.default_rng(0).normal(size=3000))  # several chunks
        assert mean(values) == mean(values)
        assert ends(mean(values, seed=1)) != ends(mean(values))

    def test_a_statistic_of_one_s_own(self) -> None:
        """A variance: weighted squares less the square of the weighted mean."""

        def variance(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
            n = weights.sum(1)
            square = weighted_sum(weights, x**2) / n - (weighted_sum(weights, x) / n) ** 2
            return np.asarray(square)

        estimate = bootstrap(variance, [np.random.default_rng(0).normal(0, 2, 500)])
        assert estimate.value == pytest.approx(4, rel=0.1)
        assert estimate.low < 4 < estimate.high

    def test_too_little(self) -> None:
        nothing, one, same = mean([]), mean([1, 2, 3], "aaa"), mean([2, 2, 2])
        assert math.isnan(nothing.value) and nowhere(nothing) and nothing.n == 0
        assert one.value == 2 and nowhere(one) and one.n == 3
        assert same == Estimate(2, 2, 2, 3)

    def test_mistakes(self) -> None:
        with pytest.raises(ValueError, match="value 2 of 2 is nan"):
            mean([1, math.nan])
        with pytest.raises(ValueError, match="different lengths"):
            ratio([1, 2], [1])

    def test_coverage_of_few_clusters(self) -> None:
        """Eight clusters of five correlated items: the interval holds the true mean 0 in nearly
        95 % of samples, that of independent items in fewer than 80 %."""
        rng = np.random.default_rng(0)
        clusters = [i // 5 for i in range(40)]
        by_cluster = by_item = 0
        for _ in range(300):
            values = list(np.repeat(rng.normal(size=8), 5) + rng.normal(size=40))
            low, high = ends(mean(values, clusters, draws=500))
            by_cluster += low <= 0 <= high
            low, high = ends(mean(values, draws=500))
            by_item += low <= 0 <= high
        assert by_cluster / 300 == pytest.approx(0.94, abs=0.03)
        assert by_item / 300 < 0.8


class TestRatio:
    def test_two_documents(self) -> None:
        """1 bit in 1 byte, 3 bits in 1 byte: 2 bits a byte; resamples have 1, 2 or 3."""
        assert ratio([1, 3], [1, 1]) == Estimate(2, 1, 3, 2)

    def test_sums_over_sums(self) -> None:
        """(1 + 9) / (1 + 3), not the mean of 1 and 3."""
        assert ratio([1, 9], [1, 3]).value == 2.5

    def test_cochran(self) -> None:
        """The interval of `cai.stats.Ratio`, within 10 % of its width."""
        rng = np.random.default_rng(0)
        sizes = rng.lognormal(0, 0.5, 200)
        bits = sizes * rng.normal(1.2, 0.2, 200)
        table = Ratio.of(list(zip(sizes, bits, strict=True)))
        estimate = ratio(list(bits), list(sizes))
        width = table.interval[1] - table.interval[0]
        assert estimate.value == pytest.approx(table.ratio)
        assert ends(estimate) == pytest.approx(table.interval, abs=0.1 * width)

    def test_nothing_to_divide_by(self) -> None:
        """A quarter of the resamples of (1, 0) and (1, 1) have a denominator of 0."""
        estimate = ratio([1, 1], [0, 1])
        assert estimate.value == 2 and nowhere(estimate)
        assert math.isnan(ratio([1, 1], [0, 0]).value)


class TestCalibration:
    def test_the_error(self) -> None:
        """Four at 0.75, three right: none. Four at 0.95, half right: 0.45. Together: half of it."""
        confidences, right = [0.75] * 4 + [0.95] * 4, [1, 1, 1, 0, 1, 1, 0, 0]
        assert expected_calibration_error(confidences[:4], right[:4]).value == 0
        assert expected_calibration_error(confidences[4:], right[4:]).value == pytest.approx(0.45)
        assert expected_calibration_error(confidences, right).value == pytest.approx(0.225)

    def test_as_that_of_two_options(self) -> None:
        rng = np.random.default_rng(0)
        chances = rng.uniform(0.01, 0.99, 200)
        truths = rng.random(200) < chances
        rows = [(logit(p), float(truth)) for p, truth in zip(chances, truths, strict=True)]
        confidences = np.maximum(chances, 1 - chances)
        right = np.where(chances > 0.5, truths, ~truths)
        estimate = expected_calibration_error(list(confidences), list(right))
        assert estimate.value == pytest.approx(calibration_error(rows))

    @pytest.mark.parametrize("gap", [0.0, 0.1])
    def test_coverage(self, gap: float) -> None:
        """Confidence too high by `gap` throughout, so that the true error is `gap`: held in 95 % of
        samples or more, though the errors of 200 items are 0.05 or so where the true one is 0."""
        rng = np.random.default_rng(0)
        held = 0
        for _ in range(100):
            confidences = rng.uniform(0.3, 1, 200)
            right = rng.random(200) < confidences - gap
            estimate = expected_calibration_error(list(confidences), list(right), draws=300)
            assert estimate.low <= estimate.value <= estimate.high
            held += estimate.low <= gap <= estimate.high
        assert held >= 95

    def test_a_large_error_is_shown(self) -> None:
        """1000 at 0.9, half of them right: 0.4 ± 1.96·√(0.25 / 1000) = 0.031."""
        estimate = expected_calibration_error([0.9] * 1000, [i % 2 for i in range(1000)])
        assert ends(estimate) == pytest.approx((0.4 - 0.031, 0.4 + 0.031), abs=0.006)

    def test_too_little(self) -> None:
        assert math.isnan(expected_calibration_error([], []).value)
        assert nowhere(expected_calibration_error([0.5, 0.5], [0, 1], "aa"))

    def test_mistakes(self) -> None:
        with pytest.raises(ValueError, match=r"a confidence is from 0 to 1, not 1\.5"):
            expected_calibration_error([1.5], [1])
        with pytest.raises(ValueError, match="2 confidences, but 1 answers"):
            expected_calibration_error([0.5, 0.5], [1])


class TestAgreement:
    def test_two_judges(self) -> None:
        """Both yes 20, only the first 5, only the second 10, both no 15: p_o = 0.7,
        p_c = 0.5·0.6 + 0.5·0.4 = 0.5, κ = 0.2 / 0.5 = 0.4."""
        a = [1] * 25 + [0] * 25
        b = [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
        match = agreement(a, b)
        assert match.agree == Proportion(35, 50)
        assert match.kappa == pytest.approx(0.4)
        assert match.interval[0] < 0.4 < match.interval[1]

    def test_clusters(self) -> None:
        """The same 50 items three times tell no more than once: κ is the same, and its interval as
        wide, where items in three copies would have one narrower by √3."""
        a, b = [1] * 25 + [0] * 25, [1] * 20 + [0] * 5 + [1] * 10 + [0] * 15
        once = agreement(a, b, range(50))
        thrice = agreement(a * 3, b * 3, [*range(50)] * 3)
        assert thrice.kappa == pytest.approx(0.4)
        assert thrice.interval == pytest.approx(once.interval)
        wide, narrow = (x.interval[1] - x.interval[0] for x in (thrice, agreement(a * 3, b * 3)))
        assert wide / narrow == pytest.approx(3**0.5, rel=0.15)
        assert math.isnan(agreement([1, 1], [1, 1], range(2)).interval[0])

    def test_no_verdict(self) -> None:
        assert agreement([1, None, 0, True], [1, 1, None, False]).agree == Proportion(1, 2)
        assert math.isnan(agreement([], []).kappa)

    def test_mistakes(self) -> None:
        with pytest.raises(ValueError, match="not 2"):
            agreement([2], [1])
        with pytest.raises(ValueError, match="shorter"):
            agreement([1, 0], [1])
