"""What auditors' rejections say of the principles that took part.

A rejection is about a whole record. Which principle went wrong, and how, follows from its reasons
and from what happened in the record:

- *Critique is wrong* and *principle misapplied* are about a critique: a problem that it named is a
  false alarm, a problem that it did not find a missed flaw.
- All other reasons are about the final text: the round that wrote it made it so, or the rounds that
  read it and found nothing missed the flaw. A round that left no sentence as it was made it so.
- A label is the fault of the principles that preferred the wrong side.

Where several principles may be meant, those count that the auditor speaks of: by id, or by a word
of their wording. Where nothing decides, nothing is concluded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

from cai.audit.flags import round_flags
from cai.audit.reasons import A_BETTER, B_BETTER, CRITIQUE_WRONG, MISAPPLIED, REVERSED
from cai.constitution.heuristics import stems
from cai.data.counts import NEAR_TIE, is_near_tie
from cai.data.split import family
from cai.data.verdicts import Verdict, standing_verdicts
from cai.relations.verdicts import judged_logit
from cai.stats import sigmoid
from cai.text.faults import is_unchanged
from cai.text.parsing import normalise, sentences
from cai.types import Comparison, Principle, Trace

FaultKind: TypeAlias = Literal["false alarm", "missed flaw", "revision", "label"]
"""What of a principle went wrong: its critique found a problem where there is none, or found none
where there is one; its revision; its verdict on a pair."""

_BORNE_OUT_BY: Mapping[str, frozenset[str]] = {
    "refuses without need": frozenset({"F03"}),
    "preachy": frozenset({"F07"}),
}
"""Reason → the flags of a round that show that its revision gave the auditor this reason."""
_BROKEN = "broken text"
"""The reason that is always about whoever wrote the text."""


@dataclass(frozen=True)
class AuditedRecord:
    """A record that auditors accepted or rejected.

    verdicts: those that decide: all rejections where there are any, else all accepts.
    """

    record: Trace | Comparison
    verdicts: tuple[Verdict, ...]

    @property
    def id(self) -> str:
        """The record's id."""
        return self.record.id

    @property
    def rejected(self) -> bool:
        """Whether an auditor rejected it; one is enough."""
        return self.verdicts[0].verdict == "reject"

    @cached_property
    def reasons(self) -> frozenset[str]:
        """The reasons that were chosen from the page's list."""
        return frozenset(reason for verdict in self.verdicts for reason in verdict.reasons)

    @property
    def words(self) -> str:
        """The reasons in auditors' own words; empty without any."""
        return "; ".join(verdict.reason for verdict in self.verdicts if verdict.reason)

    @property
    def decision(self) -> str:
        """`rejected` or `accepted`."""
        return "rejected" if self.rejected else "accepted"

    @property
    def told(self) -> str:
        """What was decided, by whom and why, such as `rejected by Ann (critique is wrong)`."""
        by = (f"{v.author} ({v.why})" if v.why else v.author for v in self.verdicts)
        return f"{self.decision} by {', '.join(by)}"

    @property
    def told_without_names(self) -> str:
        """The same for a model, which need not know who."""
        why = "; ".join(verdict.why for verdict in self.verdicts if verdict.why)
        return f"{self.decision} ({why})" if why else self.decision

    @cached_property
    def principles(self) -> tuple[str, ...]:
        """The principles that took part, each once."""
        if isinstance(self.record, Comparison):
            return self.record.principle_ids
        return tuple(dict.fromkeys(r.principle_id for r in self.record.revisions))

    @cached_property
    def family(self) -> str:
        """The family of its prompt (`cai.data.split.family`)."""
        return family(self.record.prompt.messages)

    @property
    def prompt(self) -> str | None:
        """The prompt as one text, as tests have it; None for a conversation."""
        messages = self.record.prompt.messages
        return messages[0].content if [m.role for m in messages] == ["user"] else None


@dataclass(frozen=True, slots=True)
class PrincipleFault:
    """A principle that went wrong in a rejected record. round: of a trace, from 0; None of a pair.

    better: of a label, the side that the auditor calls better, 0 or 1; None where that is unknown.
    """

    principle: str
    kind: FaultKind
    audited: AuditedRecord
    round: int | None = None
    better: int | None = None


def audited_records(
    records: Iterable[tuple[str, Trace | Comparison]], verdicts: Iterable[Verdict]
) -> list[AuditedRecord]:
    """The records on which a verdict decides, in their order.

    records: (key of what an auditor saw, record). A verdict on other texts under a record's id, as
    of an earlier build, does not count; nor does an auditor who is unsure.
    """
    by_key: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_key.setdefault(verdict.item, []).append(verdict)
    out = []
    for key, record in records:
        own = [v for v in standing_verdicts(by_key.get(key, ())).values() if v.record == record.id]
        rejections = tuple(v for v in own if v.verdict == "reject")
        deciding = rejections or tuple(v for v in own if v.verdict == "accept")
        if deciding:
            out.append(AuditedRecord(record, deciding))
    return out


