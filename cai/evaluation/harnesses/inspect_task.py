"""The parts of Inspect's tasks that are cai's: who asks, and who judges the replies.

The task files that `cai eval --export inspect` writes import this; nothing of cai does. It needs
the extra `inspect`.
"""

from __future__ import annotations

from inspect_ai.model import ChatMessageAssistant, ChatMessageUser
from inspect_ai.scorer import Score, Scorer, Target, mean, scorer, stderr
from inspect_ai.solver import Generate, Solver, TaskState, generate, solver

from cai.evaluation.items import Item
from cai.evaluation.measures import MEASURED_REPLIES
from cai.evaluation.suite import ITEMS

__all__ = ["generate", "replies_by_rule", "say_turns"]


@solver
def say_turns() -> Solver:
    """The user's turns of an item, one after another, with a reply to each.

    The sample's input is the first.
    """

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        state = await generate(state)
        for turn in state.metadata["item"]["turns"][1:]:
            state.messages.append(ChatMessageUser(content=turn))
            state = await generate(state)
        return state

    return solve


@scorer(metrics={"*": [mean(), stderr(cluster="cluster")]})
def replies_by_rule(measures: list[str]) -> Scorer:
    """What cai's rules measure of the replies, as `cai eval` does: 1 for yes, 0 for no.

    measures: names in `cai.evaluation.measures.MEASURED_REPLIES`. The standard error is over
    clusters of items.
    """

    async def score(state: TaskState, target: Target) -> Score:
        item: Item = ITEMS[state.metadata["task"]].model_validate(state.metadata["item"])
        replies = [m.text for m in state.messages if isinstance(m, ChatMessageAssistant)]
        values = {name: MEASURED_REPLIES[name](item, replies) for name in measures}
        return Score(value=values, answer=replies[-1])

    return score
