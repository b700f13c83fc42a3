"""`cai ablate`: what of a run's data depends on each principle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.authoring.retraining.config import RetrainingConfig
from cai.cli.audit import RUN
from cai.cli.config_options import config_options
from cai.cli.output import counted, json_option, print_json
from cai.cli.roles import load_options, models_of
from cai.errors import UsageError

if TYPE_CHECKING:
    from cai.authoring.ablation import Ablation
    from cai.pipeline.build import Models
    from cai.store.records import Run
    from cai.store.store import Store
    from cai.types import Prompt

_RETRAINING = RetrainingConfig.__dataclass_fields__
_ROLES = ("generator", "critic", "judge")


@click.command("ablate")
@RUN
@click.option(
    "--principle", "-k", "names", multiple=True, metavar="ID",
    help="Leave out this principle alone; may be given several times.  [default: each in turn]",
)  # fmt: skip
@models_of(None)
@load_options
@config_options(RetrainingConfig)
@click.option(
    "--out", "-o", type=click.Path(path_type=Path, file_okay=False), default=Path("runs/ablation"),
    show_default=True, help="With --train: the folder of the trainings and their evaluations.",
)  # fmt: skip
@click.option(
    "--dry-run", is_flag=True, help="With --train: show the commands and the time; run none."
)
@json_option
@click.option("--wait", is_flag=True, help="Wait for another build on the same store to finish.")
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    run_dir: Path, names: tuple[str, ...], out: Path, dry_run: bool, as_json: bool, wait: bool,
    quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Show what of a run's data depends on each principle: rows, labels, flags, lengths, revisions.

    RUN is the folder of a run of `cai build-data`. Its procedures are replayed without the
    principle, with the answers that are in the store, and both sides are compared prompt by prompt.
    No model is asked unless one is named: without one, the answers that are missing are counted.
    With --model, which must be the run's own, they are made and stored, and an interrupted call
    resumes.

    With --train, a model is also trained on the data with all principles, on the data without each,
    and on as many rows drawn at random; all are measured on the same items. Every training is a
    command of its own, with its own folder and record; the same command goes on after an
    interruption.

    \b
    cai ablate runs/first
    cai ablate runs/first --principle harm.ethics --json
    cai ablate runs/first --model miniature
    cai ablate runs/first --train dpo --suite over-refusal --suite harmful --seeds 3
    """
    from cai.data.documents import is_documents
    from cai.data.served import is_served
    from cai.store.store import Store

    suites = options.pop("suite")
    settings = {name: options.pop(name) for name in _RETRAINING if name != "suite"}
    config = RetrainingConfig(**settings, suite="\n".join(suites) or None)
    asks = options["model"] is not None
    if not asks and any(options[f"{role}"] for role in ("adapter", "critic", "judge")):
        raise UsageError("a critic, a judge or an adapter is named, and no --model")
    if dry_run and config.train is None:
        raise UsageError("--dry-run shows what --train would do, and there is no --train")
    place, run_id = _store_of(run_dir)
    makes = asks and config.train is None
    with Store.open(place, read_only=not makes) as store:
        run = store.run(run_id)
        if is_served(run.config):
            raise UsageError(
                f"{run_dir} is the folder of a guard, whose answers were given to users",
                hint="Give the folder of a run of cai build-data.",
            )
        if is_documents(run.config):
            raise UsageError(
                f"{run_dir} holds documents, each written on one principle alone",
                hint="Give the folder of a run of cai build-data.",
            )
        chosen = _chosen(run, names)
        found = measured(store, run, chosen, quiet=quiet)
        if makes and any(ablation.steps for ablation in found):
            with store.lock(wait=wait):
                _make(store, run, found, options, quiet=quiet)
            found = measured(store, run, chosen, quiet=quiet)
    if config.train is not None:
        from cai.cli import ablate_train

        ablate_train.run(
            run_dir, place, run, found, config, out, dry_run=dry_run, as_json=as_json, quiet=quiet
        )
        return
    if as_json:
        from cai.cli.ablate_text import ablation_values

        constitution = f"{run.constitution['id']} {run.constitution['version']}"
        ablations = [ablation_values(ablation) for ablation in found]
        print_json({"run": run.id, "constitution": constitution, "ablations": ablations})
        return
    from cai.cli.ablate_text import print_ablations

    print_ablations(found, run, str(run_dir))


