"""A report as one HTML file: style and pictures inside, no script, and nothing that leaves it."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files

from cai.evaluation.report.html import Child, Markup, element, fragment
from cai.evaluation.report.sections import evaluation_sections
from cai.evaluation.report.sources import ReportSources
from cai.evaluation.report.training import training_section
from cai.page.document import content_policy, page_style

GENERATOR = "cai report; card "
"""What the page says it was made by, before the digest of the card that was written with it."""


def render_page(sources: ReportSources, title: str, card_digest: str, samples: int) -> str:
    """The page as HTML. samples: replies shown for each model."""
    sections: list[Child] = []
    for evaluation in sources.evaluations:
        if len(sources.evaluations) > 1:
            sections.append(element("h2", None, f"Evaluation {evaluation.id}"))
        sections += evaluation_sections(evaluation, sources.trainings, samples)
    sections += [training_section(training) for training in sources.trainings]
    style = page_style() + "\n" + (files(__package__) / "report.css").read_text(encoding="utf-8")
    head = element(
        "head", None,
        element("meta", {"charset": "utf-8"}),
        element("meta", {"http-equiv": "Content-Security-Policy",
                         "content": content_policy(style)}),
        element("meta", {"name": "generator", "content": GENERATOR + card_digest}),
        element("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        element("meta", {"name": "referrer", "content": "no-referrer"}),
        element("meta", {"name": "color-scheme", "content": "light dark"}),
        element("title", None, title),
        element("link", {"rel": "icon", "href": "data:,"}),
        element("style", None, Markup(style)),
    )  # fmt: skip
    body = element(
        "body", None,
        element("header", {"class": "top"}, element("h1", None, title), _links(sources)),
        element("main", None, element("div", {"class": "sheet"}, sections)),
    )  # fmt: skip
    return f"<!doctype html>\n{element('html', {'lang': 'en'}, fragment(head, body))}\n"


def _links(sources: ReportSources) -> Child:
    """Links to the evaluations and training runs, where there are several."""
    places: Sequence[tuple[str, str]] = [
        *((f"of-{e.id}", f"Evaluation {e.id}") for e in sources.evaluations),
        *((f"training-{t.run['id']}", f"Training: {t.name}") for t in sources.trainings
          if training_section(t) is not None),
    ]  # fmt: skip
    if len(places) < 2:
        return None
    links = [element("a", {"href": f"#{place}"}, name) for place, name in places]
    return element("nav", {"aria-label": "Parts"}, [(link, " ") for link in links])
