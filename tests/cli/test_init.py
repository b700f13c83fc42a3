"""`cai init`: a working project that lints clean, and never overwrites unasked."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from cai.cli.init import command
from cai.constitution.lint import lint
from cai.constitution.load import load_constitution
from cai.content import shipped_constitutions
from cai.errors import UsageError


def run(*arguments: object) -> str:
    result = CliRunner().invoke(command, [str(a) for a in arguments], standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def test_a_new_project_lints_clean_and_equals_the_shipped_content(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "project"
    output = run(folder)
    assert "cai lint" in output and f"cd {folder}" in output
    report = lint([folder])
    assert report.problems == () and report.files > 20
    for name in shipped_constitutions():
        copied = load_constitution(folder / "constitution" / f"{name}.yaml")
        assert copied.digest == load_constitution(name).digest


def test_the_prompts_are_rows_with_ids(tmp_path: Path) -> None:
    run(tmp_path)
    rows = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    assert len(rows) == 8 == len({row["id"] for row in rows})
    assert all(row["prompt"] for row in rows)
    assert (tmp_path / ".gitignore").read_text() == "runs/\n.cai/\n"
    assert "cai build-data" in (tmp_path / "README.md").read_text()


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    mine = tmp_path / "constitution" / "default.yaml"
    mine.parent.mkdir()
    mine.write_text("mine")
    with pytest.raises(UsageError, match=r"holds constitution/default\.yaml already"):
        run(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["constitution", "default.yaml"]
    run(tmp_path, "--force")
    assert "kind: Constitution" in mine.read_text()


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    run(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_links_are_not_written_through(tmp_path: Path) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("mine")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "README.md").symlink_to(outside)
    with pytest.raises(UsageError):
        run(folder)
    run(folder, "--force")
    assert outside.read_text() == "mine"
    assert not (folder / "README.md").is_symlink()


def test_a_linked_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "principles").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="link out of"):
        run(folder, "--force")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match="is a file"):
        run(tmp_path / "file")
    with pytest.raises(UsageError, match="Can't write"):
        run(tmp_path / "file" / "below")
