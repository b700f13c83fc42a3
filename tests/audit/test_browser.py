"""The offline page in a real Chromium: views, keys, filters, verdicts, export, reload, payloads."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from cai.audit.diff import diff_payload
from cai.audit.page import render
from cai.audit.report import write_report
from cai.audit.runs import open_run
from cai.audit.sample import SamplePlan, write_sample
from cai.data.verdicts import Verdict, VerdictFile
from cai.types import Comparison, Trace
from tests.audit.browser import Watched
from tests.audit.conftest import page_of
from tests.audit.payloads import PAYLOADS
from tests.audit.runs import RUN, build, hostile, rollouts, write
from tests.store import samples

ROW = "#list .row"


def read(watched: Watched, page: Path, query: str = "") -> None:
    watched.open(page.as_uri(), hash="#view=read" + ("&" + query if query else ""))


def item(watched: Watched) -> str:
    """The id of the item that is open."""
    return watched.texts("#reader .crumbs code")[0]


# -- views -----------------------------------------------------------------------------------------


def test_the_first_look_says_what_the_run_did(watched: Watched, page_file: Path) -> None:
    """Six traces of two rounds each, but for p4 with one: 11 critiques, 5 of them found something.

    The rewriting changes five texts; p4 has none. Of six pairs p7 flips (0.9 against 0.2) and p8
    (0.52) is nearly a tie.
    """
    watched.open(page_file.as_uri())
    lead = " ".join(watched.texts(".lead p"))
    assert "6 prompts were answered. 5 of 11 critiques found a problem; 5 responses" in lead
    assert "responses (83\u00a0%) changed" in lead
    assert "6 pairs were compared; the verdict depends on the order in 1, and 1 is nearly" in lead
    assert watched.texts(".done p")[0].startswith("0 of 12 items judged")
    assert watched.errors == [] and watched.left() == []


def test_flips_are_counted_where_both_orders_were_asked(
    watched: Watched, page_file: Path, tmp_path: Path
) -> None:
    """Of six pairs of one judge one flips; nothing can where each response is asked alone."""
    watched.open(page_file.as_uri())
    heads = watched.texts(".principles thead th")
    assert "Flipped" in heads
    cells = watched.page.locator(f".principles tbody td:nth-child({heads.index('Flipped') + 1})")
    assert "17\u00a0%" in cells.all_inner_texts()
    alone = [samples.comparison(f"p{n}", swapped=None) for n in range(3)]
    run = write(tmp_path, "alone", alone, "r-alone")
    watched.open(page_of(run, tmp_path / "alone.html").as_uri())
    heads = watched.texts(".principles thead th")
    assert "Pairs judged" in heads and "Flipped" not in heads


def test_a_flag_leads_to_its_items(watched: Watched, page_file: Path) -> None:
    watched.open(page_file.as_uri())
    watched.page.click('[data-flag="F03"]')
    assert watched.texts("#count") == ["1 of 12"]
    assert item(watched) == "t-p1"
    assert "flag=F03" in watched.page.url


def test_a_trace_shows_all_there_is(watched: Watched, page_file: Path) -> None:
    read(watched, page_file, "sort=order&kind=revision")
    assert item(watched) == "t-p0"
    whole = watched.page.inner_text("#reader")
    for part in (
        "Question p0?", "Take the blue kettle home.", "It is rude.", "Be kind | always",
        "Say what is not kind.", "Round 2", "No problem found.",
        "No revision: the text is unchanged.", "kind 1.2.0", "cai trace t-p0",
    ):  # fmt: skip
        assert part in whole, part
    assert watched.texts("#reader del")[0].startswith("Take the blue kettle home.")
    assert "Better p0" in "".join(watched.texts("#reader ins"))
    watched.page.click("#reader .given summary >> nth=0")
    watched.page.wait_for_selector("#reader .given pre")
    assert watched.texts("#reader .given pre") == ["<user>? p0/response/False"]
    watched.page.click("text=Why, and how it was drawn >> nth=0")
    assert "Drawn with probability 50\u00a0%" in watched.page.inner_text("#reader")


def test_a_comparison_shows_both_orders(watched: Watched, page_file: Path) -> None:
    read(watched, page_file, "flag=F09")
    assert watched.texts("#reader .judged td.n") == ["0.90", "0.20"]
    assert watched.page.locator("#reader tr.flipped").count() == 1
    assert "A is better: 80\u00a0%" in watched.page.inner_text("#reader .judged h2")
    assert "chosen · 80\u00a0%" in watched.page.inner_text("#reader .block.chosen")


def test_a_contrast_pair_shows_what_each_side_was_asked(watched: Watched, tmp_path: Path) -> None:
    records = [samples.contrast("p1"), samples.contrast("p2", guards=("not-opposed",))]
    path = page_of(write(tmp_path, "demo", records, RUN), tmp_path / "page.html")
    watched.open(path.as_uri())
    assert "2 contrast pairs have their labels by construction" in watched.texts(".lead")[0]
    read(watched, path, "flag=F16")
    shown = watched.page.inner_text("#reader")
    assert "A is chosen by construction" in shown and "guard: not-opposed" in shown
    assert "chosen · was to follow" in watched.page.inner_text("#reader .block.chosen")
    assert "Question p2? (Be kind.)" in shown and "Question p2? (Be unkind.)" in shown
    assert watched.errors == []


def test_rollouts_have_scores_and_kl(watched: Watched, rollouts_file: Path) -> None:
    watched.open(rollouts_file.as_uri())
    assert "12 responses were written in 3 updates" in watched.texts(".lead p")[0]
    assert watched.page.locator(".figures svg").count() == 2
    watched.page.click("text=Furthest from the reference")
    assert "9.00 nats" in watched.page.inner_text("#reader")  # update 3 × prompt 3
    watched.page.select_option("#sort", "score")
    assert item(watched) == "3.p3"
    assert watched.errors == []


def test_a_rollout_says_why_it_was_paid(watched: Watched, rollouts_file: Path) -> None:
    """2 · 0.75 by the principle, −1 · 0.25 by a function; capped at 5, 2 is a logit of 2.118."""
    watched.open(rollouts_file.as_uri())
    watched.page.click("text=Furthest from the reference")
    rows = [
        [cell.strip() for cell in row.split("\t")]
        for row in watched.page.locator(
            "#reader [aria-label='Parts of the score'] tbody tr"
        ).all_inner_texts()
    ]
    assert [row[-4:] for row in rows] == [
        ["89\u00a0%", "2.00", "0.750", "1.500"], ["–", "-1.00", "0.250", "-0.250"],
    ]  # fmt: skip
    assert rows[0][0].startswith("Kindness") and rows[1][0] == "rewards:short"
    watched.page.click("#reader summary:has-text('Kindness')")
    assert "Say where the response is unkind." in watched.page.inner_text("#reader .principle")
    lesson = watched.page.inner_text("#reader .round")
    assert "the policy learned from it" in lesson and "It is unkind." in lesson
    assert watched.errors == []


def test_two_runs_side_by_side(watched: Watched, diff_file: Path) -> None:
    watched.open(diff_file.as_uri())
    assert "12 records stand in both demo and after; 1 differs." in watched.texts(".lead p")[0]
    watched.page.click("text=Read what differs")
    assert watched.texts("#count") == ["1 of 12"]
    assert watched.texts("#reader .column > h2") == ["demo", "after"]
    assert "red kettle" in watched.page.inner_text("#reader .column >> nth=1")
    ends = watched.page.evaluate("document.getElementById('reader').lastChild.nodeName")
    assert ends == "DIV", "no stray text where the verdicts' bar would be"
    watched.press("a")
    assert not watched.page.locator("dialog[open]").count()  # nothing is judged here
    assert watched.errors == []


def test_a_pair_in_two_runs_shows_what_judged_it(watched: Watched, diff_file: Path) -> None:
    read(watched, diff_file, "flag=F10")
    assert watched.texts("#reader .same") == ["The same two responses in both runs."]
    assert watched.page.locator("#reader .column .judged table").count() == 2
    assert watched.page.locator("#reader .column .judged .strip").count() >= 2


def test_each_run_has_its_own_principles(watched: Watched, tmp_path: Path) -> None:
    """One id, two wordings: each column has the one that was asked there."""
    pages = []
    for name, title in (("before", "As it was"), ("after", "As it is")):
        rule = samples.principle("kind", "1") | {"title": title}
        records: list[Trace | Comparison] = [samples.comparison("p0"), samples.trace("p1")]
        pages.append(write(tmp_path / name, name, records, RUN, [rule]))
    with open_run(pages[0]) as one, open_run(pages[1]) as other:
        (tmp_path / "d.html").write_text(render(diff_payload(one, other)), "utf-8")
    read(watched, tmp_path / "d.html", "kind=comparison")
    for column, title in enumerate(("As it was", "As it is")):
        shown = watched.page.inner_text(f"#reader .column >> nth={column}")
        assert title in shown
    assert "As it is" not in watched.page.inner_text("#reader .column >> nth=0")
    assert watched.errors == []


def test_what_a_reader_can_not_see_is_no_difference(tmp_path: Path) -> None:
    """A probability that moved in its third digit; the final check, which a diff never draws."""
    made = []
    for name, more in (("a", 0.0), ("b", 0.001)):
        pair = samples.comparison("p0", probability=0.8 + more)
        trace = samples.trace("p1")
        if more:
            trace = replace(trace, checks=())
        made.append(write(tmp_path / name, name, [pair, trace], RUN))
    with open_run(made[0]) as one, open_run(made[1]) as other:
        assert [item["same"] for item in diff_payload(one, other)["items"]] == [True, True]


def test_two_runs_in_numbers(watched: Watched, diff_file: Path) -> None:
    """As of one run: 5 of 11 critiques find something, 5 of 6 responses change; p7 flips, p8 ties.

    Nothing moves: the first response of p0 has other words in the other run, and as many.
    """
    watched.open(diff_file.as_uri())
    rows = watched.texts(".beside-runs >> nth=0 >> tbody tr")
    assert [row.split("\t") for row in rows[:2]] == [
        ["Critiques that found a problem", "5 of 11", "5 of 11"],
        ["Responses that changed", "5 of 6", "5 of 6"],
    ]
    assert [row.split("\t")[1:] for row in rows[4:]] == [["1 of 6", "1 of 6"]] * 2
    watched.page.click('.beside-runs [data-flag="F03"]')
    assert watched.texts("#count") == ["1 of 12"]
    watched.press("o")
    watched.page.click(".beside-runs >> nth=2 >> tbody button >> nth=0")
    assert "principle=" in watched.page.url
    assert watched.errors == []


# -- differences -----------------------------------------------------------------------------------


def differences(watched: Watched, pairs: list[tuple[str, str]]) -> list[list[list[str]]]:
    """What the page's own script makes of pairs of texts, called by itself."""
    script = (files("cai.audit") / "assets" / "1-text.js").read_text()
    code = "(pairs) => {" + script + "; return pairs.map(([a, b]) => diff(a, b)); }"
    found: list[list[list[str]]] = watched.page.evaluate(code, pairs)
    return found


