"""`cai verify`: recompute every digest of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from cai.errors import DataError


@click.command("verify")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--most", type=int, default=20, show_default=True, help="Problems to name at most.")
def command(run_dir: Path, most: int) -> None:
    """Recompute every digest of the run in RUN_DIR, such as runs/first.

    Of built data: files against the manifest; every row's prompt and responses against its record
    in the store beside the run's folder; every step and record of the store against the digest it
    was kept with. Of a training run: its files, and its id against what it says it came from.
    Exit code 4 where anything differs.
    """
    from cai.data.trained import is_run

    (_training if is_run(run_dir) else _built)(run_dir.resolve(), run_dir, most)


def _built(folder: Path, given: Path, most: int) -> None:
    from cai.data.manifest import Manifest
    from cai.data.verify import verify
    from cai.store.store import Store

    Manifest.read(folder)
    with Store.open(folder.parent / "store.sqlite", read_only=True) as store:
        found = verify(folder, store, limit=most)
    _tell(
        given, found.problems, found.total,
        "Export the run again by running its build-data command; where the store itself was"
        " changed, add --repair: what is damaged is dropped and made again.",
    )  # fmt: skip
    click.echo(
        f"{given}: {found.files} files, {found.rows} rows and {found.steps} steps are as they were"
        " written."
    )


def _training(folder: Path, given: Path, most: int) -> None:
    from cai.training.folder import verify_run

    files, problems = verify_run(folder)
    _tell(given, problems[:most], len(problems), "Restore the files from a copy, or train again.")
    click.echo(f"{given}: {files} files are as they were written.")


def _tell(given: Path, problems: Sequence[str], total: int, hint: str) -> None:
    """Name the problems, and raise `DataError` where there is one."""
    from cai.text.terminal import visible

    for problem in problems:
        click.echo(visible(problem))
    if total > len(problems):
        click.echo(f"… and {total - len(problems)} more")
    if total:
        raise DataError(f"{total} difference{'s' * (total != 1)} in {given}", hint=hint)
