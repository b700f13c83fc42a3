"""`cai try`: one prompt through one principle, each step printed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from cai.cli.defaults import constitution_option
from cai.cli.output import format_option, json_option, print_json
from cai.cli.roles import load_options, make_models, models_of, sampling_options
from cai.decoding import SETTINGS
from cai.errors import Interrupted

if TYPE_CHECKING:
    from cai.authoring.attempt import Attempt
    from cai.types import Constitution, Principle, Prompt, Trace


_OUTCOMES = {
    "problem": "found a problem",
    "no-problem": "found nothing",
    "contradictory": "no verdict: finds no problem and names one",
    "refused": "no verdict: the critic refused",
    "empty": "no verdict: it is empty",
}
TIE = 0.55
"""Sureness under which a comparison says nothing, as in an audit's flag F10."""


@click.command("try")
@click.argument("principle", metavar="PRINCIPLE")
@click.option("--prompt", required=True, help="What the user asks.")
@click.option(
    "--response", default=None, help="The response to critique.  [default: written by the model]"
)
@click.option("--other", default=None, help="A second response, to compare the first with.")
@constitution_option
@models_of("miniature")
@click.option("--seed", type=int, default=0, show_default=True, help="Random seed.")
@sampling_options
@json_option
@format_option()
@load_options
def command(
    principle: str, prompt: str, response: str | None, other: str | None, constitution: str,
    seed: int, as_json: bool, form: str, **options: Any,
) -> None:  # fmt: skip
    """Put one prompt through PRINCIPLE, an id or a file: response, critique, revision.

    The messages are those of a build under the constitution reduced to this principle. Nothing is
    stored.

    \b
    cai try respect.rudeness --prompt "How can I get better at chess?"
    cai try principles/harm/harmful.yaml --prompt "..." --response "..." --other "..."
    """
    from cai.cli.content import find_principle, validate_unicode
    from cai.constitution.load import load_constitution
    from cai.pipeline.fixed_texts import as_prompt, single_principle
    from cai.pipeline.steps import Draws

    validate_unicode(prompt=prompt, response=response, other=other)
    rules = load_constitution(constitution)
    rule = find_principle(principle, rules)
    request = as_prompt(prompt)
    settings = (*SETTINGS, "max_new_tokens", "max_reasoning_tokens")
    draws = Draws(seed=seed, **{name: options[name] for name in settings})
    try:
        result = _run_once(request, single_principle(rules, rule), draws, response, other, options)
    except KeyboardInterrupt:
        raise Interrupted("Stopped: nothing was kept.") from None
    if as_json or form == "json":
        print_json(_plain(rule, request, result))
        return
    for line in _lines(rules, rule, prompt, result):
        click.echo(line)


def _run_once(
    prompt: Prompt, rules: Constitution, draws: Any, response: str | None, other: str | None,
    options: dict[str, Any],
) -> Attempt:  # fmt: skip
    """Run the one procedure. Raises `PromptError` where the prompt can't be used."""
    from cai.authoring.attempt import attempt, run_tasks
    from cai.cli.unknown_words import requests_of, warn_of_unknown_words
    from cai.errors import CaiError
    from cai.pipeline.drive import PromptTask

    models = make_models(options)
    warn_of_unknown_words(
        (backend.info.name for backend in models.by_role.values()),
        {
            "the principle": requests_of(rules),
            "the prompt and the responses": [
                *(message.content for message in prompt.messages), response or "", other or "",
            ],
        },
    )  # fmt: skip
    results: list[Attempt] = []
    errors: list[CaiError] = []
    draws = replace(draws, reasoners=models.reasoners)
    steps = attempt(prompt, rules, draws, response=response, other=other)
    run_tasks(
        [PromptTask("try", prompt, steps)],
        models,
        finish=lambda task, result: results.append(result),
        give_up=lambda task, error: errors.append(error),
    )
    if errors:
        raise errors[0]
    return results[0]


def _lines(rules: Constitution, rule: Principle, prompt: str, result: Attempt) -> Iterator[str]:
    from cai.pipeline.fixed_texts import FIXED_TEXT

    trace = result.trace
    assert trace is not None
    yield click.style(f"{rule.id} {rule.version}: {rule.title}", bold=True)
    yield from _block("prompt", prompt)
    by = trace.response.model
    yield from _block("response", trace.response.text, "given" if by == FIXED_TEXT else f"by {by}")
    for revision in trace.revisions:
        if revision.critique is not None:
            verdict = _OUTCOMES[revision.outcome or "problem"]
            yield from _block("critique", revision.critique.text, verdict)
        yield from _revision(trace, revision.guards)
    if result.comparison is not None:
        chance = result.comparison.probability
        second = result.comparison.responses[1]
        yield from _block("other", second.text, "given")
        sure = max(chance, 1 - chance)
        better = "the first is better" if chance >= 0.5 else "the other is better"
        verdict = f"{better}: {sure:.0%} sure" if sure >= TIE else f"nearly a tie ({chance:.0%})"
        yield click.style("comparison", fg="cyan") + f"  {verdict}"


def _revision(trace: Trace, guards: tuple[str, ...]) -> Iterator[str]:
    from cai.cli.diff_text import words

    before, after = trace.texts[0], trace.final
    if before == after:
        yield click.style("revision", fg="cyan") + "  the text stands as it was"
        return
    note = f"kept out of SFT data: {', '.join(guards)}" if guards else ""
    yield from _block("revision", after, note)
    if trace.revisions[0].stripped is not None:
        yield "  (its opening, which announced the revision, was removed)"
    yield click.style("difference", fg="cyan")
    yield f"  {words(before, after)}"


def _block(label: str, text: str, note: str = "") -> Iterator[str]:
    from cai.text.terminal import visible

    yield click.style(label, fg="cyan") + (f"  {note}" if note else "")
    yield from (f"  {visible(line)}" for line in text.split("\n"))


def _plain(rule: Principle, prompt: Prompt, result: Attempt) -> dict[str, Any]:
    trace = result.trace
    assert trace is not None
    revision = trace.revisions[0]
    out: dict[str, Any] = {
        "principle": rule.id,
        "version": rule.version,
        "prompt": prompt.messages[0].content,
        "response": trace.response.text,
        "critique": None if revision.critique is None else revision.critique.text,
        "outcome": revision.outcome,
        "found_problem": revision.found_problem,
        "revision": revision.text,
        "announced": revision.stripped is not None,
        "guards": list(revision.guards),
    }
    if result.comparison is not None:
        out["other"] = result.comparison.responses[1].text
        out["first_is_better"] = round(result.comparison.probability, 6)
    return out