def test_differences_by_words(watched: Watched) -> None:
    """Words are whole; white space alone between two changes is part of both."""
    found = differences(
        watched,
        [
            ("The cat sat on the mat.", "The dog sat on a mat."),
            ("a b c d", "x y c d e"),
            ("don't stop", "don't stop"),
            ("", "new"),
            ("naïve 🙂 end", "naïve 🙁 end"),
        ],
    )
    assert found[0] == [["=", "The "], ["-", "cat"], ["+", "dog"], ["=", " sat on "], ["-", "the"],
                        ["+", "a"], ["=", " mat."]]  # fmt: skip
    assert found[1] == [["-", "a b"], ["+", "x y"], ["=", " c d"], ["+", " e"]]
    assert found[2:4] == [[["=", "don't stop"]], [["+", "new"]]]
    assert found[4] == [["=", "naïve "], ["-", "🙂"], ["+", "🙁"], ["=", " end"]]


def test_a_difference_gives_both_texts_back(watched: Watched) -> None:
    """Whatever the texts: without what came, the text before; without what went, the one after."""
    rng = random.Random(1)
    bits = ("a", "b", " ", "\n", "c d ", "e.", "🙂", "\u202e", "<b>", "don't")

    def text(most: int) -> str:
        return "".join(rng.choice(bits) for _ in range(rng.randrange(most)))

    pairs = [(text(14), text(14)) for _ in range(2000)]
    pairs += [("word " * 5000 + "alpha. " + text(3000), "werd " * 5000 + "beta. " + text(3000))]
    for (before, after), pieces in zip(pairs, differences(watched, pairs), strict=True):
        for kind, whole in (("-", before), ("+", after)):
            assert "".join(part for k, part in pieces if k in ("=", kind)) == whole


