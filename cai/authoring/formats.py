"""Reads and writes the constitutions of other tools: four JSON formats.

    anthropic          CritiqueRevisionInstructions.json: name → prompt (a list), edit_request
    anthropic-feedback RLMadisonInstructions.json: a list of questions that end in "Options:"
    llm-swarm          {"constitutions": [{"critic", "revision"}], "system_chat": [...]}, or the
                       list of constitutions alone
    langchain          a list of {"name", "critique_request", "revision_request"}

The first two come with Bai et al. 2022. Nothing in a file is executed.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from cai.data import strict_json
from cai.errors import DataError
from cai.types import Example, Principle

FIELDS = ("critique", "revise", "compare")


@dataclass(frozen=True, slots=True)
class ImportedPrinciple:
    """A principle as another tool's file has it; None for what its format does not have."""

    name: str
    critique: str | None = None
    revise: str | None = None
    compare: str | None = None


class ImportedContent(NamedTuple):
    """The content of a file: principles, few-shot examples for all of them, notes for the user."""

    principles: tuple[ImportedPrinciple, ...]
    examples: tuple[Example, ...] = ()
    notes: tuple[str, ...] = ()


class ContentFormat(NamedTuple):
    """A format: a description, the fields of a principle that it has, a reader and a writer."""

    about: str
    fields: tuple[str, ...]
    read: Callable[[Any], ImportedContent]
    write: Callable[[Sequence[Principle]], Any]


def read_format(name: str, text: str, file: str) -> ImportedContent:
    """Parse a file. Raises `DataError`, which names the place in it."""
    try:
        value = strict_json.loads(text)
    except strict_json.NonStandardJson as error:
        raise DataError(
            f"{file}: {error}", hint="Write each key once, finite numbers, and few levels."
        ) from None
    except json.JSONDecodeError as error:
        raise DataError(
            f"{file}:{error.lineno}:{error.colno} is not JSON",
            hint="If it is a LangChain constitution in Python, dump it as JSON first.",
        ) from None
    try:
        content = FORMATS[name].read(value)
    except _Unexpected as error:
        raise DataError(
            f"{file} is not of the format {name}: {error}", hint=FORMATS[name].about
        ) from None
    if not content.principles:
        raise DataError(f"{file} holds no principle", hint=FORMATS[name].about)
    return content


def write_format(name: str, principles: Sequence[Principle]) -> str:
    """Write principles in a format. `unsupported` lists what the format can't hold."""
    value = FORMATS[name].write(principles)
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def unsupported(name: str, principles: Sequence[Principle]) -> tuple[str, ...]:
    """What a format can't hold of principles, in words; no format holds settings."""
    fields = FORMATS[name].fields
    words = {"critique": "critiques", "revise": "revisions", "compare": "comparison questions"}
    out = [f"{len(principles)} {words[f]}" for f in FIELDS if f not in fields]
    if name == "anthropic-feedback" or name == "llm-swarm":
        out.append("the names of principles")
    first = len(principles[0].examples) if principles and name == "llm-swarm" else 0
    counts = {
        "reasons (`why`)": sum(bool(p.why) for p in principles),
        "sources": sum(bool(p.source) for p in principles),
        "tags": sum(bool(p.tags) for p in principles),
        "tests": sum(len(p.tests) for p in principles),
        "few-shot examples": sum(len(p.examples) for p in principles) - first,
    }
    out += [f"{count} {what}" for what, count in counts.items() if count]
    return (*out, "versions, weights, phases, the plan, feedback settings and templates")


class _Unexpected(ValueError):
    """The value is not of the format."""


def _expect(condition: bool, what: str) -> None:
    if not condition:
        raise _Unexpected(what)


def _text(value: Any, place: str) -> str:
    """A text; a list of texts is joined."""
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        value = "\n".join(value)
    _expect(isinstance(value, str) and bool(value.strip()), f"{place} is not a text")
    return str(value)


