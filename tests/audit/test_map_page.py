"""How principles relate, on the page, in a real Chromium."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.audit.browser import Watched
from tests.audit.conftest import page_of
from tests.audit.test_page import assert_declared, data_of
from tests.relations.planted import planted_run


@pytest.fixture(scope="module")
def map_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run of 60 pairs whose principles relate as they were planted."""
    place = tmp_path_factory.mktemp("map")
    return page_of(planted_run(place), place / "map.html")


def test_the_types_are_those_of_the_data(map_file: Path) -> None:
    values = data_of(map_file.read_text("utf-8"))["map"]
    assert_declared(values, "MapValues")
    for part, name in (
        ("principles", "RoleValues"), ("on_pairs", "RelationValues"),
        ("on_responses", "RelationValues"), ("contradictions", "OppositionValues"),
        ("removals", "RemovalValues"),
    ):  # fmt: skip
        assert_declared(values[part][0], name)
    assert_declared(values["contradictions"][0]["items"][0], "ContradictionValues")
    assert_declared(values["on_pairs"][0]["kappa"], "EstimateValues")
    assert len(values["contradictions"][0]["items"]) == 50  # of 60


def test_the_matrix_says_how_two_principles_relate(watched: Watched, map_file: Path) -> None:
    """`idle` decides nothing, so nothing can be said of it, and it has no row."""
    watched.open(map_file.as_uri())
    table = watched.page.locator('[aria-label="How principles relate on pairs"]')
    heads = table.locator("tbody th").all_inner_texts()
    assert [" ".join(text.split()) for text in heads] == [
        "1 Be manners", "2 Be twin", "3 Be rebel", "4 Be own",
    ]  # fmt: skip
    cells = {
        cell.get_attribute("data-relation"): cell
        for cell in table.locator("td[data-relation]").all()
    }
    assert cells["manners twin"].inner_text().split("\n")[0] == "the same"
    assert cells["rebel manners"].inner_text().split("\n")[0] == "opposed"
    assert "against" in cells["rebel manners"].get_attribute("class")
    assert "60 cases that both decide, 100" in cells["manners twin"].get_attribute("title")
    assert "1 of 5 principles is left out" in watched.page.inner_text("#overview")
    assert watched.errors == [] and watched.left() == []


def test_a_contradiction_leads_to_its_pair(watched: Watched, map_file: Path) -> None:
    watched.open(map_file.as_uri())
    first = watched.page.locator(".against-list > li").first
    assert first.locator("summary").inner_text().startswith(
        "Be manners against Be rebel 60 of 60 clear pairs, 100"
    )  # fmt: skip
    button = first.locator("button[data-record]").first
    record = button.get_attribute("data-record")
    prompt = button.inner_text()
    button.click()
    assert record in watched.texts("#reader .crumbs code")
    assert prompt in watched.page.inner_text("#reader")


def test_what_a_principle_adds(watched: Watched, map_file: Path) -> None:
    watched.open(map_file.as_uri())
    rows = {
        row.locator("th").inner_text(): row.locator("td").all_inner_texts()
        for row in watched.page.locator('[aria-label="What each principle adds"] tbody tr').all()
    }
    assert rows["Be idle"][:2] == ["idle", "0 of 60"]
    assert rows["Be twin"][0].split("\n") == ["redundant", "as Be manners"]


def test_a_pair_of_another_page_is_named(watched: Watched, tmp_path: Path) -> None:
    """Two pages of 30: the map is of the whole run, and half of the pairs are elsewhere."""
    from cai.audit.report import write_report
    from cai.audit.runs import open_run

    with open_run(planted_run(tmp_path)) as run:
        first, _ = write_report(run, tmp_path / "map.html", most=30)
    watched.open(first.as_uri())
    items = watched.page.locator(".against-list > li").first.locator("li").all_inner_texts()
    assert any("not on this page" in text for text in items)
    assert not all("not on this page" in text for text in items)