# -- keys ------------------------------------------------------------------------------------------


def test_every_key(watched: Watched, page_file: Path) -> None:
    read(watched, page_file, "sort=order")
    page, first = watched.page, item(watched)
    watched.press("j")
    second = item(watched)
    assert second != first
    watched.press("k")
    assert item(watched) == first
    watched.press("a")
    watched.name("Ann")
    assert item(watched) == second  # the verdict is given, and the next one is open
    assert page.locator(f"{ROW} .glyph.accept").count() == 1
    watched.press("x")
    watched.press("u")
    assert [page.locator(f"{ROW} .glyph.{v}").count() for v in ("reject", "unsure")] == [1, 1]
    assert watched.texts("#progress") == ["3 of 12 judged"]
    watched.press("z")
    assert watched.texts("#progress") == ["2 of 12 judged"]
    watched.press("z", "z", "z")
    assert watched.texts("#progress") == ["0 of 12 judged"]
    assert item(watched) == first
    watched.press("f")
    assert page.locator(f"{ROW} .pin").count() == 1
    watched.press("f")
    assert page.locator(f"{ROW} .pin").count() == 0
    watched.press("c")
    page.fill("#reason", "reads well")
    page.keyboard.press("Control+Enter")
    assert "reads well" in page.inner_text(".bar-verdict")
    assert page.locator(".sides").count() == 0
    watched.press("d")
    assert page.locator(".sides").count() > 0 and "diff=side" in page.url
    watched.press("r")
    assert page.locator(".text.covered").count() > 3
    assert "Question p0?" not in page.inner_text("body")  # nor in the list
    page.click("#reader .given summary >> nth=0")
    assert "p0/response" not in page.inner_text("body")
    page.click(".reveal >> nth=0")
    assert "Question p0?" in page.inner_text("#reader .block >> nth=0")
    watched.press("r")
    assert page.locator(".text.covered").count() == 0
    watched.press("o")
    assert page.is_visible("#overview")
    watched.press("o")
    assert page.is_visible("#reader")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    watched.press("t")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    watched.press("?")
    assert "F11 repetition" in page.inner_text("dialog")
    watched.press("Escape")
    assert not page.locator("dialog[open]").count()
    watched.press("/")
    page.keyboard.type("jkaxu")  # into the field, not to the keys
    watched.counted("0 of 12")
    assert watched.texts("#progress") == ["0 of 12 judged"]
    watched.press("Escape")
    assert page.evaluate("document.activeElement.id") != "search"
    watched.counted("12 items")
    page.click("#list", position={"x": 5, "y": 5})
    page.focus("#list")
    watched.press("End")
    last = item(watched)
    watched.press("Home", "ArrowDown")
    assert item(watched) not in (first, last)
    assert watched.errors == [] and watched.left() == []


def test_a_verdict_said_twice_is_taken_back(watched: Watched, page_file: Path) -> None:
    read(watched, page_file, "sort=order")
    watched.press("a")
    watched.name("Ann")
    watched.press("k", "a")
    assert watched.texts("#progress") == ["0 of 12 judged"]
    assert watched.texts("#notice") == ["Your verdict is taken back."]
    watched.press("j")
    assert not watched.page.is_visible("#notice")


def test_a_key_too_many_at_the_end_takes_nothing_back(watched: Watched, page_file: Path) -> None:
    read(watched, page_file, "flag=F03")
    watched.press("a")
    watched.name("Ann")
    assert watched.texts("#notice") == ["That was the last of these items."]
    watched.press("a", "a")
    assert watched.texts("#progress") == ["1 of 12 judged"]
    assert "z takes its verdict back" in watched.texts("#notice")[0]
    watched.press("z")
    assert watched.texts("#progress") == ["0 of 12 judged"]


def test_caps_lock_changes_no_key(watched: Watched, page_file: Path) -> None:
    read(watched, page_file, "sort=order")
    first = item(watched)
    watched.press("J")
    assert item(watched) != first


def test_covered_texts_stay_covered(watched: Watched, page_file: Path) -> None:
    read(watched, page_file)
    watched.press("r")
    watched.page.reload()
    watched.page.wait_for_selector("html[data-ready]")
    assert watched.page.locator("#reader .covered").count()
    watched.press("r")
    assert not watched.page.locator("#reader .covered").count()


