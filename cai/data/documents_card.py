"""The dataset card of documents that explain principles."""

from __future__ import annotations

from cai.data.counts import RunCounts
from cai.data.documents import GUARDS, KINDS
from cai.data.markdown import cell
from cai.store.records import Run


def documents_head(run: Run, title: str) -> str:
    """What the data is, for the beginning of its card."""
    settings = run.config["documents"]
    return (
        f"# {cell(title)}\n\n"
        "Documents that a model wrote to explain written principles, to be learned as plain text"
        " before any demonstration (Model Spec Midtraining, arXiv:2605.02087). No person has read"
        " them all.\n\n"
        f"Run `{run.id}`, seed {run.seed}, {settings['per_principle']} documents asked for on each"
        " principle. `manifest.json` holds the whole configuration and the digest of every file;"
        " `constitution.json` every principle's text.\n"
    )


def documents_section(run: Run, counts: RunCounts) -> str:
    """Documents by principle and by kind, and what each guard means."""
    documents, constitution = counts.documents, run.constitution
    head = "| principle | version | documents | rows | reason shown |\n|---|---|---|---|---|\n"
    lines = [
        f"| `{p['id']}` {cell(p.get('title', ''))} | {p['version']}"
        f" | {documents.written[p['id']]} | {documents.rows[p['id']]}"
        f" | {'no' if p['id'] in documents.without_why else 'yes'} |"
        for p in constitution.get("principles", [])
    ]
    kinds = ", ".join(f"{documents.kinds[kind]} {kind} ({what})" for kind, what in KINDS.items())
    guards = "\n".join(f"- `{name}`: {meaning}." for name, meaning in GUARDS.items())
    return (
        f"## Documents\n\n`{constitution['id']}` {constitution.get('version', '')}, digest"
        f" `{constitution.get('digest', '')}`.\n\n{head}" + "\n".join(lines) + "\n\n"
        f"Rows by kind: {kinds}.\n\nA document with a guard has no row:\n\n{guards}\n"
    )


def documents_columns() -> str:
    """The columns of the rows."""
    return (
        "## Columns\n\n"
        "- `text`: the document, to be learned whole; `origin: document` says so.\n"
        "- `kind`: see above.\n"
        "- `principle_ids`, `principle_version`, `principle_digest`: the principle that it"
        " explains; the digest covers its title, wordings and examples.\n"
        "- `with_why`: whether the writer read the principle's reason.\n"
        "- `request_digest`: of the messages that asked for it. `seed`: the run's.\n"
        "- `id`, `trace_id`, `prompt_id`: for tracing.\n"
    )
