"""`cai lock`: the version and digest of all content, written down to be held to."""

from __future__ import annotations

from pathlib import Path

import click

from cai.errors import UsageError


@click.command("lock", short_help="Write down the version and digest of all content.")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
def command(folder: Path) -> None:
    """Write cai.lock of the project around DIR: commit it with the content.

    From then on `cai lint` holds the content to it: a text that changed without a new version, or
    a version that is not the locked one, is a problem. A build records the same digests.

    \b
    cai lock
    """
    from cai.constitution.lint import default_paths, lockable
    from cai.constitution.lock import NAME, lock_text, read_lock
    from cai.content import enclosing_project, shown
    from cai.data.files import write_whole

    root = enclosing_project(folder.absolute())
    paths = default_paths(folder.absolute())
    if root is None or not paths:
        raise UsageError(
            f"There is no constitution/ or principles/ in {folder} or above it",
            hint="Name a project's folder, or start one: cai init",
        )
    items = lockable(paths)
    before, _ = read_lock(root)
    write_whole(root / NAME, lock_text(items))
    now = {(item.kind, item.id): item for item in items}
    old = before or {}
    new = sum(key not in old for key in now)
    changed = sum(key in old and old[key] != item for key, item in now.items())
    gone = len(old.keys() - now.keys())
    click.echo(
        f"wrote {shown(root / NAME)}: {len(now)} entries, {new} new, {changed} changed, {gone} gone"
    )
