"""`cai verify`: recompute every digest of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import click

from cai.cli.output import counted, json_option, print_json
from cai.errors import DataError
from cai.text.terminal import visible


@click.command("verify")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--most", type=int, default=20, show_default=True, help="List at most this many problems."
)
@json_option
def command(run_dir: Path, most: int, as_json: bool) -> None:
    """Recompute every digest of the run in RUN_DIR, such as runs/first.

    For built data: the files against the manifest; the prompt and responses of every row against
    its record in the store beside the run's folder; every step and record of the store against its
    digest. For a training run: its files, and its id against the settings, base, parents and data
    that it names. For an evaluation: its answers, its id, and every result against the answers.
    For a red-teaming: its files, and every count against its attacks and answers. For the folder of
    `cai ablate --train`: its data, its trainings and evaluations, and every effect against the
    answers. Exit code 4 if anything differs.
    """
    from cai.data.training_run import is_run
    from cai.evaluation.folder import is_ablation, is_redteam
    from cai.evaluation.record import is_evaluation

    if is_evaluation(run_dir):
        verify_folder = _verify_evaluation
    elif is_redteam(run_dir):
        verify_folder = _verify_redteam
    elif is_ablation(run_dir):
        verify_folder = _verify_ablation
    else:
        verify_folder = _verify_training if is_run(run_dir) else _verify_data
    counts, problems, total, hint = verify_folder(run_dir.resolve(), most)
    if as_json:
        print_json(
            {"run": str(run_dir), "ok": not total, **counts, "differences": total,
             "problems": problems}
        )  # fmt: skip
    else:
        for problem in problems:
            click.echo(visible(problem))
        if total > len(problems):
            click.echo(f"… and {total - len(problems)} more")
    if total:
        raise DataError(f"{counted(total, 'difference')} in {run_dir}", hint=hint)
    if not as_json:
        items = [counted(n, name.removesuffix("s")) for name, n in counts.items()]
        click.echo(f"{run_dir}: verified {', '.join(items)}; all digests match.")


_Outcome: TypeAlias = tuple[dict[str, int], Sequence[str], int, str]
"""Counts of what was verified, problems in words, their total, and what to do about them."""


def _verify_data(folder: Path, most: int) -> _Outcome:
    from cai.data.manifest import Manifest
    from cai.data.verify import verify
    from cai.store.store import Store

    Manifest.read(folder)
    with Store.open(folder.parent / "store.sqlite", read_only=True) as store:
        report = verify(folder, store, limit=most)
    counts = {"files": report.files, "rows": report.rows, "steps": report.steps}
    hint = (
        "Run its build-data command again to export it anew. If the store itself was changed, add"
        " --repair, which drops damaged steps and generates them again."
    )
    return counts, report.problems, report.total, hint


def _verify_training(folder: Path, most: int) -> _Outcome:
    from cai.training.folder import verify_run

    files, problems = verify_run(folder)
    hint = "Restore the files from a copy, or train again in another --out."
    return {"files": files}, problems[:most], len(problems), hint


def _verify_evaluation(folder: Path, most: int) -> _Outcome:
    from cai.evaluation.verify import verify_evaluation

    files, answers, problems = verify_evaluation(folder)
    hint = "Run its cai eval command again: what was answered is in the store."
    return {"files": files, "answers": answers}, problems[:most], len(problems), hint


def _verify_redteam(folder: Path, most: int) -> _Outcome:
    from cai.evaluation.redteam.verify import verify_redteam

    files, attacks, answers, problems = verify_redteam(folder)
    hint = "Run its cai redteam command again: what was written and answered is in the store."
    counts = {"files": files, "attacks": attacks, "answers": answers}
    return counts, problems[:most], len(problems), hint


def _verify_ablation(folder: Path, most: int) -> _Outcome:
    from cai.authoring.retraining.record import AblationRecord
    from cai.authoring.retraining.verify import ablation_problems
    from cai.evaluation.verify import verify_evaluation
    from cai.training.folder import verify_run

    record = AblationRecord.read(folder)
    problems, counts = ablation_problems(record), Counter(files=len(record.data) + 1)
    for step in record.steps:
        place = folder / step["folder"]
        if step["step"] == "train":
            files, found = verify_run(place)
            counts["trainings"] += 1
        else:
            files, _, found = verify_evaluation(place)
            counts["evaluations"] += 1
        counts["files"] += files
        problems += [f"{step['folder']}/{problem}" for problem in found]
    hint = "Delete the folders that differ, and run the same cai ablate command again."
    return dict(counts), problems[:most], len(problems), hint
