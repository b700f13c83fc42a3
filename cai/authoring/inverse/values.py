"""What `cai propose principles` found, as plain values for `--json`."""

from __future__ import annotations

from typing import Any

from cai.authoring.inverse.run import PrinciplesFound
from cai.relations.explained import CandidateResult
from cai.relations.values import estimate_values


def found_values(found: PrinciplesFound) -> dict[str, Any]:
    """Parts, candidates in the order of the table, and what they explain together."""
    by_id = {one.principle.id: one for one in found.candidates}
    explanation = found.explanation
    return {
        "pairs": {
            "propose": len(found.parts.propose),
            "choose": len(found.parts.choose),
            "report": len(found.parts.report),
        },
        "judging": found.judging,
        "replies": found.replies,
        "rules_proposed": found.proposed,
        "lines_dropped": found.dropped,
        "candidates": [
            _candidate(one, by_id[one.name].principle.title, by_id[one.name].proposal)
            for one in explanation.candidates
        ],
        "together": explanation.together and estimate_values(explanation.together),
        "all_candidates": estimate_values(explanation.everyone),
        "longer": estimate_values(explanation.longer),
        "set_aside": [{"source": s.source, "reason": s.reason} for s in found.set_aside],
    }


def _candidate(result: CandidateResult, title: str, proposal: Any) -> dict[str, Any]:
    like = result.like
    return {
        "id": result.name,
        "title": title,
        "proposed_from": None if proposal is None else list(proposal.pairs),
        "place": result.place,
        "explained": estimate_values(result.explained),
        "against_chance": result.word,
        "decided": estimate_values(result.decided),
        "added": estimate_values(result.added),
        "while_choosing": estimate_values(result.while_choosing),
        "like": like and {"id": like.b, "word": like.word, "kappa": estimate_values(like.kappa)},
    }
