"""Converts validated files to the frozen dataclasses of `cai.types`, with their digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cai.constitution.schema import PrincipleFile
from cai.constitution.templates import WITH_REASON, without_reason
from cai.digest import digest
from cai.types import (
    Constitution,
    ContrastWording,
    Example,
    Phase,
    Principle,
    PrincipleTest,
    Templates,
)

_INHERITED = ("why", "source", "tags", "stages", "compare", "contrast", "examples")
"""Keys that a principle inherits through `extends`; `stages` key by key."""

_READ = ("title", "critique_request", "revision_request", "comparison_question", "examples")
"""What a model reads of a principle; the digest covers it."""


def principle(model: PrincipleFile, file: str) -> Principle:
    """A principle file as a `Principle`, with the digest of what a model reads."""
    examples = tuple(
        Example(e.prompt.strip(), e.response.strip(), e.critique.strip(), e.revision.strip())
        for e in model.examples
    )
    tests = tuple(
        PrincipleTest(
            name=t.name,
            prompt=t.prompt.strip(),
            expect=t.expect.model_dump(exclude_none=True),
            response=_stripped(t.response),
            a=_stripped(t.a),
            b=_stripped(t.b),
            source=t.source.strip(),
        )
        for t in model.tests
    )
    out = Principle(
        id=model.id,
        version=model.version,
        title=model.title,
        why=model.why.strip(),
        critique_request=model.stages.critique.strip(),
        revision_request=model.stages.revise.strip(),
        comparison_question=model.compare.strip(),
        source=model.source.strip(),
        tags=tuple(model.tags),
        examples=examples,
        tests=tests,
        contrast=_contrast(model),
        deprecated=model.deprecated,
        path=file,
    )
    read = {name: getattr(out, name) for name in _READ}
    if out.contrast is not None:
        read["contrast"] = out.contrast
    return replace(out, digest=digest(read))


def _contrast(model: PrincipleFile) -> ContrastWording | None:
    if model.contrast is None:
        return None
    return ContrastWording(model.contrast.follow.strip(), model.contrast.oppose.strip())


def templates_in_use(constitution: Constitution) -> Templates:
    """The constitution's templates, without what they say only of a reason where none is shown.

    The template of contrast pairs is empty where none are made.
    """
    out = constitution.templates
    if constitution.feedback.mode != "contrast":
        out = replace(out, contrast="")
    if not constitution.show_why:
        plain = {kind: without_reason(getattr(out, kind)) for kind in WITH_REASON}
        out = replace(out, **plain)
    return out


def reasons_shown(constitution: Constitution) -> dict[str, Any]:
    """What a digest adds where models read the reasons: each principle's; nothing elsewhere."""
    if not constitution.show_why:
        return {}
    return {"why": [[m.principle.id, m.principle.why] for m in constitution.members]}


def with_digest(constitution: Constitution) -> Constitution:
    """The constitution with its digest, which covers all that a model reads and nothing else."""
    parts = {
        "principles": [
            [m.principle.id, m.principle.digest, m.weight, m.phases, m.rounds]
            for m in constitution.members
        ],
        "plan": constitution.plan,
        "feedback": constitution.feedback,
        "templates": templates_in_use(constitution),
        "no_problem": constitution.no_problem,
        **reasons_shown(constitution),
    }
    return replace(constitution, digest=digest(parts))


def feedback_values(values: dict[str, Any]) -> dict[str, Any]:
    """The feedback settings of a file, with the types of `Feedback`."""
    if values.get("clamp") is not None:
        low, high = values["clamp"]
        values["clamp"] = (low, high)
    if "temperature" in values:
        values["temperature"] = float(values["temperature"])
    return values


def phases(values: Sequence[Phase]) -> tuple[Phase, ...]:
    """The phases in a fixed order, so that `[rl, sl]` is the same as `[sl, rl]`."""
    order: tuple[Phase, ...] = ("sl", "rl")
    return tuple(phase for phase in order if phase in values)


def inherit(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A principle's keys, with those that it inherits from the principle that it extends."""
    out = {key: base[key] for key in _INHERITED if key in base} | dict(own)
    stages = own.get("stages")
    if isinstance(stages, dict) and isinstance(base.get("stages"), dict):
        out["stages"] = base["stages"] | stages
    return out


def _stripped(text: str | None) -> str | None:
    return None if text is None else text.strip()
