"""What a run is said to have made: critiques by what they came to, and the labels' signal."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cai.data.counts import RunCounts, Signal, kind_of
from cai.training.card import reasons
from cai.types import Comparison, SetAside
from tests.store.samples import comparison, contrast, say, score, trace


def label(probability: float, mass: float, name: str = "p") -> Comparison:
    """A label whose judge gave this mass, half of it to each letter."""
    one = comparison(name, probability=probability)
    half = math.log(mass / 2)
    judged = replace(one.judgements[0], scores=(score("k", half, half),))
    return replace(one, judgements=(judged,))


def signal(*labels: Comparison) -> Signal:
    out = Signal()
    for one in labels:
        out.add(one)
    return out


def test_critiques_are_counted_by_what_they_came_to() -> None:
    """The sample's two rounds name a problem and name none; then one refused, one announced."""
    counts = RunCounts()
    whole = trace("p")
    counts.add(whole)
    refused = replace(whole.revisions[1], outcome="refused", guards=("unreviewed",))
    announced = replace(whole.revisions[0], stripped="Better")
    counts.add(replace(whole, revisions=(announced, refused)))
    plain = counts.plain()
    assert plain["critiques"] == {"no-problem": 1, "problem": 2, "refused": 1}
    assert plain["announced"] == 1
    assert plain["guards"] == {"unreviewed": 1} and plain["guarded"] == 1
    kind, safe = plain["principles"]["kind"], plain["principles"]["safe"]
    assert (safe["asked"], safe["found"], safe["no_verdict"]) == (2, 0, 1)
    assert (kind["asked"], kind["found"], kind["no_verdict"]) == (2, 2, 0)


def test_a_signal_is_a_mean_mass_and_labels_that_differ() -> None:
    """Masses 0.9 and 0.001: the mean is 0.4505, and one is weak."""
    statistics = signal(label(0.8, 0.9), label(0.3, 0.001))
    assert statistics.mean_mass == pytest.approx(0.4505)
    assert (statistics.labels, statistics.weak, statistics.low, statistics.high) == (2, 1, 0.3, 0.8)
    assert statistics.lacking() is None
    assert "at least 0.5" in (statistics.lacking(0.5) or "")
    assert statistics.plain()["mean_mass"] == 0.4505


def test_labels_that_are_one_number_are_told() -> None:
    assert signal(label(0.5, 0.9), label(0.5, 0.9)).lacking() == (
        "all 2 labels are one number, 0.500"
    )
    assert signal(label(0.5, 0.9)).lacking() is None  # a single label is always one number
    assert signal(label(0.5, 0.9), label(0.501, 0.9)).lacking() is None


def test_a_judge_that_never_says_what_it_is_scored_by_is_told() -> None:
    assert "0.002 of probability" in (signal(label(0.8, 0.002), label(0.4, 0.002)).lacking() or "")


def test_contrast_pairs_are_counted_apart() -> None:
    counts = RunCounts()
    for record in (contrast("p"), contrast("q", guards=("leaked",)), comparison("r")):
        counts.add(record)
    plain = counts.plain()
    assert (plain["comparisons"], plain["contrasts"], plain["near_ties"]) == (3, 2, 0)
    assert plain["principles"]["kind"]["contrasted"] == 2
    assert plain["principles"]["kind"]["judged"] == plain["signal"]["labels"] == 1
    judged = RunCounts()
    judged.add(comparison("r"))
    assert "contrasts" not in judged.plain(), "manifests of other runs stay as they are"
    assert "contrasted" not in judged.plain()["principles"]["kind"]


def test_pairs_that_were_not_judged_are_no_labels() -> None:
    same = replace(comparison("p"), judgements=(), responses=(say("A", "a"), say("A", "b")))
    statistics = signal(same)
    assert (statistics.labels, statistics.mean_mass, statistics.lacking()) == (0, None, None)
    assert statistics.plain()["low"] is None


KINDS = {
    "too long: the prompt has 3009 tokens; the model takes 1024 in all": "too long",
    "duplicate of p.jsonl:3": "duplicate",
    "rejected by an auditor (ann: it is rude)": "rejected by an auditor",
    "The chat template leaves out message 12 (system)": "The chat template leaves out message N",
    "The prompt has 3009 tokens; of earlier runs": "The prompt has N tokens; of earlier runs",
}


@pytest.mark.parametrize("reason", KINDS)
def test_a_reason_is_counted_by_its_kind(reason: str) -> None:
    assert kind_of(reason) == KINDS[reason]


def test_a_card_of_training_counts_the_same_kinds() -> None:
    """A kind whose rows share one reason is told by it."""
    texts = [f"too long: {n} tokens, over 1024" for n in range(2000, 2012)]
    texts += ["held-out prompt: one is trained on"] * 2
    assert reasons([SetAside(f"d.jsonl:{n}", reason) for n, reason in enumerate(texts)]) == (
        ("too long", 12),
        ("held-out prompt: one is trained on", 2),
    )