def _between(text: str, head: str, tail: str) -> str:
    """The text between `CritiqueRequest:` and `Critique:`; the whole text without these."""
    match = re.fullmatch(rf"\s*(?:{head}\s*:)?(.*?)(?:{tail}\s*:\s*)?", text, re.DOTALL)
    return (match.group(1) if match else text).strip()


def _left_out(entries: Iterable[Any], *used_keys: str) -> list[str]:
    """A note on the keys that are ignored; empty if there are none."""
    counts = Counter(key for entry in entries for key in entry if key not in used_keys)
    keys = ", ".join(f"{key} ({count})" for key, count in sorted(counts.items()))
    return [f"left out: the keys {keys}"] if keys else []


# -- Anthropic's critiques and revisions -----------------------------------------------------------


def _read_anthropic(value: Any) -> ImportedContent:
    _expect(isinstance(value, dict), "it is not an object of names")
    principles, joined = [], 0
    for name, entry in value.items():
        _expect(isinstance(entry, dict), f"{name} is not an object")
        request = entry.get("prompt")
        parts = request if isinstance(request, list) and request else [request]
        joined += len(parts) > 1
        critiques = [
            _between(_text(part, f"{name}.prompt"), "CritiqueRequest", "Critique") for part in parts
        ]
        revise = _text(entry.get("edit_request"), f"{name}.edit_request")
        revision = _between(revise, "RevisionRequest", "Revision")
        principles.append(ImportedPrinciple(name, "\n".join(critiques), revision))
    notes = [f"prompts of several parts, joined into one request: {joined}"] if joined else []
    notes += _left_out(value.values(), "prompt", "edit_request")
    return ImportedContent(tuple(principles), notes=tuple(notes))


def _write_anthropic(principles: Sequence[Principle]) -> dict[str, Any]:
    return {
        p.id: {
            "prompt": [f"\n\nCritiqueRequest: {p.critique_request}\n\nCritique:"],
            "edit_request": f"\n\nRevisionRequest: {p.revision_request}\n\nRevision:",
        }
        for p in principles
    }


# -- Anthropic's feedback --------------------------------------------------------------------------


def _read_feedback(value: Any) -> ImportedContent:
    _expect(isinstance(value, list), "it is not a list of questions")
    questions = [_between(_text(q, f"question {n}"), "", "Options") for n, q in enumerate(value, 1)]
    return ImportedContent(
        tuple(ImportedPrinciple(f"feedback-{n:02}", compare=q) for n, q in enumerate(questions, 1))
    )


def _write_feedback(principles: Sequence[Principle]) -> list[str]:
    return [f"{p.comparison_question}\n\nOptions:" for p in principles]


# -- llm-swarm -------------------------------------------------------------------------------------


def _read_swarm(value: Any) -> ImportedContent:
    if isinstance(value, list):
        value = {"constitutions": value}
    _expect(isinstance(value, dict), "it is neither an object nor a list")
    entries = value.get("constitutions")
    _expect(isinstance(entries, list), "`constitutions` is not a list")
    principles = []
    for number, entry in enumerate(entries, 1):
        _expect(isinstance(entry, dict), f"constitution {number} is not an object")
        critique = _text(entry.get("critic"), f"constitution {number}: critic")
        revise = _text(entry.get("revision"), f"constitution {number}: revision")
        principles.append(ImportedPrinciple(f"swarm-{number:02}", critique.strip(), revise.strip()))
    examples, unused, system = _examples(value.get("system_chat") or [])
    notes = (
        [f"left out: {unused} messages of `system_chat` that do not form a whole example"]
        if unused
        else []
    )
    notes += [f"left out: {system} system messages of `system_chat`"] if system else []
    notes += _left_out([value], "constitutions", "system_chat")
    notes += _left_out(entries, "critic", "revision")
    return ImportedContent(tuple(principles), examples, tuple(notes))


