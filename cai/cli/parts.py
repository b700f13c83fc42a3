"""The models that play a part in a build: the options that name them, and how they are loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cai.errors import UsageError

if TYPE_CHECKING:
    from cai.backends.base import Backend
    from cai.pipeline.build import Models

_SCRIPTED = "scripted:"

Command = TypeVar("Command", bound=Callable[..., Any])


def models_of(default: str | None) -> Callable[[Command], Command]:
    """The options that say which models write, criticise and judge; `default` is the writer."""
    options = (
        click.option(
            "--model", "-m", default=default, show_default=True,
            help="Writes responses and revisions: a hub id, a directory, `miniature`,"
            " `scripted:FILE`, or the folder of a run that trained all weights.",
        ),
        click.option("--critic", default=None, help="Writes the critiques.  [default: the model]"),
        click.option("--judge", default=None, help="Judges pairs.  [default: the critic]"),
        click.option(
            "--adapter", default=None,
            help="On top of --model: a training run's folder, or a LoRA adapter.",
        ),
    )  # fmt: skip
    return together(*options)


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Decorators as one, in the order in which help shows them."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


loading = together(
    click.option(
        "--batch-size", type=int, default=16, show_default=True, help="Changes speed alone."
    ),
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps."),
    click.option(
        "--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto",
        show_default=True, help="auto: bfloat16 where it pays, else float32.",
    ),
)  # fmt: skip
"""The options that say how models are loaded."""

reading = together(
    click.option(
        "--constitution", "-c", default="default", show_default=True,
        help="A constitution file, or the name of a shipped one.",
    ),
    click.option(
        "--prompts", "-p", "prompts_file", type=click.Path(path_type=Path), default=None,
        help="Prompts: JSONL, JSON, CSV, Parquet or text, in the chat formats of most tools; `-`"
        " reads standard input.  [default: bundled prompts]",
    ),
    click.option(
        "--format", "form", default=None, help="The prompts' format, where it is not obvious."
    ),
    click.option("--column", default=None, help="The key or column that holds the prompt."),
    click.option(
        "--turns", type=click.Choice(["first", "all"]), default="all", show_default=True,
        help="HH-RLHF dialogues: the first human turn alone, or all up to the last human turn.",
    ),
)  # fmt: skip
"""The options that name a constitution and a file of prompts."""

drawing = together(
    click.option("--rounds", type=int, default=None, help="Rounds of critique and revision."),
    click.option(
        "--pairs", type=int, default=1, show_default=True, help="Pairs to compare a prompt."
    ),
    click.option("--limit", type=int, default=None, help="Use the first N usable prompts."),
    click.option(
        "--seed", type=int, default=0, show_default=True, help="Fixes every random choice."
    ),
    click.option("--temperature", type=float, default=1.0, show_default=True),
    click.option("--top-p", type=float, default=1.0, show_default=True),
    click.option("--max-new-tokens", type=int, default=256, show_default=True),
    click.option(
        "--sft-share", type=float, default=0.5, show_default=True,
        help="Share of prompts for SFT; the others become preferences.",
    ),
    click.option(
        "--test-share", type=float, default=0.1, show_default=True, help="Held-out prompts."
    ),
    click.option(
        "--revision-pairs/--no-revision-pairs", default=True, show_default=True,
        help="Also make preferences of revision over first response.",
    ),
    click.option(
        "--sft-rows", type=click.Choice(["last", "all"]), default="last", show_default=True,
        help="Export the last revision, or every revision on the way.",
    ),
    click.option(
        "--ties", is_flag=True,
        help="Also export pairs whose label lies within 0.05 of one half.  [default: left out]",
    ),
    click.option(
        "--check-gate", type=float, default=None, metavar="P",
        help="Export a final response only where the last check gives every principle at least P.",
    ),
)  # fmt: skip
"""The options that are part of a run's name: those of `BuildConfig`."""


def make_models(options: dict[str, Any]) -> Models:
    """Load each model that plays a part, once; all are looked for before any is loaded."""
    from cai.pipeline.build import Models

    if options["batch_size"] < 1:
        raise UsageError(f"--batch-size is {options['batch_size']}; it must be 1 or more.")
    generator = str(options["model"])
    critic = str(options["critic"] or generator)
    judge = str(options["judge"] or critic)
    names = list(dict.fromkeys((generator, critic, judge)))
    loaded = {name: _scripted(name) for name in names if name.startswith(_SCRIPTED)}
    local = {n: options["adapter"] if n == generator else None for n in names if n not in loaded}
    for name, adapter in local.items():
        _find(name, adapter, str(options["device"]))
    loaded |= {name: _load(name, adapter, options) for name, adapter in local.items()}
    return Models(loaded[generator], loaded[critic], loaded[judge])


def _scripted(name: str) -> Backend:
    from cai.backends.scripted import ScriptedBackend

    return ScriptedBackend.from_yaml(Path(name.removeprefix(_SCRIPTED)))


def _find(name: str, adapter: str | None, device: str) -> None:
    """Raise where a model can't be loaded, as far as that shows without its weights."""
    from cai.models.load import load_config
    from cai.train.lineage import base_facts, find_adapter

    if adapter:
        find_adapter(adapter)
    base_facts(name)
    load_config(name, device=device)


def _load(name: str, adapter: str | None, options: dict[str, Any]) -> Backend:
    from cai.backends.local import LocalBackend

    return LocalBackend.load(
        name,
        device=options["device"],
        dtype=options["dtype"],
        adapter=adapter,
        batch_size=options["batch_size"],
    )