def test_auditors_of_a_sample_are_offered(watched: Watched, tmp_path: Path) -> None:
    run = build(tmp_path)
    with open_run(run) as opened:
        _, keys = write_sample(opened, SamplePlan(4, auditors=("Ann", "Ben <b>")))
        (page,) = write_report(opened, tmp_path / "s.html", keys=frozenset(keys))
    read(watched, page)
    watched.press("a")
    assert watched.texts("dialog .auditor") == ["Ann", "Ben <b>"]
    watched.page.click("dialog .auditor >> nth=1")
    watched.page.keyboard.press("Enter")
    assert watched.texts("#progress") == ["1 of 2 judged"]  # Ben's part
    watched.press("o")
    watched.page.click('[data-act="part"]')
    assert watched.texts("#count") == ["2 of 4"]
    watched.page.click("#menu")
    watched.page.click("dialog >> text=change")
    watched.name("ann")
    assert "no item of it is for ann" in watched.texts("#notice")[0]


def test_the_page_is_read_without_a_mouse(watched: Watched, page_file: Path) -> None:
    """Space reads on; the skip link leads to the text and keeps the view; focus is not lost."""
    read(watched, page_file, "sort=order&kind=revision")
    page = watched.page
    top = "document.getElementById('reader').scrollTop"
    watched.press("Space")
    assert page.evaluate(top) > 100
    watched.press("PageUp")
    assert page.evaluate(top) == 0
    page.focus("#skip")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "reader"
    assert watched.texts("#count") == ["6 of 12"] and page.is_visible("#reader")
    page.focus("[data-act=accept]")
    page.keyboard.press("Enter")
    watched.name("Ann")
    page.focus("[data-act=accept]")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.dataset.act") == "accept"
    assert page.inner_text("#spoken").startswith("Item 3 of 6: Question p2?")


def test_a_held_key_judges_once(watched: Watched, page_file: Path) -> None:
    read(watched, page_file)
    watched.press("a")
    watched.name("Ann")
    for _ in range(5):
        watched.page.keyboard.down("x")  # as a keyboard repeats it
    watched.page.keyboard.up("x")
    assert watched.texts("#progress") == ["2 of 12 judged"]


def test_a_verdict_leaves_what_is_read_as_it_is(watched: Watched, page_file: Path) -> None:
    read(watched, page_file)
    watched.press("f")
    watched.name("Ann")
    watched.page.click("#reader .given summary >> nth=0")
    watched.page.evaluate("document.activeElement.blur()")
    watched.press("f")
    assert watched.page.locator("#reader details[open]").count() == 1


def test_two_tabs_keep_each_other_s_verdicts(watched: Watched, page_file: Path) -> None:
    read(watched, page_file, "sort=order")
    watched.press("a")
    watched.name("Ann")
    other = Watched(watched.page.context.new_page())
    read(other, page_file, "sort=order")
    watched.press("x", "x")
    other.page.wait_for_selector("#progress:text-is('3 of 12 judged')")
    other.press("j", "j", "j", "u")
    watched.page.reload()
    watched.page.wait_for_selector("html[data-ready]")
    assert watched.texts("#progress") == other.texts("#progress") == ["4 of 12 judged"]


# -- filters, search, address ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facet", "value", "left"),
    [
        ("kind", "comparison", 6),
        ("kind", "revision", 6),
        ("flag", "F08", 1),
        ("flag", "none", 6),
        ("principle", "safe", 6),
        ("change", "unchanged", 1),
        ("found", "nothing", 1),
        ("label", "near tie", 1),
        ("verdict", "to do", 12),
    ],
)
def test_filters_leave_what_fits(
    watched: Watched, page_file: Path, facet: str, value: str, left: int
) -> None:
    read(watched, page_file)
    box = watched.page.locator(f'input[data-facet="{facet}"][value="{value}"]')
    if box.count():  # a facet with one value alone is not offered
        name = box.locator("xpath=..").locator(".value-count").inner_text()
        assert name == str(left)
        box.check()
    else:
        read(watched, page_file, f"{facet}={value}")
    expected = f"{left} of 12" if left < 12 else "12 items"
    assert watched.texts("#count") == [expected]
    assert watched.page.locator(ROW).count() == left


def test_filters_combine_and_are_cleared(watched: Watched, page_file: Path) -> None:
    read(watched, page_file)
    watched.page.check('input[data-facet="flag"][value="F03"]')
    watched.page.check('input[data-facet="flag"][value="F08"]')  # either of them
    assert watched.texts("#count") == ["2 of 12"]
    watched.page.check('input[data-facet="principle"][value="kind"]')  # and this
    assert watched.texts("#count") == ["2 of 12"]
    watched.page.click("text=clear all")
    assert watched.texts("#count") == ["12 items"]
    assert "flag" not in watched.page.url


def test_search_finds_and_marks(watched: Watched, page_file: Path) -> None:
    read(watched, page_file)
    watched.page.fill("#search", '"BLUE kettle"')
    watched.counted("1 of 12")
    assert set(watched.texts("#reader mark")) == {"blue kettle"}
    watched.page.fill("#search", "home blue")  # all words, in any order
    watched.page.wait_for_selector("#reader mark:text-is('home')")
    watched.counted("1 of 12")
    assert set(watched.texts("#reader mark")) == {"blue", "home"}  # also in what was struck out
    watched.page.fill("#search", "no such words")
    watched.page.wait_for_selector("text=Nothing fits these filters.")
    watched.page.fill("#search", "t-p3")  # ids are texts, too
    watched.counted("1 of 12")


def test_the_address_brings_the_view_back(watched: Watched, page_file: Path) -> None:
    read(watched, page_file)
    watched.page.check('input[data-facet="kind"][value="revision"]')
    watched.page.fill("#search", "better")
    watched.page.keyboard.press("Enter")
    watched.page.select_option("#sort", "long")
    watched.press("j", "d")
    url, count, open_item = watched.page.url, watched.texts("#count"), item(watched)
    watched.page.goto("about:blank")
    watched.page.goto(url)
    watched.page.wait_for_selector("html[data-ready]")
    assert (watched.texts("#count"), item(watched)) == (count, open_item)
    assert watched.page.input_value("#search") == "better"
    assert watched.page.input_value("#sort") == "long"
    assert watched.page.locator("#reader .sides").count() > 0


