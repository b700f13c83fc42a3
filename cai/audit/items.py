"""What an auditor reads, one item at a time: a record as plain values.

Here of builds and rollouts; `cai.audit.answers` has the answers of evaluations.

An item's `key` is a digest of all that is shown of it. A verdict is kept under it, so that it holds
for the same texts in a later run, and for nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

from cai.audit.flags import (
    comparison_flags,
    round_flags,
    text_flags,
    trace_flags,
    weight_of,
)
from cai.data.counts import is_near_tie
from cai.digest import digest
from cai.pipeline.pointwise import probability_of
from cai.stats import spread
from cai.types import Comparison, Generation, Message, Revision, Trace

RunKind: TypeAlias = Literal["build", "rollouts", "evaluation"]
ItemKind: TypeAlias = Literal["trace", "comparison", "rollout", "answer"]
_KEY_DIGITS = 24


@dataclass(frozen=True, slots=True)
class AuditItem:
    """One thing to judge.

    key: digest of what is shown. id: the record's; a rollout's is `update.prompt-id`, with a
    number from the prompt's second response on, an answer's `model/suite/item`. principles: ids of
    those that took part; of an answer, those that its judge finds broken. doubt: how much speaks
    for reading it first, 0 and up. judge: the model's own judgement, None if it has made none: of a
    trace, whether the final check finds nothing wrong; of a comparison, whether the first response
    is better; of an answer, whether it is good. prompt: its messages. values: all else that is
    shown, by kind; every text in it is data, never markup. by_round: the flags of each round.
    source: where the prompt stands. inputs: what each model call received, by its part of `values`.
    """

    key: str
    kind: ItemKind
    id: str
    prompt_id: str
    prompt: tuple[Message, ...]
    principles: tuple[str, ...]
    flags: tuple[str, ...]
    doubt: float
    judge: bool | None
    values: Mapping[str, Any]
    by_round: tuple[tuple[str, ...], ...] = ()
    source: str = ""
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """An item, and the training rows that it became.

    rows: file name and row id. left_out: why there is no row.
    """

    item: AuditItem
    rows: tuple[tuple[str, str], ...] = ()
    left_out: tuple[str, ...] = ()


def trace_item(trace: Trace) -> AuditItem:
    """A trace: the first response, each round's critique and revision, the final check."""
    rounds, inputs = [], {"response": trace.response.rendered_prompt}
    for number, revision in enumerate(trace.revisions):
        for part, text in (("critique", revision.critique), ("revision", revision.response)):
            if text is not None:
                inputs[f"{part} {number}"] = text.rendered_prompt
        rounds.append(
            {
                "principle": revision.principle_id,
                "version": revision.principle_version,
                "critique": _text_values(revision.critique),
                "found": revision.found_problem,
                "outcome": revision.outcome,
                "revision": _revision_values(revision),
                "guards": list(revision.guards),
            }
        )
    masses = [round(check.scores.mass, 6) for check in trace.checks]
    checks = [
        {"principle": check.principle_id, "p": p}
        for check, p in zip(trace.checks, masses, strict=True)
    ]
    flags = trace_flags(trace)
    worst = min(masses, default=1.0)
    values: dict[str, Any] = {
        "response": _text_values(trace.response), "rounds": rounds, "checks": checks,
    }  # fmt: skip
    principles = [r.principle_id for r in trace.revisions]
    if trace.withheld is not None:
        values["withheld"] = {"text": trace.withheld.text, "reason": trace.withheld.reason}
    if trace.explained is not None:
        principles.append(trace.explained.principle_id)
        values["explained"] = {
            "principle": trace.explained.principle_id,
            "version": trace.explained.principle_version,
            "kind": trace.explained.kind,
            "why": trace.explained.with_why,
            "guards": list(trace.explained.guards),
        }
    guarded = any(r.guards for r in trace.revisions) or bool(
        trace.explained and trace.explained.guards
    )
    return audit_item(
        "trace", trace.id, trace.prompt.id, trace.prompt.messages, principles, flags,
        weight_of(flags) + (1 - worst) + guarded,
        worst >= 0.5 if checks else None, values, trace.prompt.source, inputs,
        tuple(round_flags(b, r) for b, r in zip(trace.texts, trace.revisions, strict=False)),
    )  # fmt: skip


def comparison_item(comparison: Comparison) -> AuditItem:
    """A comparison: both responses, and every principle's verdict in both orders.

    Of a contrast pair, what each side was asked in place of verdicts.
    """
    judgements = [
        {
            "principle": j.principle_id,
            "version": j.principle_version,
            "p": j.p_first,
            "swapped": j.p_first_swapped,
            "flipped": j.flipped,
            "mass": round(j.mass, 6),
            "reasoning": [g.reasoning or g.text for g in j.reasoning],
        }
        for j in comparison.judgements
    ]
    flags = comparison_flags(comparison)
    inputs = {f"responses {i}": r.rendered_prompt for i, r in enumerate(comparison.responses)}
    for i, j in enumerate(comparison.judgements):
        inputs |= {f"judgements {i}.{k}": s.rendered_prompt for k, s in enumerate(j.scores)}
    values: dict[str, Any] = {
        "responses": [_text_values(r) for r in comparison.responses],
        "mode": comparison.mode,
        "probability": comparison.probability,
        "p_ab": comparison.p_ab,
        "p_ba": comparison.p_ba,
        "mass": None if comparison.mass is None else round(comparison.mass, 6),
        "spread": spread([j.p_first for j in comparison.judgements]),
        "judgements": judgements,
    }
    if comparison.contrast is not None:
        values["contrast"] = {
            "principle": comparison.contrast.principle_id,
            "version": comparison.contrast.principle_version,
            "asked": list(comparison.contrast.asked),
            "guards": list(comparison.contrast.guards),
        }
    closeness = 1 - abs(2 * comparison.probability - 1) if judgements else 0.0
    near = is_near_tie(comparison.probability)
    return audit_item(
        "comparison", comparison.id, comparison.prompt.id, comparison.prompt.messages,
        comparison.principle_ids, flags, weight_of(flags) + closeness,
        None if near or not judgements else comparison.probability > 0.5, values,
        comparison.prompt.source, inputs,
    )  # fmt: skip


