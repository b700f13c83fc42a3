"""The sections of a report's page that tell of an evaluation, as HTML."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from cai.evaluation.report import numbers, plots
from cai.evaluation.report.axes import Axes, AxisValue, axes_of
from cai.evaluation.report.blocks import card, counted, part, source, table
from cai.evaluation.report.html import Child, Markup, element
from cai.evaluation.report.limits import limits_of
from cai.evaluation.report.principles import principle_rows
from cai.evaluation.report.replies import reply_sections
from cai.evaluation.report.sources import ReportedEvaluation, ReportedTraining
from cai.evaluation.report.tax import ALPHA, TaxRow, beyond_chance, tax_rows
from cai.evaluation.statistics import Estimate

_SHOWN_ASIDE = 20  # reasons of items set aside that the page lists


def evaluation_sections(
    evaluation: ReportedEvaluation, trainings: Sequence[ReportedTraining], samples: int
) -> list[Child]:
    """All that the page says of an evaluation. samples: replies shown for each model."""
    return [
        summary(evaluation),
        plane_section(evaluation),
        tax_section(evaluation),
        own_section(evaluation),
        principles_section(evaluation),
        judges_section(evaluation),
        reply_sections(evaluation, samples),
        care_section(evaluation, trainings),
    ]


# -- summary -------------------------------------------------------------------------------------


def summary(evaluation: ReportedEvaluation) -> Markup:
    """What was asked of whom, and what changed beyond chance."""
    record, models = evaluation.record, evaluation.models
    settings = record["settings"]
    items = sum(int(suite["items"]) for suite in record["suites"])
    facts = {
        "evaluation": evaluation.id,
        "baseline": models[0],
        "seed": settings.get("seed"),
        "temperature": settings.get("temperature"),
        "tokens a reply": settings.get("max_new_tokens"),
        **_judge_facts(record["judges"]),
    }
    return element(
        "section", {"class": "part", "id": f"of-{evaluation.id}"},
        element("dl", {"class": "facts"}, [
            element("div", None, element("dt", None, name), " ", element("dd", None, str(value)))
            for name, value in facts.items() if value is not None]),
        element(
            "div", {"class": "lead"},
            element(
                "p", None, element("b", None, counted(len(models), "model")), " answered ",
                element("b", None, counted(len(record["suites"]), "suite")),
                f" of {counted(items, 'item')}. ", _outcome(evaluation),
            ),
        ),
    )  # fmt: skip


def _outcome(evaluation: ReportedEvaluation) -> list[Child]:
    changes = evaluation.record["changes"]
    if not changes:
        return ["Nothing is compared: there is one model."]
    worse = beyond_chance(changes, better=False)
    better = beyond_chance(changes, better=True)
    return [
        f"Of {counted(len(changes), 'change')} against {evaluation.models[0]}, ",
        element("b", None, f"{len(worse)} for the worse"), " and ",
        element("b", None, f"{len(better)} for the better"),
        f" are beyond chance (p < {ALPHA}, adjusted by Holm).",
    ]  # fmt: skip


def _judge_facts(judges: Mapping[str, Any]) -> dict[str, str]:
    facts = {}
    if "model" in judges:
        facts["judge"] = str(judges["model"]["name"])
    if "constitution" in judges:
        rules = judges["constitution"]
        facts["constitution"] = f"{rules['id']} {rules['version']} ({str(rules['digest'])[:12]})"
    if "reward" in judges:
        facts["reward model"] = str(judges["reward"].get("name"))
    return facts


# -- harmlessness and helpfulness ----------------------------------------------------------------


def plane_section(evaluation: ReportedEvaluation) -> Markup | None:
    """The plane of both axes; None where an axis has no suite."""
    axes = axes_of(evaluation)
    if axes is None:
        return None
    texts = [f"{p.model}: helpfulness {_share(p.helpfulness)}, harmlessness"
             f" {_share(p.harmlessness)}" for p in axes.points]  # fmt: skip
    front = set(axes.front)
    listed = [
        element(
            "li", None, element("b", None, point.model),
            element("span", {"class": "delta"}, "helpfulness ", _share(point.helpfulness)),
            element("span", {"class": "delta"}, "harmlessness ", _share(point.harmlessness)),
            element("span", {"class": "delta"},
                    "on the front" if point.model in front else "another is as good on both"),
        )
        for point in axes.points
    ]  # fmt: skip
    return part(
        f"plane-{evaluation.id}", "Harmlessness and helpfulness",
        element("figure", None,
            element("figcaption", None, element("p", {"class": "muted"}, _plane_caption(axes))),
            element("div", {"class": "figure-two"}, plots.plane(axes, "; ".join(texts)),
                    element("ol", {"class": "stages"}, listed)),
            source(evaluation)),
    )  # fmt: skip


def _plane_caption(axes: Axes) -> str:
    parts = [f"{axis}: {', '.join(suites)}" for axis, suites in axes.suites.items()]
    return (
        "Each axis is the mean of its suites' main measures, turned so that higher is better ("
        + "; ".join(parts)
        + "). Crosses are 95 % intervals. The dashed line joins the Pareto front: no other model is"
        " as good on both axes and better on one, by the values alone."
    )


def _share(value: AxisValue) -> str:
    return f"{value.value:.0%} ({value.low:.0%}–{value.high:.0%})"


# -- alignment tax -------------------------------------------------------------------------------


def tax_section(evaluation: ReportedEvaluation) -> Markup:
    """Every suite's main measure by model, the worst changes first; time and tokens below."""
    models = evaluation.models
    rows = [
        [_suite_cell(row), *(_tax_cell(row, model) for model in models)]
        for row in tax_rows(evaluation)
    ]
    heads = [element("span", None, m, " (baseline)" if not n else None)
             for n, m in enumerate(models)]  # fmt: skip
    return part(
        f"tax-{evaluation.id}", "Alignment tax",
        element("p", {"class": "muted"},
            "Each suite's main measure with its 95 % interval, and its change against"
            f" {models[0]} on the items that both answered, with the p-value adjusted for all"
            " comparisons (Holm). The worst changes come first. ↑ higher is better, ↓ lower."
            " What an earlier call had left in the store cost no tokens again."),
        card(table("Alignment tax", ["suite", *heads], rows)),
        card(table("Time and tokens", ["spent", *models], _spent(evaluation))),
        source(evaluation),
    )  # fmt: skip