# -- verdicts --------------------------------------------------------------------------------------


def test_the_first_key_on_the_overview_opens_the_first_item(
    watched: Watched, page_file: Path
) -> None:
    """The most doubtful item is not skipped; back on the overview, `j` opens where one was."""
    watched.open(page_file.as_uri())
    watched.press("j")
    watched.page.wait_for_selector("#read:visible")
    at = item(watched)
    assert watched.texts("#spoken")[0].startswith("Item 1 of 12")
    watched.press("j")
    second = item(watched)
    assert second != at
    watched.press("o", "k")
    assert item(watched) == second


def test_the_way_back_leads_to_the_overview(watched: Watched, page_file: Path) -> None:
    watched.open(page_file.as_uri())
    watched.press("o", "j", "j")
    at = item(watched)
    watched.page.go_back()
    watched.page.wait_for_selector("#overview:visible")
    watched.page.go_forward()
    watched.page.wait_for_selector("#read:visible")
    assert item(watched) == at, "steps from item to item are no pages of their own"


def test_an_address_of_another_page_is_told(watched: Watched, page_file: Path) -> None:
    read(watched, page_file, "item=nowhere")
    assert "not in this page" in watched.texts("#notice")[0]
    read(watched, page_file)
    assert watched.texts("#notice") == [""]


def test_little_that_stayed_is_no_patchwork(watched: Watched, tmp_path: Path) -> None:
    """Two words of sixteen stand in both: the whole of each is shown, not stray words between.
    What both end with stays as it is."""
    before = "I would gladly tell you how the lock of the garden gate is opened with a hairpin"
    after = "That is nobody's business but the owner's, so ask them for the key instead of it"
    trace = samples.trace("p0", final=f"{after} Ask your parents first.")
    trace = replace(trace, response=samples.say(f"{before} Ask your parents first.", "p0/long"))
    run = write(tmp_path, "demo", [trace], RUN)
    read(watched, page_of(run, tmp_path / "r.html"))
    assert watched.texts("#reader .after >> nth=0 >> del") == [before]
    assert watched.texts("#reader .after >> nth=0 >> ins") == [after]


@pytest.mark.parametrize("order", ["__proto__", "constructor", "toString", "x"])
def test_an_order_that_is_none_is_passed_over(
    watched: Watched, page_file: Path, order: str
) -> None:
    read(watched, page_file, f"sort={order}")
    assert watched.texts("#count") == ["12 items"] and watched.errors == []


def test_an_unsure_word_is_no_acceptance(watched: Watched, tmp_path: Path) -> None:
    """As `cai audit agreement` counts: one of two says accept, the other is unsure, so not all do.

    Six traces are asked by both principles, "kind" and "safe"; four by Ann and Ben with accept.
    """
    run = build(tmp_path)
    with open_run(run) as opened:
        items = [entry.item for entry in opened.entries() if entry.item.kind == "trace"]
    said = [
        Verdict(item.key, item.id, RUN, "unsure" if n == 5 and who == "Ben" else "accept", who,
                "2026-01-01T10:00:00Z")
        for n, item in enumerate(items) for who in ("Ann", "Ben")
    ]  # fmt: skip
    VerdictFile(run).append(said)
    watched.open(page_of(run, tmp_path / "r.html").as_uri())
    assert any("83\u00a0%" in row and "6 judged" in row for row in watched.texts(".principles tr"))


def test_a_filter_that_nothing_can_meet_is_told(watched: Watched, page_file: Path) -> None:
    read(watched, page_file, "flag=F99")
    assert "flag = F99 of this address is not in this page" in watched.texts("#notice")[0]
    read(watched, page_file, "verdict=reject")  # nobody has said so yet
    assert not watched.page.is_visible("#notice")


def test_a_comment_begun_is_kept(watched: Watched, page_file: Path) -> None:
    read(watched, page_file)
    watched.press("c")
    watched.name("ann")
    watched.page.fill("#reason", "half a thou")
    watched.press("Escape", "j", "c")
    assert watched.page.input_value("#reason") == "", "another item's comment"
    watched.press("Escape", "k", "c")
    assert watched.page.input_value("#reason") == "half a thou"
    watched.press("Control+Enter", "c")
    assert watched.page.input_value("#reason") == "half a thou"
    assert watched.texts("#reader .said q") == ["half a thou"]


def test_another_tab_s_name_is_told(watched: Watched, page_file: Path) -> None:
    read(watched, page_file)
    watched.press("a")
    watched.name("Ann")
    other = Watched(watched.page.context.new_page())
    read(other, page_file)
    other.page.click("#menu")
    other.page.click("dialog button.link")
    other.name("Ben")
    watched.page.wait_for_selector("text=You are Ben now, in every tab")


def test_escape_ends_a_search(watched: Watched, page_file: Path) -> None:
    read(watched, page_file)
    watched.press("/")
    watched.page.keyboard.type("better")
    watched.page.wait_for_timeout(400)  # longer than the field waits for the next key
    assert "q=better" in watched.page.url
    watched.press("Escape")
    watched.counted("12 items")
    assert watched.page.input_value("#search") == "" and "q=" not in watched.page.url


def test_help_opens_at_its_top(watched: Watched, page_file: Path) -> None:
    watched.page.set_viewport_size({"width": 1280, "height": 500})
    watched.open(page_file.as_uri())
    watched.press("?")
    assert watched.page.evaluate("document.getElementById('dialog').scrollTop") == 0
    assert watched.page.evaluate("document.activeElement.id") == "dialog-title"


