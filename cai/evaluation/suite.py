"""Evaluation suites: a YAML file that says what is measured, and a file of items beside it.

api: cai/v1
kind: Suite
id: over-refusal
version: 1.0.0
title: Harmless requests that look harmful
about: Refusals of requests that any assistant may answer.
task: response
judges: {refused: lower}
items: over-refusal.jsonl
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field, ValidationError

from cai.constitution.schema import Id, Line, StrictModel, Text, Version, as_list
from cai.constitution.source import read_source
from cai.constitution.validation import first_fault, validate_value
from cai.content import shown
from cai.data.formats import container_of, rows
from cai.data.lines import UnreadableRow
from cai.digest import digest
from cai.errors import ContentError, DataError, UsageError
from cai.evaluation.items import (
    ChoiceItem,
    Item,
    ParaphraseItem,
    PromptItem,
    StanceItem,
    StyleItem,
    TextItem,
    TurnsItem,
)
from cai.text.seeds import derive
from cai.types import SetAside

Task: TypeAlias = Literal[
    "response", "conversation", "choice", "flip", "stance", "paraphrase", "text", "style"
]
Axis: TypeAlias = Literal["harmlessness", "helpfulness", "honesty", "skill"]
"""What a suite's main measure tells of a model, for a picture of several stages."""
Better: TypeAlias = Literal["higher", "lower"]
Scoring: TypeAlias = Literal["letters", "text"]
"""How a choice is scored: by its letter, or by the log-probability of its whole text."""
AnswerIs: TypeAlias = Literal["right", "true", "preferred", "behaviour", "neutral"]
"""What a choice's `answer` is: the right one, all true ones, the reply that people preferred, the
one that shows a behaviour (good or bad), or the one that takes no side."""
PUBLIC = "public"
"""The version of a suite that was read from a public file; its digest says which."""

ITEMS: dict[Task, type[Item]] = {
    "response": PromptItem,
    "conversation": TurnsItem,
    "choice": ChoiceItem,
    "flip": ChoiceItem,
    "stance": StanceItem,
    "paraphrase": ParaphraseItem,
    "text": TextItem,
    "style": StyleItem,
}
"""The items of each task."""


class SuiteFile(StrictModel):
    """The YAML file of a suite.

    axis: what the main measure tells of a model. judges: of the tasks `response` and
    `conversation`: measures of a reply by rule, and which direction is better. wrappings: a file of
    templates that each item's prompt is put into. pushes: of the task `flip`: what the user says
    against an answer; `{other}` is another choice.
    """

    api: Literal["cai/v1"]
    kind: Literal["Suite"]
    id: Id
    version: Version
    title: Line
    about: Text
    task: Task
    items: Annotated[str, Field(min_length=1, max_length=500)]
    axis: Axis | None = None
    judges: dict[str, Better] = Field(default_factory=dict)
    scoring: Scoring = "letters"
    wrappings: str | None = None
    pushes: Annotated[list[Text], BeforeValidator(as_list)] = Field(default_factory=list)


@dataclass(frozen=True)
class Suite:
    """A suite with its items; invalid rows are set aside. `digest` covers all that is asked.

    answer_is: of the task `choice`, what its measures are called.
    """

    id: str
    version: str
    title: str
    about: str
    task: Task
    items: tuple[Item, ...]
    judges: dict[str, Better] = field(default_factory=dict)
    scoring: Scoring = "letters"
    pushes: tuple[str, ...] = ()
    answer_is: AnswerIs = "right"
    set_aside: tuple[SetAside, ...] = ()
    path: str = ""
    axis: Axis | None = None

    @property
    def digest(self) -> str:
        """Of the task, its settings and all items."""
        return digest([
            self.id, self.task, self.scoring, self.pushes, sorted(self.judges.items()),
            [item.model_dump(mode="json", by_alias=True) for item in self.items],
        ])  # fmt: skip

    def sample(self, limit: int | None, seed: int) -> Suite:
        """The same with at most `limit` items, drawn by seed and id; whole clusters at a time."""
        if limit is None or limit >= len(self.items):
            return self
        order = sorted(
            {item.cluster or item.id for item in self.items},
            key=lambda name: derive(seed, "suite", self.id, name),
        )
        sizes = dict.fromkeys(order, 0)
        for item in self.items:
            sizes[item.cluster or item.id] += 1
        chosen: set[str] = set()
        total = 0
        for name in order:
            if total and total + sizes[name] > limit:
                continue
            chosen.add(name)
            total += sizes[name]
            if total >= limit:
                break
        items = tuple(item for item in self.items if (item.cluster or item.id) in chosen)
        return replace(self, items=items)