def faults_of(
    audited: AuditedRecord, principles: Mapping[str, Principle]
) -> tuple[PrincipleFault, ...]:
    """The principles that went wrong in a record; empty if it was accepted, or if it is unclear."""
    if not audited.rejected:
        return ()
    if isinstance(audited.record, Comparison):
        possible = list(_of_comparison(audited, audited.record))
    else:
        possible = list(_of_trace(audited, audited.record))
    for speaks_of in (_names, _describes):
        spoken_of = [f for f in possible if speaks_of(audited, principles.get(f.principle))]
        if spoken_of:
            return tuple(spoken_of)
    if borne_out := [fault for fault in possible if _is_borne_out(fault)]:
        return tuple(borne_out)
    certain = isinstance(audited.record, Comparison) or _is_about_critique(audited)
    return tuple(possible) if certain and len(possible) == 1 else ()


def _of_trace(audited: AuditedRecord, trace: Trace) -> Iterator[PrincipleFault]:
    """The faults that may have been meant."""
    rounds = list(zip(trace.texts, trace.revisions, strict=False))
    if _is_about_critique(audited):
        misapplied_alone = CRITIQUE_WRONG not in audited.reasons
        for number, (_, revision) in enumerate(rounds):
            if revision.outcome == "problem":
                yield PrincipleFault(revision.principle_id, "false alarm", audited, number)
            elif revision.outcome == "no-problem" and not misapplied_alone:
                yield PrincipleFault(revision.principle_id, "missed flaw", audited, number)
        return
    writers = [
        number for number, (before, revision) in enumerate(rounds)
        if revision.text is not None and not is_unchanged(before, revision.text)
    ]  # fmt: skip
    last = writers[-1] if writers else -1
    for number, (_, revision) in enumerate(rounds):
        if number == last or (number > last and revision.outcome == "problem"):
            yield PrincipleFault(revision.principle_id, "revision", audited, number)
        elif number > last and revision.outcome == "no-problem":
            yield PrincipleFault(revision.principle_id, "missed flaw", audited, number)


def _of_comparison(audited: AuditedRecord, pair: Comparison) -> Iterator[PrincipleFault]:
    """The principles that preferred the wrong side of a pair."""
    reasons = audited.reasons
    label = int(pair.probability < 0.5)  # the side that the label calls better
    is_tie = is_near_tie(pair.probability)
    better: int | None = None
    if REVERSED in reasons and pair.probability != 0.5:
        better = 1 - label
    elif is_tie and reasons & {A_BETTER, B_BETTER}:
        better = 0 if A_BETTER in reasons else 1
    elif is_tie:
        return
    wrong = label if better is None else 1 - better
    if pair.contrast is not None:
        yield PrincipleFault(pair.contrast.principle_id, "label", audited, None, better)
    for judgement in pair.judgements:
        first = sigmoid(judged_logit(judgement, capped=False))
        for_wrong = first if wrong == 0 else 1 - first
        if for_wrong >= 0.5 + NEAR_TIE:
            yield PrincipleFault(judgement.principle_id, "label", audited, None, better)


def _is_about_critique(audited: AuditedRecord) -> bool:
    return bool({CRITIQUE_WRONG, MISAPPLIED} & audited.reasons)


def _is_borne_out(fault: PrincipleFault) -> bool:
    """Whether a revision shows the auditor's reason: it wrote all of the rejected text, or it has a
    flag that is the reason."""
    audited, record = fault.audited, fault.audited.record
    if fault.kind != "revision" or fault.round is None or not isinstance(record, Trace):
        return False
    reasons, before = audited.reasons, record.texts[fault.round]
    if not reasons and not audited.words:
        return False
    revision = record.revisions[fault.round]
    if revision.text and not set(map(normalise, sentences(before))) & set(
        map(normalise, sentences(revision.text))
    ):
        return True
    flags = set(round_flags(before, revision))
    return _BROKEN in reasons or any(flags & _BORNE_OUT_BY.get(r, frozenset()) for r in reasons)


def _names(audited: AuditedRecord, principle: Principle | None) -> bool:
    """Whether an auditor's own words contain the principle's id, and not as a part of a word."""
    if principle is None:
        return False
    return bool(re.search(rf"(?<![\w.-]){re.escape(principle.id)}(?![\w-])", audited.words))


def _describes(audited: AuditedRecord, principle: Principle | None) -> bool:
    """Whether a reason shares a word of content with a principle.

    Words are compared by their first letters, as in `cai.constitution.heuristics`.
    """
    if principle is None:
        return False
    not_of_text = {CRITIQUE_WRONG, MISAPPLIED, REVERSED, A_BETTER, B_BETTER}
    said = " ".join([audited.words, *sorted(audited.reasons - not_of_text)])
    wording = f"{principle.id} {principle.title} {principle.critique_request}"
    return bool(stems(said) & stems(wording))