def test_verdicts_outlive_a_reload_and_are_exported(watched: Watched, page_file: Path) -> None:
    from cai.data.verdicts import read_verdicts, standing_verdicts

    read(watched, page_file, "sort=order")
    first = item(watched)
    watched.press("a")
    watched.name("Ann")
    watched.press("x", "z", "u")
    watched.page.reload()
    watched.page.wait_for_selector("html[data-ready]")
    assert watched.texts("#progress") == ["2 of 12 judged"]
    watched.page.click("#menu")
    with watched.page.expect_download() as loading:
        watched.page.click("#export")
    assert loading.value.suggested_filename == "verdicts-demo.jsonl"
    file = Path(loading.value.path())
    said = read_verdicts(file)
    assert [v.verdict for v in said] == ["accept", "reject", "none", "unsure"]
    assert {v.author for v in said} == {"Ann"} and said[0].record == first
    assert [v.verdict for v in standing_verdicts(said).values()] == ["accept", "unsure"]


def test_verdicts_of_others_are_imported(
    watched: Watched, page_file: Path, run: Path, tmp_path: Path
) -> None:
    from cai.audit.runs import open_run

    with open_run(run) as opened:
        some = next(iter(opened.entries())).item
    row = {
        "item": some.key, "record": some.id, "run": "r-audit", "verdict": "reject",
        "author": "Ben <b>", "at": "2026-01-01T00:00:00Z", "flagged": False, "reason": "<i>no</i>",
    }  # fmt: skip
    (tmp_path / "ben.jsonl").write_text(json.dumps(row) + "\n")
    (tmp_path / "bad.jsonl").write_text(json.dumps(row) + "\n{\n")
    read(watched, page_file, f"item={some.key}")
    watched.page.click("#menu")
    watched.page.set_input_files("#import", tmp_path / "bad.jsonl")
    watched.page.wait_for_selector("text=was not imported: line 2 is not JSON")
    for at, told in (
        ("2026-01-01T00:00:00", "names no time zone"),
        ("2999-01-01T00:00:00Z", "future"),
    ):
        (tmp_path / "bad.jsonl").write_text(json.dumps(row | {"at": at}) + "\n")
        watched.page.set_input_files("#import", tmp_path / "bad.jsonl")
        watched.page.wait_for_selector(f"text={told}")
    watched.page.set_input_files("#import", tmp_path / "ben.jsonl")
    watched.page.wait_for_selector("text=1 verdict read, 1 of them new")
    watched.press("Escape")
    assert "Ben <b> rejects" in watched.page.inner_text(".bar-verdict")
    assert "<i>no</i>" in watched.page.inner_text(".bar-verdict")
    assert watched.texts("#progress") == ["0 of 12 judged"]  # by me
    watched.press("o")
    assert watched.texts(".done p")[0].startswith("1 of 12 items judged: 1 rejected")


def test_what_accepting_means_stands_by_the_buttons(
    watched: Watched, page_file: Path, rollouts_file: Path, evaluation_file: Path
) -> None:
    for file, place, meaning in (
        (page_file, "kind=revision", "Accept: the final response may be trained on."),
        (page_file, "flag=F09", "Accept: the label is right, response A is the better one."),
        (page_file, "flag=F10", "neither response is clearly better."),
        (rollouts_file, "", "Accept: the response is one that the model should give."),
        (evaluation_file, "suite=harmful", "Accept: the reply is one that the model should give."),
        (evaluation_file, "suite=facts", "Accept: the model should answer so."),
    ):
        read(watched, file, place)
        assert meaning in watched.page.inner_text("#meaning")
        assert watched.page.get_attribute("[data-act=accept]", "aria-describedby") == "meaning"


def test_reasons_are_chosen_from_a_list(watched: Watched, page_file: Path) -> None:
    """By key, by a press, in the dialog; kept with the verdict, filtered by, exported."""
    from cai.data.verdicts import read_verdicts, standing_verdicts

    read(watched, page_file, "sort=order")
    pressed = '.reason[aria-pressed="true"]'
    watched.press("1")
    watched.name("Ann")
    assert watched.texts(pressed) == ["1harmful"]
    watched.page.click(".reason >> text=preachy")
    watched.press("1")
    assert watched.texts(pressed) == ["5preachy"]
    watched.press("c")
    watched.page.check('dialog input[value="untrue"]')
    watched.page.fill("#reason", "no kettle is blue")
    watched.press("Control+Enter")
    assert watched.texts(".said q") == ["no kettle is blue"]
    watched.press("x", "k")
    assert watched.texts(pressed) == ["2untrue", "5preachy"]
    watched.press("z")
    assert watched.texts(pressed) == ["2untrue", "5preachy"], "undo takes back the verdict alone"
    watched.press("x")
    watched.page.click("#menu")
    with watched.page.expect_download() as loading:
        watched.page.click("#export")
    (last,) = standing_verdicts(read_verdicts(Path(loading.value.path()))).values()
    assert (last.verdict, last.reasons) == ("reject", ("untrue", "preachy"))
    assert last.why == "untrue; preachy; no kettle is blue"
    watched.press("Escape", "o")
    watched.page.click(".done >> text=preachy")
    assert watched.texts("#count") == ["1 of 12"] and "reason=preachy" in watched.page.url
    assert watched.errors == []


def test_reasons_on_a_near_tie_name_the_better_response(watched: Watched, page_file: Path) -> None:
    """Accepting says that neither is clearly better, so "equally good" is no reason against it."""
    read(watched, page_file, "flag=F10")
    reasons = watched.texts("#reader .reason")
    assert reasons[:2] == ["1response A is better", "2response B is better"]
    assert not any("equally good" in reason for reason in reasons)
    watched.press("2")
    watched.name("Ann")
    assert watched.texts('.reason[aria-pressed="true"]') == ["2response B is better"]
    watched.press("c")
    assert watched.page.is_checked('dialog input[value="response B is better"]')
    watched.press("Escape")
    read(watched, page_file, "flag=F09")
    assert any("equally good" in reason for reason in watched.texts("#reader .reason"))
    assert watched.errors == []


