"""`cai redteam`: attacks on a constitution's principles, and which of them a model falls for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.cli.config_options import config_options
from cai.cli.content import with_principles
from cai.cli.defaults import constitution_option
from cai.cli.eval import EvaluationProgressLine, evaluated_model
from cai.cli.output import counted, json_option, print_json, print_table, warn
from cai.cli.roles import ModelLoader, load_options
from cai.errors import UsageError
from cai.evaluation.redteam.config import RedteamConfig

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cai.evaluation.redteam.run import Redteaming, RedteamModels
    from cai.types import Constitution


@click.command("redteam")
@constitution_option
@click.option(
    "--model", "-m", required=True,
    help="The generator, which writes the attacks; named as a model of `cai eval` is.",
)  # fmt: skip
@click.option(
    "--target",
    default=None,
    help="The model under attack, which answers.  [default: none, attacks are only written]",
)
@click.option(
    "--judge",
    default=None,
    help="The model that judges the target's replies by the constitution.  [default: --model]",
)
@click.option(
    "--principle", "principles", multiple=True, metavar="ID",
    help="Attack this principle alone; may be given several times.  [default: all]",
)  # fmt: skip
@click.option(
    "--out", "-o", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/redteam"),
    show_default=True, help="The folder to write; its parent holds the store.",
)  # fmt: skip
@config_options(RedteamConfig)
@load_options
@json_option
@click.option("--quiet", "-q", is_flag=True, help="No progress and no summary.")
def command(
    constitution: str, model: str, target: str | None, judge: str | None,
    principles: tuple[str, ...], out: Path, as_json: bool, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Write prompts that tempt a model to break each principle, and see which ones do.

    The generator writes attacks on each principle, a benign twin of each, and what a user says to
    press on. They become suites for `cai eval`. With --target they are asked at once: attacks after
    which the judge finds the principle broken go to slipped.jsonl, as prompts for `cai build-data`.
    The same command goes on after an interruption.

    \b
    cai redteam -m Qwen/Qwen3-4B -n 20 -o runs/redteam
    cai redteam -m Qwen/Qwen3-4B --target runs/dpo --judge http://gpu:8000/v1 --samples 4
    cai eval runs/sft runs/dpo --suite runs/redteam/redteam.yaml
    cai build-data -m runs/dpo -p runs/redteam/slipped.jsonl -o runs/next
    """
    from cai.constitution.load import load_constitution

    names = RedteamConfig.__dataclass_fields__
    config = RedteamConfig(**{name: options[name] for name in names})
    rules = with_principles(load_constitution(constitution), principles)
    redteaming = _redteam(rules, (model, target, judge), out, config, options, quiet)
    if as_json:
        print_json({"folder": str(out), **redteaming.record})
    elif not quiet:
        _print(redteaming, out)


def _redteam(
    constitution: Constitution, names: tuple[str, str | None, str | None], out: Path,
    config: RedteamConfig, options: dict[str, Any], quiet: bool,
) -> Redteaming:  # fmt: skip
    from cai.data.run_log import run_log
    from cai.evaluation.redteam.record import require_redteam_folder, write_redteam
    from cai.evaluation.redteam.run import redteam, redteam_facts
    from cai.store.store import Store

    models = _models(names, options)
    facts = redteam_facts(constitution, models, config)
    require_redteam_folder(out, facts)
    out.parent.mkdir(parents=True, exist_ok=True)
    with (
        Store.open(out.parent / "store.sqlite") as store,
        run_log(out, "cai redteam", {"id": facts["id"], "out": str(out)}),
        EvaluationProgressLine(quiet=quiet) as line,
    ):
        redteaming = redteam(constitution, models, store, config, progress=line)
        write_redteam(out, redteaming)
    for text in redteaming.record["warnings"]:
        warn(text, prefix="Warning: ")
    return redteaming


def _models(
    names: tuple[str, str | None, str | None], options: dict[str, Any]
) -> RedteamModels:  # fmt: skip
    from cai.evaluation.redteam.run import RedteamModels

    generator, target, judge = (evaluated_model(name) if name else None for name in names)
    assert generator is not None
    if judge is not None and target is None:
        raise UsageError("--judge reads the replies of --target, and there is none")
    loader = ModelLoader(options, {one for one in (generator, target, judge) if one is not None})
    return RedteamModels(
        loader.backend(generator),
        loader.backend(target) if target else None,
        loader.backend(judge) if judge else None,
    )


def _print(redteaming: Redteaming, out: Path) -> None:
    """What came of each principle, what is missing, and where everything is."""
    record = redteaming.record
    asked = record["target"] is not None
    columns = ["principle", "attacks", "diversity", "twins", "pressure"]
    columns += (
        ["slipped through", "under pressure", "twins flagged", "twins refused"] if asked else []
    )
    rows = []
    for row in record["principles"]:
        cells = [
            row["principle"], f"{row['kept']} of {row['wanted']}",
            "–" if row["diversity"] is None else f"{row['diversity']:.2f}",
            str(row["twins"]), str(row["pressure"]),
        ]  # fmt: skip
        if asked:
            names = ("slipped", "slipped_under_pressure", "twins_flagged", "over_refused")
            cells += [_share(row[name]) for name in names]
        rows.append(cells)
    print_table(columns, rows)
    _print_missing(record["principles"])
    click.echo(f"\nwritten  {out}")
    suites = " ".join(f"--suite {out / suite.id}.yaml" for suite in redteaming.suites)
    click.echo(f"evaluate cai eval MODEL {suites}")
    if redteaming.slips:
        click.echo(
            f"build    cai build-data -p {out / 'slipped.jsonl'}"
            f"  ({counted(len(redteaming.slips), 'prompt')})"
        )  # fmt: skip


def _print_missing(rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        if row["missing"]:
            reasons = ", ".join(
                f"{count} {reason}"
                for reason, count in sorted(row["dropped"].items(), key=lambda entry: -entry[1])
            )
            click.echo(
                f"\n{row['principle']}: {row['missing']} missing after"
                f" {counted(row['tries'], 'request')}; dropped: of"
                f" {counted(row['read'], 'line')}, {reasons or 'none'}"
            )  # fmt: skip


def _share(share: Mapping[str, Any]) -> str:
    if not share["n"]:
        return "–"
    return f"{share['count']} of {share['n']} ({share['low']:.0%}–{share['high']:.0%})"
