"""What the test of a principle expects, and whether it holds.

`renders` depends on the templates alone; everything else needs a model. Expectations are named as
in the principle file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cai.authoring.attempt import Attempt
from cai.authoring.rendering import STAGES, StageTexts, stage_messages
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
"""Outcome of a critique → what it flags; no verdict is neither `problem` nor `none`."""


def expectation_texts(test: PrincipleTest) -> tuple[str, ...]:
    """The expectations as text, such as `critique_flags problem`, in the file's order."""
    return tuple(_as_text(key, test.expect[key]) for key in test.expect)


def model_expectations(test: PrincipleTest, constitution: Constitution) -> tuple[str, ...]:
    """The expectations that depend on a model under a constitution.

    A constitution that revises without a critique has nothing that could flag.
    """
    direct = not constitution.plan.critique
    return tuple(
        key for key in OF_MODEL if key in test.expect and not (direct and key == "critique_flags")
    )


def offline_failures(
    principle: Principle, test: PrincipleTest, constitution: Constitution
) -> tuple[str, ...]:
    """What is wrong with a test before any model is run, as text; empty if nothing is."""
    return (*_contradictions(test, constitution), *_unrendered(principle, test, constitution))


def failed_expectations(
    test: PrincipleTest, constitution: Constitution, attempt: Attempt
) -> tuple[str, ...]:
    """The expectations that an attempt does not meet, as text."""
    return tuple(
        _as_text(key, test.expect[key])
        for key in model_expectations(test, constitution)
        if not _holds(key, test, attempt)
    )


def attempt_outputs(attempt: Attempt) -> tuple[tuple[str, str], ...]:
    """What the models wrote in an attempt, as (label, text)."""
    return (*_of_trace(attempt.trace), *_of_comparison(attempt.comparison))


def _as_text(key: str, value: Any) -> str:
    if isinstance(value, str):
        return f"{key} {value}"
    return f"{key} {', '.join(map(repr, value))}"


def _holds(key: str, test: PrincipleTest, attempt: Attempt) -> bool:
    value, trace, comparison = test.expect[key], attempt.trace, attempt.comparison
    if comparison is not None and key == "prefers":
        p = comparison.probability
        return p > 0.5 if value == "a" else p < 0.5
    if trace is None:
        return False
    if key == "critique_flags":
        return bool(_FLAGS[trace.revisions[0].outcome or "problem"] == value)
    if key == "revision":
        return _same(trace.final, trace.response.text) is (value == "unchanged")
    return all((text in trace.final) is (key == "contains") for text in value)


def _same(a: str, b: str) -> bool:
    """Whether two texts are equal as the guard `unchanged` compares them."""
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
        for reasoning in judgement.reasoning:
            yield "reasoning", reasoning.text


# -- without a model ------------------------------------------------------------------------------


def _contradictions(test: PrincipleTest, constitution: Constitution) -> Iterator[str]:
    """Reasons why no model could pass a test."""
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
    """Stages that can't be rendered, and texts of `renders` that appear in no stage."""
    contents: list[str] = []
    for texts in _texts(test):
        for stage in STAGES:
            try:
                messages, prefill = stage_messages(stage, constitution, principle, texts)
            except (ContentError, PromptError) as error:
                yield f"the stage {stage} can't be rendered: {error.message}"
                return
            contents += [*(m.content for m in messages), prefill]
    for text in test.expect.get("renders", ()):
        if not any(text in content for content in contents):
            yield f"renders {text!r}"


def _texts(test: PrincipleTest) -> Iterator[StageTexts]:
    """The texts that the stages are rendered with: the test's response, and its pair."""
    if test.response is not None or test.a is None or test.b is None:
        yield StageTexts(test.prompt, **({"response": test.response} if test.response else {}))
    if test.a is not None and test.b is not None:
        yield StageTexts(test.prompt, response=test.a, other=test.b)