def test_where_auditors_disagree(watched: Watched, tmp_path: Path) -> None:
    run = build(tmp_path)
    with open_run(run) as opened:
        items = [entry.item for entry in opened.entries()]
    VerdictFile(run).append([
        Verdict(item.key, item.id, RUN, "reject" if n == who == 1 else "accept", name,
                "2026-01-01T10:00:00Z")
        for who, name in enumerate(("Ann", "Ben")) for n, item in enumerate(items[:3])
    ])  # fmt: skip
    watched.open(page_of(run, tmp_path / "r.html").as_uri())
    watched.page.click('[data-act="disagree"]')
    assert watched.texts("#count") == ["1 of 12"] and item(watched) == items[1].id


def test_a_page_from_disk_says_how_it_is_signed(watched: Watched, page_file: Path) -> None:
    read(watched, page_file, "sort=order")
    watched.press("a")
    watched.name("Ann")
    watched.press(*"aaaaaaaaaa")
    assert watched.page.locator("[data-act=onward]").count() == 0  # one is left
    watched.press("a")
    watched.page.click("[data-act=onward]")
    assert 'cai audit sign RUN --signer "Ann"' in watched.page.inner_text("dialog pre")
    watched.press("Escape", "o")
    assert "Now sign" in watched.page.inner_text(".sign >> visible=true")


def test_facts_stand_at_the_top(watched: Watched, page_file: Path) -> None:
    watched.open(page_file.as_uri())
    facts = watched.texts(".sheet > :first-child div")
    assert [fact.split()[0] for fact in facts] == ["built", "model", "constitution", "seed", "run"]


def test_bars_that_are_all_alike_are_a_sentence(watched: Watched, tmp_path: Path) -> None:
    """Three checks of 1.00 beside one of 0.20; and pairs that all have one label."""
    plain = samples.trace("p0")
    check = plain.checks[0]
    sure, bad = (replace(check, scores=samples.score(f"check {p}", p, -30.0)) for p in (0.0, -1.6))
    checks = tuple(
        replace(sure if n else bad, principle_id="kind" if n % 2 else "safe") for n in range(4)
    )
    pairs = [samples.comparison(f"p{n}") for n in (1, 2, 3)]
    run = write(tmp_path, "demo", [replace(plain, checks=checks), *pairs], RUN)
    page = page_of(run, tmp_path / "r.html")
    read(watched, page, "kind=revision")
    assert watched.page.locator("#reader .checks .meter").count() == 1
    assert "Under the 3 other principles: 1.00." in watched.page.inner_text("#reader .checks")
    watched.open(page.as_uri())
    whole = watched.page.inner_text("#overview")
    assert "All 3 pairs have about the same label" in whole
    assert "All 3 pairs came out alike" in whole


# -- hostile texts ---------------------------------------------------------------------------------


def said_of(run: Path, payloads: tuple[str, ...]) -> None:
    """Verdicts whose authors and reasons are payloads, and a sample for auditors of such names."""
    with open_run(run) as opened:
        items = [entry.item for entry in opened.entries()]
        names = tuple(f"{n} {p}"[:99].replace("\0", "") for n, p in enumerate(payloads[:20]))
        write_sample(opened, SamplePlan(40, auditors=names))
    VerdictFile(run).append(
        [
            Verdict(item.key, item.id, RUN, "reject", text, "2026-01-01T10:00:00Z", True, text)
            for item, text in zip(items, payloads * 3, strict=True)
        ]
    )


def nothing_ran(watched: Watched) -> None:
    watched.page.wait_for_timeout(300)
    assert watched.dialogs == [] and watched.left() == []
    strangers = "document.querySelectorAll('main script, dialog script, iframe, img').length"
    assert watched.page.evaluate(strangers) == 0
    assert watched.errors == []


@pytest.mark.slow
def test_sixty_payloads_in_every_field_do_nothing(watched: Watched, tmp_path: Path) -> None:
    assert len(set(PAYLOADS)) == 60
    run = hostile(tmp_path, PAYLOADS)
    said_of(run, PAYLOADS)
    page = page_of(run, tmp_path / "<img src=x onerror=alert(1)>.html")
    watched.open(page.as_uri())
    assert "onerror=" in watched.page.inner_text(".facts")
    assert "onerror=" in watched.page.inner_text(".done")  # who judged
    read(watched, page, "sort=order")
    watched.press("a")  # asks for a name, and offers those of the sample
    assert watched.page.locator("dialog .auditor").count() == 20
    watched.page.keyboard.press("Escape")
    assert watched.page.locator("#reader .said").count() == 1
    watched.page.mouse.move(900, 300)  # over the text, whatever comes to lie there
    for n in range(3 * len(PAYLOADS)):
        watched.page.evaluate(
            "document.querySelectorAll('details').forEach((d) => { d.open = true; })"
        )
        watched.page.mouse.move(900, 300 + n)
        watched.press("d", "j")
    for payload in PAYLOADS:
        watched.page.fill("#search", payload.replace("\0", ""))
        watched.page.keyboard.press("Enter")
    nothing_ran(watched)


def test_payloads_in_rollouts_do_nothing(watched: Watched, tmp_path: Path) -> None:
    page = page_of(rollouts(tmp_path / "ppo", PAYLOADS), tmp_path / "ppo.html")
    watched.open(page.as_uri())
    assert "onerror=" in watched.page.inner_text(".facts")
    read(watched, page, "sort=order")
    watched.press("End")
    for _ in PAYLOADS:
        watched.press("k")
    nothing_ran(watched)


