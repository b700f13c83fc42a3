"""`cai lock`: the version and digest of all content, written down to be held to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cai.cli.output import counted, json_option, print_json
from cai.errors import UsageError

if TYPE_CHECKING:
    from cai.constitution.lock import LockEntry


@click.command("lock")
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(path_type=Path))
@json_option
def command(folder: Path, as_json: bool) -> None:
    """Write cai.lock of the project around DIR: commit it with the content.

    From then on `cai lint` compares the content with it: a changed text without a new version, or
    a version that is not the locked one, is a problem. Builds record the same digests.

    \b
    cai lock
    """
    from cai.constitution.lint import default_paths, lock_entries
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
    items = lock_entries(paths)
    before, damage = read_lock(root)
    write_whole(root / NAME, lock_text(items))
    now = {(item.kind, item.id): item for item in items}
    old = before or {}
    new = sum(key not in old for key in now)
    changed = [(old[key], now[key]) for key in sorted(now) if old.get(key, now[key]) != now[key]]
    gone = sorted(old.keys() - now.keys())
    if as_json:
        print_json(
            {
                "file": str(root / NAME),
                "entries": len(now),
                "new": new,
                "changed": [
                    {"kind": b.kind, "id": b.id, "before": a.version, "after": b.version}
                    for a, b in changed
                ],
                "removed": [{"kind": kind, "id": name} for kind, name in gone],
                "damage": [problem.message for problem in damage],
            }
        )
        return
    click.echo(
        f"wrote {shown(root / NAME)}: {counted(len(now), 'entry', 'entries')}, {new} new,"
        f" {len(changed)} changed, {len(gone)} removed"
    )
    for problem in damage:
        click.echo(f"  the old file was not read: {problem.message}")
    for then, item in changed:
        click.echo(f"  {item.kind} {item.id}: {_change(then, item)}")
    for kind, name in gone:
        click.echo(f"  {kind} {name}: removed")


def _change(then: LockEntry, now: LockEntry) -> str:
    if now.changed_without_version(then):
        return f"another text, still version {now.version}"
    step = f"{then.version} to {now.version}"
    return f"{step}, a lower version" if now.is_older_than(then) else step
