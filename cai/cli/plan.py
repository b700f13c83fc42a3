"""`cai plan`: calls, tokens, memory and time of a build, before it starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cai.cli.build_estimate import RESPONSE_TOKENS, build_probe_option, estimate_build
from cai.cli.defaults import choose_prompts
from cai.cli.gates import examine_option
from cai.cli.output import counted, json_option, print_json
from cai.cli.roles import build_options, load_options, models_of, prompt_options


@click.command("plan")
@prompt_options
@models_of("miniature")
@build_options
@examine_option
@load_options
@click.option(
    "--response-tokens", type=click.IntRange(min=1), default=RESPONSE_TOKENS, show_default=True,
    help="The assumed length of a text, in tokens.",
)  # fmt: skip
@build_probe_option
@json_option
@click.option("--output", type=click.Choice(["text", "json"]), default="text", hidden=True)
def command(
    constitution: str, prompts_file: Path | None, form: str | None, column: str | None,
    turns: str, examine: bool, response_tokens: int, probe: bool, as_json: bool, output: str,
    **options: Any,
) -> None:  # fmt: skip
    """Estimate the calls, tokens, memory and time of `cai build-data` with the same options.

    The steps of the build are run without a model on up to 64 of the prompts: once as if no
    critique found a problem, and once as if every critique did. The examination of critic and
    judge comes first and is counted in full. The time is an estimate: the models
    generate and score for a few seconds, if their weights are on this machine. For everything else
    only the tokenizer and the config are read.

    \b
    cai plan -p prompts.jsonl -m Qwen/Qwen3-4B
    """
    from cai.constitution.load import load_constitution
    from cai.data.prompts import PromptFile

    rules = load_constitution(constitution)
    prompts = PromptFile(choose_prompts(prompts_file), form=form, column=column, turns=turns)
    estimate = estimate_build(
        rules, prompts, options, response_tokens, examine=examine, probe=probe
    )
    if as_json or output == "json":
        print_json(estimate.values())
        return
    click.echo(
        click.style(
            f"{rules.id} {rules.version}  ·  {counted(estimate.plan.prompts, 'prompt')}", bold=True
        )
    )
    for line in estimate.lines():
        click.echo(line)