def rollout_item(row: Mapping[str, Any]) -> AuditItem:
    """A row of `rollouts.jsonl`: a response with its score, what that is made of, and its KL.

    Of RLOO and GRPO also the advantage: its reward beside those of the prompt's other responses.

    Raises `KeyError`, `TypeError` or `ValueError` where a value is missing or of another kind.
    """
    second = "check" if "check" in row else "second_reward"  # its name before 0.2
    text, ended, kl = str(row["response"]), bool(row["ended"]), _finite(row, "kl")
    flags = text_flags(text, ended=ended)
    prompt = tuple(Message(m["role"], m["content"]) for m in row.get("prompt", ()))
    values: dict[str, Any] = {
        "update": int(row["update"]),
        "response": {
            "text": text,
            "tokens": int(row["tokens"]),
            "cut": not ended,
            **({"reasoning": str(row["reasoning"])} if row.get("reasoning") else {}),
        },
        "score": _finite(row, "score"),
        "kl": kl,
        "second_reward": None if row.get(second) is None else _finite(row, second),
    }
    if "advantage" in row:
        values["advantage"] = _finite(row, "advantage")
    parts = [_part_values(part) for part in row.get("parts", ())]
    if parts:
        values["parts"] = parts
    if "taught" in row:
        values["lesson"] = {
            "principle": str(row.get("principle", "")), "critique": str(row.get("critique", "")),
            "found": row.get("outcome") == "problem", "taught": bool(row["taught"]),
        }  # fmt: skip
    further = f".{row['number']}" if "number" in row else ""
    name = f"{values['update']}.{row['prompt_id']}{further}"
    doubt = weight_of(flags) + math.log1p(max(0.0, kl))
    item = audit_item(
        "rollout", name, str(row["prompt_id"]), prompt,
        [p for p in (*(part["principle"] for part in parts), row.get("principle")) if p], flags,
        doubt, None, values,
    )  # fmt: skip
    # Verdicts of before 0.2 still apply: the key is made with the earlier name.
    shown = {"check" if n == "second_reward" else n: value for n, value in values.items()}
    return replace(item, key=_key("rollout", name, item.prompt_id, prompt, shown))


def _part_values(part: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a rollout's score; p: of a principle, how likely the judge finds no problem."""
    value, weight = _finite(part, "value"), _finite(part, "weight")
    mean = {"mean": _finite(part, "mean")} if "mean" in part else {}
    principle = str(part.get("principle", ""))
    return {
        "name": str(part["name"]),
        "principle": principle,
        "value": value,
        **mean,
        "weight": weight,
        "adds": (value - mean.get("mean", 0.0)) * weight,
        "p": probability_of(value) if principle else None,
    }


def _finite(row: Mapping[str, Any], name: str) -> float:
    number = float(row[name])
    if not math.isfinite(number):
        raise ValueError(f"its {name} is {number}")
    return number


def audit_item(
    kind: ItemKind,
    name: str,
    prompt_id: str,
    prompt: Sequence[Message],
    principles: Sequence[str],
    flags: tuple[str, ...],
    doubt: float,
    judge: bool | None,
    values: dict[str, Any],
    source: str = "",
    inputs: Mapping[str, str] | None = None,
    by_round: tuple[tuple[str, ...], ...] = (),
) -> AuditItem:
    """An item whose key is the digest of what is shown."""
    return AuditItem(
        _key(kind, name, prompt_id, prompt, values), kind, name, prompt_id, tuple(prompt),
        tuple(dict.fromkeys(principles)), flags, round(doubt, 4), judge, values, by_round, source,
        inputs or {},
    )  # fmt: skip


def _key(
    kind: ItemKind, name: str, prompt_id: str, prompt: Sequence[Message], values: dict[str, Any]
) -> str:
    """Digest of what is shown."""
    shown = [kind, name, prompt_id, [(m.role, m.content) for m in prompt], values]
    return digest(shown)[:_KEY_DIGITS]


def _revision_values(revision: Revision) -> dict[str, Any] | None:
    """A revision as it is trained on; `written`: all of it where an announcement was removed."""
    values = _text_values(revision.response)
    if values is not None and revision.stripped is not None:
        values |= {"text": revision.stripped, "written": values["text"]}
    return values


def _text_values(generation: Generation | None) -> dict[str, Any] | None:
    """A text, its number of tokens, whether it was cut off, and its reasoning."""
    if generation is None:
        return None
    return {
        "text": generation.text,
        "tokens": generation.response_tokens,
        "cut": generation.finish_reason == "length",
        **({"reasoning": generation.reasoning} if generation.reasoning else {}),
    }
