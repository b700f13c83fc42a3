"""A constitution as a run records it, and read back from there."""

from __future__ import annotations

import json
from dataclasses import replace

from cai.constitution.convert import templates_in_use, with_digest
from cai.constitution.load import load_constitution
from cai.pipeline.snapshot import constitution_of, snapshot
from cai.types import ContrastWording, Feedback


def test_a_recorded_constitution_is_read_back() -> None:
    """All that a build without few-shot examples reads of it; the digest covers the rest, too."""
    loaded = load_constitution("default")
    loaded = replace(loaded, feedback=Feedback(clamp=(0.4, 0.6), principles_per_pair=3))
    members = tuple(
        replace(
            m, principle=replace(m.principle, examples=(), tests=(), path="", deprecated=None)
        )
        for m in loaded.members
    )  # fmt: skip
    found = constitution_of(json.loads(json.dumps(snapshot(loaded))))
    in_use = templates_in_use(loaded)
    assert not in_use.contrast, "nothing was made with it"
    assert found == replace(loaded, members=members, path="", templates=in_use)
    assert with_digest(found).digest == with_digest(loaded).digest


def test_the_two_sides_of_contrast_pairs_are_read_back() -> None:
    loaded = load_constitution("contrast")
    sides = ContrastWording("Be kind.", "Be unkind.")
    worded = tuple(
        replace(m, principle=replace(m.principle, contrast=sides)) for m in loaded.members
    )
    found = constitution_of(json.loads(json.dumps(snapshot(replace(loaded, members=worded)))))
    assert (
        found.templates == templates_in_use(loaded) and "{{ prompt }}" in found.templates.contrast
    )
    assert {m.principle.contrast for m in found.members} == {sides}


def test_records_of_earlier_versions_lack_some() -> None:
    found = constitution_of({"id": "old", "principles": [{"id": "a", "version": "1.0.0"}]})
    assert found.members[0].weight == 1.0 and found.members[0].phases == ("sl", "rl")
    assert found.no_problem == ("No problem found.",) and found.plan.rounds == 2
