"""Other wordings of a principle, asked of a critic that is shown what auditors rejected."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cai.authoring.edits.faults import AuditedRecord
from cai.constitution.messages import transcript
from cai.constitution.source import INVISIBLE
from cai.constitution.templates import render
from cai.pipeline.steps import Ask, Draws, Steps, generations
from cai.text.parsing import normalise
from cai.types import Comparison, Generate, Message, Principle, Prompt, Trace

FEWEST_WORDS, LONGEST = 4, 1_000
"""Words, and characters, of a request that is kept."""
_SHOWN = 1_500
"""Characters of a text that the critic is shown; a longer one is cut in its middle."""
_LABELS = {"reviewer": "critique_request", "writer": "revision_request",
           "judge": "comparison_question"}  # fmt: skip
_LABEL = re.compile(
    r"^[\W_]*(reviewer|writer|judge)(?: request| question)?[\W_]*?:[*_ ]*", re.IGNORECASE | re.M
)
_TEMPLATE = re.compile(r"\{\{|\{%|\{#")


@dataclass(frozen=True, slots=True)
class DraftWording:
    """Other wordings of a principle; what the critic left out is as it was.

    shown: ids of the records that the critic read.
    """

    principle: str
    critique_request: str
    revision_request: str
    comparison_question: str
    shown: tuple[str, ...]


class NoWording(ValueError):
    """A reply without a wording that can be used; says why."""


def reword(
    principle: Principle,
    rejected: Sequence[AuditedRecord],
    accepted: Sequence[AuditedRecord],
    template: str,
    draws: Draws,
) -> Steps[DraftWording | str]:
    """Ask the critic for other wordings; returns them, or why its reply can't be used.

    template: of the kind `reword`.
    """
    text = render(
        template,
        {
            "principle": principle.title,
            "critique_request": principle.critique_request.strip(),
            "revision_request": principle.revision_request.strip(),
            "question": principle.comparison_question.strip(),
            "rejected": tuple(_case(one, principle.id) for one in rejected),
            "accepted": tuple(_case(one, principle.id) for one in accepted),
        },
    )
    prompt = Prompt(f"reword/{principle.id}", (Message("user", text),))
    request = Generate(prompt.messages, draws.sampling(prompt, "critique", "wording"))
    (reply,) = generations((yield Ask("critic", "critique", (request,))))
    shown = tuple(one.id for one in (*rejected, *accepted))
    try:
        cut = reply.finish_reason == "length"
        return read_wording(reply.text, principle, shown, cut=cut, asked=text)
    except NoWording as reason:
        return str(reason)


def read_wording(
    reply: str,
    principle: Principle,
    shown: tuple[str, ...] = (),
    *,
    cut: bool = False,
    asked: str = "",
) -> DraftWording:
    """The wordings in a reply: what follows `Reviewer:`, `Writer:` and `Judge:`.

    cut: the reply ran into the token limit; a request at its end is not whole then. asked: what was
    asked; a request that repeats a part of it, such as a critique that was shown, is none. Raises
    `NoWording` for a reply that has none, or one that a principle can't have, and for one that
    says what the principle says already.
    """
    if not reply.strip():
        raise NoWording("the reply is empty")
    labels = list(_LABEL.finditer(reply))
    if cut and (not labels or "\n\n" not in reply[labels[-1].end() :].lstrip()):
        raise NoWording("the reply ran into the token limit")
    if not labels:
        raise NoWording("the reply has no line that begins with Reviewer, Writer or Judge")
    new: dict[str, str] = {}
    for label, following in zip(labels, [*labels[1:], None], strict=True):
        end = following.start() if following else len(reply)
        paragraph = reply[label.end() : end].strip().partition("\n\n")[0]
        new.setdefault(label[1].lower(), _request(label[1].lower(), paragraph))
    old = {name: str(getattr(principle, field)) for name, field in _LABELS.items()}
    others = {name: text for name, text in new.items() if normalise(text) != normalise(old[name])}
    if not others:
        raise NoWording("the reply repeats the wordings that there are")
    for name, text in others.items():
        if normalise(text) in normalise(asked):
            raise NoWording(f"the request to the {name} repeats what was asked or shown")
    wordings = {field: new.get(name, old[name]) for name, field in _LABELS.items()}
    return DraftWording(principle.id, shown=shown, **wordings)


def _request(name: str, text: str) -> str:
    """A request on one line, without quotation marks and bold type around it."""
    line = " ".join(INVISIBLE.sub("", text).split()).strip("*_ ")
    if len(line) > 2 and (line[0], line[-1]) in {('"', '"'), ("“", "”"), ("'", "'")}:
        line = line[1:-1].strip()
    if _TEMPLATE.search(line):
        raise NoWording(f"the request to the {name} has brackets of a template")
    if len(line.split()) < FEWEST_WORDS:
        raise NoWording(f"the request to the {name} is too short: {line!r}")
    if len(line) > LONGEST:
        raise NoWording(f"the request to the {name} has more than {LONGEST:,} characters")
    return line


def _case(audited: AuditedRecord, principle: str) -> str:
    """A record as the critic reads it: what this principle made of it, and what people say."""
    record = audited.record
    lines = [_short(transcript(record.prompt.messages))]
    if isinstance(record, Comparison):
        lines += [f"Answer {n}: {_short(r.text)}" for n, r in zip("AB", record.responses,
                                                                  strict=True)]  # fmt: skip
        lines.append(f"Called better: {'A' if record.probability >= 0.5 else 'B'}")
    else:
        lines += _rounds(record, principle)
    lines.append(f"People: {_short(audited.told_without_names)}")
    return "\n".join(lines)


def _rounds(trace: Trace, principle: str) -> list[str]:
    """The principle's rounds; of the others, what they made of the answer."""
    lines = [f"Answer: {_short(trace.texts[0])}"]
    for before, revision in zip(trace.texts, trace.revisions, strict=False):
        if revision.principle_id == principle:
            if before != trace.texts[0]:
                lines.append(f"Answer, as it came to the reviewer: {_short(before)}")
            if revision.critique is not None:
                lines.append(f"Reviewer: {_short(revision.critique.text)}")
            if revision.text is not None:
                lines.append(f"Writer: {_short(revision.text)}")
    if trace.final not in trace.texts[:1]:
        lines.append(f"In the end: {_short(trace.final)}")
    return lines


def _short(text: str) -> str:
    if len(text) <= _SHOWN:
        return text
    half = _SHOWN // 2
    return f"{text[:half]} […] {text[-half:]}"
