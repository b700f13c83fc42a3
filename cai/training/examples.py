"""Rows as tokens: to train on, held out, and set aside with a reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from cai.data.audited import audit_files
from cai.data.split import family
from cai.data.training import TrainingFiles
from cai.digest import file_digest
from cai.errors import DataError, PromptError
from cai.models.backbone import Backbone
from cai.text.seeds import uniform
from cai.training.batches import LossOnReasoning
from cai.training.config import TrainConfig
from cai.types import Messages, SetAside

Row = TypeVar("Row")
ExampleT = TypeVar("ExampleT")


@dataclass
class Examples(Generic[ExampleT]):
    """Rows as tokens, to train on and held out, and the invalid rows that were set aside.

    ties: pairs to train on of which neither side is the better one. without_reasoning: rows to
    train on whose reasoning the chat template has no place for, or is asked to leave out.
    """

    train: list[ExampleT]
    test: list[ExampleT]
    set_aside: list[SetAside]
    data: tuple[dict[str, Any], ...]
    ties: int = 0
    without_reasoning: int = 0


def data_facts(files: TrainingFiles) -> tuple[dict[str, Any], ...]:
    """Name and digest of each file, and of the auditors' files about them."""
    paths = (*files.train, *files.test)
    return tuple(
        {"name": path.name, "sha256": file_digest(path)} for path in (*paths, *audit_files(paths))
    )


def count_without_reasoning(
    backbone: Backbone, answers: Iterable[Messages], reasoning: LossOnReasoning
) -> int:
    """Rows with reasoning in their answers that is asked for, but that the template leaves out."""
    encoder = backbone.encoder
    if reasoning == "drop" or encoder.template.reasons:
        return 0
    return sum(
        any(encoder.reply_of(m).reasoning for m in row if m.role == "assistant") for row in answers
    )


def load_examples(
    config: TrainConfig,
    files: TrainingFiles,
    read: Callable[[Sequence[Path]], Iterable[Row | SetAside]],
    encode: Callable[[Row], ExampleT],
    prompt_of: Callable[[ExampleT], Messages],
    source_of: Callable[[ExampleT], str],
) -> Examples[ExampleT]:
    """The rows of files as tokens, to train on and held out.

    read: the rows of some files. encode: raises `PromptError` for a row that can't be used.
    source_of: where an example's row stands. Raises `DataError` if no row can be used.
    """
    set_aside: list[SetAside] = []
    rows = encode_rows(read(files.train), encode, set_aside, config.limit)
    test = encode_rows(read(files.test), encode, set_aside) if files.test else None
    train, held_out = split(config, rows, test, prompt_of, source_of, set_aside)
    require_rows(train, set_aside)
    return Examples(train, held_out, set_aside, data_facts(files))


def encode_rows(
    rows: Iterable[Row | SetAside],
    encode: Callable[[Row], ExampleT],
    set_aside: list[SetAside],
    limit: int | None = None,
) -> list[ExampleT]:
    """Rows as tokens; those that can't be used go to `set_aside` with their reason."""
    examples: list[ExampleT] = []
    for row in rows:
        if isinstance(row, SetAside):
            set_aside.append(row)
            continue
        try:
            examples.append(encode(row))
        except PromptError as error:
            source = f"{getattr(row, 'source', '')} {getattr(row, 'id', '')}".strip()
            hint = f" ({error.hint})" if error.hint else ""
            set_aside.append(SetAside(source, error.message + hint))
        if limit is not None and len(examples) >= limit:
            break
    return examples


def split(
    config: TrainConfig,
    train: Sequence[ExampleT],
    test: Sequence[ExampleT] | None,
    prompt_of: Callable[[ExampleT], Messages],
    source_of: Callable[[ExampleT], str],
    set_aside: list[SetAside],
) -> tuple[list[ExampleT], list[ExampleT]]:
    """Examples to train on and to evaluate, with no family of prompts on both sides.

    test: those of the data's own test split, of which what is trained on goes to `set_aside`; None
    where it has none, and a share of `train` is held out.
    """
    if test is None:
        return hold_out(train, prompt_of, config.test_share, config.seed)
    return list(train), _drop_leaked(train, test, prompt_of, source_of, set_aside)


def _drop_leaked(
    train: Sequence[ExampleT],
    test: Sequence[ExampleT],
    prompt_of: Callable[[ExampleT], Messages],
    source_of: Callable[[ExampleT], str],
    set_aside: list[SetAside],
) -> list[ExampleT]:
    """The held-out examples whose prompt family is not trained on; others go to `set_aside`."""
    trained = {family(prompt_of(example)) for example in train}
    examples: list[ExampleT] = []
    for example in test:
        if family(prompt_of(example)) in trained:
            reason = "held-out prompt: one with the same first user turn is trained on"
            set_aside.append(SetAside(source_of(example), reason))
        else:
            examples.append(example)
    return examples


def hold_out(
    examples: Sequence[ExampleT], prompt_of: Callable[[ExampleT], Messages], share: float, seed: int
) -> tuple[list[ExampleT], list[ExampleT]]:
    """Examples to train on and to evaluate; each family of prompts is on one side.

    If the share is above 0, at least one family is held out, and at least one is not.
    """
    if not share:
        return list(examples), []
    families = [family(prompt_of(example)) for example in examples]
    positions = {name: uniform("held-out", seed, name) for name in families}
    order = sorted(positions, key=positions.__getitem__)
    held_out = set(order[: min(len(order) - 1, max(1, sum(p < share for p in positions.values())))])
    sides: tuple[list[ExampleT], list[ExampleT]] = [], []
    for example, name in zip(examples, families, strict=True):
        sides[name in held_out].append(example)
    return sides


def require_rows(examples: Sequence[object], set_aside: Sequence[SetAside]) -> None:
    """Raise `DataError` if no row is left to train on."""
    if not examples:
        first = f" (the first: {set_aside[0].source}: {set_aside[0].reason})" if set_aside else ""
        raise DataError(
            f"No row is left to train on; {len(set_aside)} were set aside{first}",
            hint="A longer --max-length may help, or a lower --test-share.",
        )
