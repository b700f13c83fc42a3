"""`cai loop`: rounds of build, train and measure."""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.cli.chained_options import require_options
from cai.cli.config_options import config_options
from cai.cli.defaults import PROMPTS_DEFAULT, choose_prompts, constitution_option
from cai.cli.output import counted, json_option, print_json, print_table, warn
from cai.rounds.config import LoopConfig

if TYPE_CHECKING:
    from cai.chain.step import Step
    from cai.rounds.prompts import LoopPrompts
    from cai.rounds.record import LoopRecord


@click.command("loop")
@click.option(
    "--prompts", "-p", type=click.Path(path_type=Path, dir_okay=False), default=None,
    help=f"Prompts, in any format of build-data.  {PROMPTS_DEFAULT}",
)  # fmt: skip
@constitution_option
@config_options(LoopConfig)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/loop"),
    show_default=True, help="The folder of the loop; its steps write theirs in it.",
)  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Show the commands of the rounds; run none.")
@json_option
@click.option("--quiet", "-q", is_flag=True, help="No headings and no summary.")
def command(
    prompts: Path | None, constitution: str, out: Path, dry_run: bool, as_json: bool, quiet: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Build data with the policy, train on it, measure, and go on with the new policy.

    Each round builds data from the policy's own responses (a fixed judge labels them), trains the
    policy on it, and has a held-out judge compare its answers to held-out prompts with those of the
    round before. The loop ends by itself when a round is worse, or no longer better, or when its
    training is stopped by a monitor. Every step is a command of its own, with its own folder and
    record; the same command goes on after an interruption.

    \b
    cai loop -m Qwen/Qwen3-0.6B -p prompts.jsonl --held-out-judge http://gpu:8000/v1 --rounds 3
    cai loop --method sft -s over-refusal --train-options "--learning-rate 1e-4 --monitor harmful"
    """
    from cai.chain.step import require_evaluation, run_command
    from cai.constitution.load import load_constitution
    from cai.rounds.prompts import divide
    from cai.rounds.record import LoopRecord
    from cai.rounds.run import run_loop
    from cai.rounds.steps import given_evaluation

    suites = options.pop("suite")
    config = LoopConfig(**options, suite="\n".join(suites) or None)
    _require_options(config)
    file = choose_prompts(prompts)
    divided = divide(file, config)  # which says so where there is no such file
    record = LoopRecord.open(out, config, load_constitution(constitution), file)
    if given := given_evaluation(config):
        require_evaluation(given, out, partial(run_command, shows=False))
    if dry_run:
        _show(config, constitution, out, divided)
        return
    if not config.held_out_judge and not quiet:
        warn(
            "the judge that labels also measures (see --held-out-judge): what it can't see, the"
            " measure does not see either",
            prefix="Note: ",
        )
    out.mkdir(parents=True, exist_ok=True)
    run_loop(
        config, constitution, divided, record,
        say=lambda number, step: None if quiet else _heading(number, config.rounds, step),
        command=partial(run_command, shows=not as_json),
    )  # fmt: skip
    if as_json:
        print_json({"folder": str(out), **record.values})
    elif not quiet:
        _print(record, config)


def _require_options(config: LoopConfig) -> None:
    """Raise `UsageError` for options that a step would refuse, perhaps after hours."""
    for name, path in (
        ("build_options", "build-data"),
        ("train_options", f"train {config.method}"),
        ("eval_options", "eval"),
    ):
        require_options(name, config.words(name), path)


def _heading(number: int, rounds: int, step: Step) -> None:
    click.echo(f"\nround {number} of {rounds}: cai {shlex.join(step.arguments)}", err=True)


def _show(config: LoopConfig, constitution: str, out: Path, prompts: LoopPrompts) -> None:
    """The prompts of each round, and the commands."""
    from cai.rounds.steps import steps_of

    sizes = [len(some) for some in prompts.rounds]
    each = ", ".join(map(str, sizes)) if len(sizes) > 1 else f"{sizes[0]} in every round"
    click.echo(
        f"prompts  {each}; {len(prompts.held_out)} held out; {len(prompts.set_aside)} set aside"
    )
    previous = config.adapter
    for number in range(1, config.rounds + 1):
        for step in steps_of(config, constitution, out, number, previous):
            click.echo(f"round {number}  cai {shlex.join(step.arguments)}")
        previous = str(out / f"{config.method}-{number}")


def _print(record: LoopRecord, config: LoopConfig) -> None:
    """A row for each round, why the loop ended, and what to keep."""
    columns = ["round", "win rate", "from the start", "goodness", "violations", "words"]
    rows = [
        [
            str(number),
            f"{m['win_rate']:.0%} ({m['low']:.0%}–{m['high']:.0%})",
            f"{m['from_start']:.0%}",
            *(
                "–" if m[name] is None else f"{m[name]:{form}}"
                for name, form in (("goodness", ".2f"), ("violations", ".0%"), ("words", ".1f"))
            ),
        ]
        for number, m in enumerate(record.measures, 1)
    ]
    if rows:
        print_table(columns, rows)
        click.echo("\nWin rate: against the round before, by the held-out judge.")
    if record.stopped:
        click.echo(f"stopped  {record.stopped}")
    done = counted(len(record.measures), "round")
    if record.best:
        click.echo(f"keep     {record.folder / f'{config.method}-{record.best}'}  (of {done})")
    else:
        click.echo(f"keep     the start: none of {done} is shown to be better")
    click.echo(f"written  {record.folder}")
