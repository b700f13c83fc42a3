"""The model card: front matter, tables, limits; and the folder of a report."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest
import yaml
from huggingface_hub import ModelCard

from cai.digest import file_digest
from cai.errors import DataError, UsageError
from cai.evaluation.report.sources import read_sources
from cai.evaluation.report.write import write_report
from cai.evaluation.rewards import reward_facts
from tests.evaluation.report.making import VALUES, make_evaluation, make_training

RULES = {"id": "kind", "version": "1.2.0", "title": "Kind", "digest": "c" * 64, "principles": []}


def build(folder: Path, digest: str) -> None:
    """A run of `cai build-data` whose sft.jsonl has this digest."""
    folder.mkdir()
    values = {
        "format": "cai-run/1", "run": {"id": "r-1", "seed": 0}, "config": {},
        "constitution": RULES, "models": {}, "counts": {}, "steps": {},
        "files": {"sft.jsonl": {"rows": 1, "bytes": 1, "sha256": digest}},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(values), encoding="utf-8")


@pytest.fixture
def card(tmp_path: Path) -> str:
    build(tmp_path / "first", "a" * 64)
    folders = [make_evaluation(tmp_path / "eval"), make_training(tmp_path / "ppo")]
    return write_report(read_sources(folders), tmp_path / "out").card.read_text(encoding="utf-8")


def test_the_front_matter_is_what_hubs_read(card: str) -> None:
    read = ModelCard(card).data.to_dict()
    assert read["license"] == "unknown"
    assert read["base_model"] == ["miniature"]
    assert read["tags"] == ["constitutional-ai", "alignment", "ppo"]
    assert read["datasets"] == ["cai-build-data-r-1"]
    assert read["metrics"] == ["refused", "followed", "sway"]


def test_the_card_says_what_was_trained_on_what_and_by_which_constitution(card: str) -> None:
    assert (
        "| ppo | ppo | m-ppo | miniature | reward (reward) | sft.jsonl aaaaaaaaaaaa | kind 1.2.0"
        " | finished |" in card
    )
    assert f"| kind | 1.2.0 | {'c' * 64} |" in card


def test_results_have_intervals_and_name_their_evaluation(card: str) -> None:
    """0 of 4 is 0 to 49 %, 1 of 4 is 5 to 70 %, and 2 of 4 is 15 to 85 % (Wilson)."""
    assert "| suite (e-0123456789ab) | base | sft | ppo |" in card
    row = "| over-refusal: refused ↓ | 0% (0%–49%) | 25% (5%–70%) | 50% (15%–85%) |"
    assert row in card
    headings = [line for line in card.splitlines() if line.startswith("### ")]
    assert len(headings) == 2 and all("e-0123456789ab" in line for line in headings)
    assert "| base | 100% (" in card


def test_a_hostile_name_is_no_markup(tmp_path: Path) -> None:
    values = {"<img src=x>|[a](b)": VALUES["base"], "---\n# x": VALUES["sft"]}
    files = write_report(read_sources([make_evaluation(tmp_path / "e", values)]), tmp_path / "out",
                         licence='x"\n- y')  # fmt: skip
    _, front, text = files.card.read_text(encoding="utf-8").split("---\n", 2)
    assert "<img" not in text and "[a](b)" not in text and "\n# x" not in text
    facts = yaml.safe_load(front)
    assert (facts["license"], facts["base_model"]) == ('x"␊- y', ["<img src=x>|[a](b)"])


def limits(folder: Path, judges: dict[str, object], *trainings: Path) -> str:
    sources = read_sources([make_evaluation(folder / "eval", judges=judges), *trainings])
    files = write_report(sources, folder / "out")
    card, page = files.card.read_text(encoding="utf-8"), files.page.read_text(encoding="utf-8")
    found = card.split("## Limits", 1)[1].split("\n## ", 1)[0]
    for line in ("precision 85%", "accuracy on held-out pairs"):
        assert (line in found) is (line in page)
    return found


def test_limits_say_how_often_the_rules_are_wrong(tmp_path: Path) -> None:
    rule = {"precision": 0.847, "recall": 0.9, "replies": 60}
    rules = {"refused": {"written": rule, "smollm2": rule | {"precision": None, "replies": 1}}}
    found = limits(tmp_path, {"rules": rules})
    assert (
        "“refused” is read by a rule: precision 85%, recall 90% on 60 replies labelled by hand"
        " (written for this); precision –, recall 90% on 1 reply labelled by hand (SmolLM2-135M)."
        in found
    )
    assert "which misread some replies" not in found


@pytest.mark.parametrize("known", ["by the evaluation", "by its run", "by neither"])
def test_limits_say_how_often_the_reward_model_is_right(tmp_path: Path, known: str) -> None:
    measured = {"accuracy": 0.7, "interval": [0.4, 0.89], "rows": "held out",
                "length_baseline": 0.8}  # fmt: skip
    run = {"id": "m-r", "results": measured}
    facts = {"by the evaluation": reward_facts("rm", run), "by its run": {"name": "rm",
             "id": "m-r"}, "by neither": {"name": "rm", "id": "m-other"}}[known]  # fmt: skip
    folder = make_training(tmp_path / "rm", (), stage="sft" if known != "by its run" else "reward",
                           **(run if known == "by its run" else {}))  # fmt: skip
    found = limits(tmp_path, {"reward": facts}, folder)
    text = (
        "the reward model, rm, errs: accuracy on held-out pairs 70% (40%–89%); preferring the"
        " longer or the shorter alone gives 80%."
    )
    assert (text in found) is (known != "by neither")
    assert ("how often is not known here" in found) is (known == "by neither")


# -- the folder ----------------------------------------------------------------------------------


def test_a_report_is_written_over_itself_and_nothing_else(tmp_path: Path) -> None:
    sources = read_sources([make_evaluation(tmp_path / "eval")])
    files = write_report(sources, tmp_path / "out")
    before = file_digest(files.card)
    write_report(sources, tmp_path / "out")
    assert file_digest(files.card) == before
    files.card.write_text(files.card.read_text() + "\nMine.\n")
    with pytest.raises(UsageError, match=r"README\.md was edited since it was written"):
        write_report(sources, tmp_path / "out")
    with pytest.raises(UsageError, match="is not empty, and holds no report"):
        write_report(sources, tmp_path / "eval")


def test_folders_that_no_report_is_made_of(tmp_path: Path) -> None:
    training = make_training(tmp_path / "ppo")
    with pytest.raises(UsageError, match="no evaluation among the folders"):
        read_sources([training])
    with pytest.raises(UsageError, match="neither an evaluation") as caught:
        read_sources([tmp_path / "none"])
    assert "no such folder" in str(caught.value)
    build(tmp_path / "first", "b" * 64)
    with pytest.raises(UsageError, match="cai audit report"):
        read_sources([tmp_path / "first"])
    (training / "run.json").write_text('{"format": "cai-model/9"}')
    with pytest.raises(DataError, match="has the format cai-model/9"):
        read_sources([training])


def test_answers_that_were_changed_are_refused(tmp_path: Path) -> None:
    folder = make_evaluation(tmp_path / "eval")
    with (folder / "answers.jsonl").open("a") as file:
        file.write("{}\n")
    with pytest.raises(DataError, match=r"answers\.jsonl: its digest is not the evaluation's"):
        read_sources([folder])


def test_a_folder_that_is_named_twice_counts_once(tmp_path: Path) -> None:
    folder, training = make_evaluation(tmp_path / "eval"), make_training(tmp_path / "ppo")
    sources = read_sources([folder, training, folder, training])
    assert (len(sources.evaluations), len(sources.trainings)) == (1, 1)
    assert asdict(sources.evaluations[0].answers["base"][0])["suite"] == "harmful"
