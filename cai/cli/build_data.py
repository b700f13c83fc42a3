"""`cai build-data`: prompts and a constitution in, SFT and preference data out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.cli import gates
from cai.cli.build_estimate import build_probe_option
from cai.cli.config_file import config_file_option
from cai.cli.defaults import choose_prompts
from cai.cli.engine import engine_models, engine_options
from cai.cli.output import counted, json_option, print_json, warn
from cai.cli.roles import build_options, load_options, models_of, prompt_options
from cai.errors import UsageError
from cai.training.launcher import launched

if TYPE_CHECKING:
    from cai.data.prompts import PromptFile
    from cai.pipeline.build import Models
    from cai.store.store import Store
    from cai.types import Constitution


_NOT_SETTINGS = (
    "out",
    "replace_signed",
    "wait",
    "repair",
    "budget",
    "config",
    "dry_run",
    "probe",
    "json",
    "quiet",
)
"""Options of one call: no file sets them."""


@click.command("build-data")
@prompt_options
@models_of("miniature")
@click.option(
    "--out", "-o", type=click.Path(path_type=Path, file_okay=False), default=None,
    help="The run's folder; its parent holds the store.  [default: runs/<constitution>]",
)  # fmt: skip
@click.option(
    "--replace-signed", is_flag=True,
    help="Replace the data of --out even if it is signed off; the sign-off is then stale.",
)  # fmt: skip
@build_options
@click.option("--licence", default="unknown", help="The data's licence, for the dataset card.")
@click.option("--parquet", is_flag=True, help="Also write Parquet files beside the JSONL.")
@gates.examine_option
@click.option(
    "--judge-gate",
    is_flag=True,
    help="Stop if the judge is not shown to be better than chance on those cases (exit 5).",
)
@click.option(
    "--require-signal",
    type=float,
    default=None,
    metavar="MASS",
    help="Stop if all labels are equal, or if the judge gives less than MASS probability to the"
    " answers that it chooses from (exit 5).  [default: warn]",
)
@load_options
@engine_options
@click.option("--wait", is_flag=True, help="Wait for another build on the same store to finish.")
@click.option(
    "--repair",
    is_flag=True,
    help="First drop damaged steps from the store; they are generated again.",
)
@click.option(
    "--budget", type=click.FloatRange(min=0, min_open=True), default=None, metavar="AMOUNT",
    help="Stop when served models have cost this much, by the prices in cai.yaml (exit 9); the same"
    " command with a larger budget goes on.",
)  # fmt: skip
@config_file_option(without=_NOT_SETTINGS)
@click.option(
    "--dry-run", is_flag=True,
    help="Show what would run, what the store has of it, and its tokens, memory and time; write"
    " nothing.",
)  # fmt: skip
@build_probe_option
@json_option
@click.option("--quiet", "-q", is_flag=True, help="No progress and no summary.")
def command(
    constitution: str, prompts_file: Path | None, form: str | None, column: str | None,
    turns: str, out: Path | None, replace_signed: bool, licence: str, parquet: bool,
    examine: bool, judge_gate: bool, require_signal: float | None, wait: bool, repair: bool,
    budget: float | None, dry_run: bool, probe: bool, as_json: bool, quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Turn principle files into SFT and preference data.

    Each prompt is answered, and the answer critiqued and revised under principles drawn from the
    constitution; pairs of answers are compared under all of them. Every step is kept in a store
    beside the run: an interrupted build resumes, and a build after an edit generates only what the
    edit changed.

    With --config, settings come from a file: each has the name of its option, with underscores.

    \b
    cai build-data                                       the bundled model on bundled prompts
    cai build-data -c my/constitution.yaml -p red.jsonl -m Qwen/Qwen3-4B -o runs/red
    cai build-data -m http://127.0.0.1:8000/v1           the model of a server
    """
    from cai.cli.build_dry_run import date_of_run, show_dry_run
    from cai.cli.progress import BuildProgress
    from cai.cli.summary import print_summary, summary_values, warn_of_data
    from cai.constitution.load import load_constitution
    from cai.data.export import export, refuse_overwrite
    from cai.data.files import require_pyarrow
    from cai.data.invalid_rows import require_prompts
    from cai.data.prompts import PromptFile
    from cai.data.run_log import log, run_log
    from cai.data.signoff import refuse_signed
    from cai.pipeline.build import build, build_state
    from cai.pipeline.config import BuildConfig, with_rounds
    from cai.store.store import Store

    _refuse_launcher()
    loaded = load_constitution(constitution)
    out = out or Path("runs") / loaded.id
    config = BuildConfig(**{name: options[name] for name in BuildConfig.__dataclass_fields__})
    with_rounds(loaded, config)
    unjudged = "" if config.asks_judge(loaded) else "feedback.mode: contrast"
    examined = gates.examination_gate(
        gate=judge_gate,
        least_mass=require_signal,
        examine=examine,
        unjudged="--pairs 0" if config.pairs == 0 else unjudged,
    )
    prompts = PromptFile(
        choose_prompts(prompts_file, quiet=quiet or as_json), form=form, column=column, turns=turns
    )
    require_prompts(prompts, prompts.path.name)
    refuse_overwrite(out, parquet=parquet)
    refuse_other_runs(out, documents=False)
    if parquet:
        require_pyarrow()
    if dry_run:
        if repair:
            raise UsageError("--repair changes the store, and --dry-run writes nothing.")
        show_dry_run(loaded, prompts, out, options, examine=examine, probe=probe, as_json=as_json)
        return
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out: {out.parent} can't be made: {error.strerror}") from None
    with (
        Store.open(out.parent / "store.sqlite") as store,
        store.lock(wait=wait),
        run_log(out, f"cai build-data, {out.name}", _facts(loaded, prompts)),
    ):
        if repair:
            _repair(store)
        options["date"] = options["date"] or date_of_run(store, out.name)
        with engine_models(options) as models:  # once nothing else can be in the way
            _require_prices(models, budget)
            expected = 0.0
            if budget is not None:
                expected = _expected_cost(loaded, prompts, options, budget, examine=examine)
            if not replace_signed:
                state = build_state(
                    loaded, prompts, store, models, config, name=out.name, source=prompts.path.name
                )
                refuse_signed(out, state.run_id, parquet=parquet)
            if not quiet:
                _warn_of_unknown_words(models, loaded, prompts, config.limit)
            with BuildProgress(quiet=quiet) as show:
                run = build(
                    loaded,
                    prompts,
                    store,
                    models,
                    config,
                    name=out.name,
                    source=prompts.path.name,
                    progress=show,
                    on_examination=examined,
                    budget=budget,
                    expected_cost=expected,
                )
            lost = _lost_servers(models)
        if require_signal is not None:
            gates.require_signal(store, run.id, require_signal)
        manifest = export(store, run.id, out, parquet=parquet, licence=licence)
        log.info("run %s: %s", run.id, json.dumps(manifest.rows))
        if as_json:
            print_json(summary_values(store, run, out, manifest, lost))
        elif not quiet:
            print_summary(store, run, out, manifest, lost)
        if quiet or as_json:
            warn_of_data(manifest)


