"""Rows as tokens: to train on, held out, and set aside with a reason."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, groupby, islice
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch

from cai.data.audited import audit_files
from cai.data.documents import documents_of
from cai.data.split import family
from cai.data.training import TrainingFiles
from cai.digest import file_digest
from cai.errors import DataError, PromptError
from cai.models.backbone import Backbone
from cai.text.seeds import uniform
from cai.training.batches import LossOnReasoning
from cai.training.config import TrainConfig
from cai.types import Messages, SetAside

SAMPLES = 8
"""Rows that are kept as text beside all rows as tokens."""


class Row(Protocol):
    """A row of a file: `SftRow`, `PairRow`, `LabelledRow`."""

    @property
    def id(self) -> str: ...

    @property
    def source(self) -> str: ...

    @property
    def prompt(self) -> Messages: ...


RowT = TypeVar("RowT", bound=Row)
ExampleT = TypeVar("ExampleT")


@dataclass
class Examples(Generic[ExampleT]):
    """Rows as tokens, to train on and held out, and the invalid rows that were set aside.

    ties: pairs to train on of which neither side is the better one. without_reasoning: rows to
    train on whose reasoning the chat template has no place for, or is asked to leave out.
    samples: the first rows as conversations; of a pair with the chosen response. counts: of kinds
    of rows to train on, by name.
    """

    train: list[ExampleT]
    test: list[ExampleT]
    set_aside: list[SetAside]
    data: tuple[dict[str, Any], ...]
    ties: int = 0
    without_reasoning: int = 0
    samples: tuple[Messages, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)


class ExampleRows(Generic[ExampleT]):
    """Examples in the order of their rows, and the little that is asked of the texts later.

    draws: `family_draw` of each one's prompt. without_reasoning: 1 if it counts as such, else 0.
    """

    def __init__(self) -> None:
        self.examples: list[ExampleT] = []
        self.draws = array("d")
        self.without_reasoning = array("b")

    def add(self, example: ExampleT, draw: float, without_reasoning: bool = False) -> None:
        """Add the next example."""
        self.examples.append(example)
        self.draws.append(draw)
        self.without_reasoning.append(without_reasoning)

    def where(self, wanted: Sequence[bool]) -> ExampleRows[ExampleT]:
        """The examples that are wanted."""
        out: ExampleRows[ExampleT] = ExampleRows()
        out.examples = list(compress(self.examples, wanted))
        out.draws = array("d", compress(self.draws, wanted))
        out.without_reasoning = array("b", compress(self.without_reasoning, wanted))
        return out


def data_facts(files: TrainingFiles) -> tuple[dict[str, Any], ...]:
    """Name and digest of each file, and of the auditors' files about them.

    Of documents also the principles that they explain, `documents_of`.
    """
    paths = (*files.train, *files.test)
    return tuple(
        {"name": path.name, "sha256": file_digest(path), **documents_of(path)}
        for path in (*paths, *audit_files(paths))
    )


def row_name(row: Row) -> str:
    """Where a row stands in its file, and its id: what messages call it."""
    return f"{row.source} {row.id}".strip()


def loses_reasoning(backbone: Backbone, answers: Messages, reasoning: LossOnReasoning) -> bool:
    """Whether answers hold reasoning that is asked for, but that the template leaves out."""
    encoder = backbone.encoder
    if reasoning == "drop" or encoder.template.reasons:
        return False
    return any(encoder.reply_of(m).reasoning for m in answers if m.role == "assistant")


def load_examples(
    config: TrainConfig,
    files: TrainingFiles,
    read: Callable[[Sequence[Path]], Iterable[RowT | SetAside]],
    encode: Callable[[RowT], Sequence[ExampleT]],
    name_of: Callable[[ExampleT], str],
    loses: Callable[[RowT], bool],
) -> Examples[ExampleT]:
    """The rows of files as tokens, to train on and held out; no text stays in memory.

    read: the rows of some files. encode: a row's examples; raises `PromptError` for a row that
    can't be used. name_of: the `row_name` of an example's row. loses: whether a row's reasoning is
    lost, as `loses_reasoning`. Raises `DataError` if no row can be used.
    """
    set_aside: list[SetAside] = []

    def encoded(paths: Sequence[Path], limit: int | None) -> ExampleRows[ExampleT]:
        out: ExampleRows[ExampleT] = ExampleRows()
        for row, examples in islice(encode_rows(read(paths), encode, set_aside), limit):
            draw, lost = family_draw(row.prompt, config.seed), loses(row)
            for number, example in enumerate(examples):
                out.add(example, draw, lost and number == 0)
        return out

    rows = encoded(files.train, config.limit)
    test = encoded(files.test, None) if files.test else None
    train, held_out = split(config, rows, test, name_of, set_aside)
    require_rows(train.examples, set_aside)
    return Examples(
        train.examples,
        held_out.examples,
        set_aside,
        data_facts(files),
        without_reasoning=sum(train.without_reasoning),
    )


def encode_rows(
    rows: Iterable[RowT | SetAside],
    encode: Callable[[RowT], Sequence[ExampleT]],
    set_aside: list[SetAside],
) -> Iterator[tuple[RowT, Sequence[ExampleT]]]:
    """Rows with their examples; those that can't be used go to `set_aside` with their reason."""
    for row in rows:
        if isinstance(row, SetAside):
            set_aside.append(row)
            continue
        try:
            examples = encode(row)
        except PromptError as error:
            hint = f" ({error.hint})" if error.hint else ""
            set_aside.append(SetAside(row_name(row), error.message + hint))
        else:
            yield row, examples


