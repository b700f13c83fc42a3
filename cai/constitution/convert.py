"""Converts validated files to the frozen dataclasses of `cai.types`, with their digests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from cai.constitution.schema import PrincipleFile
from cai.digest import digest
from cai.types import Constitution, Example, Phase, Principle, PrincipleTest

_INHERITED = ("why", "source", "tags", "stages", "compare", "examples")
"""What a principle takes over from the one it extends; `stages` key by key."""

_READ = ("title", "critique_request", "revision_request", "comparison_question", "examples")
"""What a model gets to read of a principle, and its digest covers."""


def principle(model: PrincipleFile, file: str) -> Principle:
    """The dataclass, with a digest of what a model gets to read."""
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
        deprecated=model.deprecated,
        path=file,
    )
    return replace(out, digest=digest({name: getattr(out, name) for name in _READ}))


def sealed(constitution: Constitution) -> Constitution:
    """With its digest: all that can change a model's text, and nothing else."""
    parts = {
        "principles": [
            [m.principle.id, m.principle.digest, m.weight, m.phases, m.rounds]
            for m in constitution.members
        ],
        "plan": constitution.plan,
        "feedback": constitution.feedback,
        "templates": constitution.templates,
        "no_problem": constitution.no_problem,
    }
    return replace(constitution, digest=digest(parts))


def feedback_values(values: dict[str, Any]) -> dict[str, Any]:
    """The settings a file gives, with the types of `Feedback`."""
    if values.get("clamp") is not None:
        low, high = values["clamp"]
        values["clamp"] = (low, high)
    if "temperature" in values:
        values["temperature"] = float(values["temperature"])
    return values


def phases(listed: Sequence[Phase]) -> tuple[Phase, ...]:
    """In one order, so that writing [rl, sl] is no change."""
    known: tuple[Phase, ...] = ("sl", "rl")
    return tuple(p for p in known if p in listed)


def inherit(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """A principle's keys, completed from those of the principle that it extends."""
    out = {key: base[key] for key in _INHERITED if key in base} | dict(own)
    stages = own.get("stages")
    if isinstance(stages, dict) and isinstance(base.get("stages"), dict):
        out["stages"] = base["stages"] | stages
    return out


def _stripped(text: str | None) -> str | None:
    return None if text is None else text.strip()
