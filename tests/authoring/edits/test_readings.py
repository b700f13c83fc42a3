"""Rejections by principle, compared with the rest; and what is held out."""

from __future__ import annotations

import pytest

from cai.authoring.edits.faults import AuditedRecord, faults_of
from cai.authoring.edits.halves import held_out_families
from cai.authoring.edits.readings import PrincipleReading, readings
from tests.authoring.edits.records import PRINCIPLES, accepted, pair, rejected, trace


def read(audited: list[AuditedRecord]) -> dict[str, PrincipleReading]:
    faults = {one.id: faults_of(one, PRINCIPLES) for one in audited}
    return {one.principle: one for one in readings(audited, faults, PRINCIPLES)}


def traces(principle: str, bad: int, good: int) -> list[AuditedRecord]:
    """So many rejected and accepted traces under a principle, each of a prompt of its own."""
    out = []
    for n in range(bad + good):
        name = f"t-{principle}-{n}"
        one = trace((principle, "no-problem", None), name=name, prompt=name)
        out.append(rejected(one, "critique is wrong") if n < bad else accepted(one))
    return out


def test_rejected_more_often_than_the_rest() -> None:
    """6 of 8 against 0 of 8: p = C(8, 6) / C(16, 6) = 28 / 8008, twice for two principles."""
    found = read([*traces("rude", 6, 2), *traces("harm", 0, 8)])
    rude = found["rude"].responses
    assert (rude.rejected.hits, rude.rejected.n) == (6, 8)
    assert (rude.others.hits, rude.others.n) == (0, 8)
    assert rude.p_value == pytest.approx(2 * 28 / 8008)
    assert rude.word == "rejected more often"
    assert found["harm"].responses.word == "no clear difference"
    assert found["rude"].faults == {"missed flaw": 6}
    assert found["rude"].reasons == {"critique is wrong": 6}
    assert found["harm"].reasons == {}


def test_nothing_is_said_of_few() -> None:
    """4 of 4 against 0 of 8 would be p = 1 / C(12, 4) = 0.002."""
    found = read([*traces("rude", 4, 0), *traces("harm", 0, 8)])
    assert found["rude"].responses.p_value is None
    assert found["rude"].responses.word == "too few read"


def test_labels_are_counted_apart_and_without_a_rest_not_compared() -> None:
    both = [rejected(pair(0.9, f"c-{n}", rude=0.9, harm=0.9), words="") for n in range(6)]
    found = read([*both, *traces("rude", 0, 6)])
    assert (found["rude"].labels.rejected.hits, found["rude"].responses.rejected.hits) == (6, 0)
    assert found["rude"].labels.word == "too few read"
    assert (found["rude"].unclear, found["harm"].unclear) == (6, 6)
    assert found["harm"].reasons == {"no reason given": 6}


def test_half_is_held_out_of_each_principle_s_rejections() -> None:
    audited = [*traces("rude", 6, 4), *traces("harm", 2, 3), *traces("other", 1, 0)]
    faults = {one.id: faults_of(one, PRINCIPLES) for one in audited}
    held = held_out_families(audited, faults, 0)

    def out(principle: str, *, bad: bool) -> int:
        return sum(
            one.family in held
            for one in audited
            if principle in one.principles and one.rejected is bad
        )

    assert (out("rude", bad=True), out("harm", bad=True)) == (3, 1)
    assert out("other", bad=True) == 0  # a single one is shown
    assert out("rude", bad=False) + out("harm", bad=False) == 3
    assert held_out_families(audited, faults, 1) != held


def test_records_of_one_prompt_are_on_one_side() -> None:
    audited = [
        rejected(trace(("rude", "problem", None), name=f"t-{n}", prompt=f"Q{n % 3}"))
        for n in range(9)
    ]
    faults = {one.id: faults_of(one, PRINCIPLES) for one in audited}
    assert len(held_out_families(audited, faults, 0)) == 1
