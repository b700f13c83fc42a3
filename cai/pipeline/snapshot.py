"""A constitution as a run records it: every text that a model or an auditor may have read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cai.constitution.convert import feedback_values, phases, templates_in_use
from cai.constitution.load import NO_PROBLEM
from cai.digest import plain_fields
from cai.types import (
    Constitution,
    ContrastWording,
    Feedback,
    Member,
    Plan,
    Principle,
    Templates,
)

_TEXTS = (
    "id", "version", "title", "why", "source", "critique_request", "revision_request",
    "comparison_question", "digest",
)  # fmt: skip
_TEMPLATES = ("critique", "revise", "compare", "compare_cot", "contrast", "teach", "document")


def snapshot(constitution: Constitution) -> dict[str, Any]:
    """A constitution as plain values, for the run's record."""
    return {
        "id": constitution.id,
        "version": constitution.version,
        "title": constitution.title,
        "digest": constitution.digest,
        "no_problem": list(constitution.no_problem),
        **({"show_why": True} if constitution.show_why else {}),
        "plan": asdict(constitution.plan),
        "feedback": asdict(constitution.feedback),
        "templates": plain_fields(templates_in_use(constitution)),
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
                **({"contrast": asdict(m.principle.contrast)} if m.principle.contrast else {}),
                "digest": m.principle.digest,
            }
            for m in constitution.members
        ],
    }


def constitution_of(values: Mapping[str, Any]) -> Constitution:
    """The constitution that a run recorded: the inverse of `snapshot`.

    Few-shot examples, tests and the files that it came from were not recorded. What a record of an
    earlier version lacks has its default, and texts are empty.
    """
    templates = values.get("templates", {})
    return Constitution(
        id=str(values.get("id", "")),
        version=str(values.get("version", "")),
        title=str(values.get("title", "")),
        members=tuple(map(_member, values.get("principles", ()))),
        templates=Templates(**{name: templates.get(name, "") for name in _TEMPLATES}),
        plan=Plan(**values.get("plan", {})),
        feedback=Feedback(**feedback_values(dict(values.get("feedback", {})))),
        no_problem=tuple(values.get("no_problem", NO_PROBLEM)),
        digest=str(values.get("digest", "")),
        show_why=bool(values.get("show_why", False)),
    )


def _member(values: Mapping[str, Any]) -> Member:
    texts: dict[str, Any] = {name: str(values.get(name) or "") for name in _TEXTS}
    wording = ContrastWording(**values["contrast"]) if "contrast" in values else None
    return Member(
        Principle(**texts, tags=tuple(values.get("tags") or ()), contrast=wording),
        float(values.get("weight", 1.0)),
        phases(values.get("phases", ("sl", "rl"))),
        tuple(values.get("rounds", ())),
    )
