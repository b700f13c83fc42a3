"""Settings of a constitution that contradict each other or its principles."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from cai.constitution.source import KeyPath, Source
from cai.constitution.templates import used_variables
from cai.errors import Problem
from cai.types import Feedback, Member, Plan, Templates


def contradictions(
    source: Source, members: Sequence[Member], plan: Plan, feedback: Feedback
) -> list[Problem]:
    """Contradictions in a whole constitution, each at the setting in its file."""
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
            what = f"no principle is used in the phase `{phase}`"
            yield source.problem(("principles",), "C030", what, hint)


def _plan(source: Source, members: Sequence[Member], plan: Plan) -> Iterator[Problem]:
    eligible = [m.principle for m in members if "sl" in m.phases]
    place: KeyPath = ("plan", "rounds")
    random = plan.draw in ("weighted", "uniform")
    once = plan.draw == "fixed" or (random and not plan.with_replacement)
    if once and eligible and plan.rounds > len(eligible):
        what = f"{plan.rounds} rounds, but only {len(eligible)} principles in the phase `sl`"
        hint = f"Set rounds to {len(eligible)} or less"
        hint += ", or with_replacement to true." if random else "."
        yield source.problem(place, "C031", what, hint)
    if random and not (once and plan.rounds > len(eligible)):
        number = empty_round(members, plan)
        if number is not None:
            what = f"round {number} may have no principle left to draw"
            hint = "Allow more principles in it, or all: delete `rounds` of some."
            yield source.problem(place, "C031", what, hint)
    if plan.with_replacement and not random:
        what = f"with_replacement is true, but `draw: {plan.draw}` does not draw at random"
        hint = "Delete with_replacement, or set draw to weighted or uniform."
        yield source.problem(("plan", "with_replacement"), "C031", what, hint)
    for principle in eligible:
        if plan.fewshot > len(principle.examples):
            what = f"fewshot is {plan.fewshot}, but `{principle.id}` has "
            what += f"{len(principle.examples)} examples"
            hint = f"Add examples to {principle.path}, or lower fewshot."
            yield source.problem(("plan", "fewshot"), "C033", what, hint)


def eligible_members(members: Iterable[Member], number: int) -> tuple[Member, ...]:
    """The members of the phase `sl` that may be drawn in a round, counted from 1."""
    eligible = tuple(m for m in members if "sl" in m.phases)
    if not any(number in m.rounds for m in eligible):
        return eligible
    return tuple(m for m in eligible if not m.rounds or number in m.rounds)


def empty_round(members: Sequence[Member], plan: Plan) -> int | None:
    """The first round that may have no principle left to draw, counted from 1; None if none.

    Without replacement the worst case is assumed: earlier rounds drew this round's principles
    whenever they could.
    """
    for number in range(1, plan.rounds + 1):
        candidates = eligible_members(members, number)
        unavailable = 0
        if not plan.with_replacement:
            earlier = [eligible_members(members, before) for before in range(1, number)]
            unavailable = sum(any(m in candidates for m in others) for others in earlier)
        if len(candidates) <= unavailable:
            return number
    return None


def _feedback(source: Source, members: Sequence[Member], feedback: Feedback) -> Iterator[Problem]:
    eligible = [m for m in members if "rl" in m.phases]
    count = feedback.principles_per_pair
    if feedback.mode == "contrast":
        yield from _contrast(source, feedback)
    if feedback.chain_of_thought and feedback.mode != "letters":
        what = f"chain_of_thought is true, but `mode: {feedback.mode}` writes no reasoning"
        hint = "Set mode to letters, or chain_of_thought to false."
        yield source.problem(("feedback", "chain_of_thought"), "C032", what, hint)
    if feedback.reasoning_samples > 1 and not feedback.chain_of_thought:
        what = f"reasoning_samples is {feedback.reasoning_samples}, but chain_of_thought is false"
        hint = "Set chain_of_thought to true, or delete reasoning_samples."
        yield source.problem(("feedback", "reasoning_samples"), "C032", what, hint)
    if count != "all" and eligible and count > len(eligible) and feedback.mode != "contrast":
        what = f"principles_per_pair is {count}, but only {len(eligible)} are in the phase `rl`"
        hint = "Lower principles_per_pair, or write `all`."
        yield source.problem(("feedback", "principles_per_pair"), "C032", what, hint)


def _contrast(source: Source, feedback: Feedback) -> Iterator[Problem]:
    """Settings of a judge's label, where a pair's label is by construction."""
    labels = {
        "principles_per_pair": feedback.principles_per_pair not in ("all", 1),
        "clamp": feedback.clamp is not None,
        "temperature": feedback.temperature != 1,
    }
    for key in (key for key, is_set in labels.items() if is_set):
        what = f"{key} is set, but `mode: contrast` asks no judge"
        if key == "principles_per_pair":
            what = "`mode: contrast` makes each pair under one principle"
        yield source.problem(("feedback", key), "C032", what, f"Delete {key}.")


def unseen_reasons(source: Source, templates: Templates, feedback: Feedback) -> list[Problem]:
    """That `show_why` shows nothing, since no template of a stage in use has a place for it."""
    in_use = [templates.critique, templates.revise]
    if feedback.judging == "letters":
        in_use.append(templates.compare_cot if feedback.chain_of_thought else templates.compare)
    if any("why" in used_variables(text) for text in in_use):
        return []
    what = "show_why is true, but no template in use shows the reason"
    hint = "Put {% if why %}Why: {{ why }}{% endif %} into a template, or delete show_why."
    return [source.problem(("show_why",), "C035", what, hint)]
