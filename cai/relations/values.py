"""A map of a constitution as plain values, for `cai map --json` and for the audit page."""

from __future__ import annotations

import math
from typing import Any

from cai.evaluation.statistics import Estimate
from cai.relations.agreement import CLEAR, MIN_CLUSTERS, MIN_UNITS, PrincipleRelation
from cai.relations.principle_map import Opposition, PrincipleMap, PrincipleRole
from cai.relations.redundancy import Removal


def map_values(found: PrincipleMap, *, most: int | None = None) -> dict[str, Any]:
    """The map; None is what is undefined or has no interval.

    most: contradictions of two principles that are listed, beside their number; None for all.
    """
    return {
        "pairs": found.pairs,
        "responses": found.responses,
        "labels": found.labels,
        "drawn": found.drawn,
        "bounds": {"units": MIN_UNITS, "prompts": MIN_CLUSTERS, "clear": 0.5 + CLEAR},
        "principles": [_role(role, found.records) for role in found.roles],
        "on_pairs": [_relation(relation) for relation in found.on_pairs],
        "on_responses": [_relation(relation) for relation in found.on_responses],
        "contradictions": [_opposition(o, most) for o in found.oppositions],
        "removals": [_removal(step) for step in found.removals],
    }


def _role(role: PrincipleRole, records: tuple[str, ...]) -> dict[str, Any]:
    without = role.left_out
    return {
        "id": role.id,
        "title": role.title,
        "weight": role.weight,
        "standing": role.standing,
        "pairs": role.pairs,
        "decided": role.decided,
        "responses": role.responses,
        "problems": role.problems,
        "critiques": role.critiques,
        "found": role.found,
        "prompts": role.prompts,
        "same": list(role.same),
        "labels_changed": without and estimate_values(without.changed),
        "labels_flipped": without and without.flipped,
        "changed_records": without and [records[n] for n in without.units],
        "pairs_r2": role.pairs_r2 and estimate_values(role.pairs_r2),
        "responses_r2": role.responses_r2 and estimate_values(role.responses_r2),
    }


def _relation(relation: PrincipleRelation) -> dict[str, Any]:
    return {
        "a": relation.a,
        "b": relation.b,
        "word": relation.word,
        "units": relation.units,
        "prompts": relation.prompts,
        "agree": estimate_values(relation.agree),
        "kappa": estimate_values(relation.kappa),
        "correlation": estimate_values(relation.correlation),
        "contradict": estimate_values(relation.contradict),
    }


def _opposition(opposition: Opposition, most: int | None) -> dict[str, Any]:
    relation = opposition.relation
    return {
        "a": relation.a,
        "b": relation.b,
        "share": estimate_values(relation.contradict),
        "count": len(opposition.contradictions),
        "items": [
            {"record": c.record, "prompt": c.prompt, "p_a": _rounded(c.p_a), "p_b": _rounded(c.p_b),
             "label": _rounded(c.label)}
            for c in opposition.contradictions[:most]
        ],
    }  # fmt: skip


def _removal(step: Removal) -> dict[str, Any]:
    return {
        "principle": step.principle,
        "changed": estimate_values(step.changed),
        "held_out": estimate_values(step.held_out),
    }


def estimate_values(estimate: Estimate) -> dict[str, Any]:
    """A value with its interval, rounded."""
    low, value, high = map(_rounded, (estimate.low, estimate.value, estimate.high))
    return {"value": value, "low": low, "high": high, "n": estimate.n}


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 4) + 0.0
