"""Do two trainings of the miniature give the same card? `python bench/two_runs.py A.json B.json`

A and B: counts of `python -m bundled.evaluation.evaluate DIR --json FILE` of two checkpoints, the
second trained, and measured, under other seeds (`--seed`, `--seeds`), so that no question is asked
twice. For every row with a target: both shares, and the difference B - A with its 95 % interval
(Newcombe 1998, method 10; one that holds zero is "the same"). Prints Markdown.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any, NamedTuple

from bundled.evaluation.card import CALIBRATION_TARGET, TARGETS
from cai.stats import difference


class Share(NamedTuple):
    """A row of one card: its share, and its interval, which heeds what goes together."""

    share: float
    interval: tuple[float, float]


class Row(NamedTuple):
    """A row of both cards."""

    name: str
    first: Share
    second: Share
    met: tuple[bool, bool]

    @property
    def same(self) -> bool:
        """Whether zero lies within the difference's interval."""
        low, high = difference(self.first, self.second)
        return low <= 0 <= high


def rows(first: dict[str, Any], second: dict[str, Any]) -> list[Row]:
    """Rows with a target that both cards have."""
    out = []
    for target in TARGETS:
        a, b = first["rows"].get(target.row), second["rows"].get(target.row)
        if a is not None and b is not None:
            shares = [Share(r["share"], tuple(r["interval"])) for r in (a, b)]
            met = [target.low <= s.share <= target.high for s in shares]
            out.append(Row(target.row, shares[0], shares[1], (met[0], met[1])))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    options = parser.parse_args()
    first, second = (json.loads(f.read_text("utf-8")) for f in (options.first, options.second))
    targets = rows(first, second)
    same = sum(row.same for row in targets)
    met = [sum(row.met[side] for row in targets) for side in (0, 1)]
    print(
        f"{len(targets)} rows with a target: {met[0]} met by the first run, {met[1]} by the second."
    )
    print(
        f"{same} of them are the same within the 95 % interval of their difference. The others, and"
    )
    print("those that are not met by both:\n")
    print("| what | first | second | difference, 95 % | met |")
    print("|---|---|---|---|---|")
    for row in targets:
        if row.same and all(row.met):
            continue
        low, high = difference(row.first, row.second)
        point = row.second.share - row.first.share
        marks = ", ".join("yes" if m else "**no**" for m in row.met)
        print(
            f"| {row.name} | {row.first.share:.3f} | {row.second.share:.3f}"
            f" | {point:+.3f} ({low:+.3f} to {high:+.3f}) | {marks} |"
        )
    print("\n| calibration (ECE) | first | second | both within the target |")
    print("|---|---|---|---|")
    for mode, values in first["calibration"].items():
        errors = [values["ece"], second["calibration"][mode]["ece"]]
        within = "yes" if max(errors) <= CALIBRATION_TARGET else "**no**"
        print(f"| {mode} | {errors[0]:.3f} | {errors[1]:.3f} | {within} |")


if __name__ == "__main__":
    main()
