"""Builds by a scripted model in which one principle finds all the problems."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import cai
from cai.data.counts import in_order
from cai.store.records import Run
from cai.store.store import Store
from cai.types import Comparison, Constitution, Generate, Messages, Trace
from tests import factories

RESPONSES = ["A rude answer.", "A kind answer.", "Another one."]


def scripted(*, reasons: bool = False, name: str = "scripted") -> cai.ScriptedBackend:
    """What is rude is criticised under `rude` alone, and made polite. By the scores too, a response
    has a problem under `rude` if it is rude; under the others hardly ever."""
    thought = "<think>Let me see.</think>" if reasons else ""
    backend = cai.ScriptedBackend(
        replies=[
            ("^Remove", f"{thought}A much more polite answer."),
            ("^Name what is rude", lambda r: thought + _critique(r)),
            ("^Name", f"{thought}No problem found."),
            ("Think:", ["I like (A).", "I like (B)."]),
            ("", [thought + response for response in RESPONSES]),
        ],
        scores=[
            (_is_rude, {"No problem found.": 0.1}), ("^Name", {"No problem found.": 0.95}),
            ("", {"A": 0.6, "B": 0.2}),
        ],
        name=name,
    )  # fmt: skip
    backend._info = replace(backend.info, reasons=reasons)
    return backend


def _critique(request: Generate) -> str:
    return "It is rude." if "rude" in request.messages[-2].content else "No problem found."


def _is_rude(messages: Messages) -> bool:
    """Whether `rude` is asked of a rude response."""
    asked = messages[-1].content.startswith("Name what is rude")
    return asked and "rude" in messages[-2].content


@contextmanager
def built(
    folder: Path,
    rules: Constitution,
    models: Any = None,
    *,
    prompts: int = 12,
    text: str = "Question {}?",
    **options: Any,
) -> Iterator[tuple[Store, Run]]:
    """A run in an open store. options: of the build."""
    rows = [factories.prompt(text.format(n), f"p{n:02}") for n in range(prompts)]
    with Store.open(folder / "store.sqlite") as store:
        config = cai.BuildConfig(**options)
        yield store, cai.build(rules, rows, store, models or scripted(), config)


def records_of(store: Store, run: Run) -> list[Trace | Comparison]:
    return list(in_order(store.traces(run.id), store.comparisons(run.id)))
