"""What every stage does before it trains: the base with its adapter, and rows as tokens."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from cai.data.training import TrainingFiles
from cai.digest import digest, file_digest
from cai.errors import DataError, PromptError, UsageError
from cai.models.backbone import Backbone, LoraSettings
from cai.text.seeds import uniform
from cai.train.config import TrainConfig
from cai.train.folder import is_run, read_run
from cai.types import Messages, SetAside

Row = TypeVar("Row")
Example = TypeVar("Example")


@dataclass(frozen=True, slots=True)
class Parent:
    """An adapter that a run starts from or is rewarded by.

    folder: where its files in PEFT's layout lie. facts: what the run's record says of it.
    """

    folder: Path
    facts: dict[str, Any]


def find_parent(path: str, part: str) -> Parent:
    """An adapter by the folder of its training run, or by its own.

    part: what it is to the new run: start, reward, value. Raises `DataError` where there is none.
    """
    folder = Path(path).expanduser()
    facts: dict[str, Any] = {"name": folder.resolve().name, "part": part, "stage": "?", "id": "?"}
    if is_run(folder):
        run = read_run(folder)
        if run["status"] == "running":
            raise DataError(
                f"The training run {folder} is not finished",
                hint="Run its command again to finish it.",
            )
        if run["status"] == "stopped":
            raise DataError(
                f"The training run {folder} stopped itself: {run['results']['stopped']}",
                hint=f"To use what it came to all the same, give {folder / 'adapter'}",
            )
        facts |= {"stage": run["stage"], "id": run["id"]}
        if (folder / "model").is_dir():
            raise DataError(
                f"{folder} trained all weights: it is a model, not an adapter",
                hint=f"Give it as the base: --model {folder / 'model'}",
            )
        folder = folder / "adapter"
    weights = folder / "adapter_model.safetensors"
    if not weights.is_file():
        raise DataError(
            f"{folder} holds no adapter (adapter_model.safetensors)",
            hint="Give the folder of a training run, or of an adapter in PEFT's layout.",
        )
    return Parent(folder, {**facts, "digest": file_digest(weights)})


def load_policy(config: TrainConfig) -> tuple[Backbone, list[dict[str, Any]]]:
    """The base with the adapter `policy`, fresh or a copy of --adapter's; and its parents' facts.

    The adapter that a run starts from is also kept as it was, as `reference`.
    """
    backbone = Backbone.load(
        config.model,
        device=config.device,
        dtype=config.dtype,
        full=config.full,
        quantize=config.quantize,
        gradient_checkpointing=config.gradient_checkpointing,
    )
    if config.full:
        if config.adapter:
            raise UsageError(
                "--full trains all weights; it can't start from an adapter",
                hint="Merge it first: cai merge RUN --out FOLDER, then --model FOLDER.",
            )
        return backbone, []
    if config.adapter:
        parent = find_parent(config.adapter, "start")
        backbone.load_adapter("reference", parent.folder)
        backbone.copy_adapter("reference", "policy")
        return backbone, [parent.facts]
    targets = config.lora_targets
    wanted = targets if targets == "all-linear" else tuple(t.strip() for t in targets.split(","))
    dropout = getattr(config, "lora_dropout", 0.0)
    lora = LoraSettings(config.lora_r, config.lora_alpha, dropout, wanted)
    backbone.add_adapter("policy", lora, config.seed)
    return backbone, []


def reference_of(backbone: Backbone) -> str | None:
    """The adapter that stands for the start: a frozen one, or None where the base is the start."""
    return "reference" if "reference" in backbone.adapters or backbone.full else None


def file_facts(files: TrainingFiles) -> list[tuple[Path, str]]:
    """Each file with its digest."""
    return [(path, file_digest(path)) for path in (*files.train, *files.test)]


def encode_rows(
    rows: Iterable[Row | SetAside],
    encode: Callable[[Row], Example],
    set_aside: list[SetAside],
    limit: int | None = None,
) -> list[Example]:
    """Rows as tokens; those that can't be used go to `set_aside` with their reason."""
    found: list[Example] = []
    for row in rows:
        if isinstance(row, SetAside):
            set_aside.append(row)
            continue
        try:
            found.append(encode(row))
        except PromptError as error:
            source = f"{getattr(row, 'source', '')} {getattr(row, 'id', '')}".strip()
            set_aside.append(SetAside(source, error.message))
        if limit is not None and len(found) >= limit:
            break
    return found


def hold_out(
    examples: Sequence[Example], prompt_of: Callable[[Example], Messages], share: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """Examples to train on and to evaluate; all of one prompt are on the same side."""
    train: list[Example] = []
    test: list[Example] = []
    for example in examples:
        prompt = digest([asdict(m) for m in prompt_of(example)])
        (test if uniform("held-out", seed, prompt) < share else train).append(example)
    return train, test


def require(examples: Sequence[object], set_aside: Sequence[SetAside]) -> None:
    """Raise `DataError` where no row is left to train on."""
    if not examples:
        first = f" (the first: {set_aside[0].source}: {set_aside[0].reason})" if set_aside else ""
        raise DataError(
            f"No row is left to train on; {len(set_aside)} were set aside{first}",
            hint="A longer --max-length may help, or a lower --test-share.",
        )
