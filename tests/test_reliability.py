"""Agreement, κ and α: published values, and those of the libraries."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Sequence

import pytest

from cai.reliability import (
    agreed,
    alpha_interval,
    cohen_kappa,
    interval,
    kappa_of,
    krippendorff_alpha,
)
from cai.stats import Proportion


def labels(table: Sequence[Sequence[int]]) -> tuple[list[str], list[str]]:
    """The two raters' labels behind a table of counts: rows are the first rater's."""
    cells = [(str(i), str(j), n) for i, row in enumerate(table) for j, n in enumerate(row)]
    return [i for i, _, n in cells for _ in range(n)], [j for _, j, n in cells for _ in range(n)]


def units(*raters: str) -> list[dict[str, str]]:
    """Units from a line for each rater, a character a unit; a point is no label."""
    return [
        {str(rater): label for rater, label in enumerate(column) if label != "."}
        for column in zip(*raters, strict=True)
    ]


def kappa_interval(a: Sequence[str], b: Sequence[str], **options: int) -> tuple[float, float]:
    return interval(kappa_of, zip(a, b, strict=True), **options)


COHEN = labels([[88, 14, 18], [10, 40, 10], [2, 6, 12]])
KRIPPENDORFF = units("123321412...", "1233224125.3", ".3332342251.", "12332441251.")
HAYES = units(
    "112.001122.01311211000201001111223222221",
    "1130000.21102311121000302102111122222221",
    "203000222100221123001.30.1012202.2232.21",
    ".13....0.10022...31.103021122..122...12.",
    "2..0001.2....3112..0.0..2.0..20.2.2222.1",
)


class TestKappa:
    def test_cohen_1960(self) -> None:
        """Cohen 1960, table 2b: 200 units; rows total 120, 60, 20, columns 100, 60, 40.

        p_o = (88 + 40 + 12) / 200 = 0.70, p_c = 0.6·0.5 + 0.3·0.3 + 0.1·0.2 = 0.41,
        κ = 0.29 / 0.59 = 0.492.
        """
        assert agreed(list(zip(*COHEN, strict=True))) == Proportion(140, 200)
        assert cohen_kappa(*COHEN) == pytest.approx(0.29 / 0.59)
        assert cohen_kappa(*reversed(COHEN)) == cohen_kappa(*COHEN)

    def test_agreement_by_chance_alone(self) -> None:
        """Rows 60 and 40, columns 70 and 30, cells their products: p_o = p_c = 0.42 + 0.12."""
        assert cohen_kappa(*labels([[42, 18], [28, 12]])) == 0

    def test_the_ends(self) -> None:
        """Always together is 1. Always apart, half and half: (0 − 1/2) / (1 − 1/2) = −1. No label
        in common: p_o = p_c = 0, κ = 0."""
        assert cohen_kappa("ab", "ab") == 1
        assert cohen_kappa("ab", "ba") == -1
        assert cohen_kappa("aa", "bb") == 0

    def test_undefined(self) -> None:
        """One label for all: p_c = 1, 0/0. So is nothing at all."""
        assert math.isnan(cohen_kappa("aaa", "aaa"))
        assert math.isnan(cohen_kappa("", ""))
        assert math.isnan(agreed([]).share)

    def test_raters_of_different_units(self) -> None:
        with pytest.raises(ValueError):
            cohen_kappa("ab", "abc")

    def test_as_scikit_learn_has_it(self) -> None:
        metrics = pytest.importorskip("sklearn.metrics")
        rng = random.Random(1960)
        undefined = 0
        for _ in range(400):
            names, n = "abcde"[: rng.randint(1, 5)], rng.randint(1, 30)
            a = rng.choices(names, k=n)
            b = [x if rng.random() < 0.5 else rng.choice(names) for x in a]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = float(metrics.cohen_kappa_score(a, b))
            assert cohen_kappa(a, b) == pytest.approx(theirs, abs=1e-12, nan_ok=True)
            undefined += math.isnan(theirs)
        assert 0 < undefined < 200


class TestAlpha:
    def test_krippendorff_2011(self) -> None:
        """Krippendorff 2011, four raters, twelve units, missing labels.

        The last unit has one label and is left out: n = 40, with n_1 … n_5 = 9, 13, 10, 5, 3.
        Units 2 (2 2 3 2), 6 (1 2 3 4) and 8 (1 1 2 1) are not of one mind:
        Σ n_uk (m_u − n_uk) / (m_u − 1) = 6/3 + 12/3 + 6/3 = 8; Σ n_k (n − n_k) = 1600 − 384.
        α = 1 − 39 · 8 / 1216 = 0.743.
        """
        assert krippendorff_alpha(KRIPPENDORFF) == pytest.approx(1 - 39 * 8 / 1216)
        assert round(krippendorff_alpha(KRIPPENDORFF), 3) == 0.743

    def test_krippendorff_2011_two_raters(self) -> None:
        """Krippendorff 2011, two raters, five labels: units 1, 5 and 12 differ, by 2/1 each.

        n = 24, n_a … n_e = 4, 6, 6, 6, 2: 576 − (16 + 36 + 36 + 36 + 4) = 448.
        α = 1 − 23 · 6 / 448 = 0.692.
        """
        alpha = krippendorff_alpha(units("aabbdcccedda", "babbbccceddd"))
        assert alpha == pytest.approx(1 - 23 * 6 / 448)

    def test_krippendorff_2011_binary(self) -> None:
        """Krippendorff 2011, two raters, two labels: four of ten units differ.

        n = 20, fourteen 0 and six 1: α = 1 − 19 · 8 / (2 · 14 · 6) = 0.095.
        """
        alpha = krippendorff_alpha(units("0100000010", "1110010000"))
        assert alpha == pytest.approx(1 - 19 * 8 / 168)

    def test_hayes_and_krippendorff_2007(self) -> None:
        """Hayes and Krippendorff 2007, table 1, as nominal data: 40 units, five raters, 159 labels.

        n_0 … n_3 = 42, 48, 56, 13: Σ n_k (n − n_k) = 25281 − 7373 = 17908. Σ n_uk (m_u − n_uk) is
        148 over units of four labels, 10 over those of three, 20 over those of five:
        148/3 + 10/2 + 20/4 = 59.33. α = 1 − 158 · 59.33 / 17908 = 0.4765.
        """
        assert krippendorff_alpha(HAYES) == pytest.approx(1 - 158 * (148 / 3 + 10) / 17908)
        assert round(krippendorff_alpha(HAYES), 4) == 0.4765

    def test_two_raters_nothing_missing_against_kappa(self) -> None:
        """Where both raters' shares are alike, α = κ + (1 − κ) / n, n labels (Krippendorff 2011).

        Cells 30, 10, 10, 50: shares 0.4 and 0.6 for both, p_o = 0.8, p_c = 0.52, κ = 0.28 / 0.48.
        """
        a, b = labels([[30, 10], [10, 50]])
        kappa = cohen_kappa(a, b)
        assert kappa == pytest.approx(0.28 / 0.48)
        alpha = krippendorff_alpha([{"a": x, "b": y} for x, y in zip(a, b, strict=True)])
        assert alpha == pytest.approx(kappa + (1 - kappa) / 200)

    def test_undefined(self) -> None:
        """No two labels of one unit; or all of them the same, whatever a lone label says."""
        assert math.isnan(krippendorff_alpha([]))
        assert math.isnan(krippendorff_alpha([{}]))
        assert math.isnan(krippendorff_alpha(units("ab.", "..b")))
        assert math.isnan(krippendorff_alpha(units("aaa", "aaa")))
        assert math.isnan(krippendorff_alpha(units("aab", "aa.")))

    def test_as_the_krippendorff_package_has_it(self) -> None:
        """It raises where there is one label in all or no unit has two, and gives NaN for 0/0."""
        package = pytest.importorskip("krippendorff")
        rng = random.Random(2011)
        undefined = 0
        for _ in range(400):
            names, n = "abcd"[: rng.randint(1, 4)], rng.randint(1, 15)
            lines = ["".join(rng.choices([*names, "."], k=n)) for _ in range(rng.randint(2, 5))]
            table = [["nan" if c == "." else c for c in line] for line in lines]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    theirs = float(package.alpha(table, level_of_measurement="nominal"))
                except ValueError:
                    theirs = math.nan
            ours = krippendorff_alpha(units(*lines))
            assert ours == pytest.approx(theirs, abs=1e-12, nan_ok=True)
            undefined += math.isnan(theirs)
        assert 0 < undefined < 200

    def test_the_published_tables_are_those_of_the_papers(self) -> None:
        """Hayes and Krippendorff report 0.7598 for ordinal labels, which only the package knows."""
        package = pytest.importorskip("krippendorff")
        rows = [[float(unit.get(str(r), "nan")) for unit in HAYES] for r in range(5)]
        assert round(package.alpha(rows, level_of_measurement="ordinal"), 4) == 0.7598


class TestInterval:
    def test_near_the_normal_approximation(self) -> None:
        """Cohen's table: the large-sample standard error (Fleiss, Cohen and Everitt 1969) is 0.0510
        by `statsmodels.stats.inter_rater.cohens_kappa`: 0.4915 ± 1.96 · 0.0510."""
        low, high = kappa_interval(*COHEN)
        assert low == pytest.approx(0.3916, abs=0.01)
        assert high == pytest.approx(0.5915, abs=0.01)

    def test_covers_the_truth(self) -> None:
        """Two labels, half and half, each rater right nine times in ten: two of them agree on
        0.81 + 0.01 of the units, half by chance, so κ = α = 0.32 / 0.5 = 0.64."""
        rng = random.Random(3)
        hits = {"kappa": 0, "alpha": 0}
        for _ in range(150):
            truth = rng.choices("ab", k=60)
            raters = [[x if rng.random() < 0.9 else "ab"[x == "a"] for x in truth] for _ in "123"]
            low, high = kappa_interval(raters[0], raters[1], draws=100)
            hits["kappa"] += low <= 0.64 <= high
            low, high = alpha_interval(units(*map("".join, raters)), draws=100)
            hits["alpha"] += low <= 0.64 <= high
        assert all(0.88 <= hit / 150 <= 0.99 for hit in hits.values()), hits

    def test_the_same_for_one_seed_in_any_order(self) -> None:
        first = alpha_interval(KRIPPENDORFF)
        assert alpha_interval(KRIPPENDORFF[::-1]) == first
        assert alpha_interval(KRIPPENDORFF, seed=1) != first

    def test_known_draws(self) -> None:
        """The share of "a" in 100 units, half of them: 0.5 ± 1.96 · √(0.25 / 100)."""
        low, high = interval(
            lambda table: table.get(("a",), 0) / sum(table.values()), [("a",), ("b",)] * 50
        )
        assert low == pytest.approx(0.402, abs=0.015)
        assert high == pytest.approx(0.598, abs=0.015)

    def test_no_interval(self) -> None:
        """None for no units. A single unit that differs from the others is missing from
        (1 − 1/20)^20 = 36 % of the draws, which are then undefined: no interval either."""
        assert all(map(math.isnan, kappa_interval("", "")))
        assert all(map(math.isnan, kappa_interval("a" * 20, "a" * 20)))
        assert all(map(math.isnan, kappa_interval("a" * 19 + "b", "a" * 19 + "b")))
        assert all(map(math.isnan, alpha_interval([{}, {"a": "x"}])))

    def test_perfect_agreement(self) -> None:
        assert kappa_interval("ab" * 10, "ab" * 10) == (1, 1)