def _store_of(run_dir: Path) -> tuple[Path, str]:
    """The store of a run's folder, and the run's id."""
    from cai.content import shown
    from cai.data.manifest import Manifest
    from cai.errors import StoreError

    manifest = Manifest.read(run_dir)
    folder = run_dir.resolve()
    place = folder.parent / "store.sqlite"
    if not place.is_file():
        raise StoreError(
            f"there is no store {shown(place)} for the run {shown(folder)}",
            hint="A run's folder belongs beside the store.sqlite that it was built with.",
        )
    return place, str(manifest.run["id"])


def measured(store: Store, run: Run, chosen: Sequence[str], *, quiet: bool) -> list[Ablation]:
    """The run with and without some principles, from what is stored; shows how it goes on."""
    from cai.authoring.ablation import ablate
    from cai.cli.live import LiveLine

    total = sum(store.counts(run.id)[kind] for kind in ("trace", "comparison"))
    with LiveLine(quiet=quiet) as show:
        return ablate(
            store, run, chosen,
            progress=lambda done: show.update(f"{done} of {total} records replayed"),
        )  # fmt: skip


def _chosen(run: Run, names: Iterable[str]) -> list[str]:
    """The principles to leave out, in the order of the constitution."""
    from difflib import get_close_matches

    ids = [str(principle["id"]) for principle in run.constitution.get("principles", ())]
    for name in names:
        if name not in ids:
            close = get_close_matches(name, ids, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"It has: {', '.join(ids)}."
            raise UsageError(f"the constitution of {run.id} has no principle {name!r}", hint=hint)
    return [name for name in ids if name in names] if names else ids


def _make(
    store: Store, run: Run, found: Iterable[Ablation], options: dict[str, Any], *, quiet: bool
) -> None:
    """Build the run without each principle for which an answer is missing."""
    from cai.authoring.ablation import without
    from cai.authoring.ablation_replay import config_of
    from cai.cli.progress import BuildProgress
    from cai.cli.roles import make_models
    from cai.pipeline.build import build
    from cai.pipeline.snapshot import constitution_of

    constitution, config = constitution_of(run.constitution), config_of(run)
    if constitution.plan.fewshot:
        raise UsageError(
            f"{run.id} used few-shot examples, which its record of the constitution lacks",
            hint="Without --model the run is replayed all the same; cai diff builds both sides.",
        )
    templates = [model.get("template", {}) for model in run.config["models"].values()]
    dates = [template["date"] for template in templates if template.get("date")]
    options = {**options, "max_reasoning_tokens": config.max_reasoning_tokens}
    options["date"] = options["date"] or next(iter(dates), None)
    models = make_models(options)
    _require_same(run, models)
    prompts = _prompts(store, run)
    todo = [ablation for ablation in found if ablation.steps]
    for number, ablation in enumerate(todo, 1):
        with BuildProgress(quiet=quiet) as show:
            steps = counted(ablation.steps, "step")
            show.say(f"[{number}/{len(todo)}] without {ablation.principle}: {steps} or more")
            build(
                without(constitution, ablation.principle), prompts.values(), store, models, config,
                name=f"{run.name}-without-{ablation.principle}",
                source=run.config["prompts"]["source"], progress=show,
            )  # fmt: skip


def _require_same(run: Run, models: Models) -> None:
    """Raise `UsageError` where a model is not the one that the run was built with."""
    for role in _ROLES:
        info, recorded = models.by_role[role].info, run.config["models"][role]  # type: ignore[index]
        same = info.fingerprint == recorded["fingerprint"]
        if not same or dict(info.template) != recorded.get("template", {}):
            raise UsageError(
                f"the {role} of {run.id} is {recorded['name']}, and {info.name} is not the same:"
                f" its {'template differs' if same else 'weights or their dtype differ'}",
                hint="Name the models of the run: --model, --critic, --judge and their adapters,"
                " with the same --dtype, --thinking and --template-arg.",
            )


def _prompts(store: Store, run: Run) -> Mapping[str, Prompt]:
    """The prompts of a run's records, by id; those that were set aside have none."""
    from cai.data.counts import in_order

    records = in_order(store.traces(run.id), store.comparisons(run.id))
    return {record.prompt.id: record.prompt for record in records}