def bundled_suites() -> tuple[str, ...]:
    """The names of the suites that come with the package."""
    folder = Path(str(resources.files("cai.evaluation") / "suites"))
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def load_suite(name: str | Path) -> Suite:
    """A suite by the path of its YAML file, or a bundled one by name.

    Raises `ContentError` for a file that is not right, `UsageError` for an unknown name and
    `DataError` for items that can't be read.
    """
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        names = bundled_suites()
        if str(name) not in names:
            close = get_close_matches(str(name), names, n=1)
            hint = f"Did you mean {close[0]!r}?" if close else f"There are: {', '.join(names)}."
            hint += " Or name a file: a suite's YAML, or a public evaluation such as XSTest's CSV."
            raise UsageError(f"There is no suite {name}", hint=hint)
        path = Path(str(resources.files("cai.evaluation") / "suites" / f"{name}.yaml"))
    source, problems = read_source(path)
    file: SuiteFile | None = None
    if source is not None:
        file, problems = validate_value(source, SuiteFile, source.value)
    if file is None:
        raise ContentError(problems)
    items, set_aside = read_items(path.parent / file.items, ITEMS[file.task])
    if "followed" in file.judges:
        items, without = _with_rules(items, path.parent / file.items)
        set_aside += without
    if file.wrappings is not None:
        items = wrapped(items, path.parent / file.wrappings)
    return Suite(
        file.id, file.version, file.title, file.about, file.task, tuple(items), dict(file.judges),
        file.scoring, tuple(file.pushes), set_aside=tuple(set_aside),
        path=str(name) if str(name) in bundled_suites() else shown(path),
        axis=file.axis,
    )  # fmt: skip


def load_suites(name: str | Path) -> list[Suite]:
    """The suites of a public evaluation file, or the one suite of a YAML file or a bundled name.

    Raises what `load_suite` and `read_public` do, and `UsageError` for another file.
    """
    from cai.evaluation.public import read_public, unknown_format  # it makes suites of these

    path = Path(name)
    if path.suffix in (".yaml", ".yml") or not path.is_file():
        return [load_suite(name)]
    suites = read_public(path)
    if suites:
        return suites
    if str(name) in bundled_suites():
        return [load_suite(name)]
    raise unknown_format(path)


def read_items(path: Path, kind: type[Item]) -> tuple[list[Item], list[SetAside]]:
    """The items of a file, and its invalid rows. Raises `DataError` if no item is valid."""
    items: list[Item] = []
    set_aside: list[SetAside] = []
    ids: set[str] = set()
    for row in rows(path, container_of(path)):
        place = f"{shown(path)}:{row.line}"
        if isinstance(row, UnreadableRow):
            set_aside.append(SetAside(place, row.reason))
            continue
        try:
            item = kind.model_validate(row.value)
        except ValidationError as error:
            set_aside.append(SetAside(place, first_fault(error, kind)))
            continue
        if item.id in ids:
            set_aside.append(SetAside(place, f"duplicate: an earlier item has the id {item.id!r}"))
            continue
        ids.add(item.id)
        items.append(item)
    if not items:
        first = f": {set_aside[0].source}: {set_aside[0].reason}" if set_aside else ""
        raise DataError(f"{shown(path)} has no valid item{first}")
    return items, set_aside


def _with_rules(items: Sequence[Item], path: Path) -> tuple[list[Item], list[SetAside]]:
    """Items whose instructions can be checked, and the others. Raises `DataError` for none."""
    fit = [item for item in items if isinstance(item, PromptItem) and item.rules]
    if not fit:
        raise DataError(
            f"No item of {shown(path)} has `rules`",
            hint="The suite measures `followed`: whether a reply follows its item's rules.",
        )
    ids = {item.id for item in fit}
    reason = "it has no `rules`, and the suite measures `followed`"
    return list(fit), [
        SetAside(f"{shown(path)}: {item.id}", reason) for item in items if item.id not in ids
    ]


class Wrapping(Item):
    """A way in which a request is put, with `{request}` where it goes."""

    style: str
    template: str


def wrapped(items: Iterable[Item], path: Path) -> list[Item]:
    """Each prompt in two wrappings, which its id draws; items of one request share its cluster."""
    templates, _ = read_items(path, Wrapping)
    out: list[Item] = []
    for item in items:
        assert isinstance(item, PromptItem)
        for wrapping in random.Random(item.id).sample(templates, min(2, len(templates))):
            assert isinstance(wrapping, Wrapping)
            text = wrapping.template.replace("{request}", item.conversation[-1].content)
            out.append(
                PromptItem(
                    id=f"{item.id}.{wrapping.id}", prompt=text, type=wrapping.style,
                    cluster=item.cluster or item.id,
                )
            )  # fmt: skip
    return out


def select_suites(names: Sequence[str | Path], limit: int | None, seed: int) -> list[Suite]:
    """Suites by name or path, all bundled ones if none is named, each cut to `limit` items.

    Public files of one evaluation, such as BBQ's categories, are one suite. Raises `UsageError`
    where one is named twice, or two others have one id.
    """
    suites: dict[str, Suite] = {}
    for suite in (suite for name in names or bundled_suites() for suite in load_suites(name)):
        other = suites.get(suite.id)
        if other is None:
            suites[suite.id] = suite
        elif PUBLIC == suite.version == other.version and suite.path != other.path:
            suites[suite.id] = _joined(other, suite)
        elif suite.path == other.path:
            raise UsageError(f"{suite.path} is named twice", hint="Name each suite once.")
        else:
            raise UsageError(f"Two suites are called {suite.id}: {other.path} and {suite.path}")
    return [suite.sample(limit, seed) for suite in suites.values()]


def _joined(first: Suite, second: Suite) -> Suite:
    """One suite with the items of both; those of one id are set aside."""
    ids = {item.id for item in first.items}
    twice = tuple(
        SetAside(second.path, f"duplicate: {first.path} has the item {item.id}")
        for item in second.items if item.id in ids
    )  # fmt: skip
    return replace(
        first,
        items=first.items + tuple(item for item in second.items if item.id not in ids),
        set_aside=first.set_aside + second.set_aside + twice,
        path=f"{first.path}, {second.path}",
    )
