"""What `cai trace` prints: a record from its training row down to what each model was given."""

from __future__ import annotations

import shutil
import sys
import textwrap
from contextvars import ContextVar
from typing import Any

import click

from cai.text.terminal import visible

_WIDTH = 100
_OUTCOMES = {
    "no-problem": "nothing found",
    "contradictory": "no verdict: it finds no problem and names one",
    "refused": "no verdict: the critic refused",
    "empty": "no verdict: the critique is empty",
}


_CHAT_MODELS: ContextVar[frozenset[str]] = ContextVar("chat_models", default=frozenset())
"""Models of the record that is shown whose servers rendered the messages themselves."""


def show(view: dict[str, Any], *, prompts: bool = False) -> None:
    """Print a record. prompts: with the exact text of every request; of a model server that applies
    its own chat template, with the messages."""
    _CHAT_MODELS.set(
        frozenset(
            model["name"]
            for model in view["models"].values()
            if model.get("server", {}).get("api") == "chat"
        )
    )
    record, constitution = view["record"], view["constitution"]
    _title(f"{view['kind']} {record['id']}")
    run = view["run"]["id"] + (f" in {view['run']['folder']}" if view["run"]["folder"] else "")
    others = [r for r in view["runs"] if r != view["run"]["id"]]
    _fact("run", run + (f"; also held by {', '.join(others)}" if others else ""))
    _fact("constitution", f"{constitution['id']} {constitution['version']}")
    for name, roles in _served(view).items():
        _fact("served", f"{name} ({', '.join(roles)})")
    _rows(view)
    _fact("prompt", f"{record['prompt']['id']}  ({record['prompt']['source']})")
    _attack(record["prompt"].get("meta", {}))
    for message in record["prompt"]["messages"]:
        _text(message["role"], message["content"], "cyan")
    if view["kind"] == "trace":
        _trace(view, prompts)
    else:
        _comparison(view, prompts)
    click.echo()


def _attack(meta: dict[str, Any]) -> None:
    """Of a prompt that `cai redteam` wrote: the attack, and the principle that it aims at."""
    if "attack" not in meta:
        return
    text = f"{meta['attack']} on {meta.get('principle', '?')}"
    if isinstance(meta.get("difficulty"), float):
        text += f"; {meta['difficulty']:.0%} of the samples slipped through"
    _fact("attack", text)


def _served(view: dict[str, Any]) -> dict[str, list[str]]:
    """Model, software and address of each model server, with the roles of its model."""
    from cai.data.card import served_by

    out: dict[str, list[str]] = {}
    for role, model in sorted(view["models"].items()):
        if place := served_by(model):
            out.setdefault(f"{model['name']} by {place}", []).append(role)
    return out


def _rows(view: dict[str, Any]) -> None:
    for row in view["rows"]:
        label = f"  round {row['round']}" if "round" in row else ""
        if "label" in row:
            verdict = "desirable" if row["label"] else "undesirable"
            label = f"  {verdict}, no problem {row['probability']:.3f}"
            if not row["label"]:
                label += f" under {', '.join(row['principle_ids'])}"
        elif "probability" in row:
            label = f"  probability {row['probability']:.3f}, by {row['origin']}"
            if None not in (row["p_ab"], row["p_ba"]) and row["p_ab"] != row["p_ba"]:
                label += f", {row['p_ab']:.3f} shown first, {row['p_ba']:.3f} shown second"
        _fact("row", f"{row['id']}  {row['file']}{label}", "green")
    for reason in view["left_out"]:
        _fact("row", f"left out: {reason}", "red")


def _explained(view: dict[str, Any], explained: dict[str, Any]) -> None:
    """Of a document: the principle that it explains, and whether the writer read the reason."""
    from cai.data.documents import KINDS

    _principle(view, f"explains, as {KINDS[explained['kind']]}", explained["principle_id"])
    if not explained["with_why"]:
        _fact("", "the writer did not read a reason")
    if explained["guards"]:
        _fact("guarded", ", ".join(explained["guards"]), "red")


def _trace(view: dict[str, Any], prompts: bool) -> None:
    record = view["record"]
    explained = record["explained"]
    _generation("document" if explained else "response", record["response"], prompts)
    if explained:
        _explained(view, explained)
    for revision in record["revisions"]:
        _principle(view, f"round {revision['round'] + 1}", revision["principle_id"])
        if revision["critique"] is not None:
            _request(view, revision["principle_id"], "critique_request")
            _generation("critique", revision["critique"], prompts, "yellow")
        verdict = _OUTCOMES.get(revision["outcome"], "")
        if revision["response"] is None:
            _fact("", f"{verdict}; the response stands")
            if revision["guards"]:
                _fact("guarded", ", ".join(revision["guards"]), "red")
            continue
        if verdict:
            _fact("", f"{verdict}; revised all the same")
        _request(view, revision["principle_id"], "revision_request")
        _generation("revision", revision["response"], prompts, "green")
        if revision["stripped"] is not None:
            _text("learned", revision["stripped"], "green")
        if revision["guards"]:
            _fact("guarded", ", ".join(revision["guards"]), "red")
    if record["label"] is not None:
        p = record["label"]["probability"]
        _title(f"probability that the final response is better than the first: {p:.3f}")
        if view["judge_mass"] is not None:
            _fact("", "A is the final response, B the first")
        _judged(view, record["label"], prompts, letters=record["label"]["p_ab"] is not None)
    if record["withheld"] is not None:
        _title(f"withheld: {record['withheld']['reason']}")
        _text("sent instead", record["withheld"]["text"], "red")
    if record["checks"]:
        _title("final check: probability that nothing is wrong")
    for check in record["checks"]:
        p = check["mass"]
        _fact("", f"{p:.3f}  {check['principle_id']}", "red" if p < 0.5 else "")
        _given(check["scores"], prompts)


