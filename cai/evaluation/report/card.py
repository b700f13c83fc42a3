"""A report as a model card: Markdown with the front matter that model hubs read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from cai.data.markdown import cell
from cai.evaluation.report import numbers
from cai.evaluation.report.axes import axes_of
from cai.evaluation.report.limits import limits_of
from cai.evaluation.report.sections import arrow
from cai.evaluation.report.sources import ReportedEvaluation, ReportSources, constitutions
from cai.evaluation.report.tax import ALPHA, tax_rows
from cai.text.terminal import visible


def render_card(sources: ReportSources, title: str, licence: str) -> str:
    """The card. licence: as a hub names it."""
    parts = [
        _front_matter(sources, licence),
        f"# {cell(title)}\n",
        "Aligned by written principles (Constitutional AI, arXiv:2212.08073) and evaluated with"
        " cai. `report.html` beside this file shows the same numbers as pictures, and replies side"
        " by side.\n",
        _training(sources),
        _constitutions(sources),
    ]
    parts += [text for evaluation in sources.evaluations for text in _evaluation(evaluation)]
    return "\n".join(part for part in (*parts, _limits(sources), _made(sources)) if part)


def _front_matter(sources: ReportSources, licence: str) -> str:
    stages = [training.stage for training in sources.trainings]
    data = [_data_name(build.run["id"]) for t in sources.trainings for build in t.builds]
    data += [d["name"] for t in sources.trainings if not t.builds for d in t.run.get("data", ())]
    measures = [row["measure"] for e in sources.evaluations for row in e.main_results()]
    lines = ["---", f"license: {_quoted(licence)}"]
    lines += _listed("base_model", base_models(sources))
    lines += _listed("tags", ["constitutional-ai", "alignment", *stages])
    lines += _listed("datasets", data)
    lines += _listed("metrics", measures)
    return "\n".join([*lines, "---", ""])


def _data_name(run: str) -> str:
    return f"cai-build-data-{run}"


def base_models(sources: ReportSources) -> list[str]:
    """The bases of the training runs, or of the evaluated adapters, or else the baselines."""
    trained = [str(training.run["base"]["name"]) for training in sources.trainings]
    models = [model for e in sources.evaluations for model in e.record["models"]]
    adapted = [str(model["base"]) for model in models if model.get("base")]
    first = [str(e.record["models"][0]["model"]) for e in sources.evaluations]
    return list(dict.fromkeys(_without_folder(name) for name in trained or adapted or first))


def _without_folder(name: str) -> str:
    """A model's name, of a path its last part alone: cards are published."""
    return PurePath(name).name if PurePath(name).is_absolute() else name


def _listed(name: str, values: Iterable[str]) -> list[str]:
    unique = list(dict.fromkeys(values))
    return [f"{name}:", *(f"- {_quoted(value)}" for value in unique)] if unique else []


