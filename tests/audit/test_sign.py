"""Signing off: what counts as reviewed, and what is not enough."""

from __future__ import annotations

from pathlib import Path

import pytest

from cai.audit.runs import open_run
from cai.audit.sample import SamplePlan, write_sample
from cai.audit.sign import Thresholds, review, sign
from cai.data.signoff import read_signoff
from cai.data.verdicts import Decision, Verdict, VerdictFile
from cai.errors import DataError, UsageError
from tests.audit.runs import build, rollouts


def say(item: str, verdict: Decision, author: str = "Ann", minute: int = 0) -> Verdict:
    at = f"2026-01-01T10:{minute:02}:00Z"
    return Verdict(item, f"t-{item}", "r-audit", verdict, author, at)


def test_the_gravest_word_counts() -> None:
    """a: accepted by both. b: one is unsure. c: one rejects. d: nobody said anything."""
    said = [
        say("a", "accept"), say("a", "accept", "Ben"), say("b", "accept"),
        say("b", "unsure", "Ben"), say("c", "reject"), say("c", "accept", "Ben"),
    ]  # fmt: skip
    found = review("abcd", said, None)
    assert (found.of, found.accepted, found.unsure, found.rejected) == (4, 1, 1, 1)
    assert (found.decided.hits, found.decided.n) == (3, 4)
    assert found.share.share == pytest.approx(1 / 3)


def test_what_was_taken_back_is_not_reviewed() -> None:
    assert review("a", [say("a", "reject"), say("a", "none", minute=1)], None).decided.hits == 0


def test_only_the_sample_counts_where_there_is_one() -> None:
    sample = {"items": {"a": ["Ann", "Ben"], "b": ["Ben"]}}
    found = review((), [say("a", "accept"), say("z", "reject")], sample)
    assert (found.of, found.accepted, found.rejected) == (2, 1, 0)
    assert found.missing == {"Ben": 2}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return build(tmp_path)


def keys(run: Path) -> list[str]:
    with open_run(run) as opened:
        return [entry.item.key for entry in opened.entries()]


def signed(run: Path, **thresholds: float) -> Path:
    with open_run(run) as opened:
        return sign(opened, " Ann ", Thresholds(**thresholds), "All read.")


def test_all_must_be_judged_and_most_accepted(run: Path) -> None:
    with pytest.raises(DataError, match=f"no verdicts in {run} yet"):
        signed(run)
    items = keys(run)
    file = VerdictFile(run)
    file.append([say(k, "accept") for k in items[:10]])
    with pytest.raises(DataError, match="10 of 12 items are judged, 100% must be"):
        signed(run)
    file.append([say(items[10], "reject"), say(items[11], "reject")])
    with pytest.raises(DataError, match=r"83\.3% of the judged items are accepted, 90% must be"):
        signed(run)
    signed(run, accepted=0.8)
    found = read_signoff(run)
    assert found["signer"] == "Ann" and found["statement"] == "All read."
    assert found["reviewed"] == {
        "items": 12, "of": 12, "accepted": 10, "rejected": 2, "unsure": 0,
        "rejected_outside_the_sample": 0,
        "accepted_share": 0.8333, "interval": [0.552, 0.953], "auditors": ["Ann"],
    }  # fmt: skip
    assert found["sample"] == "all items" and found["thresholds"]["accepted"] == 0.8


def test_a_sample_is_enough_where_everybody_read_their_part(run: Path) -> None:
    with open_run(run) as opened:
        _, items = write_sample(opened, SamplePlan(4, auditors=("Ann", "Ben"), overlap=0.5))
    file = VerdictFile(run)
    file.append([say(k, "accept", names[0]) for k, names in items.items()])
    missing = sum(len(names) == 2 for names in items.values())
    with pytest.raises(DataError, match=f"not all auditors have judged their part: Ben {missing}"):
        signed(run)
    file.append([say(k, "accept", n) for k, names in items.items() for n in names])
    signed(run)
    assert read_signoff(run)["sample"]["n"] == 4


def test_a_sample_of_another_run_signs_nothing(run: Path, tmp_path: Path) -> None:
    """The folder was built again: sample and verdicts are of what it held before."""
    with open_run(run) as opened:
        _, items = write_sample(opened, SamplePlan(4))
    VerdictFile(run).append([say(k, "accept") for k in items])
    signed(run)
    build(tmp_path, edited=True)
    with pytest.raises(DataError, match="stale"):
        read_signoff(run)
    with pytest.raises(DataError, match="was drawn of the run r-audit"):
        signed(run)


def test_data_that_nobody_read_can_not_be_signed(run: Path) -> None:
    """Auditors read the store; what is signed are the files."""
    VerdictFile(run).append([say(k, "accept") for k in keys(run)])
    file = run / "preferences.jsonl"
    before = file.read_bytes()
    file.write_bytes(before.replace(b"A p", b"Z p", 1))
    with pytest.raises(DataError, match=r"is not what was read: preferences\.jsonl") as error:
        signed(run)
    assert "build-data command again" in error.value.hint
    file.write_bytes(before)
    (run / "sft.parquet").write_bytes(b"x")
    with pytest.raises(DataError, match=r"sft\.parquet: not written by cai build-data"):
        signed(run)
    (run / "sft.parquet").unlink()
    signed(run)


def test_rejections_outside_the_sample_are_told(run: Path) -> None:
    with open_run(run) as opened:
        _, items = write_sample(opened, SamplePlan(3))
    others = [k for k in keys(run) if k not in items]
    VerdictFile(run).append([say(k, "accept") for k in items])
    VerdictFile(run).append([say(k, "reject") for k in others[:2]])
    signed(run)
    assert read_signoff(run)["reviewed"]["rejected_outside_the_sample"] == 2


def test_everybody_reads_their_share(run: Path) -> None:
    """Half must be reviewed: Ann read all of hers, Ben nothing."""
    with open_run(run) as opened:
        _, items = write_sample(opened, SamplePlan(4, auditors=("Ann", "Ben")))
    VerdictFile(run).append([say(k, "accept") for k, names in items.items() if names == ["Ann"]])
    with pytest.raises(DataError, match="not all auditors have judged their part: Ben 2 to judge"):
        signed(run, reviewed=0.5)


def test_what_can_not_be_signed(run: Path, tmp_path: Path) -> None:
    with open_run(run) as opened, pytest.raises(UsageError, match="--signer is empty"):
        sign(opened, " ", Thresholds())
    with open_run(run) as opened, pytest.raises(UsageError, match="need a reason"):
        sign(opened, "Ann", Thresholds(accepted=0.5), "  ")
    ppo = rollouts(tmp_path / "ppo")
    with open_run(ppo) as opened, pytest.raises(UsageError, match="is a training run"):
        sign(opened, "Ann", Thresholds())
    (ppo / "rollouts.jsonl").unlink()
    with pytest.raises(DataError, match=r"without rollouts\.jsonl") as error, open_run(ppo):
        pass
    assert "from their first update on" in error.value.hint
    with pytest.raises(UsageError, match=r"--min-accepted is 1\.5"):
        Thresholds(accepted=1.5)
