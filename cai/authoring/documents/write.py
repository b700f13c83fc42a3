"""One document on a principle: what is asked for, and what is wrong with what came."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from cai.authoring.documents.config import DocumentsConfig
from cai.authoring.reasons import has_reason
from cai.constitution import messages
from cai.data.documents import GUARDS
from cai.evaluation.redteam.diversity import is_near, words_of
from cai.pipeline.revise import make_trace
from cai.pipeline.steps import Ask, Draws, Steps, generations
from cai.text import seeds
from cai.text.faults import is_repetitive, is_truncated
from cai.text.parsing import is_refusal
from cai.types import (
    Constitution,
    DocumentKind,
    ExplainedPrinciple,
    Generate,
    Generation,
    Principle,
    Prompt,
    Trace,
)

_COPIED = 10
"""Words in a row of the request's own text that a document must not repeat."""
_SPEAKS_OF_REQUEST = re.compile(
    r"^\W*(?:sure|certainly|of course|absolutely|okay)?\W*"
    r"(?:here(?:['’]s| is| are)|i(?:['’]ve| have) written|below is)\b"
    r"[^.:\n]{0,80}\b(?:essay|question|answer|conversation|dialogue|example|document|principle)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class DocumentRequest:
    """A document to write. prompt: its request. own_words: the request without the principle."""

    prompt: Prompt
    explained: ExplainedPrinciple
    own_words: str


def requests(constitution: Constitution, config: DocumentsConfig) -> Iterator[DocumentRequest]:
    """The documents of all principles, principle by principle, in the order of their numbers.

    A document's kind and its seed depend on its principle's id and its number alone: other
    principles, and more documents, change no document.
    """
    for member in constitution.members:
        for number in range(config.per_principle):
            yield request(constitution, member.principle, number, config)


def request(
    constitution: Constitution, principle: Principle, number: int, config: DocumentsConfig
) -> DocumentRequest:
    """The request for one document on a principle."""
    kind = _draw_kind(config, principle.id, number)
    with_why = config.why and has_reason(principle)
    asked = messages.document(constitution, principle, kind, with_why=with_why)
    nameless = replace(principle, title="", why="", critique_request="", comparison_question="")
    own_words = messages.document(constitution, nameless, kind, with_why=False)
    return DocumentRequest(
        Prompt(f"{principle.id}/{number:05d}-{kind}", asked, source=principle.id),
        ExplainedPrinciple(principle.id, principle.version, principle.digest, kind, with_why),
        own_words[-1].content,
    )


def _draw_kind(config: DocumentsConfig, principle_id: str, number: int) -> DocumentKind:
    weights: dict[DocumentKind, float] = dict.fromkeys(config.kinds.split(","), 1.0)  # type: ignore[arg-type]
    kind: DocumentKind = seeds.draw(weights, config.seed, principle_id, "document", number)  # type: ignore[arg-type, assignment]
    return kind


def write(asked: DocumentRequest, draws: Draws, least: int) -> Steps[Trace]:
    """Have the model write a document; its guards are those that need no other document.

    least: tokens that it must have.
    """
    sampling = draws.sampling(asked.prompt, "document")
    (text,) = generations(
        (yield Ask("generator", "document", (Generate(asked.prompt.messages, sampling),)))
    )
    explained = replace(asked.explained, guards=guards(text, asked.own_words, least))
    return replace(make_trace(asked.prompt, text), explained=explained)


def guards(document: Generation, own_words: str, least: int) -> tuple[str, ...]:
    """The faults of a document, in the order of `GUARDS`.

    own_words: the request without the texts of the principle, which a document may well quote.
    least: tokens that it must have; what a model thinks before it writes counts among them.
    """
    text = document.text
    tripped = {
        "empty": not re.search(r"\w", text),
        "truncated": is_truncated(document),
        "short": document.response_tokens < least,
        "refused": is_refusal(text),
        "leaked": _copies(text, own_words) or bool(_SPEAKS_OF_REQUEST.search(text)),
        "loop": is_repetitive(text),
    }
    return tuple(name for name in GUARDS if tripped.get(name))


def _copies(text: str, own_words: str) -> bool:
    """Whether a run of `_COPIED` words of the request occurs in a document."""
    return bool(set(_runs(words_of(text))) & set(_runs(words_of(own_words))))


def _runs(words: Sequence[str]) -> Iterator[tuple[str, ...]]:
    return zip(*(words[start:] for start in range(_COPIED)), strict=False)


def without_duplicates(traces: Iterable[Trace]) -> Iterator[Trace]:
    """The same documents; near duplicates of an earlier one on the same principle are guarded.

    traces: in the order of `requests`. Documents that are left out anyway are compared with none.
    """
    kept: dict[str, list[str]] = {}
    for trace in traces:
        explained = trace.explained
        assert explained is not None
        if explained.guards:
            yield trace
            continue
        earlier = kept.setdefault(explained.principle_id, [])
        if is_near(trace.response.text, earlier):
            yield replace(trace, explained=replace(explained, guards=("near-duplicate",)))
        else:
            earlier.append(trace.response.text)
            yield trace
