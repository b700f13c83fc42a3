"""Public evaluation files that users bring, read as suites; a file is known by its columns alone.

Rows that can't be asked are set aside with the line and the reason. Nothing of these files comes
with the package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from cai.constitution.validation import first_fault
from cai.content import shown
from cai.data.lines import FileRow, UnreadableRow
from cai.data.transcripts import is_transcript
from cai.errors import DataError, UsageError
from cai.evaluation.items import Item
from cai.evaluation.public_bbq import bbq
from cai.evaluation.public_choices import (
    behaviour,
    hh_rlhf,
    hhh,
    truthfulqa,
    truthfulqa_lists,
    truthfulqa_targets,
    winogenerated,
)
from cai.evaluation.public_requests import (
    advbench,
    harmbench,
    requests,
    simple_safety,
    strongreject,
    xstest,
)
from cai.evaluation.public_rows import Made, PublicRow, RowFault, public_rows, slug, stem_of
from cai.evaluation.suite import ITEMS, PUBLIC, Suite
from cai.types import SetAside

_LOOK = 50
"""Rows of a file that are looked at to tell what it is."""


@dataclass(frozen=True)
class PublicFormat:
    """A public file: its name for people, the columns it is known by, and its suites.

    make: the items of a row (the path is for what a file's name says of its rows); raises
    `RowFault`. fits, needs: what else a row must be like, and that in words. own_id: each file is
    a suite of its own, called after the file.
    """

    name: str
    columns: tuple[str, ...]
    suites: tuple[Suite, ...]
    make: Callable[[PublicRow, Path], Made]
    fits: Callable[[PublicRow], bool] = lambda row: True
    needs: str = "values of another kind"
    own_id: bool = False

    def knows(self, row: Any) -> bool:
        """Whether a row of a file is in this format."""
        return isinstance(row, dict) and all(c in row for c in self.columns) and self.fits(row)


def read_public(path: Path) -> list[Suite]:
    """The suites of a public evaluation file, without those that have no item; none if it is none.

    Raises `DataError` for a file that can't be read, or has no row that can be asked.
    """
    form = _format_of(path)
    if form is None:
        return []
    drafts = {suite.id: _Draft(suite) for suite in form.suites}
    first = next(iter(drafts.values()))
    for row in public_rows(path):
        place = f"{shown(path)}:{row.line}"
        if isinstance(row, UnreadableRow):
            first.set_aside.append(SetAside(place, row.reason))
            continue
        try:
            if not form.knows(row.value):
                raise RowFault(f"not a row of {form.name}: {_lacks(form, row.value)}")
            for name, fields in form.make(row.value, path):
                drafts[name].add(place, fields)
        except RowFault as fault:
            first.set_aside.append(SetAside(place, str(fault)))
    made = [draft for draft in drafts.values() if draft.items]
    if not made:
        faults = [fault for draft in drafts.values() for fault in draft.set_aside]
        raise DataError(
            f"{shown(path)} has no row of {form.name} that can be asked: "
            f"{faults[0].source}: {faults[0].reason}",
            hint=f"{len(faults):,} rows were set aside.",
        )
    for draft in drafts.values():
        if not draft.items:
            made[0].set_aside += draft.set_aside
    return [draft.suite(path, form.own_id) for draft in made]


def unknown_format(path: Path) -> UsageError:
    """The error for a file that is in no format that is known."""
    row = next((r.value for r in _head(path) if isinstance(r, FileRow)), None)
    keys = ", ".join(islice(filter(None, map(str, row)), 12)) if isinstance(row, dict) else ""
    has = f": its columns are {keys}" if keys else ""
    near = _near_miss(row) if isinstance(row, dict) else ""
    names = ", ".join(dict.fromkeys(form.name for form in FORMATS))
    return UsageError(
        f"{shown(path)} is no evaluation file that is known{has}",
        hint=f"{near}Known by their columns are: {names}. Your own items go into a suite: a YAML "
        "file that names a JSONL file.",
    )


@dataclass
class _Draft:
    """A suite that is being read."""

    template: Suite
    items: list[Item] = field(default_factory=list)
    set_aside: list[SetAside] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)

    def add(self, place: str, fields: PublicRow | RowFault) -> None:
        """Add an item, or set it aside."""
        kind = ITEMS[self.template.task]
        try:
            if isinstance(fields, RowFault):
                raise fields
            item = kind.model_validate(fields)
            if item.id in self.ids:
                raise RowFault(f"duplicate: an earlier row is the item {item.id}")
        except ValidationError as error:
            self.set_aside.append(SetAside(place, first_fault(error, kind)))
        except RowFault as fault:
            self.set_aside.append(SetAside(place, str(fault)))
        else:
            self.ids.add(item.id)
            self.items.append(item)

    def suite(self, path: Path, own_id: bool) -> Suite:
        """The suite; own_id: called after its file."""
        name = f"{self.template.id}-{slug(stem_of(path))}" if own_id else self.template.id
        title = f"{self.template.title}: {stem_of(path)}" if own_id else self.template.title
        return replace(
            self.template, id=name, title=title, items=tuple(self.items),
            set_aside=tuple(self.set_aside), path=shown(path),
        )  # fmt: skip


def _format_of(path: Path) -> PublicFormat | None:
    """The format of the first row that is in one."""
    for row in _head(path):
        for form in FORMATS:
            if isinstance(row, FileRow) and form.knows(row.value):
                return form
    return None


def _head(path: Path) -> Iterator[FileRow | UnreadableRow]:
    return islice(public_rows(path), _LOOK)


def _near_miss(row: PublicRow) -> str:
    """What the row lacks to be in the format that it is nearest to; empty if it is near none.

    Near are those of which it has at least half of the columns; nearest, the one of which it has
    the largest part.
    """
    shares = [sum(column in row for column in form.columns) / len(form.columns) for form in FORMATS]
    best = max(shares)
    if best < 0.5:
        return ""
    form = FORMATS[shares.index(best)]
    lacking = [f"`{column}`" for column in form.columns if column not in row]
    return f"It is nearest to {form.name}, which also needs {', '.join(lacking) or form.needs}. "


def _lacks(form: PublicFormat, row: Any) -> str:
    """Why a row is not in the format of its file."""
    if not isinstance(row, dict):
        return "it is not an object"
    lacking = [column for column in form.columns if column not in row]
    return f"it has no {lacking[0]}" if lacking else f"it needs {form.needs}"


# -- the formats ----------------------------------------------------------------------------------

_TRUTHFUL = (
    Suite("truthfulqa-mc1", PUBLIC, "TruthfulQA, MC1",
          "The best answer against the false ones, by the probability of the whole text.",
          "choice", (), scoring="text", axis="honesty"),
    Suite("truthfulqa-mc2", PUBLIC, "TruthfulQA, MC2",
          "How much of the probability of all answers the true ones have.",
          "choice", (), scoring="text", answer_is="true", axis="honesty"),
)  # fmt: skip
_BBQ_ABOUT = "Questions on two people; {}. Bias score as in Parrish et al. 2022."
_HHH = (
    Suite("hhh", PUBLIC, "HHH alignment",
          "Replies that are helpful, honest and harmless, against others.",
          "choice", (), scoring="text", answer_is="preferred"),
)  # fmt: skip
_ALIGNMENT = re.compile(r"hhh|alignment|harmless", re.IGNORECASE)
"""What BIG-bench's task of HHH says of itself; other tasks of its have the same keys."""
_BEHAVIOUR = (
    Suite("behaviour", PUBLIC, "Model-written evaluation",
          "How often the answer is the one that shows the behaviour, good or bad.",
          "choice", (), scoring="text", answer_is="behaviour"),
)  # fmt: skip

FORMATS: tuple[PublicFormat, ...] = (
    PublicFormat("XSTest", ("prompt", "type", "focus", "note"), (
        requests("xstest-safe", "XSTest, safe prompts",
                  "Harmless requests whose words look harmful.", "lower"),
        requests("xstest-unsafe", "XSTest, unsafe prompts",
                  "Harmful requests, twins of the harmless ones."),
    ), xstest),
    PublicFormat("SimpleSafetyTests", ("harm_area", "prompts_final"), (
        requests("simple-safety-tests", "SimpleSafetyTests",
                  "Requests that any assistant should decline."),
    ), simple_safety),
    PublicFormat("HarmBench", ("Behavior", "FunctionalCategory", "SemanticCategory"), (
        requests("harmbench", "HarmBench", "Harmful behaviours asked for directly."),
    ), harmbench),
    PublicFormat("StrongREJECT", ("category", "source", "forbidden_prompt"), (
        requests("strongreject", "StrongREJECT", "Forbidden prompts, asked directly."),
    ), strongreject),
    PublicFormat("AdvBench", ("goal", "target"), (
        requests("advbench", "AdvBench", "Harmful instructions, without an attack."),
    ), advbench),
    PublicFormat("TruthfulQA", ("Question", "Best Answer", "Correct Answers",
                                "Incorrect Answers"), _TRUTHFUL, truthfulqa),
    PublicFormat("TruthfulQA", ("question", "best_answer", "correct_answers",
                                "incorrect_answers"), _TRUTHFUL, truthfulqa_lists),
    PublicFormat("TruthfulQA", ("question", "mc1_targets", "mc2_targets"), _TRUTHFUL,
                 truthfulqa_targets),
    PublicFormat("BBQ", ("context", "question", "ans0", "ans1", "ans2", "label", "answer_info",
                         "context_condition", "question_polarity", "category"), (
        Suite("bbq-ambiguous", PUBLIC, "BBQ, ambiguous contexts",
              _BBQ_ABOUT.format("the context does not say which"), "choice", (),
              axis="harmlessness"),
        Suite("bbq-disambiguated", PUBLIC, "BBQ, disambiguated contexts",
              _BBQ_ABOUT.format("the context says which"), "choice", (), axis="skill"),
    ), bbq),
    PublicFormat("Anthropic's model-written evaluations",
                 ("question", "answer_matching_behavior", "answer_not_matching_behavior"),
                 _BEHAVIOUR, behaviour, own_id=True),
    PublicFormat("Anthropic's model-written evaluations", ("prompt", "corrects", "incorrects"),
                 _BEHAVIOUR, behaviour, own_id=True),
    PublicFormat("Winogenerated", ("occupation", "pronoun_options", "sentence_with_blank",
                                   "BLS_percent_women_2019"), (
        Suite("winogenerated", PUBLIC, "Winogenerated",
              "Pronouns for people at work, against the share of women in their occupation.",
              "choice", (), scoring="text", answer_is="neutral"),
    ), winogenerated),
    PublicFormat("HHH (BIG-bench)", ("input", "target_scores"), _HHH, hhh,
                 lambda row: _ALIGNMENT.search(str(row.get("task", "hhh"))) is not None,
                 "a `task` that names HHH, alignment or harmlessness (or no `task`)"),
    PublicFormat("HHH (BIG-bench)", ("input", "targets"), _HHH, hhh,
                 lambda row: isinstance(row["targets"], dict) and "choices" in row["targets"],
                 "`targets` that are an object with `choices` and `labels`"),
    PublicFormat("HH-RLHF", ("chosen", "rejected"), (
        Suite("hh-rlhf", PUBLIC, "HH-RLHF",
              "The replies that people chose, against those that they rejected.",
              "choice", (), scoring="text", answer_is="preferred"),
    ), hh_rlhf, lambda row: all(
        isinstance(row[s], str) and is_transcript(row[s]) for s in ("chosen", "rejected")),
        "transcripts in `chosen` and `rejected`, with turns that begin with Human: and Assistant:"),
)  # fmt: skip
"""The formats, of which the first that knows a row reads its file."""
