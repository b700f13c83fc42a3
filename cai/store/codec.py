"""Conversion between `cai.types` and rows of the store: JSON, with numbers in place of steps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from cai.digest import digest, plain_fields
from cai.types import (
    Check,
    Comparison,
    ContrastPair,
    CritiqueOutcome,
    ExplainedPrinciple,
    Generation,
    Judgement,
    Label,
    Prompt,
    Result,
    Revision,
    Scores,
    Trace,
    Withheld,
    as_dicts,
    message_of,
)

R = TypeVar("R", Generation, Scores)
Body = dict[str, Any]


def result_body(result: Result) -> Body:
    """A result without its key."""
    return {name: value for name, value in plain_fields(result).items() if name != "key"}


def result_digest(result: Result) -> str:
    """SHA-256 of the JSON of `result_body`."""
    return digest(result_body(result))


def result_of(kind: str, key: str, body: Body) -> Result:
    """The result with this body, the inverse of `result_body`."""
    if kind == "generate":
        return Generation(**{**body, "token_ids": tuple(body["token_ids"]), "key": key})
    return Scores(
        **{
            **body,
            "logprobs": tuple(body["logprobs"]),
            "options": tuple(body["options"]),
            "key": key,
        }
    )


def prompt_body(prompt: Prompt) -> Body:
    """A prompt without its id."""
    return {
        "messages": as_dicts(prompt.messages),
        "source": prompt.source,
        "meta": prompt.meta,
    }


def prompt_of(prompt_id: str, body: Body) -> Prompt:
    """The prompt with this body, the inverse of `prompt_body`."""
    messages = tuple(map(message_of, body["messages"]))
    return Prompt(prompt_id, messages, body["source"], body["meta"])


def steps_of(record: Trace | Comparison) -> Iterator[Result]:
    """All steps of a record, in the order in which the store numbers them."""
    if isinstance(record, Trace):
        yield record.response
        for revision in record.revisions:
            yield from (g for g in (revision.critique, revision.response) if g is not None)
        yield from (check.scores for check in record.checks)
        judgements = record.label.judgements if record.label else ()
    else:
        yield from record.responses
        judgements = record.judgements
    for judgement in judgements:
        yield from judgement.scores
        yield from judgement.reasoning


def trace_body(trace: Trace) -> Body:
    """A trace without its id and prompt; each step is its position in `steps_of`."""
    place = iter(range(len(list(steps_of(trace)))))
    body: Body = {
        "response": next(place),
        "revisions": [
            {
                "round": r.round,
                "principle_id": r.principle_id,
                "principle_version": r.principle_version,
                "critique": None if r.critique is None else next(place),
                "outcome": r.outcome,
                "response": None if r.response is None else next(place),
                "guards": list(r.guards),
                "stripped": r.stripped,
            }
            for r in trace.revisions
        ],
        "checks": [{"principle_id": c.principle_id, "scores": next(place)} for c in trace.checks],
    }
    if trace.label is not None:
        body["label"] = _label_body(trace.label, place)
    if trace.withheld is not None:
        body["withheld"] = {"text": trace.withheld.text, "reason": trace.withheld.reason}
    if trace.explained is not None:
        body["explained"] = plain_fields(trace.explained)
    return body


def trace_of(trace_id: str, prompt: Prompt, body: Body, steps: Sequence[Result]) -> Trace:
    """The trace with this body, the inverse of `trace_body`."""
    return Trace(
        id=trace_id,
        prompt=prompt,
        response=_at(steps, body["response"], Generation),
        revisions=tuple(
            Revision(
                round=r["round"],
                principle_id=r["principle_id"],
                principle_version=r["principle_version"],
                critique=_maybe(steps, r["critique"]),
                outcome=_outcome(r),
                response=_maybe(steps, r["response"]),
                guards=tuple(r["guards"]),
                stripped=r.get("stripped"),
            )
            for r in body["revisions"]
        ),
        checks=tuple(
            Check(c["principle_id"], _at(steps, c["scores"], Scores)) for c in body["checks"]
        ),
        label=_label_of(body["label"], steps) if "label" in body else None,
        withheld=Withheld(**body["withheld"]) if "withheld" in body else None,
        explained=_explained_of(body["explained"]) if "explained" in body else None,
    )


def _outcome(revision: Body) -> CritiqueOutcome | None:
    """A critique's outcome; records of earlier versions say only whether it named a problem."""
    if "outcome" in revision:
        outcome: CritiqueOutcome | None = revision["outcome"]
        return outcome
    if revision["critique"] is None:
        return None
    return "problem" if revision["found_problem"] else "no-problem"


def _label_body(label: Label | Comparison, place: Iterator[int]) -> Body:
    """A label without its steps; `place` gives the position of each of them."""
    return {
        "judgements": [
            {
                "principle_id": j.principle_id,
                "principle_version": j.principle_version,
                "p_first": j.p_first,
                "p_first_swapped": j.p_first_swapped,
                "scores": [next(place) for _ in j.scores],
                "reasoning": [next(place) for _ in j.reasoning],
            }
            for j in label.judgements
        ],
        "probability": label.probability,
        "p_ab": label.p_ab,
        "p_ba": label.p_ba,
    }


def _label_of(body: Body, steps: Sequence[Result]) -> Label:
    """The label with this body, the inverse of `_label_body`."""
    judgements = tuple(
        Judgement(
            principle_id=j["principle_id"],
            principle_version=j["principle_version"],
            p_first=j["p_first"],
            p_first_swapped=j["p_first_swapped"],
            scores=tuple(_at(steps, i, Scores) for i in j["scores"]),
            reasoning=tuple(_at(steps, i, Generation) for i in j["reasoning"]),
        )
        for j in body["judgements"]
    )
    return Label(body["probability"], judgements, body["p_ab"], body["p_ba"])


def comparison_body(comparison: Comparison) -> Body:
    """A comparison without id, prompt and pair; steps as in `trace_body`."""
    place = iter(range(len(list(steps_of(comparison)))))
    body: Body = {
        "responses": [next(place), next(place)],
        "mode": comparison.mode,
        **_label_body(comparison, place),
    }
    if comparison.contrast is not None:
        body["contrast"] = plain_fields(comparison.contrast)
    return body


def comparison_of(
    comparison_id: str, prompt: Prompt, pair: int, body: Body, steps: Sequence[Result]
) -> Comparison:
    """The comparison with this body, the inverse of `comparison_body`."""
    first, second = (_at(steps, i, Generation) for i in body["responses"])
    label = _label_of(body, steps)
    return Comparison(
        id=comparison_id,
        prompt=prompt,
        pair=pair,
        responses=(first, second),
        judgements=label.judgements,
        probability=label.probability,
        mode=body["mode"],
        p_ab=label.p_ab,
        p_ba=label.p_ba,
        contrast=_contrast_of(body["contrast"]) if "contrast" in body else None,
    )


def _explained_of(body: Body) -> ExplainedPrinciple:
    return ExplainedPrinciple(**{**body, "guards": tuple(body["guards"])})


def _contrast_of(body: Body) -> ContrastPair:
    follow, oppose = body["asked"]
    return ContrastPair(
        body["principle_id"], body["principle_version"], (follow, oppose), tuple(body["guards"])
    )


def _at(steps: Sequence[Result], place: int, kind: type[R]) -> R:
    result = steps[place]
    if not isinstance(result, kind):
        raise TypeError(f"step {result.key} is not a {kind.__name__}")
    return result


def _maybe(steps: Sequence[Result], place: int | None) -> Generation | None:
    return None if place is None else _at(steps, place, Generation)