def split(
    config: TrainConfig,
    train: ExampleRows[ExampleT],
    test: ExampleRows[ExampleT] | None,
    name_of: Callable[[ExampleT], str],
    set_aside: list[SetAside],
) -> tuple[ExampleRows[ExampleT], ExampleRows[ExampleT]]:
    """Examples to train on and to evaluate, with no family of prompts on both sides.

    test: those of the data's own test split, of which what is trained on goes to `set_aside`; None
    where it has none, and a share of `train` is held out.
    """
    if test is None:
        held_out = hold_out(train.draws, config.test_share)
        return train.where([not held for held in held_out]), train.where(held_out)
    trained = set(train.draws)
    leaked = [draw in trained for draw in test.draws]
    reason = "held-out prompt: one with the same first user turn is trained on"
    # Several examples of one row stand together.
    for name, _ in groupby(map(name_of, compress(test.examples, leaked))):
        set_aside.append(SetAside(name, reason))
    return train, test.where([not leaks for leaks in leaked])


def family_draw(prompt: Messages, seed: int) -> float:
    """A draw from [0, 1) for the prompt's family, which stands for it in eight bytes.

    That two of n families share one of its 2^53 values, and a side, has probability n²/2^54.
    """
    return uniform("held-out", seed, family(prompt))


def hold_out(draws: Sequence[float], share: float) -> list[bool]:
    """Which examples are held out, by the draws of their prompts' families: the smallest ones.

    If the share is above 0, at least one family is held out, and at least one is not.
    """
    if not share or not draws:
        return [False] * len(draws)
    families = torch.unique(torch.tensor(draws, dtype=torch.float64))
    count = min(len(families) - 1, max(1, int((families < share).sum())))
    first_trained = families[count].item()
    return [draw < first_trained for draw in draws]


def require_rows(examples: Sequence[object], set_aside: Sequence[SetAside]) -> None:
    """Raise `DataError` if no row is left to train on."""
    if not examples:
        first = f" (the first: {set_aside[0].source}: {set_aside[0].reason})" if set_aside else ""
        raise DataError(
            f"No row is left to train on; {len(set_aside)} were set aside{first}",
            hint="A longer --max-length may help, or a lower --test-share.",
        )