def _refuse_launcher() -> None:
    """Raise `UsageError` in one of several processes of a launcher: each would build everything."""
    launcher, size = launched()
    if size > 1:
        raise UsageError(
            f"{launcher} started {size} processes, and cai build-data is one process",
            hint="Start it alone: --engine ray spreads the models over processes and machines.",
        )


def _require_prices(models: Models, budget: float | None) -> None:
    """Raise `UsageError` for a budget if no served model has a price."""
    prices = [getattr(backend, "has_price", False) for backend in models.by_role.values()]
    if budget is not None and not any(prices):
        raise UsageError(
            "--budget needs the price of a served model, and none has one",
            hint="Give it in cai.yaml: price: {prompt: 0.10, response: 0.40}, of a million tokens.",
        )


def refuse_other_runs(out: Path, *, documents: bool) -> None:
    """Raise `UsageError` for the folder of another kind of run, whose files would be replaced.

    documents: whether what is built is documents, or the data of `cai build-data`.
    """
    from cai.content import shown
    from cai.data.documents import is_documents
    from cai.data.manifest import NAME, Manifest
    from cai.data.served import is_served, is_serving

    config = Manifest.read(out).config if (out / NAME).is_file() else None
    if is_serving(out) or (config is not None and is_served(config)):
        kind = "the folder of a guard"
    elif config is not None and is_documents(config) != documents:
        kind = "the run of a build" if documents else "a run of documents"
    else:
        return
    raise UsageError(
        f"{shown(out)} is {kind}, and this one would replace its files",
        hint="Choose another --out.",
    )


def _expected_cost(
    constitution: Constitution,
    prompts: PromptFile,
    options: dict[str, Any],
    budget: float,
    *,
    examine: bool,
) -> float:
    """The cost of a task, as `cai plan` estimates it at most; warns of a budget below the plan's.

    What the store has already is counted, too.
    """
    from cai.cli.build_estimate import estimate_build
    from cai.pipeline.build import count_tasks

    estimate = estimate_build(constitution, prompts, options, examine=examine, probe=False)
    least, most = estimate.cost or (0.0, 0.0)
    if most > budget:
        first = estimate.cost_of_examination
        text = (
            f"a whole build is estimated to cost {least:.3g} to {most:.3g}, and the budget is"
            f" {budget:g}"
        )
        if first > budget:
            text += f"; the examination of critic and judge alone costs some {first:.3g} of that"
        warn(f"{text}. It ends when the budget is spent.")
    tasks = sum(count_tasks(prompts, estimate.config).values())
    return estimate.cost_of(estimate.plan.most) / max(1, tasks)


def _lost_servers(models: Models) -> dict[str, str]:
    """Addresses of model servers that did not answer, while others went on, and why."""
    lost: dict[str, str] = {}
    for backend in models.by_role.values():
        lost |= getattr(backend, "lost_servers", {})
    return lost


def _facts(constitution: Constitution, prompts: PromptFile) -> dict[str, Any]:
    """The facts that begin the log of a build."""
    return {
        "constitution": f"{constitution.id} {constitution.version} {constitution.digest}",
        "prompts": str(prompts.path),
        "options": click.get_current_context().params,
    }


def _repair(store: Store) -> None:
    dropped = store.repair()
    steps = counted(dropped.steps, "damaged step")
    records = counted(dropped.records, "record")
    text = f"Dropped {steps}, and {records} made of them; the build generates what its run lacks."
    if not dropped:
        text = "Nothing in the store is damaged."
    warn(text, prefix="")


def _warn_of_unknown_words(
    models: Models, constitution: Constitution, prompts: PromptFile, limit: int | None
) -> None:
    """Of the bundled model: words of principles and of the user's prompts that it does not know."""
    from itertools import islice

    from cai.cli.unknown_words import contrast_requests, requests_of, warn_of_unknown_words
    from cai.types import Prompt

    usable_prompts = islice((row for row in prompts if isinstance(row, Prompt)), limit)
    warn_of_unknown_words(
        (backend.info.name for backend in models.by_role.values()),
        {
            "the principles": requests_of(constitution),
            "the two sides of contrast pairs": contrast_requests(constitution),
            "the prompts": (message.content for row in usable_prompts for message in row.messages),
        },
    )