def _quoted(text: str) -> str:
    return json.dumps(visible(text), ensure_ascii=False)


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; heads and cells are escaped."""
    lines = ["| " + " | ".join(map(cell, head)) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(map(cell, row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


# -- what was trained on what --------------------------------------------------------------------


def _training(sources: ReportSources) -> str:
    if not sources.trainings:
        return ""
    rows = []
    for training in sources.trainings:
        run = training.run
        start = ", ".join(f"{p['name']} ({p['part']})" for p in run.get("parents", ()))
        data = ", ".join(
            f"{d['name']} {str(d['sha256'])[:12]}" for d in run.get("data", ())
        )  # fmt: skip
        rules = ", ".join(
            f"{build.constitution.get('id')} {build.constitution.get('version')}"
            for build in training.builds
        )
        rows.append(
            [training.name, training.stage, str(run["id"]), _without_folder(run["base"]["name"]),
             start or "–", data or "–", rules or "not recorded", str(run["status"])]
        )  # fmt: skip
    head = ["run", "stage", "id", "base", "from", "data (SHA-256)", "constitution", "status"]
    return "## What was trained on what\n\n" + table(head, rows)


def _constitutions(sources: ReportSources) -> str:
    found = constitutions(sources)
    if not found:
        return ""
    rows = [[str(c.get("id")), str(c.get("version")), str(c.get("digest"))] for c in found]
    return "## Constitutions\n\n" + table(["constitution", "version", "digest"], rows)


# -- results -------------------------------------------------------------------------------------


def _evaluation(evaluation: ReportedEvaluation) -> list[str]:
    return [
        f"## Results\n\nEvaluation `{evaluation.id}`; {cell(evaluation.models[0])} is the baseline."
        " In brackets 95 % intervals; ↑ higher is better, ↓ lower.\n",
        _results(evaluation), _axes(evaluation), _changes(evaluation), _win_rates(evaluation),
        _agreement(evaluation),
    ]  # fmt: skip


def _results(evaluation: ReportedEvaluation) -> str:
    models = evaluation.models
    rows = [
        [f"{row.suite}: {row.measure}{arrow(row.better)}",
         *(numbers.estimate(row.results.get(model), row.kind) for model in models)]
        for row in tax_rows(evaluation)
    ]  # fmt: skip
    return table([f"suite ({evaluation.id})", *models], rows)


def _axes(evaluation: ReportedEvaluation) -> str:
    axes = axes_of(evaluation)
    if axes is None:
        return ""
    rows = []
    for point in axes.points:
        values = (
            f"{v.value:.0%} ({v.low:.0%}–{v.high:.0%})"
            for v in (point.helpfulness, point.harmlessness)
        )
        rows.append([point.model, *values, "yes" if point.model in axes.front else "no"])
    means = "; ".join(f"{axis}: {', '.join(suites)}" for axis, suites in axes.suites.items())
    return (
        f"### Harmlessness and helpfulness ({evaluation.id})\n\nMeans over suites, higher is"
        f" better ({cell(means)}).\n\n"
        + table(["model", "helpfulness", "harmlessness", "on the Pareto front"], rows)
    )


def _changes(evaluation: ReportedEvaluation) -> str:
    rows = []
    for row in tax_rows(evaluation):
        for model, change in row.changes.items():
            test = f"{numbers.p_value(change['adjusted_p'])}, {change['test']}, n {change['n']}"
            rows.append([row.suite, model, numbers.change(change, row.kind), test,
                         numbers.verdict(change, ALPHA)])  # fmt: skip
    if not rows:
        return ""
    return (
        f"### Changes against {cell(evaluation.models[0])} ({evaluation.id})\n\nThe worst first;"
        f" p-values are adjusted for all comparisons (Holm), and below {ALPHA} count as beyond"
        " chance.\n\n" + table(["suite", "model", "change", "test", ""], rows)
    )


def _win_rates(evaluation: ReportedEvaluation) -> str:
    rates = evaluation.record["win_rates"]
    if not rates:
        return ""
    rows = [
        [row["model"], row["suite"], numbers.estimate(row["win_rate"], "share"),
         numbers.estimate(row["length_controlled"], "share"), f"{row['n']}"]
        for row in rates
    ]  # fmt: skip
    head = ["model", "suite", "win rate", "at equal lengths", "n"]
    return f"### Win rates ({evaluation.id})\n\n" + table(head, rows)


def _agreement(evaluation: ReportedEvaluation) -> str:
    matches = evaluation.record["agreement"]
    if not matches:
        return ""
    rows = [
        [row["suite"], " and ".join(row["judges"]), numbers.number(row["agreed"], "share"),
         _kappa(row), f"{row['n']}"]
        for row in matches
    ]  # fmt: skip
    head = ["suite", "judges", "agree on", "Cohen's κ", "n"]
    return f"### Agreement of judges ({evaluation.id})\n\n" + table(head, rows)


def _kappa(row: Mapping[str, Any]) -> str:
    ends = (row["low"], row["high"])
    shown = numbers.plain(row["kappa"])
    return shown if None in ends else f"{shown} ({' to '.join(map(numbers.plain, ends))})"


# -- limits, and how it was made -----------------------------------------------------------------


def _limits(sources: ReportSources) -> str:
    lines = [
        "Intervals and tests are of items drawn like those of the suites, in English; they say"
        " nothing of other languages, longer conversations or other uses.",
    ]
    for evaluation in sources.evaluations:
        record = evaluation.record
        counts = [row["n"] for row in evaluation.main_results()]
        if counts:
            least, most = min(counts), max(counts)
            items = f"{least}" if least == most else f"{least} to {most}"
            lines.append(f"{evaluation.id}: suites have {items} items.")
        lines += [f"{evaluation.id}: {text}." for text in limits_of(evaluation, sources.trainings)]
        if aside := len(record["set_aside"]):
            lines.append(f"{evaluation.id}: {aside} items were set aside.")
    lines += [
        f"Training run {training.run['id']} has the status {training.run['status']}."
        for training in sources.trainings
        if training.run["status"] != "finished"
    ]
    return "## Limits\n\n" + "\n".join(f"- {cell(line)}" for line in lines) + "\n"


def _made(sources: ReportSources) -> str:
    parts = ["## How these numbers were made\n"]
    for evaluation in sources.evaluations:
        record = evaluation.record
        settings = ", ".join(
            f"{name} {value}" for name, value in record["settings"].items() if value is not None
        )
        digests = "; ".join(f"{name} {sha[:12]}" for name, sha in record["files"].items())
        parts += [
            f"Evaluation `{evaluation.id}` by `cai eval`, {cell(settings)}. Files (SHA-256):"
            f" {cell(digests)}.\n",
            table(["model", "fingerprint", "adapter"], map(_model, record["models"])),
            table(["suite", "version", "items", "digest"],
                  [[s["id"], s["version"], str(s["items"]), s["digest"][:16]]
                   for s in record["suites"]]),
        ]  # fmt: skip
    return "\n".join(parts)


def _model(model: Mapping[str, Any]) -> list[str]:
    adapter = model.get("adapter")
    return [str(model["name"]), str(model["fingerprint"])[:16],
            _without_folder(str(adapter)) if adapter else "–"]  # fmt: skip
