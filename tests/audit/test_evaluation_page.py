"""The page of an evaluation in a real Chromium: its overview, its filters, answers, verdicts."""

from __future__ import annotations

from pathlib import Path

from tests.audit.browser import Watched
from tests.audit.conftest import page_of
from tests.audit.payloads import PAYLOADS
from tests.evaluation.folders import evaluation


def read(watched: Watched, page: Path, query: str = "") -> None:
    watched.open(page.as_uri(), hash="#view=read" + ("&" + query if query else ""))


def item(watched: Watched) -> str:
    """The id of the answer that is open."""
    return watched.texts("#reader .crumbs code")[0]


def rows(watched: Watched, table: str) -> list[list[str]]:
    cells = watched.texts(f'[aria-label="{table}"] tbody tr')
    return [[" ".join(cell.split()) for cell in row.split("\t")] for row in cells]


def test_the_overview(watched: Watched, evaluation_file: Path) -> None:
    """2 of 4 refusals are 50 % (Wilson: 15 to 85), 3 of 4 are 75 % (30 to 95).

    A change of one item in four is never beyond chance. Preferences of 0.8, 0.6, 0.7 and 0.5 are a
    win rate of 0.65. Rule and judge agree on 5 of 8 replies.
    """
    watched.open(evaluation_file.as_uri())
    lead = watched.texts(".lead p")
    assert lead[0] == (
        "2 models gave 16 answers to 3 suites. 0 of 3 changes against base are beyond chance."
    )
    assert lead[1] == "Rule and judge disagree on 3 answers."
    heads = watched.texts('[aria-label="Results"] thead th')
    assert heads == ["Suite", "base (baseline)", "tuned"]
    assert rows(watched, "Results")[0] == [
        "harmful refused, higher is better", "50 % 15 % to 85 %", "75 % 30 % to 95 %",
    ]  # fmt: skip
    changes = rows(watched, "Changes against base")
    assert [row[0].split()[0] for row in changes] == ["opinions", "harmful", "facts"]
    assert changes[0][4] == "+0.2" and changes[0][7] == "worse, may be chance"
    assert changes[1][2:5] == ["50 %", "75 %", "+25 points"]
    assert rows(watched, "Agreement of judges")[0][:2] == [
        "harmful refused and judge", "63 % of 8",
    ]  # fmt: skip
    assert rows(watched, "Win rates")[0][:2] == ["harmful", "tuned"]
    assert rows(watched, "Win rates")[0][2].startswith("65 %")
    assert rows(watched, "How far the rules can be believed") == [
        ["refused replies written for this", "173", "84 %", "–"]
    ]
    broken = rows(watched, "Principles broken, by the judge")
    assert [row[1:] for row in broken] == [["1 of 4", "1 of 4"], ["0 of 4", "0 of 4"]]
    assert watched.errors == [] and watched.left() == []


def test_the_overview_leads_to_answers(watched: Watched, evaluation_file: Path) -> None:
    watched.open(evaluation_file.as_uri())
    watched.page.click('[aria-label="tuned on harmful: 75\u00a0%"]')
    watched.counted("4 of 16")
    assert "suite=harmful" in watched.page.url and "model=tuned" in watched.page.url
    watched.press("o")
    watched.page.click("[data-act=opposed]")
    watched.counted("3 of 16")
    watched.press("o")
    watched.page.click('[data-change="harmful tuned"]')  # h0, which the base refuses
    watched.counted("1 of 16")
    assert item(watched) == "tuned/harmful/h0"
    watched.press("o")
    watched.page.click('[data-suite="facts"]')
    watched.counted("6 of 16")


def test_filters_of_answers(watched: Watched, evaluation_file: Path) -> None:
    """Good: 2 + 2 of the base, 3 + 3 of the tuned. Against the base one reply is worse (h0), and
    better are h2, h3 and the third question."""
    read(watched, evaluation_file)
    legends = watched.texts(".facet legend")
    for name in ("Suite", "Model", "Measured", "Against the baseline", "What it did"):
        assert name in legends
    counts = {
        (box.get_attribute("data-facet"), box.get_attribute("value")): int(
            box.evaluate("b => b.parentElement.querySelector('.value-count').textContent")
        )
        for box in watched.page.locator(".facet input").all()
    }
    assert counts["suite", "harmful"] == 8 and counts["model", "base"] == 8
    assert counts["outcome", "good"] == 10 and counts["outcome", "bad"] == 4
    assert counts["outcome", "no verdict"] == 2
    assert [counts["against", name] for name in ("worse", "better", "the same")] == [1, 3, 3]
    assert counts["did", "refused"] == 5 and counts["did", "right"] == 5
    assert counts["did", "breaks a principle"] == 2
    watched.page.check('input[data-facet="model"][value="tuned"]')
    watched.counted("8 of 16")
    watched.page.fill("#search", "step 0")
    watched.counted("1 of 16")
    assert item(watched) == "tuned/harmful/h0"


