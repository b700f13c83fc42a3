"""A report's page in a real Chromium: what it shows, at every width, and of hostile texts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cai.evaluation.preferences import ReplyPreference
from cai.evaluation.report.html import element
from cai.evaluation.report.replies import shortened
from cai.evaluation.report.sources import read_sources
from cai.evaluation.report.write import write_report
from tests.audit.browser import Watched
from tests.audit.payloads import PAYLOADS
from tests.evaluation.report.making import METRICS, VALUES, make_evaluation, make_training

LONG = "Antidisestablishmentarianism" * 6


def report(folder: Path, *sources: Path, title: str = "") -> Path:
    return write_report(read_sources(sources), folder / "report", title=title).page


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    """The page of three models, a judge of them, and a training run."""
    preferences = [
        ReplyPreference(model, "harmful", f"harmful-{n}", f"harm-{n}", 0.3, (3, 4))
        for model in ("sft", "ppo") for n in range(4)
    ]  # fmt: skip
    match = {"suite": "harmful", "judges": ["refused", "judge"], "agreed": 0.75, "n": 12,
             "kappa": -0.5, "low": None, "high": None}  # fmt: skip
    evaluation = make_evaluation(
        tmp_path / "eval", preferences=preferences, agreement=[match],
        texts=["One two three four five.", "One two three five six.", LONG],
        principles={m: {"harm.ethics": p} for m, p in (("base", 0.5), ("sft", 0.75), ("ppo", 1))},
        warnings=["base judges itself: the judge is the same model"],
        set_aside=[{"model": "ppo", "source": "harmful: x", "reason": "too long"}],
    )  # fmt: skip
    return report(tmp_path, evaluation, make_training(tmp_path / "ppo"))


def opened(watched: Watched, page: Path) -> None:
    watched.page.goto(page.as_uri())
    watched.page.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")


def test_the_page_shows_every_part(watched: Watched, page_file: Path) -> None:
    opened(watched, page_file)
    assert watched.texts("h2") == [
        "Harmlessness and helpfulness", "Alignment tax", "By principle",
        "What judges prefer, and whether they agree", "Replies: base and sft",
        "Replies: base and ppo", "To read with care", "Training: ppo (ppo)",
    ]  # fmt: skip
    assert watched.texts(".lead p") == [
        "3 models answered 5 suites of 20 items. Of 10 changes against base, 0 for the worse and"
        " 0 for the better are beyond chance (p < 0.05, adjusted by Holm)."
    ]
    assert watched.page.locator("svg.plane rect.stage").count() == 3
    assert watched.page.locator("svg.plane path.front").count() == 1
    assert "helpfulness 62% " in watched.texts("ol.stages li")[2]
    assert "harmlessness 88% " in watched.texts("ol.stages li")[2]
    assert watched.texts("ul.plain li") == [
        "refusals and the like are read by rules, which misread some replies",
        "base judges itself: the judge is the same model", "1 item set aside, ppo: too long",
    ]  # fmt: skip
    assert watched.page.locator("svg.wide-meter").count() == 3
    assert "κ" in watched.page.inner_text("main") and "−0.50" in watched.page.inner_text("main")
    assert watched.texts(".figures h3") == [
        "Score against the second reward", "Score against harmful: refused",
        "Score by the reward that it learns from", "Reward: the scaled score less the KL penalty",
        "KL to the reference, nats a response",
    ]  # fmt: skip
    ends = watched.page.locator(".contrasts figure:last-child .end").all_text_contents()
    assert ends == ["2", "0", "1", "0"]
    assert watched.errors == [] and watched.left() == []


def test_a_score_without_a_measure_that_nothing_learns_from_says_so(
    watched: Watched, tmp_path: Path
) -> None:
    metrics = [{k: v for k, v in row.items() if k != "second_reward" and "/" not in k}
               for row in METRICS]  # fmt: skip
    folders = make_evaluation(tmp_path / "eval"), make_training(tmp_path / "ppo", metrics)
    opened(watched, report(tmp_path, *folders))
    assert watched.page.locator(".contrasts").count() == 0
    text = watched.page.inner_text("section[id^=training]")
    assert "Nothing was measured that the policy does not learn from" in text
    assert "--second-reward and --monitor" in text


def test_every_figure_names_its_evaluation(watched: Watched, page_file: Path) -> None:
    opened(watched, page_file)
    parts = watched.page.locator("section.part:not([id^=training])").all_inner_texts()
    assert len(parts) == 8 and all("e-0123456789ab" in text for text in parts)
    curves = watched.page.locator("section.part[id^=training]").all_inner_texts()
    assert all("m-ppo" in text for text in curves)


def test_differences_are_marked_where_texts_are_alike(watched: Watched, page_file: Path) -> None:
    """Of "One two three four five." and "One two three five six." nothing like another stays."""
    opened(watched, page_file)
    pair = watched.page.locator(".pair:has(del)").first
    assert [t.strip() for t in pair.locator("del").all_inner_texts()] == ["four five."]
    assert [t.strip() for t in pair.locator("ins").all_inner_texts()] == ["five six."]
    far = watched.page.locator(f".pair .block:not(.prompt) .text:has-text('{LONG}')").first
    assert far.locator("ins, del").count() == 0


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (800, "dark"), (380, "light")])
def test_nothing_runs_over_the_edge_and_axe_finds_nothing(
    watched: Watched, page_file: Path, width: int, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    watched.page.emulate_media(color_scheme=scheme)
    watched.page.set_viewport_size({"width": width, "height": 900})
    opened(watched, page_file)
    assert watched.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    over = watched.page.evaluate(
        "[...document.querySelectorAll('.card, figure, .block, .part')]"
        ".filter((box) => box.scrollWidth > box.clientWidth + 1).map((box) => box.className)"
    )
    assert over == []
    violations = axe.run(watched.page).response["violations"]
    assert [(v["id"], n["target"]) for v in violations for n in v["nodes"]] == []


# -- hostile texts -------------------------------------------------------------------------------


def test_sixty_payloads_in_every_field_do_nothing(watched: Watched, tmp_path: Path) -> None:
    """As names of models, principles and suites, as prompts, replies, reasons and titles."""
    names = {f"{n} {PAYLOADS[10 + n]}": VALUES[model] for n, model in enumerate(VALUES)}
    several = [value for n in range(15) for value in VALUES["base"]["harmful"]]
    values = {name: some | {"harmful": several} for name, some in names.items()}
    principles = {name: dict.fromkeys(PAYLOADS, 0.5) for name in names}
    evaluation = make_evaluation(
        tmp_path / "eval", values, texts=PAYLOADS, principles=principles,
        warnings=list(PAYLOADS),
        set_aside=[{"model": p, "source": p, "reason": p} for p in PAYLOADS],
        agreement=[{"suite": p, "judges": [p, p], "agreed": 1.0, "n": 1, "kappa": None,
                    "low": None, "high": None} for p in PAYLOADS],
        judges={"model": {"name": PAYLOADS[0]}, "reward": {"name": PAYLOADS[1]}},
    )  # fmt: skip
    metrics = [row | {"step": row["step"]} for row in METRICS]
    training = make_training(
        tmp_path / "ppo", metrics, id=PAYLOADS[1], stage=PAYLOADS[2], status=PAYLOADS[3],
        base={"name": PAYLOADS[4]}, results={"stopped": PAYLOADS[5]},
    )  # fmt: skip
    sources = read_sources([evaluation, training])
    page = write_report(sources, tmp_path / "report", title=PAYLOADS[0], samples=60).page
    opened(watched, page)
    watched.page.wait_for_timeout(300)
    assert watched.page.title() == PAYLOADS[0]
    assert watched.dialogs == [] and watched.left() == [] and watched.errors == []
    strangers = "document.querySelectorAll('script, iframe, img, object, form, base').length"
    assert watched.page.evaluate(strangers) == 0
    assert watched.page.locator(".pair").count() == 120
    shown = watched.page.inner_text("main")
    assert "<img src=x onerror=alert(1)>" in shown
    assert watched.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0


def test_a_policy_forbids_all_but_the_style(watched: Watched, page_file: Path) -> None:
    watched.page.goto(page_file.as_uri())
    watched.page.evaluate(
        """() => {
          const s = document.createElement("script");
          s.textContent = "document.title = 'taken'";
          document.body.append(s);
        }"""
    )
    assert watched.page.title() == "ppo against base"
    assert any("Content Security Policy" in e for e in watched.errors)


def test_what_can_not_be_seen_becomes_visible() -> None:
    text = element("p", {"title": '"\u202e'}, "a\u200bb\x1b<b>\n", element("b", None, "&"), None, 3)
    assert text == (
        '<p title="&quot;&lt;U+202E&gt;">a&lt;U+200B&gt;b\u241b&lt;b&gt;\n<b>&amp;</b>3</p>'
    )


def test_long_replies_are_cut_with_a_note() -> None:
    assert shortened("x" * 4_000) == "x" * 4_000
    assert shortened("x" * 5_234).endswith("xxx\n[… 1,234 more characters]")


def test_equal_folders_make_equal_pages(page_file: Path, tmp_path: Path) -> None:
    first = page_file.read_bytes()
    again = report(tmp_path, tmp_path / "eval", tmp_path / "ppo")
    assert again.read_bytes() == first
    assert re.search(rb"https?://", first) is None
