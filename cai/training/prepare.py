"""What every stage does before it trains: the base with its adapter, and rows as tokens."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from cai.data.audited import audit_files
from cai.data.split import family
from cai.data.training import TrainingFiles
from cai.digest import file_digest
from cai.errors import DataError, PromptError, UsageError
from cai.models.adapters import read_adapter
from cai.models.backbone import Backbone, LoraSettings
from cai.models.names import MINIATURE
from cai.text.seeds import uniform
from cai.training.config import LORA, TrainConfig, flag
from cai.training.lineage import Adapter, base_facts, find_adapter, template_settings
from cai.types import Messages, SetAside

Row = TypeVar("Row")
Example = TypeVar("Example")
Config = TypeVar("Config", bound=TrainConfig)


@dataclass(frozen=True, slots=True)
class Policy:
    """The base with what is trained on it, called `policy`.

    reference: the name of what stands for the start; None where the base alone does. parents: facts
    of the runs that base and adapter are from.
    """

    backbone: Backbone
    reference: str | None
    parents: tuple[dict[str, Any], ...]


def resolve(config: Config) -> Config:
    """The settings as they will be: a given adapter keeps its shape, a fresh one has defaults.

    Raises `UsageError` where another shape is asked for than the given adapter's, and what
    `find_adapter` raises.
    """
    start = find_adapter(config.adapter, "start") if config.adapter else None
    model = config.model or (start.base if start else "") or MINIATURE
    place = Path(model).expanduser()
    if place.exists():  # so that the record holds wherever it is read
        model = str(place.resolve())
    adapter = config.adapter
    if adapter and Path(adapter).expanduser().exists():
        adapter = str(Path(adapter).expanduser().absolute())
    if start:  # it keeps reading the prompts that it was trained on
        own = template_settings([str(config.adapter)])
        asked = config.thinking != "auto" or config.template_arg
        config = config if asked else dataclasses.replace(config, **own)
    config = dataclasses.replace(config, model=model, adapter=adapter, learning_rate=config.rate)
    if config.full:
        return config
    names = [name for name in LORA if hasattr(config, name)]
    shape = _shape(start) if start else _FRESH
    for name in names:
        given, own = getattr(config, name), shape[name]
        if start and given is not None and _names(given) != _names(own):
            raise UsageError(
                f"{flag(name)} is {given}, but the adapter {config.adapter} has {own}",
                hint=f"Leave out {flag(name)}: an adapter keeps its shape.",
            )
    told = {n: shape[n] if getattr(config, n) is None else getattr(config, n) for n in names}
    return dataclasses.replace(config, **told)


_FRESH: dict[str, Any] = {
    "lora_r": LoraSettings().r,
    "lora_alpha": float(LoraSettings().alpha),
    "lora_dropout": LoraSettings().dropout,
    "lora_targets": LoraSettings().targets,
}


def _shape(adapter: Adapter) -> dict[str, Any]:
    config, _ = read_adapter(adapter.folder)
    targets = config.target_modules
    return {
        "lora_r": config.r,
        "lora_alpha": float(config.lora_alpha),
        "lora_dropout": float(config.lora_dropout),
        "lora_targets": targets if isinstance(targets, str) else ",".join(sorted(targets)),
    }


def _names(value: Any) -> Any:
    """A list of names in any order; anything else as it is."""
    return {name.strip() for name in value.split(",")} if isinstance(value, str) else value


def load_policy(config: TrainConfig, *, reference: bool = False) -> Policy:
    """The base with the adapter `policy`, fresh or a copy of --adapter's; settings as `resolve`d.

    reference: also keep what the run starts from, frozen.
    """
    assert config.model is not None
    parents = tuple(base_facts(config.model))
    if config.full and config.adapter:
        raise UsageError(
            "--full trains all weights; it can't start from an adapter",
            hint="Merge it first: cai merge RUN --out FOLDER, then --model FOLDER.",
        )
    start = find_adapter(config.adapter, "start") if config.adapter else None
    if start and not start.fits(config.model):
        raise DataError(
            f"{config.model} is not the base that {start.name} was trained on: its files have"
            " changed, or it is another model",
            hint="Leave out --model, or merge the adapter into its base first: cai merge.",
        )
    backbone = Backbone.load(
        config.model,
        device=config.device,
        dtype=config.dtype,
        full=config.full,
        quantize=config.quantize,
        gradient_checkpointing=config.gradient_checkpointing,
        template=config.template,
    )
    if config.full:
        if reference:
            backbone.freeze_reference()
        return Policy(backbone, "reference" if reference else None, parents)
    if start:
        backbone.load_adapter("policy", start.folder)
        if reference:
            backbone.copy_adapter("policy", "reference")
        facts = (*parents, start.facts("start"))
        return Policy(backbone, "reference" if reference else None, facts)
    backbone.add_adapter("policy", _lora(config, backbone.hidden_size), config.seed)
    return Policy(backbone, None, parents)


def _lora(config: TrainConfig, width: int) -> LoraSettings:
    assert config.lora_r is not None and config.lora_alpha is not None and config.lora_targets
    if config.lora_r > width:
        raise UsageError(
            f"--lora-r is {config.lora_r}, and the model is but {width} wide",
            hint="Common ranks are 8 to 64.",
        )
    targets = config.lora_targets
    wanted = targets if targets == "all-linear" else tuple(t.strip() for t in targets.split(","))
    return LoraSettings(
        config.lora_r, config.lora_alpha, getattr(config, "lora_dropout", 0.0), wanted
    )


def save_policy(backbone: Backbone, folder: Path) -> None:
    """Write what was trained: an adapter in PEFT's layout, or a plain model."""
    backbone.save_adapter("policy", folder / ("model" if backbone.full else "adapter"))