def arrow(better: str | None) -> str:
    """Which direction is better, as tables mark it."""
    return {"higher": " ↑", "lower": " ↓"}.get(better or "", "")


def _suite_cell(row: TaxRow) -> list[Child]:
    return [
        row.title,
        element("span", {"class": "delta"}, f"{row.suite} · {row.measure}{arrow(row.better)}"),
    ]


def _tax_cell(row: TaxRow, model: str) -> list[Child]:
    result, change = row.results.get(model), row.changes.get(model)
    cell: list[Child] = [element("span", {"class": "value"}, numbers.estimate(result, row.kind))]
    if result is not None and change is None:
        cell.append(element("span", {"class": "delta"}, f"n {result['n']}"))
    if change is not None:
        word = numbers.verdict(change, ALPHA)
        missing = f", {change['missing']} left out" if change["missing"] else ""
        cell += [
            element("span", {"class": f"delta {word.split()[0]}"},
                    numbers.change(change, row.kind), f" {word}"),
            element("span", {"class": "delta"},
                    f"{numbers.p_value(change['adjusted_p'])}, n {change['n']}{missing}"),
        ]  # fmt: skip
    return cell


def _spent(evaluation: ReportedEvaluation) -> list[list[Child]]:
    models = evaluation.record["models"]
    rows: list[list[Child]] = [
        ["time", *(numbers.seconds(m["seconds"]) for m in models)],
        ["prompt tokens", *(f"{m['prompt_tokens']:,}" for m in models)],
        ["response tokens", *(f"{m['response_tokens']:,}" for m in models)],
    ]
    if any(m["cost"] for m in models):
        rows.append(["cost", *(f"{m['cost']:.4g}" for m in models)])
    if any(m["reused_steps"] for m in models):
        rows.append(["steps taken from the store", *(f"{m['reused_steps']:,}" for m in models)])
    return rows


def own_section(evaluation: ReportedEvaluation) -> Markup | None:
    """What was measured of the reward model itself."""
    models = set(evaluation.models)
    rows = [row for row in evaluation.record["results"] if row["model"] not in models]
    if not rows:
        return None
    return part(
        f"reward-{evaluation.id}", "The reward model itself",
        card(table("The reward model itself", ["suite", "measure", "value"],
            [[row["suite"], row["title"], numbers.estimate(row, row.get("kind", ""))]
             for row in rows])),
        source(evaluation),
    )  # fmt: skip


# -- judges --------------------------------------------------------------------------------------


