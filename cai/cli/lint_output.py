"""Problems in the formats that other programs read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cai
from cai.constitution.codes import CODES
from cai.constitution.lint import ADVICE
from cai.errors import Problem

SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


def as_json(problems: Sequence[Problem]) -> str:
    """A list of objects."""
    return json.dumps([asdict(p) for p in problems], indent=2)


def as_github(problems: Sequence[Problem]) -> str:
    """Commands that a GitHub workflow turns into annotations beside the lines."""
    return "\n".join(
        f"::{_level(p)} file={_property(p.file)},line={p.line},col={p.column},"
        f"title={_property(p.code)}::{_message(f'{p.message}. {p.hint}'.strip())}"
        for p in problems
    )


def as_sarif(problems: Sequence[Problem]) -> str:
    """One SARIF 2.1.0 log: https://docs.oasis-open.org/sarif/sarif/v2.1.0/."""
    used = sorted({p.code for p in problems})
    run = {
        "tool": {
            "driver": {
                "name": "cai lint",
                "semanticVersion": cai.__version__,
                "rules": [_rule(code) for code in used],
            }
        },
        "columnKind": "unicodeCodePoints",
        "results": [
            {
                "ruleId": p.code,
                "ruleIndex": used.index(p.code),
                "level": _level(p),
                "message": {"text": f"{p.message}. {p.hint}".strip()},
                "locations": [
                    {
                        "physicalLocation": {
                            "artifactLocation": {"uri": quote(Path(p.file).as_posix())},
                            "region": {"startLine": p.line, "startColumn": p.column},
                        }
                    }
                ],
            }
            for p in problems
        ],
    }
    return json.dumps({"$schema": SARIF, "version": "2.1.0", "runs": [run]}, indent=2)


def _rule(code: str) -> dict[str, Any]:
    page = CODES[code]
    return {
        "id": code,
        "name": "".join(word.capitalize() for word in page.title.replace("'", "").split()),
        "shortDescription": {"text": page.title},
        "fullDescription": {"text": page.text},
    }


def _level(problem: Problem) -> str:
    return "warning" if problem.code.startswith(ADVICE) else "error"


def _message(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _message(text).replace(":", "%3A").replace(",", "%2C")