def data_facts(files: TrainingFiles) -> tuple[dict[str, Any], ...]:
    """Name and digest of each file, and of what auditors said of them."""
    paths = (*files.train, *files.test)
    said = audit_files(paths)
    return tuple({"name": path.name, "sha256": file_digest(path)} for path in (*paths, *said))


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
            hint = f" ({error.hint})" if error.hint else ""
            set_aside.append(SetAside(source, error.message + hint))
        if limit is not None and len(found) >= limit:
            break
    return found


def split(
    config: TrainConfig,
    train: Sequence[Example],
    test: Sequence[Example] | None,
    prompt_of: Callable[[Example], Messages],
    source_of: Callable[[Example], str],
    set_aside: list[SetAside],
) -> tuple[list[Example], list[Example]]:
    """Examples to train on and to evaluate, with no family of prompts on both sides.

    test: those of the data's own test split, of which what is trained on goes to `set_aside`; None
    where it has none, and a share of `train` is held out.
    """
    if test is None:
        return hold_out(train, prompt_of, config.test_share, config.seed)
    return list(train), _apart(train, test, prompt_of, source_of, set_aside)


def _apart(
    train: Sequence[Example],
    test: Sequence[Example],
    prompt_of: Callable[[Example], Messages],
    source_of: Callable[[Example], str],
    set_aside: list[SetAside],
) -> list[Example]:
    """The held-out examples of families not trained on; the others go to `set_aside`."""
    known = {family(prompt_of(example)) for example in train}
    found: list[Example] = []
    for example in test:
        if family(prompt_of(example)) in known:
            reason = "held-out prompt: one with the same first user turn is trained on"
            set_aside.append(SetAside(source_of(example), reason))
        else:
            found.append(example)
    return found


def hold_out(
    examples: Sequence[Example], prompt_of: Callable[[Example], Messages], share: float, seed: int
) -> tuple[list[Example], list[Example]]:
    """Examples to train on and to evaluate; each family of prompts is on one side.

    Where a share is asked for, one family at least is held out, and one at least is not.
    """
    if not share:
        return list(examples), []
    families = [family(prompt_of(example)) for example in examples]
    places = {name: uniform("held-out", seed, name) for name in families}
    order = sorted(places, key=places.__getitem__)
    held = set(order[: min(len(order) - 1, max(1, sum(p < share for p in places.values())))])
    sides: tuple[list[Example], list[Example]] = [], []
    for example, name in zip(examples, families, strict=True):
        sides[name in held].append(example)
    return sides


def require(examples: Sequence[object], set_aside: Sequence[SetAside]) -> None:
    """Raise `DataError` where no row is left to train on."""
    if not examples:
        first = f" (the first: {set_aside[0].source}: {set_aside[0].reason})" if set_aside else ""
        raise DataError(
            f"No row is left to train on; {len(set_aside)} were set aside{first}",
            hint="A longer --max-length may help, or a lower --test-share.",
        )
