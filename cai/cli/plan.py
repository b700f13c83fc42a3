"""`cai plan`: calls, tokens and memory of a build, before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import click

from cai.cli.defaults import choose_prompts
from cai.cli.output import counted, json_option, print_json
from cai.cli.parts import (
    GREEDY_PAIRS,
    drawing,
    greedy_pairs,
    loading,
    models_of,
    players,
    reading,
    template_options,
)
from cai.decoding import Decoding, in_words, origins
from cai.pipeline.steps import BuildStage
from cai.types import Sampling

if TYPE_CHECKING:
    from cai.authoring.planning import BuildPlan, Count
    from cai.models.size import Size
    from cai.pipeline.build import BuildConfig


@click.command("plan")
@reading
@models_of("miniature")
@drawing
@loading
@click.option(
    "--response-tokens", type=click.IntRange(min=1), default=64, show_default=True,
    help="How long a text is taken to be.",
)  # fmt: skip
@json_option
@click.option("--output", type=click.Choice(["text", "json"]), default="text", hidden=True)
def command(
    constitution: str, prompts_file: Path | None, form: str | None, column: str | None,
    turns: str, response_tokens: int, as_json: bool, output: str, **options: Any,
) -> None:  # fmt: skip
    """Count what `cai build-data` with the same options would ask and need.

    The build's own steps are gone through on up to 64 of the prompts without a model, once as if no
    critique found anything and once as if every one did. Of the model only tokenizer and config are
    read.

    \b
    cai plan -c constitution/default.yaml -p prompts.jsonl -m Qwen/Qwen3-4B
    """
    from cai.authoring.planning import plan_build
    from cai.constitution.load import load_constitution
    from cai.data.prompts import PromptFile
    from cai.data.usable import need_prompts
    from cai.pipeline.build import BuildConfig, planned

    rules = load_constitution(constitution)
    config = BuildConfig(**{name: options[name] for name in BuildConfig.__dataclass_fields__})
    prompts = PromptFile(choose_prompts(prompts_file), form=form, column=column, turns=turns)
    need_prompts(prompts, prompts.path.name)
    planned(rules, config)
    sizes, drawn, count, context = _models(options)
    written = min(response_tokens, config.max_new_tokens)
    plan = plan_build(rules, prompts, config, count, context=context, written=written)
    if as_json or output == "json":
        print_json(_plain(plan, sizes, drawn, options["batch_size"], config))
        return
    click.echo(
        click.style(f"{rules.id} {rules.version}  ·  {counted(plan.prompts, 'prompt')}", bold=True)
    )
    for line in _lines(plan, sizes, drawn, options["batch_size"], config, written):
        click.echo(line)


def _models(
    options: dict[str, Any],
) -> tuple[dict[str, Size], dict[str, Sampling], Count, int | None]:
    """Of each model that plays a part, the size and its own sampling settings; the first one's way
    to count; the least context."""
    from cai.types import Messages

    names = dict.fromkeys(player.model for player in players(options).values())
    real = [name for name in names if not name.startswith("scripted:")]
    if not real:
        return {}, {}, _words, None
    from cai.models.load import load_encoder, load_sampling
    from cai.models.size import model_size

    sizes = {name: model_size(name, options["device"], options["dtype"]) for name in real}
    encoder = load_encoder(real[0], template_options(options))

    def count(messages: Messages, prefill: str) -> int:
        return len(encoder.encode(messages, prefill=prefill, add_generation_prompt=True).ids)

    drawn = {name: load_sampling(name) for name in real}
    return sizes, drawn, count, min(size.context for size in sizes.values())


def _words(messages: Any, prefill: str) -> int:
    return sum(len(m.content.split()) for m in messages) + len(prefill.split())


def _lines(
    plan: BuildPlan,
    sizes: dict[str, Size],
    drawn: dict[str, Sampling],
    batch: int,
    config: BuildConfig,
    written: int,
) -> Iterator[str]:
    if plan.unusable:
        yield f"{counted(plan.unusable, 'invalid row')} (set aside)"
    if plan.sampled < plan.prompts:
        yield f"scaled up from {plan.sampled} of the prompts"
    yield f"\n{'':18}{'no problems found':>18}{'always found':>14}"
    stages = [s for s in get_args(BuildStage) if plan.most.steps[s] or plan.least.steps[s]]
    for stage in stages:
        name = _NAMES.get(stage, f"{stage}s")
        yield f"{name:18}{plan.least.steps[stage]:18,}{plan.most.steps[stage]:14,}"
    yield f"{'tokens read':18}{plan.least.read:18,}{plan.most.read:14,}"
    yield f"{'tokens written':18}{plan.least.written:18,}{plan.most.written:14,}"
    yield (
        f"\nAssumes {counted(written, 'token')} per text (--response-tokens). Shared prefixes are"
        " computed once, so fewer tokens are computed than read."
    )
    if plan.too_long:
        yield click.style(
            f"{plan.too_long} of {counted(plan.sampled, 'examined prompt')} leave no room in the"
            " context",
            fg="yellow",
        )
    for name, size in sizes.items():
        yield f"\n{name}: {_memory(plan, size, batch, config)}"
        yield f"sampling: {in_words(*_sampling(config, drawn[name]))}"
    writer = next(iter(drawn.values()), Sampling())
    if greedy_pairs(_sampling(config, writer)[0], config.pairs, config.sft_share):
        yield click.style(GREEDY_PAIRS, fg="yellow")


def _sampling(config: BuildConfig, own: Sampling) -> tuple[dict[str, Any], dict[str, str]]:
    """How a model's text would be drawn, and where each setting is from."""
    asked = config.sampling
    return asdict(Decoding.of(asked, own)), origins(asked, own)


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


def _plain(
    plan: BuildPlan, sizes: dict[str, Size], drawn: dict[str, Sampling], batch: int,
    config: BuildConfig,
) -> dict[str, Any]:  # fmt: skip
    out: dict[str, Any] = {
        name: getattr(plan, name)
        for name in ("prompts", "unusable", "sampled", "longest", "too_long")
    }
    for name, work in (("least", plan.least), ("most", plan.most)):
        steps = {stage: work.steps[stage] for stage in get_args(BuildStage)}
        out[name] = {"steps": steps, "read": work.read, "written": work.written}
    out["models"] = {
        name: {
            "parameters": size.parameters, "weights_bytes": size.weights,
            "cache_bytes": _cache(plan, size, batch, config),
            "dtype": str(size.dtype).removeprefix("torch."), "context": size.context,
            "sampling": _sampling(config, drawn[name])[0],
            "sampling_from": _sampling(config, drawn[name])[1],
        }
        for name, size in sizes.items()
    }  # fmt: skip
    return out