def _examples(chat: Any) -> tuple[tuple[Example, ...], int, int]:
    """Few-shot examples: prompt, response, critic's request, critique, request, revision.

    chat: messages, one example after another; or a list of chats, each one example at the end of
    a conversation, whose earlier turns are not used. Also returns how many messages are unused,
    and how many are system messages.
    """
    _expect(isinstance(chat, list), "`system_chat` is not a list")
    nested = all(isinstance(part, list) for part in chat)
    chats = chat if nested else [chat]
    out, unused, system = [], 0, 0
    for messages in chats:
        texts = []
        for message in messages:
            _expect(isinstance(message, dict), "a message of `system_chat` is not an object")
            if message.get("role") == "system":
                system += 1
            else:
                texts.append(_text(message.get("content"), "a message of `system_chat`").strip())
        last = texts[-6:] if nested else texts
        whole = len(last) // 6 * 6
        for at in range(0, whole, 6):
            prompt, response, _, critique, _, revision = last[at : at + 6]
            out.append(Example(prompt, response, critique, revision))
        unused += len(texts) - whole
    return tuple(out), unused, system


def _write_swarm(principles: Sequence[Principle]) -> dict[str, Any]:
    chat = [
        {"role": role, "content": text}
        for p in principles[:1]
        for e in p.examples
        for role, text in (
            ("user", e.prompt), ("assistant", e.response), ("user", p.critique_request),
            ("assistant", e.critique), ("user", p.revision_request), ("assistant", e.revision),
        )
    ]  # fmt: skip
    entries = [{"critic": p.critique_request, "revision": p.revision_request} for p in principles]
    return {"constitutions": entries, "system_chat": chat}


# -- LangChain -------------------------------------------------------------------------------------


def _read_langchain(value: Any) -> ImportedContent:
    notes: list[str] = []
    if isinstance(value, dict):
        nested = value.get("constitutional_principles")
        notes += [] if nested is None else _left_out([value], "constitutional_principles")
        one = {"critique_request", "revision_request"} <= set(value)
        value = nested if nested is not None else [value] if one else _entries(value)
    _expect(isinstance(value, list), "it is not a list of principles")
    principles = []
    for number, entry in enumerate(value, 1):
        _expect(isinstance(entry, dict), f"principle {number} is not an object")
        name = entry.get("name") or f"principle-{number:02}"
        _expect(isinstance(name, str), f"principle {number}: name is not a text")
        critique = _text(entry.get("critique_request"), f"{name}: critique_request")
        revise = _text(entry.get("revision_request"), f"{name}: revision_request")
        principles.append(ImportedPrinciple(name, critique.strip(), revise.strip()))
    notes += _left_out(value, "name", "critique_request", "revision_request")
    return ImportedContent(tuple(principles), notes=tuple(notes))


def _entries(value: dict[str, Any]) -> list[Any]:
    """`{"harmful": {...}}` as a list, each with its name."""
    return [{"name": k, **v} if isinstance(v, dict) else v for k, v in value.items()]


def _write_langchain(principles: Sequence[Principle]) -> list[dict[str, str]]:
    return [
        {
            "name": p.id,
            "critique_request": p.critique_request,
            "revision_request": p.revision_request,
        }
        for p in principles
    ]


FORMATS: dict[str, ContentFormat] = {
    "anthropic": ContentFormat(
        'It should be {"name": {"prompt": ["… CritiqueRequest: …"], "edit_request": "…"}}.',
        ("critique", "revise"), _read_anthropic, _write_anthropic,
    ),
    "anthropic-feedback": ContentFormat(
        'It should be a list of questions: ["… Options:", …].',
        ("compare",), _read_feedback, _write_feedback,
    ),
    "llm-swarm": ContentFormat(
        'It should be {"constitutions": [{"critic": "…", "revision": "…"}], "system_chat": […]}.',
        ("critique", "revise"), _read_swarm, _write_swarm,
    ),
    "langchain": ContentFormat(
        'It should be [{"name": "…", "critique_request": "…", "revision_request": "…"}].',
        ("critique", "revise"), _read_langchain, _write_langchain,
    ),
}  # fmt: skip
"""Name → format."""
