"""Signing off: what was looked at, how it came out, and whether that is enough."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cai.audit.runs import AuditedRun
from cai.audit.sample import read_sample
from cai.content import shown
from cai.data.signoff import read_signoff, write_signoff
from cai.data.verdicts import Decision, Verdict, VerdictFile, standing_verdicts
from cai.errors import CaiError, DataError, UsageError
from cai.stats import Proportion
from cai.text.terminal import visible

_GRAVE: tuple[Decision, ...] = ("accept", "unsure", "reject")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """What must hold for a signature.

    reviewed: share of the sample, or of all items where none was drawn, that somebody decided on.
    accepted: share of the decided ones that were accepted.
    """

    reviewed: float = 1.0
    accepted: float = 0.9

    @property
    def lowered(self) -> bool:
        """Whether less is asked for than by default."""
        return self.reviewed < 1.0 or self.accepted < 0.9

    def __post_init__(self) -> None:
        for name in ("reviewed", "accepted"):
            if not 0 <= getattr(self, name) <= 1:
                raise UsageError(f"--min-{name} is {getattr(self, name)}; it lies between 0 and 1")


@dataclass(frozen=True, slots=True)
class Review:
    """How an audit came out. An item that several decided on counts by the gravest of them.

    of: items that were to be read. missing: auditors of the sample → items of theirs that they have
    not read. shares: auditors → how many they were to read. elsewhere: items outside the sample
    that somebody rejected.
    """

    of: int
    accepted: int
    rejected: int
    unsure: int
    missing: Mapping[str, int]
    shares: Mapping[str, int]
    elsewhere: int = 0

    @property
    def decided(self) -> Proportion:
        """Items decided on, of those to be read."""
        return Proportion(self.accepted + self.rejected + self.unsure, self.of)

    @property
    def share(self) -> Proportion:
        """Accepted items, of the decided ones."""
        return Proportion(self.accepted, self.decided.hits)


def review(
    keys: Iterable[str], verdicts: Sequence[Verdict], sample: Mapping[str, Any] | None
) -> Review:
    """Sum up the standing verdicts on a sample, or on all items of a run.

    keys: those of all items, which are to be read where there is no sample.
    """
    said: dict[str, dict[str, Decision]] = {}
    for verdict in standing_verdicts(verdicts).values():
        if verdict.verdict != "none":
            said.setdefault(verdict.item, {})[verdict.author] = verdict.verdict
    wanted = list(sample["items"]) if sample else list(keys)
    worst = [max(said[k].values(), key=_GRAVE.index) for k in wanted if k in said]
    missing: dict[str, int] = {}
    shares: dict[str, int] = {}
    for key, names in (sample or {"items": {}})["items"].items():
        for name in names:
            shares[name] = shares.get(name, 0) + 1
            if name not in said.get(key, {}):
                missing[name] = missing.get(name, 0) + 1
    known, rest = set(wanted), set(keys)
    elsewhere = sum("reject" in said[k].values() for k in rest - known if k in said)
    return Review(
        len(wanted), worst.count("accept"), worst.count("reject"), worst.count("unsure"), missing,
        shares, elsewhere,
    )  # fmt: skip


def sign(run: AuditedRun, signer: str, thresholds: Thresholds, statement: str = "") -> Path:
    """Write the run's sign-off. Raises `DataError` where the thresholds are not reached."""
    if not signer.strip():
        raise UsageError("--signer is empty", hint="Write the name of whoever answers for it.")
    if thresholds.lowered and not statement.strip():
        raise UsageError(
            "less than all reviewed, or than nine of ten accepted, wants a reason",
            hint="Say why in --statement: it stands in the sign-off.",
        )
    if run.kind != "build":
        raise UsageError(
            f"{run.name} is a training run; what is signed off is data",
            hint="Sign the run of cai build-data that it was trained on.",
        )
    if problems := run.problems():
        raise DataError(
            f"the data in {shown(run.folder)} is not what was read: {problems[0]}",
            hint=f"See all: cai verify {shown(run.folder)}. Export the run again, and look at it.",
        )
    sample = read_sample(run)
    verdicts = VerdictFile(run.folder).read()
    keys = {entry.item.key for entry in run.entries()}
    if sample and not keys.issuperset(sample["items"]):
        raise DataError(
            f"the sample in {shown(run.folder)} names items that the run does not hold",
            hint=f"Draw it again: cai audit sample {shown(run.folder)} --force",
        )
    found = review(sorted(keys), verdicts, sample)
    _require_thresholds(run, found, thresholds)
    low, high = found.share.interval
    plan = (
        {k: v for k, v in sample.items() if k not in ("items", "format", "run")} if sample else {}
    )
    return write_signoff(
        run.folder,
        {
            "sample": plan or "all items",
            "reviewed": {
                "items": found.decided.hits,
                "of": found.of,
                "accepted": found.accepted,
                "rejected": found.rejected,
                "unsure": found.unsure,
                "rejected_outside_the_sample": found.elsewhere,
                "accepted_share": round(found.share.share, 4),
                "interval": [round(low, 4), round(high, 4)],
                "auditors": sorted(
                    {visible(v.author) for v in standing_verdicts(verdicts).values()}
                ),
            },
            "thresholds": {"reviewed": thresholds.reviewed, "accepted": thresholds.accepted},
            "signer": visible(signer.strip()),  # what can't be seen can't be signed
            "statement": visible(statement.strip(), lines=True),
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )


def signature(run: Path) -> dict[str, str] | None:
    """Who signed a run's folder off and when; None where nobody did, or where it is stale."""
    try:
        values = read_signoff(run)
    except CaiError:
        return None
    return {"signer": str(values["signer"]), "at": str(values["at"])}


def _require_thresholds(run: AuditedRun, found: Review, thresholds: Thresholds) -> None:
    more = f"Go on with: cai audit serve {shown(run.folder)}"
    if not found.decided.hits:
        raise DataError(f"nobody has judged anything of {run.name}", hint=more)
    if found.decided.share < thresholds.reviewed:
        who = "".join(f"; {name} has {n} to read" for name, n in sorted(found.missing.items()))
        raise DataError(
            f"{found.decided.hits} of {found.of} items are judged, {thresholds.reviewed:.0%} must"
            f" be{who}",
            hint=f"{more}, draw a sample with cai audit sample, or lower --min-reviewed.",
        )
    late = {
        name: n for name, n in sorted(found.missing.items())
        if 1 - n / found.shares[name] < thresholds.reviewed
    }  # fmt: skip
    if late:
        who = ", ".join(f"{name} {n}" for name, n in late.items())
        raise DataError(f"not all auditors have read their part: {who} to read", hint=more)
    if found.share.share < thresholds.accepted:
        raise DataError(
            f"{found.share.share:.1%} of the judged items are accepted, {thresholds.accepted:.0%}"
            " must be",
            hint="Mend the principles and build again, or lower --min-accepted and say why in"
            " --statement.",
        )
