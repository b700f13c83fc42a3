"""Pictures of a report's numbers, as inline SVG in the audit page's manner."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from cai.evaluation.report.axes import Axes, StagePoint
from cai.evaluation.report.curves import Contrast, Course, MetricCurve
from cai.evaluation.report.html import Child, Markup, element
from cai.evaluation.report.numbers import number

_LEFT, _TOP, _SIDE = 34.0, 8.0, 260.0  # the frame of the plane
_MARK = 9.0  # points that are nearer share a mark


def plane(axes: Axes, label: str) -> Markup:
    """Helpfulness to the right, harmlessness upward, both from 0 to 1; points carry numbers."""
    place = {point.model: n for n, point in enumerate(axes.points, start=1)}
    front = [point for name in axes.front for point in axes.points if point.model == name]
    ticks = [0.0, 0.25, 0.5, 0.75, 1.0]
    parts: list[Child] = [
        element("rect", {"class": "frame", "x": _LEFT, "y": _TOP, "width": _SIDE, "height": _SIDE})
    ]
    for tick in ticks:
        x, y = _x(tick), _y(tick)
        if 0 < tick < 1:
            parts += [_line("rail", x, _y(0), x, _y(1)), _line("rail", _x(0), y, _x(1), y)]
        parts += [
            _text(f"{tick:.0%}", x, _y(0) + 12, "middle"), _text(f"{tick:.0%}", 30, y + 3, "end"),
        ]  # fmt: skip
    parts += [
        _text("helpfulness →", _x(0.5), _y(0) + 26, "middle"),
        element(
            "text",
            {"x": 0, "y": 0, "text-anchor": "middle",
             "transform": f"translate(2 {_y(0.5):g}) rotate(-90)"},
            "harmlessness →",
        ),
    ]  # fmt: skip
    if len(front) > 1:
        path = "M" + "L".join(f"{_x(p.helpfulness.value):.1f},{_y(p.harmlessness.value):.1f}"
                              for p in front)  # fmt: skip
        parts.append(element("path", {"class": "front", "d": path}))
    parts += [_cross(point) for point in axes.points]
    for models in _together(axes.points):
        x, y = _x(models[0].helpfulness.value), _y(models[0].harmlessness.value)
        tone = "on-front" if any(m.model in axes.front for m in models) else "beaten"
        text = ", ".join(str(place[m.model]) for m in models)
        half = max(7.0, 3.0 + 2.8 * len(text))
        parts += [
            element(
                "rect",
                {
                    "class": f"stage {tone}",
                    "x": x - half,
                    "y": y - 7,
                    "width": 2 * half,
                    "height": 14,
                    "rx": 7,
                },
            ),
            element(
                "text",
                {"class": f"on-stage {tone}", "x": x, "y": y + 3, "text-anchor": "middle"},
                text,
            ),
        ]
    return _svg("plot plane", f"-8 0 {_LEFT + _SIDE + 16:g} {_TOP + _SIDE + 32:g}", label, parts)


def _together(points: Sequence[StagePoint]) -> list[list[StagePoint]]:
    """Points in groups whose marks would cover each other; a mark names all of its group."""
    groups: list[list[StagePoint]] = []
    for point in points:
        place = _x(point.helpfulness.value), _y(point.harmlessness.value)
        for group in groups:
            first = _x(group[0].helpfulness.value), _y(group[0].harmlessness.value)
            if math.dist(place, first) < _MARK:
                group.append(point)
                break
        else:
            groups.append([point])
    return groups


def _cross(point: StagePoint) -> Markup:
    x, y = _x(point.helpfulness.value), _y(point.harmlessness.value)
    across = _line("whisker", _x(point.helpfulness.low), y, _x(point.helpfulness.high), y)
    up = _line("whisker", x, _y(point.harmlessness.low), x, _y(point.harmlessness.high))
    return element("g", None, across, up)


def _x(share: float) -> float:
    return _LEFT + _SIDE * min(1.0, max(0.0, share))


def _y(share: float) -> float:
    return _TOP + _SIDE * (1 - min(1.0, max(0.0, share)))


def meter(value: float, low: float, high: float, label: str) -> Markup:
    """A share as a bar from 0 to 1, with its interval as a line over it."""
    return _svg(
        "meter wide-meter", "0 0 100 8", label,
        [
            element("rect", {"class": "rail", "width": 100, "height": 8, "rx": 2}),
            element("rect", {"class": "fill", "width": 100 * value, "height": 8, "rx": 2}),
            _line("ends", 100 * low, 4, 100 * high, 4),
        ],
        preserveAspectRatio="none",
    )  # fmt: skip


def curve(metric: MetricCurve, label: str) -> Markup:
    """A metric over steps: a line for what was trained on, dots for the held-out set."""
    every = [*metric.trained, *metric.held_out]
    first, last = min(s for s, _ in every), max(s for s, _ in every)
    low, high = min(v for _, v in every), max(v for _, v in every)

    def x(step: int) -> float:
        return 44 + 310 * (step - first) / (last - first or 1)

    def y(value: float) -> float:
        return 98 - 84 * (value - low) / (high - low) if high > low else 56

    def path(line: Course) -> str:
        return "M" + "L".join(f"{x(step):.1f},{y(value):.1f}" for step, value in line)

    parts: list[Child] = [_line("rail", 40, 102, 360, 102)]
    if metric.trained:
        parts.append(element("path", {"class": "curve", "d": path(metric.trained)}))
    if metric.held_out:
        parts.append(element("path", {"class": "curve held-out", "d": path(metric.held_out)}))
        parts += [
            element("circle", {"class": "held-out", "cx": x(s), "cy": y(v), "r": 3})
            for s, v in metric.held_out
        ]
    parts += [
        _text(f"step {first}", 40, 115), _text(str(last), 360, 115, "end"),
        _text(number(high), 36, y(high) + 3, "end"),
        _text(number(low), 36, y(low) + 3, "end") if high > low else None,
    ]  # fmt: skip
    return _svg("plot", "0 0 360 118", label, parts)


def contrast(both: Contrast, label: str) -> Markup:
    """Score and truth over steps, each on an axis of its own: the score's left, the truth's right.

    A measure within 0 and 1 is drawn from 0 to 1, so that a small change looks small.
    """
    first, last = both.steps
    bottom, height = 128.0, 112.0

    def x(step: int) -> float:
        return 44 + 272 * (step - first) / (last - first or 1)

    def scaled(line: Course, low: float, high: float) -> list[tuple[float, float]]:
        span = high - low
        return [
            (x(step), bottom - height * (value - low) / span if span else bottom - height / 2)
            for step, value in line
        ]

    parts: list[Child] = [
        _line("rail", 40, bottom + 4, 320, bottom + 4), _line("rail", 40, 12, 40, bottom + 4),
        _line("rail", 320, 12, 320, bottom + 4),
        _text(f"step {first}", 40, bottom + 17), _text(str(last), 320, bottom + 17, "end"),
    ]  # fmt: skip
    for tone, line, at, anchor in (("", both.score, 36, "end"), ("truth", both.truth, 324, None)):
        low, high = _ends(line, share=tone == "truth")
        points = scaled(line, low, high)
        path = "M" + "L".join(f"{a:.1f},{b:.1f}" for a, b in points)
        parts.append(element("path", {"class": f"curve {tone}".strip(), "d": path}))
        if tone:
            parts += [element("circle", {"class": tone, "cx": a, "cy": b, "r": 3})
                      for a, b in points]  # fmt: skip
        name = f"end {tone}".strip()
        top = bottom - height if high > low else bottom - height / 2
        parts.append(_text(number(high), at, top + 3, anchor, name))
        parts.append(_text(number(low), at, bottom + 3, anchor, name) if high > low else None)
    return _svg("plot", "0 0 360 148", label, parts)


def _ends(line: Course, *, share: bool) -> tuple[float, float]:
    low, high = min(v for _, v in line), max(v for _, v in line)
    return (0.0, 1.0) if share and low >= 0 and high <= 1 else (low, high)


def _svg(name: str, view: str, label: str, parts: Iterable[Child], **more: str) -> Markup:
    attributes = {"class": name, "viewBox": view, "role": "img", "aria-label": label}
    return element("svg", attributes | more, list(parts))


def _line(name: str, x1: float, y1: float, x2: float, y2: float) -> Markup:
    return element("line", {"class": name, "x1": x1, "y1": y1, "x2": x2, "y2": y2})


def _text(
    text: str, x: float, y: float, anchor: str | None = None, name: str | None = None
) -> Markup:
    return element("text", {"class": name, "x": x, "y": y, "text-anchor": anchor}, text)


def legend(names: Sequence[tuple[str, str]]) -> Markup:
    """Swatches with names: (tone, name)."""
    return element(
        "p", {"class": "legend"},
        [(element("span", {"class": f"swatch {tone}"}), name) for tone, name in names],
    )  # fmt: skip
