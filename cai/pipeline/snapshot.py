"""A constitution as a run records it: every text that a model or an auditor may have read."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from cai.types import Constitution


def snapshot(constitution: Constitution) -> dict[str, Any]:
    """A constitution as plain values, for the run's record."""
    return {
        "id": constitution.id,
        "version": constitution.version,
        "title": constitution.title,
        "digest": constitution.digest,
        "no_problem": list(constitution.no_problem),
        "plan": asdict(constitution.plan),
        "feedback": asdict(constitution.feedback),
        "templates": asdict(constitution.templates),
        "principles": [
            {
                "id": m.principle.id,
                "version": m.principle.version,
                "title": m.principle.title,
                "why": m.principle.why,
                "source": m.principle.source,
                "tags": list(m.principle.tags),
                "weight": m.weight,
                "phases": list(m.phases),
                "rounds": list(m.rounds),
                "critique_request": m.principle.critique_request,
                "revision_request": m.principle.revision_request,
                "comparison_question": m.principle.comparison_question,
                "digest": m.principle.digest,
            }
            for m in constitution.members
        ],
    }