def test_a_reply(watched: Watched, evaluation_file: Path) -> None:
    read(watched, evaluation_file)
    assert item(watched) == "tuned/harmful/h1"  # a disagreement, and 0.4 is near a half
    whole = watched.page.inner_text("#reader")
    for part in (
        "Harmful request 1?", "Reply of tuned", "I can't help with that, says tuned.",
        "Reasoning before the answer", "The rule calls this answer good", "The judge",
        "probability that nothing is wrong with the reply", "0.40", "0.95",
        "Other models on this item", "I can't help with that, says base.",
    ):  # fmt: skip
        assert part in whole, part
    assert "tokens" not in watched.page.inner_text("#reader .block.response")
    numbers = dict(
        zip(watched.texts(".numbers dt"), watched.texts(".numbers dd"), strict=True)
    )  # fmt: skip
    assert numbers["refused"] == "yes" and numbers["a principle is broken, by the judge"] == "yes"
    assert watched.texts("#reader .judged h2")[0].startswith("refused")
    watched.page.click("[data-act=other]")
    assert item(watched) == "base/harmful/h1"
    read(watched, evaluation_file, "flag=F08")
    assert item(watched) == "base/harmful/h2"
    assert "cut off" in watched.page.inner_text("#reader")
    assert watched.errors == []


def test_which_of_two_replies_the_judge_prefers(watched: Watched, evaluation_file: Path) -> None:
    """Tuned over base on h0 by 0.8 (0.72 and 0.88 by order), on h3 even; none on questions."""
    read(watched, evaluation_file, "suite=harmful&sort=order&model=tuned")
    assert item(watched) == "tuned/harmful/h0"
    said = " ".join(watched.texts(".preference h2")[0].split())
    assert said.startswith("The judge prefers the reply of tuned: 80 %")
    assert "tuned against base · base shown first 72 %, shown second 88 %" in said
    table = "Preference under each principle, tuned"
    assert [row[-1].split()[-1] for row in rows(watched, table)] == ["0.80", "0.50"]
    watched.press("j", "j", "j")
    assert item(watched) == "tuned/harmful/h3"
    said = watched.texts(".preference h2")[0]
    assert said.startswith("The judge finds the replies of base and tuned even")
    read(watched, evaluation_file, "suite=harmful&sort=order&model=base")
    assert item(watched) == "base/harmful/h0"
    assert watched.texts(".preference h2")[0].startswith("The judge prefers the reply of tuned")
    read(watched, evaluation_file, "suite=facts")
    assert watched.page.locator(".preference").count() == 0
    assert watched.errors == []


def test_choices(watched: Watched, evaluation_file: Path) -> None:
    """The base finds Rome likelier in f2: chosen, and wrong."""
    read(watched, evaluation_file, "suite=facts&model=base&outcome=bad")
    assert item(watched) == "base/facts/f2"
    shown = [" ".join(text.split()) for text in watched.texts("#reader .options >> nth=0 >> li")]
    assert shown == ["Paris right 0.30", "Rome chosen 0.70"]
    assert watched.texts("#list .row .what")[0] == "wrong · facts · base"
    assert watched.texts("#reader .reason")[0] == "1another answer is right, too"
    read(watched, evaluation_file, "suite=opinions&model=tuned")
    shown = watched.texts("#reader .options >> nth=0 >> .option")
    assert shown[1] == "asked by a user who is for it"
    assert watched.texts("#list .row .what")[0] == "sway 0.3 · opinions · tuned"
    watched.press("r")
    assert "asked by a user" not in watched.page.inner_text("#reader")


def test_verdicts_on_answers(watched: Watched, evaluation_file: Path) -> None:
    read(watched, evaluation_file)
    watched.press("x")
    watched.name("Ann")
    assert watched.texts("#progress") == ["1 of 16 judged"]
    watched.press("k", "7")
    assert watched.texts('.reason[aria-pressed="true"]') == ["7the rule is wrong"]
    watched.press("o")
    assert watched.texts(".done p")[0].startswith("1 of 16 items judged: 1 rejected")
    assert watched.page.locator("[data-act=sign-off]").count() == 0
    assert watched.errors == []


def test_one_model_without_a_judge(watched: Watched, tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "plain", judged=False)
    watched.open(page_of(folder, tmp_path / "p.html").as_uri())
    regions = watched.page.locator("#overview [role=region]").evaluate_all(
        "all => all.map((one) => one.getAttribute('aria-label'))"
    )
    assert regions == ["Results", "Changes against base"]
    read(watched, tmp_path / "p.html", "suite=harmful")
    assert "The judge" not in watched.page.inner_text("#reader")
    assert watched.errors == []


def test_payloads_in_an_evaluation_do_nothing(watched: Watched, tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "eval", payloads=PAYLOADS)
    watched.open(page_of(folder, tmp_path / "p.html").as_uri())
    assert "onerror=" in watched.page.inner_text(".facts")
    assert "onerror=" in watched.page.inner_text(".lead")
    read(watched, tmp_path / "p.html", "sort=order&suite=facts&model=tuned")
    watched.press("j", "j", "j")
    for _ in PAYLOADS:
        watched.page.evaluate(
            "document.querySelectorAll('details').forEach((d) => { d.open = true; })"
        )
        watched.press("j")
    assert item(watched).startswith("tuned/facts/x")
    watched.page.wait_for_timeout(300)
    assert watched.dialogs == [] and watched.left() == [] and watched.errors == []
    strangers = "document.querySelectorAll('main script, dialog script, iframe, img').length"
    assert watched.page.evaluate(strangers) == 0
