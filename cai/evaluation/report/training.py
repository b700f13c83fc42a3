"""A training run's section: reward against truth, and each metric over its steps."""

from __future__ import annotations

from cai.evaluation.report import numbers, plots
from cai.evaluation.report.blocks import part
from cai.evaluation.report.curves import (
    Contrast,
    Course,
    MetricCurve,
    contrasts_of,
    curves_of,
    hacking,
)
from cai.evaluation.report.html import Child, Markup, element
from cai.evaluation.report.limits import reward_accuracy
from cai.evaluation.report.sources import ReportedTraining

_NO_TRUTH = (
    "Nothing was measured that the policy does not learn from, so nothing here shows whether its"
    " score can be believed: cai train has --second-reward and --monitor."
)


def training_section(training: ReportedTraining) -> Markup | None:
    """A training run's metrics over its steps; None for one without any."""
    contrasts = contrasts_of(training)
    shown = {contrast.name for contrast in contrasts}
    curves = [curve for curve in curves_of(training) if curve.name not in shown]
    results = _results(training)
    if not curves and not results:
        return None
    run = training.run
    return part(
        f"training-{run['id']}", f"Training: {training.name} ({training.stage})",
        element("p", {"class": "muted"}, f"Run {run['id']}, on {run['base']['name']},"
                f" {run['status']}. ", results),
        _against_truth(training, contrasts),
        element("div", {"class": "figures"}, [_curve(curve) for curve in curves]),
        plots.legend([("main", "trained on"), ("held-out", "held out")]) if curves else None,
    )  # fmt: skip


def _against_truth(training: ReportedTraining, contrasts: list[Contrast]) -> list[Child]:
    """Score beside what nothing learns from, a figure each; what is missing where there is none."""
    if not any("score" in row for row in training.metrics):
        return []
    heading = element("h3", None, "Reward against truth")
    if not contrasts:
        return [heading, element("p", {"class": "muted"}, _NO_TRUTH)]
    note = hacking(training)
    return [
        heading,
        element("p", {"class": "muted"},
            "The score that the policy learns from, and beside it what nothing learns from. Each"
            " has its own axis. A score that rises while the other gets worse is reward hacking."),
        element("p", None, note) if note else None,
        element("div", {"class": "figures contrasts"}, [_contrast(c) for c in contrasts]),
        plots.legend([("main", "score, left axis"), ("truth", "the other, right axis")]),
    ]  # fmt: skip


def _contrast(contrast: Contrast) -> Markup:
    first, last = contrast.steps
    caption = (
        f"Steps {first} to {last}: score {_course(contrast.score)}; {contrast.title}"
        f" {_course(contrast.truth)}."
    )
    return element(
        "figure", None,
        element("figcaption", None, element("h3", None, f"Score against {contrast.title}"),
                element("p", {"class": "muted"}, caption)),
        plots.contrast(contrast, caption),
    )  # fmt: skip


def _results(training: ReportedTraining) -> str:
    results = training.run.get("results") or {}
    if "stopped" in results:
        return f"It stopped itself: {results['stopped']}"
    text = reward_accuracy(results) if training.stage == "reward" else ""
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _curve(curve: MetricCurve) -> Markup:
    line = curve.trained or curve.held_out
    text = _course(line)
    held = f"; held out {_course(curve.held_out)}" if curve.trained and curve.held_out else ""
    caption = f"Steps {line[0][0]} to {line[-1][0]}: {text}{held}."
    return element(
        "figure", None,
        element("figcaption", None, element("h3", None, curve.title),
                element("p", {"class": "muted"}, caption)),
        plots.curve(curve, f"{curve.title}: {caption}"),
    )  # fmt: skip


def _course(line: Course) -> str:
    return f"{numbers.number(line[0][1])} → {numbers.number(line[-1][1])}"
