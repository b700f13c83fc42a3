"""What a build would need: calls, tokens, memory, and time from a short measured probe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, get_args

import click

from cai.cli.output import counted
from cai.cli.probe_option import probe_option, time_in_words
from cai.cli.roles import (
    GREEDY_PAIRS,
    greedy_pairs,
    make_models,
    role_models,
    template_options,
)
from cai.decoding import Decoding, in_words, origins
from cai.errors import ModelError
from cai.pipeline.steps import BuildStage
from cai.text.terminal import visible
from cai.types import Sampling

if TYPE_CHECKING:
    from cai.authoring.planning import BuildPlan, Count, PlannedWork
    from cai.authoring.probe import ModelSpeed
    from cai.constitution.model_registry import Price
    from cai.data.prompts import PromptFile
    from cai.models.size import Size
    from cai.pipeline.build import Models
    from cai.pipeline.config import BuildConfig
    from cai.pipeline.steps import ModelRole
    from cai.types import Constitution


_SCRIPTED = "a scripted model says nothing of time"
_SERVED = "the speed of a model server is not measured"

RESPONSE_TOKENS = 64
"""The assumed length of a text."""


@dataclass(frozen=True, slots=True)
class TimeEstimate:
    """Seconds of a build where no critique finds a problem and where all do, and what was measured.

    reason: why nothing was measured; the other fields are then None or empty.
    """

    least: float | None = None
    most: float | None = None
    speeds: Mapping[str, ModelSpeed] = field(default_factory=dict)
    reason: str = ""


build_probe_option = probe_option(
    "Estimate the time by running the models for a few seconds, if their weights are on this"
    " machine."
)


@dataclass(frozen=True, slots=True)
class BuildEstimate:
    """What a build would need.

    config, batch: its settings. text_tokens: the assumed length of a text. sizes, own_sampling: by
    model. models: those that were loaded, or None. served: the price of each role that a server
    answers for, None where it is not known. tokenizer: what counted the tokens, in words.
    by_contrast: the responses of a pair have different prompts.
    """

    config: BuildConfig
    batch: int
    text_tokens: int
    plan: BuildPlan
    sizes: Mapping[str, Size]
    own_sampling: Mapping[str, Sampling]
    time: TimeEstimate
    models: Models | None
    served: Mapping[ModelRole, Price | None] = field(default_factory=dict)
    tokenizer: str = ""
    by_contrast: bool = False

    @property
    def cost(self) -> tuple[float, float] | None:
        """The least and the most that the build costs in roles of a known price; None without one.

        Of the examination as well. What the server reuses from its cache is counted in full.
        """
        if not any(self.served.values()):
            return None
        least, most = self.cost_of(self.plan.least), self.cost_of(self.plan.most)
        return least + self.cost_of_examination, most + self.cost_of_examination

    @property
    def cost_of_examination(self) -> float:
        """The cost of examining critic and judge."""
        return self.cost_of(self.plan.examination)

    def cost_of(self, work: PlannedWork) -> float:
        """The cost of some work in the roles whose price is known."""
        prices = ((price, work.by_role.get(role, (0, 0))) for role, price in self.served.items())
        return sum(price.cost(*tokens) for price, tokens in prices if price is not None)

    def lines(self) -> Iterator[str]:
        """The lines that the terminal shows."""
        yield from _lines(self)
        if self.sizes or self.time.reason == _SERVED:
            yield _time_line(self.time, self.batch)
        if self.served:
            yield f"cost: {self._cost_in_words()}"
            yield (
                f"tokens are counted by {visible(self.tokenizer)}; the model servers were not asked"
            )

    def _cost_in_words(self) -> str:
        unpriced = [role for role, price in self.served.items() if price is None]
        if self.cost is None:
            return "not known: no served model has a `price` in cai.yaml"
        words = f"{self.cost[0]:.3g} to {self.cost[1]:.3g}, by the prices in cai.yaml"
        if unpriced:
            words += f"; without that of the {' and the '.join(unpriced)}, which has no `price`"
        return words

    def values(self) -> dict[str, Any]:
        """The values that `--json` prints."""
        cost = {} if self.cost is None else {"least_cost": self.cost[0], "most_cost": self.cost[1]}
        return {**_plain(self), "time": _time_values(self.time), **cost}


def estimate_build(
    rules: Constitution,
    prompts: PromptFile,
    options: dict[str, Any],
    response_tokens: int = RESPONSE_TOKENS,
    *,
    examine: bool,
    probe: bool,
    load_scripted: bool = False,
    is_examined: Callable[[Models], bool] = lambda models: False,
) -> BuildEstimate:
    """Count the work of a build, and measure its models.

    options: those of `models_of`, `build_options` and `load_options`, by name. examine: count the
    examination of critic and judge, too. load_scripted: load scripted models, too, though their
    time says nothing. is_examined: whether the store has the examination of these models.
    """
    from cai.authoring.planning import PlannedWork, plan_build
    from cai.data.invalid_rows import require_prompts
    from cai.pipeline.config import with_rounds

    config = build_config(options)
    require_prompts(prompts, prompts.path.name)
    with_rounds(rules, config)
    sizes, own_sampling, count, context, tokenizer = _models(options)
    written = min(response_tokens, config.max_new_tokens)
    plan = plan_build(
        rules, prompts, config, count, context=context, written=written, examined=examine,
        samples=_samples(options),
    )  # fmt: skip
    models, reason = _load(sizes, options, probe=probe, load_scripted=load_scripted)
    if examine and models is not None and is_examined(models):
        plan = replace(plan, examination=PlannedWork.none())
    time = TimeEstimate(reason=reason) if models is None or reason else _time(plan, models)
    served = {r: model.price for r, model in role_models(options).items() if model.is_served}
    return BuildEstimate(
        config, options["batch_size"], written, plan, sizes, own_sampling, time, models, served,
        tokenizer, by_contrast=rules.feedback.mode == "contrast",
    )  # fmt: skip


def _samples(options: Mapping[str, Any]) -> dict[ModelRole, int]:
    """Of the roles that score by sampled responses, how many they take."""
    servers = {role: model.server for role, model in role_models(options).items()}
    return {r: s.samples for r, s in servers.items() if s is not None and s.scoring == "sampling"}


def build_config(options: Mapping[str, Any]) -> BuildConfig:
    """The settings of a build among its options."""
    from cai.pipeline.config import BuildConfig

    return BuildConfig(**{name: options[name] for name in BuildConfig.__dataclass_fields__})


def _load(
    sizes: Mapping[str, Size], options: dict[str, Any], *, probe: bool, load_scripted: bool
) -> tuple[Models | None, str]:
    """The models, and why their speed is not measured; None where they can't be loaded now."""
    from cai.models.names import on_this_machine

    chosen = role_models(options).values()
    if any(role_model.is_served for role_model in chosen):
        return None, _SERVED
    scripted = any(role_model.is_scripted for role_model in chosen)
    if scripted and not load_scripted:
        return None, _SCRIPTED
    if not probe and sizes:
        return None, "--no-probe"
    for name in sorted(sizes):
        if not on_this_machine(name):
            return None, f"the weights of {name} are not on this machine"
    needed = sum(size.weights for size in sizes.values())
    if options["device"] == "cpu" and needed > (free := _free_memory()):
        return None, f"{_gb(needed)} of weights, and {_gb(free)} of memory are free"
    try:
        models = make_models(options)
    except ModelError as error:
        return None, error.message
    return models, _SCRIPTED if scripted else ""


