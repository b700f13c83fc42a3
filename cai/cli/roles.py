"""The models of a build by role (generator, critic, judge): their options and their loading."""

from __future__ import annotations

import datetime
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cai.cli.config_options import config_options
from cai.cli.defaults import PROMPTS_DEFAULT, constitution_option
from cai.cli.output import warn
from cai.decoding import SETTINGS
from cai.errors import UsageError
from cai.pipeline.config import BuildConfig

if TYPE_CHECKING:
    from cai.backends.base import Backend, ModelInfo
    from cai.backends.ray import Front
    from cai.backends.server import ServerBackend
    from cai.constitution.model_registry import ModelEntry, Price
    from cai.models.load import LoadedModel
    from cai.pipeline.build import Models
    from cai.pipeline.steps import ModelRole
    from cai.text.template import TemplateOptions
    from cai.training.lineage import Adapter, Use

_SCRIPTED = "scripted:"
_REASONING_TOKENS = 1024

Command = TypeVar("Command", bound=Callable[..., Any])


def models_of(default: str | None) -> Callable[[Command], Command]:
    """The options that say which models write, criticise and judge; `default` is the writer."""
    options = (
        click.option(
            "--model", "-m", default=default, show_default=True,
            help="The model that writes responses and revisions: a hub id, a directory, a GGUF"
            " file, `miniature`, `scripted:FILE`, the folder of a run that trained all weights, a"
            " model of cai.yaml, or the address of a model server: http://host:port/v1#name.",
        ),
        click.option(
            "--adapter", default=None,
            help="Adapter for --model: a training run's folder, or a LoRA adapter.",
        ),
        click.option(
            "--critic", default=None,
            help="The model that writes critiques.  [default: --model with its --adapter]",
        ),
        click.option(
            "--critic-adapter", default=None, help="Adapter for --critic.  [default: none]"
        ),
        click.option(
            "--judge", default=None,
            help="The model that judges pairs.  [default: the critic with its adapter]",
        ),
        click.option("--judge-adapter", default=None, help="Adapter for --judge.  [default: none]"),
    )  # fmt: skip
    return together(*options)


