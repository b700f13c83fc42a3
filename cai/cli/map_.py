"""`cai map`: how the principles of a constitution relate, by the verdicts of a run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from cai.cli.audit import RUN
from cai.cli.audit_verdicts import read_share
from cai.cli.output import json_option, print_json
from cai.content import shown
from cai.errors import DataError, UsageError

if TYPE_CHECKING:
    from cai.authoring.smaller import SmallerConstitution
    from cai.relations.principle_map import PrincipleMap


@click.command("map")
@RUN
@click.option(
    "--most", callback=read_share, default="5%", show_default=True, metavar="SHARE",
    help="For a smaller set of principles: the most labels, as a share, that it may change.",
)  # fmt: skip
@click.option(
    "--propose", type=click.Path(path_type=Path, dir_okay=False), default=None, metavar="FILE",
    help="Write the smaller set as a constitution, beside the one that the run was built with.",
)  # fmt: skip
@click.option(
    "--constitution", "-c", default=None,
    help="For --propose: the run's constitution, a file or a name.  [default: the run's id of it]",
)  # fmt: skip
@click.option(
    "--rows", "row_count", type=click.IntRange(min=0), default=3, show_default=True,
    help="Contradictions to print of each of the five pairs of principles with the most.",
)  # fmt: skip
@json_option
def command(
    run_dir: Path,
    most: float,
    propose: Path | None,
    constitution: str | None,
    row_count: int,
    as_json: bool,
) -> None:
    """Show how the principles of a run's constitution relate: which agree, contradict, add nothing.

    RUN is the folder of a run of `cai build-data`. Its stored verdicts are read; no model is asked.
    What rests on too few of them is called so.

    \b
    cai map runs/first
    cai map runs/first --json > map.json
    cai map runs/first --most 2% --propose constitution/smaller.yaml
    """
    from cai.audit.runs import BuiltRun, open_run

    with open_run(run_dir) as run:
        if not isinstance(run, BuiltRun):
            raise UsageError(
                f"{run_dir} is no run of cai build-data: it has no verdicts of principles",
                hint="Give the folder of such a run; cai runs lists them.",
            )
        found = run.principle_map
        title, digest = run.facts["constitution"], run.constitution_digest
        if not found.pairs and not found.responses:
            raise DataError(
                f"{run_dir} has no pair and no response that two principles judged",
                hint="Pairs are judged by several where `feedback.principles_per_pair` is all, or"
                " above 1; final responses where `plan.check` is true.",
            )
        run_id = run.id
    smaller = None
    if propose is not None:
        file = constitution or title.partition(" ")[0]
        smaller = _propose(found, most, propose, file, digest)
    if as_json:
        from cai.relations.values import map_values

        steps = found.smaller_set(most)
        values = {"run": run_id, "constitution": title, **map_values(found)}
        values["smaller_set"] = {
            "most": most,
            "without": [step.principle for step in steps],
            "file": None if smaller is None else shown(smaller.file),
        }
        print_json(values)
        return
    from cai.cli.map_text import print_map

    print_map(found, f"{title} in {run_id}", run_dir, row_count, most, smaller)


def _propose(
    found: PrincipleMap, most: float, out: Path, constitution: str, digest: str
) -> SmallerConstitution:
    from cai.authoring.smaller import write_smaller
    from cai.content import find_constitution

    steps = found.smaller_set(most)
    if not steps:
        raise UsageError(
            f"no principle can be left out with at most {most:.0%} of the labels changed,"
            " so nothing is proposed",
            hint="cai map without --propose says why; allow more with --most.",
        )
    file = find_constitution(constitution)
    return write_smaller(file, digest, [step.principle for step in steps], out)
