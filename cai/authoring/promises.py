"""What a principle's test expects, and whether it held.

`renders` is kept or broken by the templates alone; everything else needs a model. The words of
the expectations are those of the principle file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cai.authoring.attempt import Attempt
from cai.authoring.stages import STAGES, StageTexts, stage_messages
from cai.errors import ContentError, PromptError
from cai.text.parsing import normalise
from cai.types import Comparison, Constitution, Principle, PrincipleTest, Trace

OF_RESPONSE = ("critique_flags", "revision", "contains", "not_contains")
"""Expectations about a response that is critiqued and revised."""
OF_MODEL = (*OF_RESPONSE, "prefers")
_FLAGS = {
    "problem": "problem",
    "no-problem": "none",
    "contradictory": "no verdict (it finds no problem and names one)",
    "refused": "no verdict (the critic refused)",
    "empty": "no verdict (the critique is empty)",
}
"""What a critique's outcome flags; no verdict is neither."""


def in_words(test: PrincipleTest) -> tuple[str, ...]:
    """`critique_flags problem`, `contains 'king'`: an expectation each, in the file's order."""
    return tuple(_said(key, test.expect[key]) for key in test.expect)


def asked_of_model(test: PrincipleTest, constitution: Constitution) -> tuple[str, ...]:
    """The expectations that a model can keep or break under a constitution.

    One that revises without a critique has nothing that could flag.
    """
    direct = not constitution.plan.critique
    return tuple(
        key for key in OF_MODEL if key in test.expect and not (direct and key == "critique_flags")
    )


def broken_offline(
    principle: Principle, test: PrincipleTest, constitution: Constitution
) -> tuple[str, ...]:
    """What is wrong with a test before any model is asked, in words; empty where nothing is."""
    return (*_contradictions(test, constitution), *_unrendered(principle, test, constitution))


def broken(test: PrincipleTest, constitution: Constitution, attempt: Attempt) -> tuple[str, ...]:
    """The expectations of a model that an attempt does not keep, in words."""
    return tuple(
        _said(key, test.expect[key])
        for key in asked_of_model(test, constitution)
        if not _kept(key, test, attempt)
    )


def what_came(attempt: Attempt) -> tuple[tuple[str, str], ...]:
    """An attempt for a reader, as (label, text)."""
    return (*_of_trace(attempt.trace), *_of_comparison(attempt.comparison))


def _said(key: str, wanted: Any) -> str:
    if isinstance(wanted, str):
        return f"{key} {wanted}"
    return f"{key} {', '.join(map(repr, wanted))}"


def _kept(key: str, test: PrincipleTest, attempt: Attempt) -> bool:
    wanted, trace, comparison = test.expect[key], attempt.trace, attempt.comparison
    if comparison is not None and key == "prefers":
        p = comparison.probability
        return p > 0.5 if wanted == "a" else p < 0.5
    if trace is None:
        return False
    if key == "critique_flags":
        return bool(_FLAGS[trace.revisions[0].outcome or "problem"] == wanted)
    if key == "revision":
        return _same(trace.final, trace.response.text) is (wanted == "unchanged")
    return all((text in trace.final) is (key == "contains") for text in wanted)


def _same(a: str, b: str) -> bool:
    """As the guard `unchanged` reads it."""
    return normalise(a) == normalise(b)


def _of_trace(trace: Trace | None) -> Iterator[tuple[str, str]]:
    if trace is None:
        return
    (revision,) = trace.revisions
    if revision.critique is not None:
        yield "critique", revision.critique.text
        yield "which flags", _FLAGS[revision.outcome or "problem"]
    if revision.text is None:
        yield "revision", "(none: the response stands)"
    else:
        yield "revision", revision.text
    if revision.guards:
        yield "guarded", ", ".join(revision.guards)


def _of_comparison(comparison: Comparison | None) -> Iterator[tuple[str, str]]:
    if comparison is None:
        return
    text = f"{comparison.probability:.3f}"
    if comparison.p_ab is not None and comparison.p_ba is not None:
        text += f" ({comparison.p_ab:.3f} shown first, {comparison.p_ba:.3f} shown second)"
    yield "probability that a is better", text
    for judgement in comparison.judgements:
        for said in judgement.reasoning:
            yield "reasoning", said.text


# -- without a model ------------------------------------------------------------------------------


def _contradictions(test: PrincipleTest, constitution: Constitution) -> Iterator[str]:
    """Why no model could pass a test."""
    expect, plan = test.expect, constitution.plan
    if test.a is not None and test.b is not None and _same(test.a, test.b):
        yield "can't pass: `a` and `b` are the same text"
    skips = plan.critique and plan.skip_revision_if == "critique_none"
    if skips and expect.get("critique_flags") == "none" and expect.get("revision") == "changed":
        yield "can't pass: a critique that finds nothing leaves the response alone"
    both = set(expect.get("contains", ())) & set(expect.get("not_contains", ()))
    for text in sorted(both):
        yield f"can't pass: {text!r} stands in `contains` and in `not_contains`"


def _unrendered(
    principle: Principle, test: PrincipleTest, constitution: Constitution
) -> Iterator[str]:
    """Stages that can't be rendered, and texts of `renders` that no stage shows."""
    shown: list[str] = []
    for texts in _texts(test):
        for stage in STAGES:
            try:
                messages, prefill = stage_messages(stage, constitution, principle, texts)
            except (ContentError, PromptError) as error:
                yield f"the stage {stage} can't be rendered: {error.message}"
                return
            shown += [*(m.content for m in messages), prefill]
    for text in test.expect.get("renders", ()):
        if not any(text in content for content in shown):
            yield f"renders {text!r}"


def _texts(test: PrincipleTest) -> Iterator[StageTexts]:
    """What the stages are shown: the test's response, and its pair."""
    if test.response is not None or test.a is None or test.b is None:
        yield StageTexts(test.prompt, **({"response": test.response} if test.response else {}))
    if test.a is not None and test.b is not None:
        yield StageTexts(test.prompt, response=test.a, other=test.b)
