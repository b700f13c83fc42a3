"""`cai render`: the exact messages of each stage, and the token ids that a model would read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from cai.authoring.rendering import STAGES, RenderedStage, StageTexts, stage_messages
from cai.cli.defaults import constitution_option
from cai.cli.output import format_option, json_option, print_json
from cai.types import as_dicts

if TYPE_CHECKING:
    from cai.types import Constitution, Messages


@dataclass(frozen=True, slots=True)
class _Rendered:
    """A stage's messages, the start of the answer, and what a tokenizer makes of them."""

    stage: RenderedStage
    messages: Messages
    prefill: str
    ids: tuple[int, ...] | None = None
    tokens: tuple[str, ...] | None = None
    control: tuple[int, ...] | None = None


@click.command("render")
@click.argument("principle", metavar="PRINCIPLE")
@click.option("--prompt", required=True, help="What the user asks.")
@click.option("--response", default="[response]", help="What the assistant answered.")
@click.option("--critique", default="[critique]", help="What the critic said.")
@click.option("--other", default="[other response]", help="A second response, to compare with.")
@constitution_option
@click.option(
    "--stage", type=click.Choice([*STAGES, "all"]), default="all", show_default=True,
    help="Which stage to show; compare is the judge's question about two responses, not `cai"
    " compare`; follow and oppose are the two sides of a contrast pair.",
)  # fmt: skip
@click.option("--model", "-m", default=None, help="Also show this model's token ids.")
@json_option
@format_option()
def command(
    principle: str, prompt: str, response: str, critique: str, other: str, constitution: str,
    stage: str, model: str | None, as_json: bool, form: str,
) -> None:  # fmt: skip
    """Show the exact messages of each stage under PRINCIPLE: an id or a file. No model is called.

    With --model also the token ids, with the chat template's control tokens in brackets.

    \b
    cai render respect.rudeness --prompt "How can I get better at chess?"
    cai render principles/harm/harmful.yaml --prompt "..." --stage critique -m miniature
    """
    from cai.cli.content import find_principle, validate_unicode
    from cai.constitution.load import load_constitution

    validate_unicode(prompt=prompt, response=response, critique=critique, other=other)
    rules = load_constitution(constitution)
    rule = find_principle(principle, rules)
    stages = [name for name in STAGES if stage == name or (stage == "all" and _sends(rules, name))]
    texts = StageTexts(prompt, response, critique, other)
    prompts = [_Rendered(name, *stage_messages(name, rules, rule, texts)) for name in stages]
    if model is not None:
        prompts = _encode(prompts, model)
    if as_json:
        print_json({"stages": [_plain(item) for item in prompts]})
        return
    if form == "json":
        print_json([_plain(item) for item in prompts])
        return
    for item in prompts:
        _print(item, rules)


def _sends(rules: Constitution, stage: RenderedStage) -> bool:
    """Whether to show a stage that was not asked for by name."""
    return rules.feedback.mode == "contrast" or stage not in ("follow", "oppose")


def _encode(prompts: list[_Rendered], model: str) -> list[_Rendered]:
    """With token ids, by the only path from messages to ids."""
    from cai.models.load import load_encoder

    encoder = load_encoder(model)
    out = []
    for item in prompts:
        encoded = encoder.encode(item.messages, prefill=item.prefill, add_generation_prompt=True)
        tokens = encoder.tokens(encoded.ids)
        out.append(
            _Rendered(item.stage, item.messages, item.prefill, encoded.ids, tokens, encoded.control)
        )
    return out


def _print(item: _Rendered, rules: Constitution) -> None:
    from cai.text.terminal import visible

    count = f" · {len(item.ids)} tokens" if item.ids is not None else ""
    click.echo(click.style(f"── {item.stage}{count} " + "─" * 20, bold=True))
    for note in _notes(item.stage, rules):
        click.echo(click.style(f"({note})", dim=True))
    for message in item.messages:
        click.echo(click.style(f"{message.role}:", fg="cyan"))
        click.echo("\n".join(f"  {visible(line)}" for line in message.content.split("\n")))
    click.echo(click.style("assistant:", fg="cyan") + f" {item.prefill}…")
    if item.ids is not None and item.tokens is not None:
        marked = set(item.control or ())
        click.echo()
        words = [
            click.style(f"[{visible(token)}·{number}]", fg="yellow")
            if place in marked
            else f"{visible(token)}·{number}"
            for place, (number, token) in enumerate(zip(item.ids, item.tokens, strict=True))
        ]
        click.echo("  ".join(words))
    click.echo()


def _notes(stage: str, rules: Constitution) -> list[str]:
    """Where the constitution would not send these messages, or sends them otherwise."""
    out = []
    if stage == "critique" and not rules.plan.critique:
        out.append(f"{rules.id} revises directly: critiques are asked for in checks alone")
    if stage == "compare" and rules.feedback.mode == "contrast":
        out.append(f"{rules.id} makes its pairs by contrast: it asks no judge")
    if stage in ("follow", "oppose") and rules.feedback.mode != "contrast":
        out.append(f"{rules.id} samples both responses to the plain prompt")
    if stage == "compare" and rules.feedback.mode == "pointwise":
        out.append(f"{rules.id} judges pointwise: it asks the critique of each response instead")
    return out


def _plain(item: _Rendered) -> dict[str, Any]:
    return {
        "stage": item.stage,
        "messages": as_dicts(item.messages),
        "prefill": item.prefill,
        "ids": item.ids,
        "tokens": item.tokens,
        "control": item.control,
    }