def _time(plan: BuildPlan, models: Models) -> TimeEstimate:
    """Measure the models that have a role, each once."""
    from cai.authoring.probe import measure, seconds_of

    backends = {id(backend): backend for backend in models.by_role.values()}
    groups: dict[int, list[Any]] = {key: [] for key in backends}
    for role, backend in models.by_role.items():
        groups[id(backend)] += plan.requests[role]
    speeds = {key: measure(backend, groups[key]) for key, backend in backends.items()}
    by_role = {role: speeds[id(backend)] for role, backend in models.by_role.items()}
    examination = seconds_of(plan.examination, by_role)

    def seconds(work: PlannedWork) -> float | None:
        own = seconds_of(work, by_role)
        return None if own is None or examination is None else own + examination

    return TimeEstimate(
        seconds(plan.least),
        seconds(plan.most),
        {backend.info.name: speeds[id(backend)] for backend in models.by_role.values()},
    )


def _free_memory() -> int:
    """Bytes of memory that are free, where the system says so; else more than any model needs."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return sys.maxsize


def _time_line(time: TimeEstimate, batch: int) -> str:
    seconds = sum(speed.seconds for speed in time.speeds.values())
    line = f"time: {time_in_words(time.least, time.most, seconds, time.reason)}"
    if time.least is None or time.most is None:
        return line
    measured = "; ".join(
        f"{visible(name)} {speed.tokens:,.0f} tokens/s generated, {speed.scores:,.1f} scored/s"
        for name, speed in time.speeds.items()
    )
    return f"{line}\n      (batches of {batch}: {measured})"


def _time_values(time: TimeEstimate) -> dict[str, Any]:
    speeds = {
        name: {"tokens_per_second": speed.tokens, "scores_per_second": speed.scores,
               "measured_seconds": speed.seconds}
        for name, speed in time.speeds.items()
    }  # fmt: skip
    return {
        "least_seconds": time.least, "most_seconds": time.most, "measured": speeds,
        "reason": time.reason or None,
    }  # fmt: skip


def _models(
    options: dict[str, Any],
) -> tuple[dict[str, Size], dict[str, Sampling], Count, int | None, str]:
    """Of each model that plays a part, the size and its own sampling settings; the first one's way
    to count; the least context; what counts, in words."""
    from cai.types import Messages

    chosen = role_models(options).values()
    loaded = (role for role in chosen if not role.is_scripted and not role.is_served)
    real = list(dict.fromkeys(role.model for role in loaded))
    named = [m.server.tokenizer for m in chosen if m.server and m.server.tokenizer]
    if not real and not named:
        return {}, {}, _words, None, "words, since no tokenizer is known: real counts are higher"
    from cai.models.load import load_encoder, load_sampling
    from cai.models.size import model_size

    sizes = {name: model_size(name, options["device"], options["dtype"]) for name in real}
    counter = (named or real)[0]
    encoder = load_encoder(counter, template_options(options))

    def count(messages: Messages, prefill: str) -> int:
        return len(encoder.encode(messages, prefill=prefill, add_generation_prompt=True).ids)

    own = {name: load_sampling(name) for name in real}
    context = min((size.context for size in sizes.values()), default=None)
    return sizes, own, count, context, f"the tokenizer of {counter}"


def _words(messages: Any, prefill: str) -> int:
    return sum(len(m.content.split()) for m in messages) + len(prefill.split())


def _lines(estimate: BuildEstimate) -> Iterator[str]:
    plan, config = estimate.plan, estimate.config
    if plan.unusable:
        yield f"{counted(plan.unusable, 'invalid row')} (set aside)"
    if plan.sampled < plan.prompts:
        yield f"scaled up from {plan.sampled} of the prompts"
    yield f"\n{'':18}{'no problems found':>18}{'always found':>14}"
    examination = plan.examination
    if asked := examination.steps.total():
        yield f"{'examination':18}{asked:18,}{asked:14,}"
    stages = [s for s in get_args(BuildStage) if plan.most.steps[s] or plan.least.steps[s]]
    for stage in stages:
        name = _NAMES.get(stage, f"{stage}s")
        yield f"{name:18}{plan.least.steps[stage]:18,}{plan.most.steps[stage]:14,}"
    read, written = (
        [getattr(work, name) + getattr(examination, name) for work in (plan.least, plan.most)]
        for name in ("read", "written")
    )
    yield f"{'tokens read':18}{read[0]:18,}{read[1]:14,}"
    yield f"{'tokens written':18}{written[0]:18,}{written[1]:14,}"
    yield (
        f"\nAssumes {counted(estimate.text_tokens, 'token')} per text (`cai plan"
        " --response-tokens` takes another number). Shared prefixes are computed once, so fewer"
        " tokens are computed than read."
    )
    if plan.too_long:
        yield click.style(
            f"{plan.too_long} of {counted(plan.sampled, 'examined prompt')} leave no room in the"
            " context",
            fg="yellow",
        )
    for name, size in estimate.sizes.items():
        yield f"\n{name}: {_memory(plan, size, estimate.batch, config)}"
        yield f"sampling: {in_words(*_sampling(config, estimate.own_sampling[name]))}"
    writer = next(iter(estimate.own_sampling.values()), Sampling())
    if not estimate.by_contrast and greedy_pairs(
        _sampling(config, writer)[0], config.pairs, config.sft_share
    ):
        yield click.style(GREEDY_PAIRS, fg="yellow")


def _sampling(config: BuildConfig, own: Sampling) -> tuple[dict[str, Any], dict[str, str]]:
    """How a model's text would be drawn, and where each setting is from."""
    sampling = config.sampling
    return asdict(Decoding.of(sampling, own)), origins(sampling, own)


