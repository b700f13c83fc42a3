"""The result of `cai diff` as plain values, for `--json`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from cai.authoring.effects import Effect, PromptDiff, effect, flags, principle_counts
from cai.authoring.head_to_head import HeadToHead, WinTieLoss
from cai.stats import Paired, Proportion, Ratio
from cai.types import as_dicts

if TYPE_CHECKING:
    from cai.authoring.changes import Change
    from cai.authoring.diff import DiffResult
    from cai.authoring.sides import Side


def diff_values(
    before: Side,
    after: Side,
    differences: Sequence[Change],
    findings: DiffResult | None,
    source: str,
) -> dict[str, Any]:
    """Everything; `effect` is None where nothing was built or read.

    source: the data that the findings rest on, in words.
    """
    return {
        "before": before.label,
        "after": after.label,
        "changes": [asdict(change) for change in differences],
        "effect": None if findings is None else _effects(findings, source),
    }


def _effects(findings: DiffResult, source: str) -> dict[str, Any]:
    over, work = findings.rows, findings.work
    return {
        "about": source,
        "runs": findings.runs,
        "steps": None if work is None else {
            side: {"made": dict(w.generated), "taken": dict(w.reused)}
            for side, w in zip(("before", "after"), work, strict=True)
        },
        "overall": _effect(effect(over)),
        "flags": {code: _paired(seen) for code, seen in flags(over).items()},
        "preferences_turned": _share(findings.turned),
        "judged": {rules: _judged(result) for rules, result in findings.judged.items()},
        "principles": {name: _effect(effect(over, name)) for name in principles(over)},
        "rows": [_row(row, findings) for row in most_changed(over)],
    }  # fmt: skip


def principles(over: Sequence[PromptDiff]) -> list[str]:
    """The principles with critiques on either side, by name."""
    before, after = principle_counts(over)
    return sorted(before.keys() | after.keys())


def most_changed(over: Sequence[PromptDiff]) -> list[PromptDiff]:
    """The rows whose final response differs, the most changed first."""
    differ = [row for row in over if not row.same]
    return sorted(differ, key=lambda row: (row.likeness, row.prompt.id))


def _effect(value: Effect) -> dict[str, Any]:
    return {
        "prompts": value.prompts,
        "changed": value.changed,
        "found": _paired(value.problems),
        "flagged": _paired(value.flagged),
        "refused": _paired(value.refused),
        "words": _ratio(value.words),
    }


def _paired(value: Paired) -> dict[str, Any]:
    return {
        "n": value.n,
        "before": value.before.hits,
        "after": value.after.hits,
        "came": value.came,
        "went": value.went,
        "change": _finite(value.change),
        "interval": value.interval,
    }


def _ratio(value: Ratio) -> dict[str, Any]:
    low, high = value.interval
    return {
        "n": value.n,
        "before": value.before,
        "after": value.after,
        "ratio": _finite(value.ratio),
        "interval": [low, _finite(high)],
    }


def _share(value: Proportion) -> dict[str, Any]:
    return {"hits": value.hits, "n": value.n, "share": _finite(value.share),
            "interval": value.interval}  # fmt: skip


def _judged(result: HeadToHead) -> dict[str, Any]:
    named = {name: _verdicts(v) for name, v in result.principles.items()}
    return {"overall": _verdicts(result.overall), "principles": named}


def _verdicts(value: WinTieLoss) -> dict[str, Any]:
    return asdict(value) | {"rate": _share(value.rate)}


def _row(row: PromptDiff, findings: DiffResult) -> dict[str, Any]:
    later = {rules: result.later.get(row.prompt.id) for rules, result in findings.judged.items()}
    return {
        "prompt_id": row.prompt.id,
        "prompt": as_dicts(row.prompt.messages),
        "before": row.before.final,
        "after": row.after.final,
        "traces": [row.before.trace_id, row.after.trace_id],
        "likeness": row.likeness,
        "after_preferred": later,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
