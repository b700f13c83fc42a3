"""`cai verify`: recompute every digest of a run."""

from __future__ import annotations

from pathlib import Path

import click

from cai.errors import DataError


@click.command("verify", short_help="Recompute every digest of a run.")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--most", type=int, default=20, show_default=True, help="Problems to name at most.")
def command(run_dir: Path, most: int) -> None:
    """Recompute every digest of the run in RUN_DIR, such as runs/first.

    Files against the manifest; every row's prompt and responses against its record in the store
    beside the run's folder; every step and record of the store against the digest it was kept
    with. Exit code 4 where anything differs.
    """
    from cai.data.manifest import Manifest
    from cai.data.verify import verify
    from cai.store.store import Store
    from cai.text.terminal import visible

    folder = run_dir.resolve()
    Manifest.read(folder)
    with Store.open(folder.parent / "store.sqlite", read_only=True) as store:
        found = verify(folder, store, limit=most)
    for problem in found.problems:
        click.echo(visible(problem))
    if found.total > len(found.problems):
        click.echo(f"… and {found.total - len(found.problems)} more")
    if found.total:
        raise DataError(
            f"{found.total} differences in {run_dir}",
            hint="Export the run again by running its build-data command; where the store itself "
            "was changed, restore a copy of it.",
        )
    click.echo(
        f"{run_dir}: {found.files} files, {found.rows} rows and {found.steps} steps are as "
        "they were written."
    )
