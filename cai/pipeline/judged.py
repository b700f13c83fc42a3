"""A trace whose last revision the judge was asked about: is it better than the first response?

"The revision is better" is taken as certain in Bai et al. 2022. A weak reviser is often wrong about
that, so the judge may be asked, as it is asked about any other pair.
"""

from __future__ import annotations

from dataclasses import replace

from cai.digest import digest
from cai.pipeline.given import compared
from cai.pipeline.revise import revise
from cai.pipeline.steps import Draws, Steps
from cai.types import Constitution, Label, Prompt, Trace


def revise_and_judge(prompt: Prompt, constitution: Constitution, draws: Draws) -> Steps[Trace]:
    """Revise a response, then compare what it became with what it was.

    A text that came back unchanged is not judged.
    """
    trace = yield from revise(prompt, constitution, draws)
    if trace.final == trace.response.text:
        return trace
    found = yield from compared(prompt, constitution, draws, trace.final, trace.response.text)
    label = Label(found.probability, found.judgements, found.p_ab, found.p_ba)
    keys = [scores.key for judgement in label.judgements for scores in judgement.scores]
    return replace(trace, id="t-" + digest([trace.id, keys])[:16], label=label)