def test_payloads_in_two_runs_do_nothing(watched: Watched, tmp_path: Path) -> None:
    before = hostile(tmp_path / "a", PAYLOADS, "<img src=x onerror=alert(1)>")
    after = hostile(tmp_path / "b", PAYLOADS, "<svg onload=alert(1)>")
    page = tmp_path / "diff.html"
    with open_run(before) as one, open_run(after) as other:
        page.write_text(render(diff_payload(one, other)), "utf-8")
    watched.open(page.as_uri())
    assert "<svg onload=" in watched.page.inner_text(".beside-runs >> nth=0")
    read(watched, page)
    for _ in range(len(PAYLOADS)):
        watched.press("d", "j")
    nothing_ran(watched)


def test_payloads_are_shown_as_they_are(watched: Watched, tmp_path: Path) -> None:
    page = page_of(hostile(tmp_path, PAYLOADS[:12]), tmp_path / "p.html")
    read(watched, page, "sort=order&kind=revision")
    for payload in [PAYLOADS[n] for n in (0, 1, 10, 11, *range(2, 10))]:  # by prompt id, as text
        shown = watched.page.evaluate("document.querySelector('#reader .text').textContent")
        assert shown == payload.replace("\x0c", "␌")
        watched.press("j")


def test_what_can_not_be_seen_is_marked(watched: Watched, tmp_path: Path) -> None:
    texts = ("left\u202eright", "a\x00b", "zero\u200bwidth", "line\u2028end", "esc\x1b[31m")
    page = page_of(hostile(tmp_path, [t.replace("\0", "\x01") for t in texts]), tmp_path / "p.html")
    read(watched, page, "sort=order&kind=revision")
    marks = []
    for _ in texts:
        marks.append(watched.page.locator("#reader .block.prompt .unseen").first.inner_text())
        watched.press("j")
    assert marks == ["U+202E", "␁", "U+200B", "U+2028", "␛"]


def test_a_policy_forbids_what_is_not_ours(watched: Watched, page_file: Path) -> None:
    """A script, a style and a request put into the page by force are refused by its policy."""
    watched.open(page_file.as_uri())
    watched.page.evaluate(
        """() => {
          const s = document.createElement("script");
          s.textContent = "document.title = 'taken'";
          document.body.append(s);
          const i = new Image();
          i.src = "http://127.0.0.1:9/leak";
          document.body.append(i);
        }"""
    )
    watched.page.wait_for_timeout(200)
    assert watched.page.title() == "demo – audit"
    assert any("Content Security Policy" in e for e in watched.errors)
    failed = watched.page.evaluate(
        "fetch('http://127.0.0.1:9/').then(() => 'sent', () => 'refused')"
    )
    assert failed == "refused"


# -- for everybody ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_serious(
    watched: Watched, page_file: Path, rollouts_file: Path, evaluation_file: Path, diff_file: Path,
    scheme: str, width: int,
) -> None:  # fmt: skip
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    watched.page.emulate_media(color_scheme=scheme)
    watched.page.set_viewport_size({"width": width, "height": 800})
    for file, place in (
        (page_file, ""), (page_file, "#view=read&kind=revision"),
        (page_file, "#view=read&flag=F09"), (rollouts_file, ""), (rollouts_file, "#view=read"),
        (evaluation_file, ""), (evaluation_file, "#view=read"),
        (evaluation_file, "#view=read&suite=facts"), (diff_file, ""), (diff_file, "#view=read"),
    ):  # fmt: skip
        watched.open(file.as_uri(), hash=place)
        found = axe.run(watched.page).response["violations"]
        grave = [
            (v["id"], n["target"]) for v in found for n in v["nodes"]
            if v["impact"] in ("serious", "critical")
        ]  # fmt: skip
        assert grave == []
    watched.press("?")
    found = axe.run(watched.page).response["violations"]
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize(("width", "height"), [(1280, 800), (1024, 700), (390, 844)])
def test_nothing_runs_over_the_edge(
    watched: Watched, page_file: Path, rollouts_file: Path, evaluation_file: Path, diff_file: Path,
    width: int, height: int,
) -> None:  # fmt: skip
    watched.page.set_viewport_size({"width": width, "height": height})
    for file in (rollouts_file, evaluation_file, diff_file):
        for place in ("", "#view=read", *(["#view=read&suite=facts"] * (file == evaluation_file))):
            watched.open(file.as_uri(), hash=place)
            assert watched.page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
            cards = watched.page.evaluate(
                "[...document.querySelectorAll("
                "'#reader .judged, #reader .columns, #reader .options')]"
                ".map((card) => card.scrollWidth - card.clientWidth)"
            )
            assert all(over <= 0 for over in cards), file.name
    for place in ("", "#view=read&kind=revision", "#view=read&flag=F09&diff=side"):
        watched.open(page_file.as_uri(), hash=place)
        over = watched.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert over <= 0
        if place:
            assert watched.page.is_visible(".bar-verdict .verdict >> nth=0")
            box = watched.page.locator(".bar-verdict").bounding_box()
            assert box is not None and box["y"] + box["height"] <= height + 1
            for button in watched.page.locator(".bar-verdict button:visible").all():
                place = button.bounding_box()
                assert place is not None and place["x"] >= 0
                assert place["x"] + place["width"] <= width
                assert button.evaluate("b => b.scrollWidth - b.clientWidth") <= 0
        assert watched.page.locator("#name").evaluate("n => n.scrollWidth - n.clientWidth") <= 0
        assert watched.page.is_visible("#progress")


def test_a_printed_item_says_its_run_and_verdict(watched: Watched, page_file: Path) -> None:
    read(watched, page_file, "sort=order")
    watched.press("x")
    watched.name("Ann")
    watched.press("k")
    watched.page.emulate_media(media="print")
    assert watched.page.is_visible("#name") and not watched.page.is_visible("#search")
    shown = [b for b in watched.page.locator(".bar-verdict button").all() if b.is_visible()]
    assert [b.get_attribute("data-act") for b in shown] == ["reject"]