def together(*options: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Decorators as one, in the order in which help shows them."""

    def decorate(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


device_options = together(
    click.option(
        "--device", default="auto", show_default=True, help="Device: auto, cpu, cuda or mps."
    ),
    click.option(
        "--dtype", type=click.Choice(["auto", "float32", "bfloat16", "float16"]), default="auto",
        show_default=True,
        help="Dtype of the weights. auto: bfloat16 where it is faster, else float32.",
    ),
)  # fmt: skip
chat_template_options = together(
    click.option(
        "--thinking", type=click.Choice(["auto", "off", "on"]), default="auto", show_default=True,
        help="Reasoning before answers. auto: the chat template's default; off, on: its switch."
        " If it has no switch, off starts replies after an empty reasoning block.",
    ),
    click.option(
        "--template-arg", "template_args", multiple=True, metavar="KEY=VALUE",
        help="A variable of the chat template; may be given several times.",
    ),
    click.option(
        "--date", default=None, metavar="YYYY-MM-DD",
        help="The date for a chat template that writes today's date.  [default: the day the run"
        " began]",
    ),
)  # fmt: skip
"""The options that say how chat templates are called."""

load_options = together(
    click.option(
        "--batch-size", type=click.IntRange(min=1), default=16, show_default=True,
        help="Conversations processed at once; affects speed alone.",
    ),
    device_options,
    chat_template_options,
)  # fmt: skip
"""The options that say how models are loaded."""

prompt_options = together(
    constitution_option,
    click.option(
        "--prompts", "-p", "prompts_file", type=click.Path(path_type=Path), default=None,
        help="Prompts: JSONL, JSON, CSV, Parquet or text, in the chat formats of most tools; `-`"
        f" reads standard input.  {PROMPTS_DEFAULT}",
    ),
    click.option(
        "--format", "form", default=None, help="The prompts' format, if it is ambiguous."
    ),
    click.option("--column", default=None, help="The key or column that holds the prompt."),
    click.option(
        "--turns", type=click.Choice(["first", "all"]), default="all", show_default=True,
        help="HH-RLHF dialogues: the first human turn alone, or all up to the last human turn.",
    ),
)  # fmt: skip
"""The options that name a constitution and a file of prompts."""

_SAMPLING = (*SETTINGS, "max_new_tokens", "max_reasoning_tokens")


sampling_options = config_options(BuildConfig, _SAMPLING)
"""The options that say how text is sampled; a model's own are in its `generation_config.json`."""

build_options = config_options(BuildConfig)
"""The options that are part of a run's name: the fields of `BuildConfig`."""


@dataclass(frozen=True, slots=True)
class RoleModel:
    """The model of a role as it was named, and the adapter on it, if any.

    server: the registry's entry of a served model that is named there.
    """

    model: str
    adapter: str | None = None
    server: ModelEntry | None = field(default=None, compare=False)

    @property
    def is_served(self) -> bool:
        """Whether a model server answers for it."""
        from cai.text.addresses import is_address

        return self.server is not None or is_address(self.model)

    @property
    def price(self) -> Price | None:
        """The price of its tokens, where the registry has one."""
        return self.server.price if self.server is not None else None

    @property
    def shown(self) -> str:
        """Its name for people and files: an address without its key."""
        from cai.text.addresses import shown_model

        return shown_model(self.model)

    @property
    def is_scripted(self) -> bool:
        """Whether it answers by rules."""
        return self.model.startswith(_SCRIPTED)


def role_models(options: Mapping[str, Any]) -> dict[ModelRole, RoleModel]:
    """The model of each role. One that is named gets no adapter of another role.

    Names are looked up in the registry of cai.yaml first.
    """
    generator = named_model(str(options["model"]), options["adapter"])
    critic = _role_model(options["critic"], options["critic_adapter"], generator)
    judge = _role_model(options["judge"], options["judge_adapter"], critic)
    return {"generator": generator, "critic": critic, "judge": judge}


def _role_model(model: str | None, adapter: str | None, default: RoleModel) -> RoleModel:
    if model:
        return named_model(model, adapter)
    return replace(default, adapter=adapter) if adapter else default


def named_model(name: str, adapter: str | None = None) -> RoleModel:
    """A model by its name in the registry of cai.yaml, or by any of its other names.

    Raises `UsageError` for a name that is none of them, and close to one of the registry.
    """
    from cai.constitution.project import find_project
    from cai.text.addresses import shown_model

    registry = find_project([Path.cwd()]).models
    entry = registry.get(name)
    if entry is None:
        close = get_close_matches(name, registry, n=1, cutoff=0.75)
        if close and name != "miniature" and not Path(name).exists():
            raise UsageError(
                f"cai.yaml has no model {shown_model(name)!r}", hint=f"Did you mean {close[0]!r}?"
            )
        return RoleModel(name, adapter)
    if entry.url is not None:
        return RoleModel(name, adapter, entry)
    return RoleModel(str(entry.path), adapter or entry.adapter)


def connect(
    role_model: RoleModel, template: TemplateOptions | None, reasoning_tokens: int | None
) -> ServerBackend:
    """The backend of a served model. Raises what `ServerBackend.connect` raises."""
    from cai.backends.server import ServerBackend

    backend = ServerBackend.connect(
        role_model.server or role_model.model,
        template=template,
        max_reasoning_tokens=reasoning_tokens or _REASONING_TOKENS,
        name=role_model.model if role_model.server else "",
    )
    facts = backend.info.server
    software = f"{facts['software']} {facts['version']}".strip() or "unknown software"
    places = ", ".join(role_model.server.url or () if role_model.server else facts["address"])
    logging.getLogger("cai").info(
        "model %s: served by %s at %s", backend.info.name, software, places
    )
    return backend


GREEDY_PAIRS = (
    "The two responses of a pair are drawn greedily, so they are the same: give --temperature."
)


def greedy_pairs(sampling: Mapping[str, Any], pairs: int, sft_share: float) -> bool:
    """Whether a build would compare each response with itself."""
    return bool(pairs) and sft_share < 1 and sampling.get("temperature") == 0


def make_models(options: dict[str, Any]) -> Models:
    """Load the model of each role; a base that several roles share is loaded once."""
    from cai.pipeline.build import Models

    models = Models(**role_backends(options, role_models(options)))
    warn_of_thinking(options, models)
    return models


def role_backends(
    options: dict[str, Any], chosen: Mapping[ModelRole, RoleModel]
) -> dict[ModelRole, Backend]:
    """The backend of each role; roles with the same model share one."""
    loader = ModelLoader(options, set(chosen.values()))
    return {role: loader.backend(role_model) for role, role_model in chosen.items()}


def warn_of_thinking(options: Mapping[str, Any], models: Models) -> None:
    """Say so where reasoning is asked for and no model can reason."""
    if options["thinking"] == "on" and not models.reasoners:
        warn("--thinking on has no effect: the chat template has no reasoning.", prefix="Warning: ")


def template_options(
    options: Mapping[str, Any], adapters: Iterable[str | None] = ()
) -> TemplateOptions:
    """How chat templates are called, by `chat_template_options`; the date is today's.

    adapters: where no option says otherwise, the template is called as in their training.
    """
    from cai.text.template import TemplateOptions, parse_arguments, validate_date

    date = options["date"] or datetime.date.today().isoformat()
    validate_date(date)
    thinking, arguments = options["thinking"], options["template_args"]
    trained_adapters = [adapter for adapter in adapters if adapter]
    if trained_adapters and thinking == "auto" and not arguments:
        from cai.training.lineage import trained_template

        return trained_template(trained_adapters, date)
    return TemplateOptions(date, thinking, parse_arguments(arguments))


class ModelLoader:
    """The backends of some models of roles, and the bases that they share."""

    def __init__(self, options: dict[str, Any], chosen: set[RoleModel]) -> None:
        """Raises `CaiError` for what can't be used, before any weights are loaded."""
        self._options = options
        self._bases: dict[str, LoadedModel] = {}
        self._backends: dict[tuple[str, str], Backend] = {}
        self._adapters = {p.adapter: _adapter_of(p) for p in chosen if p.adapter}
        self._template = template_options(options, [p.adapter for p in chosen])
        if options["batch_size"] < 1:
            raise UsageError(f"--batch-size is {options['batch_size']}; it must be 1 or more.")
        self._scripts = {c.model: _script(c.model) for c in chosen if c.is_scripted}
        for model in sorted({c.model for c in chosen if not c.is_scripted and not c.is_served}):
            from cai.models.load import load_config
            from cai.training.lineage import base_facts

            base_facts(model)  # a base whose run did not come to its end is refused
            load_config(model, device=str(options["device"]))

    def backend(self, role_model: RoleModel) -> Backend:
        """The same object for whoever is the same."""
        adapter = self._adapters.get(role_model.adapter) if role_model.adapter else None
        who = _place(role_model), str(adapter.folder.resolve()) if adapter else ""
        if who not in self._backends:
            self._backends[who] = self._make(role_model, adapter)
        return self._backends[who]

    def fingerprint(self, role_model: RoleModel) -> str:
        """The fingerprint of its backend, without loading weights."""
        if role_model.is_scripted or role_model.is_served:
            return self.backend(role_model).info.fingerprint
        from cai.models.load import fingerprint_of

        adapter = self._adapters.get(role_model.adapter) if role_model.adapter else None
        return fingerprint_of(
            role_model.model, str(self._options["device"]), str(self._options["dtype"]),
            str(adapter.folder) if adapter else None,
        )  # fmt: skip

    def front(self, role_model: RoleModel, info: ModelInfo) -> Front:
        """What prepares requests for a model that workers have loaded; info: the model there."""
        if role_model.is_scripted or role_model.is_served:
            return self.backend(role_model)
        from cai.backends.encoding import RequestEncoder
        from cai.models.load import context_of, load_config, load_encoder

        config, _ = load_config(role_model.model, device="cpu")
        encoder = load_encoder(role_model.model, self._template)
        return RequestEncoder(info, encoder, context_of(config))

    def _make(self, role_model: RoleModel, adapter: Adapter | None) -> Backend:
        model = role_model.model
        if model in self._scripts:
            return self._scripts[model]
        if role_model.is_served:
            tokens = self._options.get("max_reasoning_tokens")
            return connect(role_model, self._template, tokens)
        from cai.backends.local import LocalBackend

        loaded = self._base(model)
        if adapter:
            warn_of_another_base(adapter, model)
            loaded = loaded.with_adapter(str(adapter.folder), adapter.name)
        return LocalBackend(loaded, self._options["batch_size"])

    def _base(self, model: str) -> LoadedModel:
        from cai.models.load import load_model

        place = _local_place(model)
        if place not in self._bases:
            begin = time.monotonic()
            loaded = load_model(
                model,
                self._options["device"],
                self._options["dtype"],
                template=self._template,
            )
            logging.getLogger("cai").info(
                "model %s: %s, %s, loaded in %.1f s",
                loaded.name, loaded.device, loaded.dtype, time.monotonic() - begin,
            )  # fmt: skip
            self._bases[place] = loaded
        return self._bases[place]


def scripted_file(model: str) -> Path:
    """The file of rules that the name of a scripted model holds."""
    return Path(model.removeprefix(_SCRIPTED))


def _script(model: str) -> Backend:
    from cai.backends.scripted import ScriptedBackend

    return ScriptedBackend.from_yaml(scripted_file(model))


def _place(role_model: RoleModel) -> str:
    """One name for all names of a model."""
    if role_model.is_scripted or role_model.is_served:
        return role_model.model
    return _local_place(role_model.model)


def _local_place(model: str) -> str:
    from cai.models.names import resolve_model

    name = resolve_model(model)
    path = Path(name).expanduser()
    return str(path.resolve()) if path.exists() else name


def _adapter_of(role_model: RoleModel) -> Adapter:
    assert role_model.adapter is not None
    if role_model.is_scripted:
        raise UsageError(
            f"{role_model.shown} takes no adapter, and {role_model.adapter} is given",
            hint="Leave it out, or name a model.",
        )
    if role_model.is_served:
        raise UsageError(
            f"A model server loads its own adapters, and {role_model.adapter} is given",
            hint="Load it at the server, and name it as the model: http://host:port/v1#adapter.",
        )
    return need_adapter(role_model.adapter)


def need_adapter(given: str, use: Use = "speak") -> Adapter:
    """An adapter by any of its names, of a kind that is supported; no base is loaded for this.

    Raises what `find_adapter` raises, and `ModelError` for a kind that is not supported.
    """
    from cai.models.adapter_files import read_adapter
    from cai.training.lineage import find_adapter

    adapter = find_adapter(given, use)
    read_adapter(adapter.folder)
    return adapter


def warn_of_another_base(adapter: Adapter, model: str) -> None:
    """Say so where an adapter was trained on another base than it is put on."""
    if not adapter.fits(model):
        warn(f"{adapter.name} was trained on another base than {model}; it may not fit.")
