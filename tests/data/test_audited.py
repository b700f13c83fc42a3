"""Sign-offs, the project's settings, and what training owes to both."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from cai.audit.reasons import REVERSED
from cai.constitution.project import Project, find_project, read_project
from cai.data.audited import audit_files, require_signoff, require_unedited, stale_signoffs
from cai.data.signoff import read_signoff, write_signoff
from cai.data.training import (
    read_audited_pairs,
    read_pairs,
    read_sft,
    read_training_prompts,
    training_files,
)
from cai.data.verdicts import Verdict, VerdictFile
from cai.errors import ContentError, DataError
from cai.types import SetAside
from tests.cli.project import make

SIGNED = {
    "reviewed": {"items": 1},
    "signer": "1e5",
    "statement": "no",
    "at": "2026-01-01T10:00:00+00:00",
}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make(tmp_path) / "demo"


def no(record: str, run_id: str = "r-1") -> Verdict:
    return Verdict(
        f"of {record}", record, run_id, "reject", "Ann", "2026-01-01T10:00:00Z", False, "too rude"
    )


# -- the sign-off ----------------------------------------------------------------------------------


def test_a_sign_off_reads_back_as_it_was_written(run: Path) -> None:
    """Texts that YAML would take for numbers and booleans are texts still."""
    write_signoff(run, SIGNED)
    signoff = read_signoff(run)
    assert {k: signoff[k] for k in SIGNED} == SIGNED
    assert set(signoff["data"]) == {
        "sft.jsonl", "sft.test.jsonl", "preferences.jsonl", "preferences.test.jsonl",
        "labels.jsonl", "labels.test.jsonl",
    }  # fmt: skip
    assert signoff["run"] == "r-1"


def test_none_yet(run: Path) -> None:
    with pytest.raises(DataError, match=r"demo is not signed off[\s\S]*cai audit sign"):
        read_signoff(run)


def test_one_changed_byte_makes_it_stale(run: Path) -> None:
    write_signoff(run, SIGNED)
    for file in sorted(run.glob("*.jsonl")):
        before = file.read_bytes()
        if not before or file.name == "set_aside.jsonl":
            continue
        file.write_bytes(before[:-3] + bytes([before[-3] ^ 1]) + before[-2:])
        with pytest.raises(DataError, match=f"stale: {file.name} changed since"):
            read_signoff(run)
        file.write_bytes(before)
    read_signoff(run)
    (run / "sft.parquet").write_bytes(b"new")
    with pytest.raises(DataError, match=r"stale: sft\.parquet changed"):
        read_signoff(run)


def test_a_verdict_after_the_signature_makes_it_stale(run: Path) -> None:
    VerdictFile(run).append([no("t-p1")])
    write_signoff(run, SIGNED)
    read_signoff(run)
    VerdictFile(run).append([no("t-p2")])
    with pytest.raises(DataError, match="stale: the verdicts changed since"):
        read_signoff(run)


def test_an_edited_sign_off_is_none(run: Path) -> None:
    path = write_signoff(run, SIGNED)
    edited = re.sub(r"statement: \S+", "statement: all of it", path.read_text())
    path.write_text(edited)
    assert yaml.safe_load(edited)["statement"] == "all of it"
    with pytest.raises(DataError, match="was edited after it was signed"):
        read_signoff(run)
    path.write_text("format: something else\n")
    with pytest.raises(DataError, match="not a sign-off in the format"):
        read_signoff(run)
    path.write_text("format: [\n")
    with pytest.raises(ContentError, match=r"signoff\.yaml:2:1: C005"):
        read_signoff(run)


# -- the project -----------------------------------------------------------------------------------


def test_a_project_is_the_nearest_file_above(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    assert find_project([tmp_path / "a" / "b"]) == Project()
    (tmp_path / "cai.yaml").write_text("audit: required\n")
    assert find_project([tmp_path / "a" / "b"]).audit == "required"
    (tmp_path / "a" / "cai.yaml").write_text("audit: optional\n")
    assert find_project([tmp_path / "a" / "b"]).audit == "optional"
    assert find_project([tmp_path / "a" / "b", tmp_path]).audit == "required"  # the strictest


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("audi: required\n", r"cai\.yaml:1:1: C011 unknown key `audi`\n    Did you mean `audit`"),
        ("audit: always\n", r"cai\.yaml:1:8: C012 `audit` is 'always'"),
        ("- audit\n", "C012 not a mapping"),
        ("audit: [\n", "C005"),
        ("audit: true\n", "C012 `audit` is True"),
        ("audit: [required]\n", "C012"),
    ],
)
def test_a_slip_of_the_pen_is_told(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "cai.yaml").write_text(text)
    with pytest.raises(ContentError, match=said):
        read_project(tmp_path / "cai.yaml")


# -- training --------------------------------------------------------------------------------------


def test_training_takes_unsigned_data_unless_told(run: Path, tmp_path: Path) -> None:
    training_files([run], "sft")
    (tmp_path / "cai.yaml").write_text("audit: required\n")
    for table in ("sft", "preferences", "labels"):
        with pytest.raises(DataError, match="is not signed off"):
            training_files([run], table)
    training_files([run], "prompts")  # no rows that anybody judges
    write_signoff(run, SIGNED)
    training_files([run], "sft")
    training_files([run / "sft.jsonl"], "sft")
    file = run / "sft.jsonl"
    file.write_bytes(file.read_bytes().replace(b"Question", b"question", 1))
    with pytest.raises(DataError, match=r"stale: sft\.jsonl changed"):
        training_files([run], "sft")


@pytest.mark.parametrize("table", ["sft", "preferences", "labels", "prompts"])
def test_data_edited_after_the_build_is_refused(run: Path, tmp_path: Path, table: Any) -> None:
    """One word of the answer, whoever asks for which table, by the run, by file and by a link."""
    file = run / f"{'preferences' if table == 'prompts' else table}.jsonl"
    training_files([run], table)
    before = file.read_bytes()
    file.write_bytes(before.replace(b"assistant", b"Assistant", 1))
    link = tmp_path / "link.jsonl"
    link.symlink_to(file)
    for data in ([run], [file], [link]):
        with pytest.raises(DataError, match=r"was changed after it was built[\s\S]*build-data"):
            training_files(data, table)
    copy = tmp_path / "mine.jsonl"
    copy.write_bytes(file.read_bytes())
    training_files([copy], table)
    file.write_bytes(before)
    training_files([run], table)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [('{"name": "a browser extension", "files": []}', None), ("[]", None),
     ('{"format": "cai-run/1"', "is not a manifest"),
     ('{"format": "cai-run/9"}', "has another format"),
     ('{"format": "cai-run/1", "files": {"a.jsonl": 1}}', "is not a manifest")],
)  # fmt: skip
def test_a_manifest_of_another_program_is_none_of_ours(
    manifest: str, said: str | None, tmp_path: Path
) -> None:
    (tmp_path / "manifest.json").write_text(manifest)
    file = tmp_path / "a.jsonl"
    file.write_text('{"prompt": "?", "completion": "Yes."}\n')
    if said is None:
        require_unedited([file])
        return
    with pytest.raises(DataError, match=said):
        require_unedited([file])


def test_a_sign_off_counts_as_a_source_while_it_holds(run: Path) -> None:
    data = [run / "sft.jsonl"]
    assert audit_files(data) == [] and stale_signoffs(data) == []
    path = write_signoff(run, SIGNED)
    assert audit_files(data) == [path] and stale_signoffs(data) == []
    (run / "mine.jsonl").write_text("{}\n")
    mine = [run / "mine.jsonl"]
    assert audit_files(mine) == [] and "does not cover mine.jsonl" in stale_signoffs(mine)[0]
    VerdictFile(run).append([no("t-p1")])
    assert audit_files(data) == [VerdictFile(run).path]
    assert "is stale: the verdicts changed since" in stale_signoffs(data)[0]
    for text, message in (("format: [", "can't be read"), ("format: x", "is not a sign-off")):
        path.write_text(text)
        assert audit_files(data) == [VerdictFile(run).path]
        assert message in stale_signoffs(data)[0]


def test_data_that_nobody_could_sign_is_refused_too(run: Path, tmp_path: Path) -> None:
    write_signoff(run, SIGNED)
    (tmp_path / "cai.yaml").write_text("audit: required\n")
    elsewhere = tmp_path / "copy.jsonl"
    shutil.copy(run / "sft.jsonl", elsewhere)
    with pytest.raises(DataError, match="does not belong to a run that could be signed off"):
        require_signoff([elsewhere])
    shutil.copy(run / "sft.jsonl", run / "mine.jsonl")
    with pytest.raises(DataError, match="does not cover mine"):
        require_signoff([run / "mine.jsonl"])


def test_the_project_of_the_data_counts_from_anywhere(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cai.yaml").write_text("audit: required\n")
    other = tmp_path.parent / f"{tmp_path.name}-other"
    other.mkdir()
    monkeypatch.chdir(other)
    (other / "sft.jsonl").symlink_to(run / "sft.jsonl")
    for data in (run, other / "sft.jsonl"):
        with pytest.raises(DataError, match="is not signed off"):
            training_files([data], "sft")


def test_rejected_rows_are_set_aside_with_who_and_why(run: Path) -> None:
    sft, pairs = list(read_sft([run / "sft.jsonl"])), list(read_pairs([run / "preferences.jsonl"]))
    first, pair = sft[0], pairs[0]
    assert not isinstance(first, SetAside) and not isinstance(pair, SetAside)
    trace = first.id.rsplit(".", 1)[0]
    VerdictFile(run).append([no(trace), no(pair.id)])
    again = list(read_sft([run / "sft.jsonl"]))
    assert [r for r in again if isinstance(r, SetAside)] == [again[0]]
    assert isinstance(again[0], SetAside)
    assert again[0].reason == "rejected by an auditor (Ann: too rude)"
    assert again[0].source == "sft.jsonl:1"
    assert again[1:] == sft[1:]
    (row,) = (r for r in read_pairs([run / "preferences.jsonl"]) if isinstance(r, SetAside))
    assert row.reason == "rejected by an auditor (Ann: too rude)"
    prompts = [r for r in read_training_prompts([run / "sft.jsonl"]) if isinstance(r, SetAside)]
    assert prompts == []  # it is no fault of the prompt


def test_a_link_to_a_file_is_that_file(run: Path, tmp_path: Path) -> None:
    (first, *_) = read_sft([run / "sft.jsonl"])
    assert not isinstance(first, SetAside)
    VerdictFile(run).append([no(first.id.rsplit(".", 1)[0])])
    link = tmp_path / "link" / "sft.jsonl"
    link.parent.mkdir()
    link.symlink_to(run / "sft.jsonl")
    assert any("rejected" in row.reason for row in read_sft([link]) if isinstance(row, SetAside))
    assert [p.name for p in audit_files([link])] == ["verdicts.jsonl"]


def test_a_sign_off_that_lacks_its_parts_is_none(run: Path) -> None:
    write_signoff(run, {k: v for k, v in SIGNED.items() if k != "reviewed"})
    with pytest.raises(DataError, match="lacks reviewed"):
        read_signoff(run)


def test_a_rejection_that_was_taken_back_counts_no_more(run: Path) -> None:
    (first, *_) = read_sft([run / "sft.jsonl"])
    assert not isinstance(first, SetAside)
    trace = first.id.rsplit(".", 1)[0]
    back = Verdict(f"of {trace}", trace, "r-1", "accept", "Ann", "2026-01-01T11:00:00Z")
    VerdictFile(run).append([no(trace), back])
    assert not any(isinstance(r, SetAside) for r in read_sft([run / "sft.jsonl"]))


# -- pairs with the auditors' labels ---------------------------------------------------------------


def test_audited_pairs_have_the_auditors_label(run: Path) -> None:
    """One accepted, one turned around, one rejected otherwise; the rest were not audited."""
    built = [
        row for row in read_pairs([run / "preferences.jsonl"]) if not isinstance(row, SetAside)
    ]
    of_comparisons = [row for row in built if row.origin == "comparison"]
    first, second, third = (row.prompt for row in of_comparisons[:3])
    records = [
        f"c-{prompt[0].content.split()[1].rstrip('?')}-0" for prompt in (first, second, third)
    ]
    VerdictFile(run).append(
        [
            replace(no(records[0]), verdict="accept", reason=""),
            replace(no(records[1]), reasons=("the other response is better",)),
            no(records[2]),
        ]
    )
    read = list(read_audited_pairs([run / "preferences.jsonl"], [REVERSED]))
    kept = [row for row in read if not isinstance(row, SetAside)]
    reasons = [row.reason for row in read if isinstance(row, SetAside)]
    assert [row.prompt for row in kept] == [first, second]
    assert kept[0] == of_comparisons[0]
    assert (kept[1].chosen, kept[1].rejected) == (
        of_comparisons[1].rejected, of_comparisons[1].chosen,
    )  # fmt: skip
    assert kept[1].probability is None
    assert [r for r in reasons if not r.startswith("not audited")] == [
        "rejected by an auditor (Ann: too rude)"
    ]
    assert len(read) == len(built)


def test_looking_at_data_needs_no_sign_off(run: Path) -> None:
    (run.parent / "cai.yaml").write_text("audit: required\n")
    with pytest.raises(DataError, match="is not signed off"):
        training_files([run], "preferences")
    assert training_files([run], "preferences", to_train=False).train
