"""The models that play a part in a build: the options that name them, and how they are loaded."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cai.cli.defaults import PROMPTS_DEFAULT, constitution_option
from cai.errors import UsageError
from cai.text.terminal import visible

if TYPE_CHECKING:
    from cai.backends.base import Backend
    from cai.models.load import LoadedModel
    from cai.pipeline.build import Models
    from cai.pipeline.steps import ModelRole
    from cai.text.template import TemplateOptions
    from cai.training.lineage import Adapter, Use

_SCRIPTED = "scripted:"

Command = TypeVar("Command", bound=Callable[..., Any])


def models_of(default: str | None) -> Callable[[Command], Command]:
    """The options that say which models write, criticise and judge; `default` is the writer."""
    options = (
        click.option(
            "--model", "-m", default=default, show_default=True,
            help="Writes responses and revisions: a hub id, a directory, a GGUF file, `miniature`,"
            " `scripted:FILE`, or the folder of a run that trained all weights.",
        ),
        click.option(
            "--adapter", default=None,
            help="On top of --model: a training run's folder, or a LoRA adapter.",
        ),
        click.option(
            "--critic", default=None,
            help="Writes the critiques.  [default: --model with its --adapter]",
        ),
        click.option(
            "--critic-adapter", default=None, help="On top of --critic.  [default: none]"
        ),
        click.option(
            "--judge", default=None, help="Judges pairs.  [default: the critic with its adapter]"
        ),
        click.option("--judge-adapter", default=None, help="On top of --judge.  [default: none]"),
    )  # fmt: skip
    return together(*options)


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Decorators as one, in the order in which help shows them."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


hardware = together(
    click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or mps."),
    click.option(
        "--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto",
        show_default=True, help="auto: bfloat16 where it pays, else float32.",
    ),
)  # fmt: skip
templating = together(
    click.option(
        "--thinking", type=click.Choice(["auto", "off", "on"]), default="auto", show_default=True,
        help="Reasoning before answers. auto: the chat template's default; off and on: its switch."
        " Without a switch, off begins replies behind an empty reasoning block.",
    ),
    click.option(
        "--template-arg", "template_args", multiple=True, metavar="KEY=VALUE",
        help="A variable of the chat template; may be given several times.",
    ),
    click.option(
        "--date", default=None, metavar="YYYY-MM-DD",
        help="The day for a chat template that writes today's date.  [default: the day on which"
        " the run began]",
    ),
)  # fmt: skip
"""The options that say how chat templates are called."""

loading = together(
    click.option(
        "--batch-size", type=click.IntRange(min=1), default=16, show_default=True,
        help="Changes speed alone.",
    ),
    hardware,
    templating,
)  # fmt: skip
"""The options that say how models are loaded."""

reading = together(
    constitution_option,
    click.option(
        "--prompts", "-p", "prompts_file", type=click.Path(path_type=Path), default=None,
        help="Prompts: JSONL, JSON, CSV, Parquet or text, in the chat formats of most tools; `-`"
        f" reads standard input.  {PROMPTS_DEFAULT}",
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

_OWN = "[default: the model's own, else {}]"
decoding = together(
    click.option(
        "--temperature", type=click.FloatRange(min=0), default=None,
        help=f"0 always takes the likeliest token.  {_OWN.format('1')}",
    ),
    click.option(
        "--top-p", type=click.FloatRange(0, 1, min_open=True), default=None,
        help="Sample from the likeliest tokens that together have this probability.  "
        + _OWN.format("1"),
    ),
    click.option(
        "--top-k", type=click.IntRange(min=0), default=None,
        help=f"Sample from the K likeliest tokens; 0 is off.  {_OWN.format('off')}",
    ),
    click.option(
        "--min-p", type=click.FloatRange(0, 1), default=None,
        help="Leave out tokens less probable than this share of the likeliest one's.  "
        + _OWN.format("off"),
    ),
    click.option(
        "--repetition-penalty", type=click.FloatRange(min=0, min_open=True), default=None,
        help=f"Above 1 makes tokens that were there before less likely.  {_OWN.format('1')}",
    ),
    click.option("--max-new-tokens", type=click.IntRange(min=1), default=256, show_default=True),
    click.option(
        "--max-reasoning-tokens", type=click.IntRange(min=1), default=1024, show_default=True,
        help="Longest reasoning before an answer, of a model that reasons.",
    ),
)  # fmt: skip
"""The options that say how text is drawn; a model's own are in its `generation_config.json`."""

