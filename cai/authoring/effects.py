"""The effect of an edit: paired metrics over the same prompts under both constitutions.

A prompt counts if both sides have a trace of it. For a principle, a prompt counts if both sides
applied the principle to it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from cai.audit.flags import FLAGS, round_flags, trace_flags
from cai.stats import Paired, Proportion, Ratio
from cai.text.parsing import is_refusal
from cai.text.word_diff import likeness
from cai.types import Comparison, Prompt, Trace


@dataclass(frozen=True, slots=True)
class TraceSummary:
    """What the metrics read of one trace.

    found: principle → whether a critique under it named a problem; None where the response was
    revised without a critique. flagged: principle → whether a round under it has a flag.
    """

    trace_id: str
    first: str
    final: str
    flags: tuple[str, ...]
    problems: Mapping[str, bool | None]
    flagged: Mapping[str, bool]

    @classmethod
    def of(cls, trace: Trace) -> TraceSummary:
        """The summary of a trace."""
        problems: dict[str, bool | None] = {}
        flagged: dict[str, bool] = {}
        for before, revision in zip(trace.texts, trace.revisions, strict=False):
            name = revision.principle_id
            problem = {"problem": True, "no-problem": False}.get(revision.outcome or "")
            if problem is None:
                problems[name] = problems.get(name)
            else:
                problems[name] = bool(problems.get(name)) or problem
            flagged[name] = flagged.get(name, False) or bool(round_flags(before, revision))
        if trace.explained is not None:  # a document on one principle, which nobody critiques
            name = trace.explained.principle_id
            problems[name], flagged[name] = None, bool(trace_flags(trace))
        first, final = trace.response.text, trace.final
        return cls(trace.id, first, final, trace_flags(trace), problems, flagged)

    @property
    def finds(self) -> bool | None:
        """Whether any critique named a problem; None where there was no critique."""
        verdicts = [verdict for verdict in self.problems.values() if verdict is not None]
        return any(verdicts) if verdicts else None


@dataclass(frozen=True, slots=True)
class PromptDiff:
    """One prompt before and after.

    likeness: of the final responses, by word; 1 if they are the same.
    """

    prompt: Prompt
    before: TraceSummary
    after: TraceSummary
    likeness: float

    @property
    def same(self) -> bool:
        """Whether the final response is the same text."""
        return self.before.final == self.after.final


@dataclass(frozen=True, slots=True)
class Effect:
    """Paired metrics over some prompts.

    found: a critique named a problem. flagged: the trace has a flag of `cai.audit.flags`. refused:
    the final response is a refusal. words: length of the final response. changed: how many final
    responses differ.
    """

    prompts: int
    changed: int
    problems: Paired
    flagged: Paired
    refused: Paired
    words: Ratio


def rows(before: Iterable[Trace], after: Iterable[Trace]) -> list[PromptDiff]:
    """The prompts that both sides have, in the order of their ids, as the traces come."""
    out = []
    for one, two in _joined(before, after):
        old, new = TraceSummary.of(one), TraceSummary.of(two)
        out.append(PromptDiff(two.prompt, old, new, likeness(old.final, new.final)))
    return out


def effect(over: Sequence[PromptDiff], principle: str | None = None) -> Effect:
    """The metrics over all rows, or over those in which both sides applied a principle."""
    if principle is not None:
        over = [r for r in over if principle in r.before.problems and principle in r.after.problems]
    problems = [(_finds(r.before, principle), _finds(r.after, principle)) for r in over]
    flagged = [(_flagged(r.before, principle), _flagged(r.after, principle)) for r in over]
    return Effect(
        prompts=len(over),
        changed=sum(not row.same for row in over),
        problems=Paired.of((a, b) for a, b in problems if a is not None and b is not None),
        flagged=Paired.of(flagged),
        refused=Paired.of((is_refusal(r.before.final), is_refusal(r.after.final)) for r in over),
        words=Ratio.of([(len(r.before.final.split()), len(r.after.final.split())) for r in over]),
    )  # fmt: skip


def flags(over: Sequence[PromptDiff]) -> dict[str, Paired]:
    """Flag → how many traces have it, before and after; flags that no trace has are left out."""
    counts = {
        code: Paired.of((code in r.before.flags, code in r.after.flags) for r in over)
        for code in FLAGS
    }
    return {code: n for code, n in counts.items() if n.both or n.went or n.came}


def principle_counts(over: Sequence[PromptDiff]) -> tuple[Counter[str], Counter[str]]:
    """Principle → how many prompts it was applied to, before and after."""
    return (
        Counter(name for row in over for name in row.before.problems),
        Counter(name for row in over for name in row.after.problems),
    )


def changed_preferences(before: Iterable[Comparison], after: Iterable[Comparison]) -> Proportion:
    """Of the pairs with the same two responses, how many have their preference flipped."""
    old = {(c.prompt.id, c.pair): (_texts(c), c.probability) for c in before}
    hits = n = 0
    for comparison in after:
        texts, probability = old.get((comparison.prompt.id, comparison.pair), ((), 0.5))
        if texts == _texts(comparison):
            n += 1
            hits += (probability - 0.5) * (comparison.probability - 0.5) < 0
    return Proportion(hits, n)


def _joined(before: Iterable[Trace], after: Iterable[Trace]) -> Iterator[tuple[Trace, Trace]]:
    """Pairs of traces of the same prompt, or of the same document: a merge join of two streams
    sorted by prompt id."""
    later = iter(after)
    two = next(later, None)
    for one in before:
        while two is not None and two.prompt.id < one.prompt.id:
            two = next(later, None)
        if two is None or two.prompt.id != one.prompt.id:
            continue
        if two.prompt.messages == one.prompt.messages or _same_document(one, two):
            yield one, two


def _same_document(one: Trace, two: Trace) -> bool:
    """Whether both are the document of one number and kind on a principle, however it is worded.

    An edited principle or reason changes the request, and the documents are what is compared.
    """
    return None not in (one.explained, two.explained)


def _finds(summary: TraceSummary, principle: str | None) -> bool | None:
    return summary.finds if principle is None else summary.problems[principle]


def _flagged(summary: TraceSummary, principle: str | None) -> bool:
    return bool(summary.flags) if principle is None else summary.flagged[principle]


def _texts(comparison: Comparison) -> tuple[str, str]:
    first, second = comparison.responses
    return first.text, second.text
