"""Settings that contradict each other, or the principles they are about."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cai.constitution.source import KeyPath, Source
from cai.errors import Problem
from cai.types import Feedback, Member, Plan


def contradictions(
    source: Source, members: Sequence[Member], plan: Plan, feedback: Feedback
) -> list[Problem]:
    """What is wrong with a whole constitution, each at the setting in its file."""
    if not members:
        hint = "List some under `principles`, or widen `select`."
        return [source.problem(("principles",), "C030", "there are no principles", hint)]
    return [*_phases(source, members), *_plan(source, members, plan),
            *_feedback(source, members, feedback)]  # fmt: skip


def _phases(source: Source, members: Sequence[Member]) -> Iterator[Problem]:
    stages = {"sl": "critique and revision", "rl": "feedback"}
    for phase, stage in stages.items():
        if not any(phase in m.phases for m in members):
            hint = f"Give at least one `phases: [sl, rl]`: {phase} is {stage}."
            what = f"no principle serves in the phase `{phase}`"
            yield source.problem(("principles",), "C030", what, hint)


def _plan(source: Source, members: Sequence[Member], plan: Plan) -> Iterator[Problem]:
    serving = [m.principle for m in members if "sl" in m.phases]
    place: KeyPath = ("plan", "rounds")
    drawn = plan.draw in ("weighted", "uniform")
    once = plan.draw == "fixed" or (drawn and not plan.with_replacement)
    if once and serving and plan.rounds > len(serving):
        what = f"{plan.rounds} rounds, and {len(serving)} principles in the phase `sl`"
        hint = f"Set rounds to {len(serving)} or less"
        hint += ", or with_replacement to true." if drawn else "."
        yield source.problem(place, "C031", what, hint)
    if drawn and not (once and plan.rounds > len(serving)):
        number = empty_round(members, plan)
        if number is not None:
            what = f"round {number} may find no principle left that serves in it"
            hint = "Let more principles serve in it, or all: delete `rounds` of some."
            yield source.problem(place, "C031", what, hint)
    if plan.with_replacement and not drawn:
        what = f"with_replacement is true, and `draw: {plan.draw}` draws nothing"
        hint = "Delete with_replacement, or set draw to weighted or uniform."
        yield source.problem(("plan", "with_replacement"), "C031", what, hint)
    for principle in serving:
        if plan.fewshot > len(principle.examples):
            what = f"fewshot is {plan.fewshot}, and `{principle.id}` has "
            what += f"{len(principle.examples)} examples"
            hint = f"Add examples to {principle.path}, or lower fewshot."
            yield source.problem(("plan", "fewshot"), "C033", what, hint)


def serving_in(members: Iterable[Member], number: int) -> tuple[Member, ...]:
    """The members of the phase `sl` that may be drawn in a round, counted from 1."""
    serving = tuple(m for m in members if "sl" in m.phases)
    if not any(number in m.rounds for m in serving):
        return serving
    return tuple(m for m in serving if not m.rounds or number in m.rounds)


def empty_round(members: Sequence[Member], plan: Plan) -> int | None:
    """The first round for which no principle may be left to draw, None if there is none.

    Without replacement the worst is assumed: earlier rounds took from this one's principles
    whenever they could.
    """
    for number in range(1, plan.rounds + 1):
        here = serving_in(members, number)
        taken = 0
        if not plan.with_replacement:
            earlier = [serving_in(members, before) for before in range(1, number)]
            taken = sum(any(m in here for m in drawn) for drawn in earlier)
        if len(here) <= taken:
            return number
    return None


def _feedback(source: Source, members: Sequence[Member], feedback: Feedback) -> Iterator[Problem]:
    serving = [m for m in members if "rl" in m.phases]
    wanted = feedback.principles_per_pair
    if feedback.chain_of_thought and feedback.mode == "pointwise":
        what = "chain_of_thought is true, and `mode: pointwise` writes no reasoning"
        hint = "Set mode to letters, or chain_of_thought to false."
        yield source.problem(("feedback", "chain_of_thought"), "C032", what, hint)
    if feedback.reasoning_samples > 1 and not feedback.chain_of_thought:
        what = f"reasoning_samples is {feedback.reasoning_samples}, and chain_of_thought is false"
        hint = "Set chain_of_thought to true, or delete reasoning_samples."
        yield source.problem(("feedback", "reasoning_samples"), "C032", what, hint)
    if wanted != "all" and serving and wanted > len(serving):
        what = f"{wanted} principles a pair, and {len(serving)} in the phase `rl`"
        hint = "Lower principles_per_pair, or write `all`."
        yield source.problem(("feedback", "principles_per_pair"), "C032", what, hint)