_NAMES: dict[BuildStage, str] = {"pair": "pair responses", "reasoning": "reasonings"}


def _memory(plan: BuildPlan, size: Size, batch: int, config: BuildConfig) -> str:
    kind = str(size.dtype).removeprefix("torch.")
    cache = _cache(plan, size, batch, config)
    return (
        f"{size.parameters / 1e6:,.1f}M parameters, {_gb(size.weights)} in {kind};"
        f" the cache of {batch} conversations up to {_gb(cache)}"
    )


def _cache(plan: BuildPlan, size: Size, batch: int, config: BuildConfig) -> int:
    """Bytes of the key-value cache where every slot holds the longest conversation."""
    return batch * min(size.context, plan.longest + config.max_new_tokens) * size.token


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _plain(estimate: BuildEstimate) -> dict[str, Any]:
    plan, config = estimate.plan, estimate.config
    out: dict[str, Any] = {
        name: getattr(plan, name)
        for name in ("prompts", "unusable", "sampled", "longest", "too_long")
    }
    works = {"examination": plan.examination, "least": plan.least, "most": plan.most}
    for name, work in works.items():
        steps = {stage: work.steps[stage] for stage in get_args(BuildStage)}
        out[name] = {"steps": steps, "read": work.read, "written": work.written}
    out["models"] = {
        name: {
            "parameters": size.parameters, "weights_bytes": size.weights,
            "cache_bytes": _cache(plan, size, estimate.batch, config),
            "dtype": str(size.dtype).removeprefix("torch."), "context": size.context,
            "sampling": _sampling(config, estimate.own_sampling[name])[0],
            "sampling_from": _sampling(config, estimate.own_sampling[name])[1],
        }
        for name, size in estimate.sizes.items()
    }  # fmt: skip
    return out
