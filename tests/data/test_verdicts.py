"""Verdicts: appended whole, read strictly, the last word of each author stands."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from cai.data.verdicts import (
    Verdict,
    VerdictFile,
    read_verdicts,
    standing_rejections,
    standing_verdicts,
    verdict_of,
)
from cai.errors import DataError

YES = Verdict("i1", "t-p1", "r-1", "accept", "Ann", "2026-01-01T10:00:00Z")


def later(minute: int, **changes: Any) -> Verdict:
    return replace(YES, at=f"2026-01-01T10:{minute:02}:00Z", **changes)


def test_what_was_appended_is_read(tmp_path: Path) -> None:
    file = VerdictFile(tmp_path)
    assert file.read() == []
    verdicts = [YES, later(1, verdict="reject", reason="“no”\u2028\n<b>", flagged=True)]
    file.append(verdicts[:1])
    file.append(verdicts[1:])
    assert file.read() == verdicts
    assert file.path == tmp_path / "audit" / "verdicts.jsonl"
    assert len(file.path.read_text().splitlines()) == 2  # U+2028 is no line break there


def test_the_last_word_of_each_author_stands() -> None:
    """Also where it was said before, and imported later; what was taken back is gone."""
    ben = later(0, author="Ben", verdict="reject")
    verdicts = [
        later(5, verdict="reject"),
        YES,
        ben,
        later(3, item="i2"),
        later(4, item="i2", verdict="none"),
    ]
    standing = standing_verdicts(verdicts)
    assert standing == {("i1", "Ann"): verdicts[0], ("i1", "Ben"): ben}
    assert standing_rejections([YES, later(1, verdict="reject")]) == {
        "t-p1": later(1, verdict="reject")
    }
    assert standing_rejections([later(1, verdict="reject"), later(2)]) == {}
    assert set(standing_rejections([YES, ben])) == {"t-p1"}  # one auditor's no is enough


def test_times_are_compared_across_zones() -> None:
    """12:30 in Berlin is 11:30 UTC, which is after 11:00 UTC."""
    berlin = replace(YES, verdict="reject", at="2026-01-01T12:30:00+01:00")
    assert (
        standing_verdicts([berlin, replace(YES, at="2026-01-01T11:00:00Z")])["i1", "Ann"] == berlin
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"verdict": "maybe"}, "verdict is none of accept, reject, unsure, none"),
        ({"author": ""}, "author is missing"),
        ({"item": 3}, "item is not a text"),
        ({"reason": "x" * 10_001}, "reason is not a text of up to 10000"),
        ({"flagged": "yes"}, "flagged is not true or false"),
        ({"reasons": "rude"}, "reasons is not a list of up to 20"),
        ({"reasons": ["x" * 101]}, "a reason is not a text of 1 to 100"),
        ({"reasons": [3]}, "a reason is not a text of 1 to 100"),
        ({"at": "yesterday"}, "at is not a time"),
        ({"at": "2026-01-01T10:00:00"}, "it names no time zone"),
        ({"at": "9999-01-01T10:00:00Z"}, "it lies in the future"),
        ({"color": "red"}, "unknown keys: color"),
    ],
)
def test_what_is_no_verdict_is_told(changes: dict[str, Any], why: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=why):
        verdict_of(asdict(YES) | changes)
    file = tmp_path / "v.jsonl"
    file.write_text(json.dumps(asdict(YES)) + "\n" + json.dumps(asdict(YES) | changes) + "\n")
    with pytest.raises(DataError, match=r"v\.jsonl:2 is not a verdict: "):
        read_verdicts(file)


@pytest.mark.parametrize("line", ["[]", "3", "{", "[" * 100_000])
def test_lines_that_are_no_object(line: str, tmp_path: Path) -> None:
    file = tmp_path / "v.jsonl"
    file.write_text(line + "\n")
    with pytest.raises(DataError, match=r"v\.jsonl:1 is not a verdict"):
        read_verdicts(file)


def test_a_line_cut_off_by_a_kill_is_dropped_and_the_next_begins_anew(tmp_path: Path) -> None:
    file = VerdictFile(tmp_path)
    file.append([YES])
    with file.path.open("ab") as raw:
        raw.write(b'{"item": "i2", "rec')
    assert file.read() == [YES]
    file.append([later(1)])
    assert file.read() == [YES, later(1)]


def test_a_last_line_without_its_end_is_a_line(tmp_path: Path) -> None:
    """As an editor leaves it: nothing that is whole is lost, then or at the next verdict."""
    file = VerdictFile(tmp_path)
    file.append([YES, later(1)])
    file.path.write_bytes(file.path.read_bytes().rstrip(b"\n"))
    assert file.read() == [YES, later(1)]
    file.append([later(2)])
    assert file.read() == [YES, later(1), later(2)]


def test_a_half_character_is_no_reason_to_lose_a_verdict(tmp_path: Path) -> None:
    verdict = verdict_of(asdict(YES) | {"reason": "half \ud800 done"})
    VerdictFile(tmp_path).append([verdict])
    assert VerdictFile(tmp_path).read()[0].reason == "half ? done"


WRITER = """
    import sys
    from dataclasses import replace
    from pathlib import Path
    from cai.data.verdicts import Verdict, VerdictFile
    who, run = sys.argv[1], Path(sys.argv[2])
    for n in range(100000):
        v = Verdict(f"i{n}", "t", "r", "accept", who, "2026-01-01T10:00:00Z", False, "x" * 300)
        VerdictFile(run).append([v])
        print(n, flush=True)
"""


def test_several_processes_write_and_are_killed(tmp_path: Path) -> None:
    """Three writers killed by -9: all that was acknowledged is there, each line whole."""
    script = textwrap.dedent(WRITER)
    writers = {
        who: subprocess.Popen(
            [sys.executable, "-c", script, who, str(tmp_path)], stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )
        for who in ("Ann", "Ben", "Cem")
    }  # fmt: skip
    time.sleep(2.5)
    for process in writers.values():
        process.send_signal(signal.SIGKILL)
    outputs = {who: (p.communicate()[0] or "").splitlines() for who, p in writers.items()}
    assert sum(map(len, outputs.values())) > 20
    verdicts = VerdictFile(tmp_path).read()
    for who, lines in outputs.items():
        mine = [v.item for v in verdicts if v.author == who]
        whole = [line for line in lines if line.isdecimal()]
        assert mine[: len(whole)] == [f"i{n}" for n in range(len(whole))]
        assert len(mine) - len(whole) <= 1  # written, and killed before it was told


def test_reasons_are_kept_and_cost_nothing_where_there_are_none(tmp_path: Path) -> None:
    """A line without reasons is what earlier versions wrote, and what they can read."""
    file = VerdictFile(tmp_path)
    chosen = replace(YES, author="Ben", reasons=("preachy", "untrue"), reason="twice")
    file.append([YES, chosen])
    plain, more = (json.loads(line) for line in file.path.read_bytes().splitlines())
    assert "reasons" not in plain and more["reasons"] == ["preachy", "untrue"]
    assert file.read() == [YES, chosen]
    assert chosen.why == "preachy; untrue; twice" and YES.why == ""
    only = replace(YES, verdict="none", reasons=("preachy",))
    assert list(standing_verdicts([only]).values()) == [only]
