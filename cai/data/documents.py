"""SFT rows from documents that explain principles: texts to learn as they stand, without a prompt.

A run of `cai build-documents` records each document as a trace: the prompt is the request, the
response the document (`cai.authoring.documents`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cai.data.manifest import Manifest
from cai.data.sft import LeftOut
from cai.digest import digest
from cai.types import DocumentExample, DocumentKind, ExplainedPrinciple, Trace

ORIGIN = "document"
"""The origin of a row whose `text` is learned whole."""

KINDS: Mapping[DocumentKind, str] = {
    "question": "a user's question and its answer",
    "essay": "a short essay",
    "dialogue": "two people talking",
    "example": "a good and a bad answer, compared",
}
"""Each kind of document, for people."""

GUARDS = {
    "empty": "the document has no words",
    "truncated": "the document hit the token limit",
    "short": "the document has fewer tokens than were asked for",
    "refused": "the model declines to write it",
    "leaked": "the document repeats the request, or speaks of it",
    "loop": "a run of six words occurs three times or more",
    "near-duplicate": "half of its words and pairs of words, or more, are those of an earlier"
    " document on the same principle",
}
"""Each guard of a document and its description for auditors."""


def is_documents(config: Mapping[str, Any]) -> bool:
    """Whether a run's configuration is that of a run of documents."""
    return "documents" in config


def document_example(
    trace: Trace, explained: ExplainedPrinciple, seed: int
) -> DocumentExample | LeftOut:
    """The row of a document, or why it has none. seed: the run's."""
    if explained.guards:
        return LeftOut(f"guarded: {', '.join(explained.guards)}")
    return DocumentExample(
        text=trace.response.text.strip(),
        explained=explained,
        prompt_id=trace.prompt.id,
        trace_id=trace.id,
        request_digest=digest(trace.prompt.messages),
        seed=seed,
    )


def document_values(example: DocumentExample) -> dict[str, Any]:
    """A row of `sft.jsonl`: `text`, which `origin` says is learned whole, and where it is from."""
    explained = example.explained
    return {
        "id": example.trace_id,
        "text": example.text,
        "origin": ORIGIN,
        "kind": explained.kind,
        "principle_ids": [explained.principle_id],
        "principle_version": explained.principle_version,
        "principle_digest": explained.principle_digest,
        "with_why": explained.with_why,
        "request_digest": example.request_digest,
        "seed": example.seed,
        "prompt_id": example.prompt_id,
        "trace_id": example.trace_id,
        "split": "train",
    }


@dataclass
class DocumentCounts:
    """Counts of documents: all, those with a row by kind, and both numbers by principle.

    without_why: principles whose reason the writer did not read.
    """

    written: Counter[str] = field(default_factory=Counter)
    rows: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    without_why: set[str] = field(default_factory=set)

    def add(self, explained: ExplainedPrinciple) -> None:
        """Count a document."""
        name = explained.principle_id
        self.written[name] += 1
        if not explained.guards:
            self.rows[name] += 1
            self.kinds[explained.kind] += 1
        if not explained.with_why:
            self.without_why.add(name)

    def plain(self) -> dict[str, Any]:
        """The values for a manifest; empty where there are no documents."""
        if not self.written:
            return {}
        return {
            "written": self.written.total(),
            "rows": self.rows.total(),
            "kinds": dict(sorted(self.kinds.items())),
            "principles": {
                name: {"written": n, "rows": self.rows[name], "why": name not in self.without_why}
                for name, n in sorted(self.written.items())
            },
        }


def documents_of(file: Path) -> dict[str, Any]:
    """`documents`: the run that wrote a file of documents, and its rows by principle.

    Each principle has its version and digest, as the run read it. Empty for any other file.
    """
    manifest = Manifest.beside(file)
    if manifest is None or not is_documents(manifest.config):
        return {}
    if not manifest.rows.get(file.resolve().name):
        return {}
    counts = manifest.counts["documents"]["principles"]
    return {
        "documents": {
            "run": manifest.run["id"],
            "constitution": {k: manifest.constitution[k] for k in ("id", "version", "digest")},
            "principles": [
                {**principle, "rows": counts[principle["id"]]["rows"]}
                for principle in manifest.constitution["principles"]
                if principle["id"] in counts
            ],
        }
    }