drawing = together(
    click.option("--rounds", type=int, default=None, help="Rounds of critique and revision."),
    click.option(
        "--pairs", type=int, default=1, show_default=True, help="Pairs of responses per prompt."
    ),
    click.option("--limit", type=int, default=None, help="Use the first N usable prompts."),
    click.option(
        "--seed", type=int, default=0, show_default=True, help="Fixes every random choice."
    ),
    decoding,
    click.option(
        "--sft-share", type=float, default=0.5, show_default=True,
        help="Share of prompts for SFT; the others become preferences.",
    ),
    click.option(
        "--test-share", type=float, default=0.1, show_default=True,
        help="Share of prompts held out for evaluation.",
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
        "--judge-revisions", is_flag=True,
        help="Label each pair of revision and first response by the judge.  [default: certain]",
    ),
    click.option(
        "--export-reasoning", is_flag=True,
        help="Also export what a model that reasons thought before a response, as"
        " `reasoning_content`.",
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


@dataclass(frozen=True, slots=True)
class Player:
    """Who plays a part: a model as it was named, and the adapter on it, if any."""

    model: str
    adapter: str | None = None


def players(options: dict[str, Any]) -> dict[ModelRole, Player]:
    """Who plays each part. A model that is named plays without the adapter of another part."""
    generator = Player(str(options["model"]), options["adapter"])
    critic = _player(options["critic"], options["critic_adapter"], generator)
    judge = _player(options["judge"], options["judge_adapter"], critic)
    return {"generator": generator, "critic": critic, "judge": judge}


def _player(model: str | None, adapter: str | None, default: Player) -> Player:
    return Player(model or default.model, adapter) if model or adapter else default


GREEDY_PAIRS = (
    "The two responses of a pair are drawn greedily, so they are the same: give --temperature."
)


def greedy_pairs(held: Mapping[str, Any], pairs: int, sft_share: float) -> bool:
    """Whether a build would compare each response with itself."""
    return bool(pairs) and sft_share < 1 and held["temperature"] == 0


def make_models(options: dict[str, Any]) -> Models:
    """Load each model that plays a part; a base that several parts share is loaded once."""
    from cai.pipeline.build import Models

    cast = players(options)
    troupe = _Troupe(options, set(cast.values()))
    models = Models(**{part: troupe.backend(player) for part, player in cast.items()})
    if options["thinking"] == "on" and not models.reasoners:
        click.echo(
            "Warning: --thinking on has no effect: the chat template has no reasoning.", err=True
        )
    return models


def template_options(
    options: Mapping[str, Any], adapters: Iterable[str | None] = ()
) -> TemplateOptions:
    """How chat templates are called, by the options of `templating`; the date is today's.

    adapters: where no option says otherwise, the template is called as in their training.
    """
    from cai.text.template import TemplateOptions, check_date, parse_arguments

    date = options["date"] or datetime.date.today().isoformat()
    check_date(date)
    thinking, arguments = options["thinking"], options["template_args"]
    trained_ones = [adapter for adapter in adapters if adapter]
    if trained_ones and thinking == "auto" and not arguments:
        from cai.training.lineage import template_settings

        trained = template_settings(trained_ones)
        thinking = trained.get("thinking", thinking)
        arguments = trained.get("template_arg", "").splitlines()
    return TemplateOptions(date, thinking, parse_arguments(arguments))


class _Troupe:
    """The backends of some players, and the bases that they share."""

    def __init__(self, options: dict[str, Any], cast: set[Player]) -> None:
        """Raises `CaiError` for what can't play, before any weights are loaded."""
        self._options = options
        self._bases: dict[str, LoadedModel] = {}
        self._backends: dict[tuple[str, str], Backend] = {}
        self._adapters = {p.adapter: _adapter_of(p) for p in cast if p.adapter}
        self._template = template_options(options, [p.adapter for p in cast])
        if options["batch_size"] < 1:
            raise UsageError(f"--batch-size is {options['batch_size']}; it must be 1 or more.")
        models = {player.model for player in cast}
        self._scripts = {model: _script(model) for model in models if _scripted(model)}
        for model in sorted(models - self._scripts.keys()):
            from cai.models.load import load_config
            from cai.training.lineage import base_facts

            base_facts(model)  # a base whose run did not come to its end is refused
            load_config(model, device=str(options["device"]))

    def backend(self, player: Player) -> Backend:
        """The same object for whoever is the same."""
        adapter = self._adapters.get(player.adapter) if player.adapter else None
        who = _place(player.model), str(adapter.folder.resolve()) if adapter else ""
        if who not in self._backends:
            self._backends[who] = self._make(player.model, adapter)
        return self._backends[who]

    def _make(self, model: str, adapter: Adapter | None) -> Backend:
        if model in self._scripts:
            return self._scripts[model]
        from cai.backends.local import LocalBackend

        loaded = self._base(model)
        if adapter:
            warn_of_another_base(adapter, model)
            loaded = loaded.with_adapter(str(adapter.folder), adapter.name)
        return LocalBackend(loaded, self._options["batch_size"])

    def _base(self, model: str) -> LoadedModel:
        from cai.models.load import load_model

        place = _place(model)
        if place not in self._bases:
            self._bases[place] = load_model(
                model,
                self._options["device"],
                self._options["dtype"],
                template=self._template,
            )
        return self._bases[place]


def _scripted(model: str) -> bool:
    return model.startswith(_SCRIPTED)


def _script(model: str) -> Backend:
    from cai.backends.scripted import ScriptedBackend

    return ScriptedBackend.from_yaml(Path(model.removeprefix(_SCRIPTED)))


def _place(model: str) -> str:
    """One name for all names of a model."""
    if _scripted(model):
        return model
    from cai.models.names import resolve_model

    name = resolve_model(model)
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name


def _adapter_of(player: Player) -> Adapter:
    assert player.adapter is not None
    if _scripted(player.model):
        raise UsageError(
            f"{player.model} takes no adapter, and {player.adapter} is given",
            hint="Leave it out, or name a model.",
        )
    return need_adapter(player.adapter)


def need_adapter(given: str, use: Use = "speak") -> Adapter:
    """An adapter by any of its names, of a kind that is supported; no base is loaded for this.

    Raises what `find_adapter` raises, and `ModelError` for a kind that is not supported.
    """
    from cai.models.adapters import read_adapter
    from cai.training.lineage import find_adapter

    found = find_adapter(given, use)
    read_adapter(found.folder)
    return found


def warn_of_another_base(adapter: Adapter, model: str) -> None:
    """Say so where an adapter was trained on another base than it is put on."""
    if not adapter.fits(model):
        tell(f"{adapter.name} was trained on another base than {model}; it may not fit.")


def tell(text: str) -> None:
    """A warning on stderr."""
    click.echo(f"cai: {visible(text)}", err=True)
