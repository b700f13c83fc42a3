"""`cai eval --export`: suites as task files of Inspect or lm-eval."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cai.cli.output import counted, print_json, print_table, warn
from cai.content import shown

if TYPE_CHECKING:
    from cai.evaluation.harnesses.export import ExportedSuite, Harness
    from cai.evaluation.suite import Suite

_COMMANDS = {
    "inspect": "inspect eval {place}/{file} --model MODEL",
    "lm-eval": "lm_eval --model hf --model_args pretrained=MODEL --include_path {place}"
    " --tasks {task} --apply_chat_template",
}


def run(
    suites: Sequence[Suite], harness: Harness, out: Path, as_json: bool, quiet: bool
) -> None:  # fmt: skip
    """Write the task files of suites into a folder, and say what was not written, and why."""
    from cai.evaluation.harnesses.export import export_suites

    for suite in suites:
        for row in suite.set_aside[:3]:
            warn(f"{row.source} set aside: {row.reason}")
    exported = export_suites(suites, harness, out)
    for one in exported:
        if one.reason:
            warn(f"{one.id} is not exported: {one.reason}")
        elif one.left_out:
            first = one.left_out[0]
            warn(f"{counted(len(one.left_out), 'item')} left out, first {first.source}:"
                 f" {first.reason}")  # fmt: skip
    if as_json:
        print_json(
            {"folder": shown(out), "format": harness, "suites": list(map(_values, exported))}
        )
    elif not quiet:
        _show([one for one in exported if one.files], harness, out)


def _values(one: ExportedSuite) -> dict[str, object]:
    return {
        "id": one.id, "files": list(one.files), "items": one.items,
        "left_out": [{"source": o.source, "reason": o.reason} for o in one.left_out],
        "reason": one.reason or None,
    }  # fmt: skip


def _show(written: Sequence[ExportedSuite], harness: Harness, out: Path) -> None:
    print_table(
        ["suite", "items", "task file"],
        [[one.id, f"{one.items:,}", one.files[0]] for one in written],
    )
    file = written[0].files[0]
    command = _COMMANDS[harness].format(place=shown(out), file=file, task=Path(file).stem)
    click.echo(f"\nRun one of them:  {command}")
