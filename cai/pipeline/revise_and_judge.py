"""Traces whose last revision is judged against the first response.

Bai et al. 2022 take it as certain that the revision is better. With a weak reviser that is often
wrong, so the judge can label this pair as it labels any other.
"""

from __future__ import annotations

from dataclasses import replace

from cai.digest import digest
from cai.pipeline.fixed_texts import compare_texts
from cai.pipeline.revise import revise
from cai.pipeline.steps import Draws, Steps
from cai.types import Constitution, Label, Prompt, Trace


def revise_and_judge(prompt: Prompt, constitution: Constitution, draws: Draws) -> Steps[Trace]:
    """Revise a response, then have the judge compare the last revision with it.

    A response that was not changed is not judged.
    """
    trace = yield from revise(prompt, constitution, draws)
    if trace.final == trace.response.text:
        return trace
    comparison = yield from compare_texts(
        prompt, constitution, draws, trace.final, trace.response.text
    )
    label = Label(comparison.probability, comparison.judgements, comparison.p_ab, comparison.p_ba)
    keys = [scores.key for judgement in label.judgements for scores in judgement.scores]
    return replace(trace, id="t-" + digest([trace.id, keys])[:16], label=label)
