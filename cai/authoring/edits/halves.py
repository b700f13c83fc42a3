"""Which audited records the critic may be shown, and which are held out to try its wordings on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cai.authoring.edits.faults import AuditedRecord, PrincipleFault
from cai.text import seeds


def held_out_families(
    audited: Sequence[AuditedRecord],
    faults: Mapping[str, Sequence[PrincipleFault]],
    seed: int,
) -> frozenset[str]:
    """Half of the prompt families; all records of a family are on one side.

    Families with a rejection are drawn separately for each principle that went wrong, so that every
    principle has rejections to show and to hold out, where it has two or more. Of an odd number the
    larger part is shown: without it nothing would be proposed.
    """
    groups: dict[str, set[str]] = {}
    placed: set[str] = set()
    for one in audited:
        if one.rejected and one.family not in placed:
            placed.add(one.family)
            names = sorted(fault.principle for fault in faults[one.id])
            groups.setdefault(names[0] if names else " unclear", set()).add(one.family)
    groups[" accepted"] = {one.family for one in audited} - placed
    out: set[str] = set()
    for families in groups.values():
        drawn = sorted(families, key=lambda name: (seeds.uniform(seed, name, "edits"), name))
        out.update(drawn[1::2])
    return frozenset(out)