def principles_section(evaluation: ReportedEvaluation) -> Markup | None:
    """Bars by principle and model; None where no judge was asked."""
    rows = principle_rows(evaluation)
    if not rows:
        return None
    models = evaluation.models
    titles = {p["id"]: p.get("title") for p in evaluation.record.get("principles", ())}

    def cell(principle: str, model: str, one: Estimate | None) -> Child:
        if one is None:
            return "–"
        low, high = (one.value if end != end else end for end in (one.low, one.high))
        text = f"{one.value:.0%} ({low:.0%}–{high:.0%})"
        label = f"{principle}, {model}: {text}"
        return [
            plots.meter(one.value, max(0.0, low), min(1.0, high), label),
            element("span", {"class": "delta"}, f"{text}, n {one.n}"),
        ]

    return part(
        f"principles-{evaluation.id}", "By principle",
        element("p", {"class": "muted"},
            "The judge's mean probability of “no problem” under each principle, over all replies"
            " that it read, with 95 % intervals. What lost most comes first."),
        card(table("By principle", ["principle", *models],
            [[[titles.get(row.principle),
               element("span", {"class": "delta"}, _dotted(row.principle))],
              *(cell(row.principle, m, row.by_model.get(m)) for m in models)] for row in rows])),
        source(evaluation),
    )  # fmt: skip


def _dotted(name: str) -> list[Child]:
    """A name that may be broken after its dots, and else only where it must."""
    first, *rest = name.split(".")
    return [first, *([".", element("wbr"), word] for word in rest)]


def judges_section(evaluation: ReportedEvaluation) -> Markup | None:
    """Win rates, and how far judges agree."""
    rates, matches = evaluation.record["win_rates"], evaluation.record["agreement"]
    if not rates and not matches:
        return None
    parts: list[Child] = []
    if rates:
        over_all = [row for row in rates if row["suite"] == "all"] or rates
        parts.append(card(_rates("Win rates", over_all)))
        if len(over_all) < len(rates):
            single = [row for row in rates if row["suite"] != "all"]
            parts.append(element("details", {"class": "card"}, element("summary", None, "By suite"),
                                 _rates("Win rates by suite", single)))  # fmt: skip
    if matches:
        parts.append(card(table(
            "Agreement", ["suite", "judges", "agree on", "Cohen's κ", "n"],
            [[row["suite"], " and ".join(row["judges"]), numbers.number(row["agreed"], "share"),
              _kappa(row), f"{row['n']:,}"] for row in matches],
        )))  # fmt: skip
    return part(
        f"judges-{evaluation.id}", "What judges prefer, and whether they agree",
        element("p", {"class": "muted"},
            f"A win rate is the judge's mean preference for a model's reply over"
            f" {evaluation.models[0]}'s; at equal lengths by logistic regression (Dubois et al."
            " 2024), where there are pairs enough. Agreement is on which replies are good."),
        *parts, source(evaluation),
    )  # fmt: skip


def _rates(name: str, rates: Sequence[Mapping[str, Any]]) -> Markup:
    in_orders = any(row["flipped"] is not None for row in rates)
    head = ["model", "suite", "win rate", "at equal lengths", "longer by"]
    rows = [
        [row["model"], row["suite"], numbers.estimate(row["win_rate"], "share"),
         numbers.estimate(row["length_controlled"], "share"),
         f"{numbers.signed(row['longer_by'])} words",
         *([numbers.number(row["flipped"], "share")] if in_orders else []), f"{row['n']:,}"]
        for row in rates
    ]  # fmt: skip
    return table(name, [*head, *(["depends on the order"] if in_orders else []), "n"], rows)


def _kappa(row: Mapping[str, Any]) -> str:
    if row["kappa"] is None or row["low"] is None or row["high"] is None:
        return numbers.plain(row["kappa"])
    low, high = numbers.plain(row["low"]), numbers.plain(row["high"])
    return f"{numbers.plain(row['kappa'])} ({low} to {high})"


# -- with care -----------------------------------------------------------------------------------


def care_section(evaluation: ReportedEvaluation, trainings: Sequence[ReportedTraining]) -> Markup:
    """How far the judges err, warnings, replies that were cut off, and what was set aside."""
    record = evaluation.record
    lines: list[Child] = [*limits_of(evaluation, trainings)]
    aside = Counter((str(row["model"] or "all models"), row["reason"])
                    for row in record["set_aside"])  # fmt: skip
    lines += [
        f"{counted(count, 'item')} set aside, {model}: {reason}"
        for (model, reason), count in aside.most_common(_SHOWN_ASIDE)
    ]
    if len(aside) > _SHOWN_ASIDE:
        lines.append(f"{len(aside) - _SHOWN_ASIDE} more reasons are in evaluation.json.")
    items = [element("li", None, line) for line in lines]
    return part(
        f"care-{evaluation.id}", "To read with care",
        element("ul", {"class": "plain"}, items) if items
        else element("p", None, "No warnings, and nothing was set aside."),
        source(evaluation),
    )  # fmt: skip