def _comparison(view: dict[str, Any], prompts: bool) -> None:
    record = view["record"]
    if record["contrast"] is not None:
        _contrast(view, prompts)
        return
    for letter, response in zip("AB", record["responses"], strict=True):
        _generation(f"response {letter}", response, prompts)
    p = record["probability"]
    _title(f"probability that A is better: {p:.3f}  ({record['mode']})")
    _judged(view, record, prompts, letters=record["mode"] == "letters")


def _contrast(view: dict[str, Any], prompts: bool) -> None:
    """A pair without a judge: the principle, and both sides with what each was asked."""
    contrast, responses = view["record"]["contrast"], view["record"]["responses"]
    _principle(view, "contrast", contrast["principle_id"])
    for side, asked, response in zip(
        ("follows", "opposes"), contrast["asked"], responses, strict=True
    ):
        _text("asks", asked, "bright_black")
        _generation(side, response, prompts, "green" if side == "follows" else "")
    _fact("label", "by construction: the first is chosen, and no judge was asked")
    if contrast["guards"]:
        _fact("guarded", ", ".join(contrast["guards"]), "red")


def _judged(view: dict[str, Any], label: dict[str, Any], prompts: bool, *, letters: bool) -> None:
    """What the judge said of A and B under each principle; letters: it was shown both at once."""
    if view["judge_mass"] is not None:
        method = f", by {visible(view['judge_method'])}" if view["judge_method"] else ""
        _fact(
            "judge mass", f"{view['judge_mass']:.3g} of probability on the scored answers{method}"
        )
    for judgement in label["judgements"]:
        _principle(view, "principle", judgement["principle_id"])
        _request(
            view,
            judgement["principle_id"],
            "comparison_question" if letters else "critique_request",
        )
        verdict, swapped = f"{judgement['p_first']:.3f}", judgement["p_first_swapped"]
        if letters and swapped is not None:
            verdict += f" shown first, {swapped:.3f} shown second"
            if (judgement["p_first"] - 0.5) * (swapped - 0.5) < 0:
                verdict += ": it flips with the order"
        _fact("A is better", verdict)
        for reasoning in judgement["reasoning"]:
            _generation("reasoning", reasoning, prompts, "yellow")
        for number, scores in enumerate(judgement["scores"]):
            pairs = zip(scores["options"], scores["logprobs"], strict=True)
            which = "scores" if letters else f"scores {'AB'[number % 2]}"
            _fact(which, "  ".join(f"{o.strip()!r} {x:.2f}" for o, x in pairs))
            _given(scores, prompts)


def _principle(view: dict[str, Any], label: str, principle_id: str) -> None:
    principle = view["principles"].get(principle_id, {})
    _title(f"{label}: {principle_id} {principle.get('version', '')}  {principle.get('title', '')}")
    if principle.get("why"):
        _text("why", principle["why"], "bright_black")


def _request(view: dict[str, Any], principle_id: str, which: str) -> None:
    text = view["principles"].get(principle_id, {}).get(which)
    if text:
        _text("asks", text, "bright_black")


def _generation(label: str, generation: dict[str, Any], prompts: bool, colour: str = "") -> None:
    _given(generation, prompts)
    if generation.get("reasoning"):
        _text(f"{label} (reasoning)", generation["reasoning"], "bright_black")
    _text(label, generation["text"], colour)
    note = f"{generation['model']}, {generation['response_tokens']} tokens"
    if generation["finish_reason"] == "length":
        note += ", cut at the limit"
    _fact("", f"{note}, step {generation['key'][:16]}", "bright_black")


def _given(step: dict[str, Any], prompts: bool) -> None:
    if not prompts:
        return
    text = step["rendered_prompt"]
    if step["model"] in _CHAT_MODELS.get():
        _fact("given", "these messages; the model server applied its own chat template")
        _text("", text.strip().removesuffix("assistant:").rstrip(), "magenta", fold=False)
    else:
        _text("given", text, "magenta", fold=False)


def _title(text: str) -> None:
    click.echo("\n" + click.style(visible(text), bold=True))


def _fact(label: str, text: str, colour: str = "") -> None:
    click.echo(f"{visible(label):>13}  " + _coloured(visible(text), colour))


def _text(label: str, text: str, colour: str = "", *, fold: bool = True) -> None:
    """A block of text beside its label; folded to the width of a terminal, if there is one."""
    width = min(shutil.get_terminal_size().columns, _WIDTH) - 15
    lines: list[str] = []
    for line in visible(text, lines=True).expandtabs(4).split("\n"):
        if fold and sys.stdout.isatty():
            lines += textwrap.wrap(line, max(width, 20), break_long_words=False) or [""]
        else:
            lines.append(line)
    for number, line in enumerate(lines):
        head = f"{label if not number else '':>13}  "
        click.echo((head + _coloured(line, colour)).rstrip())


def _coloured(text: str, colour: str) -> str:
    return click.style(text, fg=colour) if colour else text
