"""`cai propose edits`: drafts of principles and tests, made of what auditors rejected."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.authoring.edits.config import EditsConfig
from cai.cli.config_options import config_options
from cai.cli.output import counted, json_option, json_text, print_json, warn
from cai.cli.roles import load_options, models_of
from cai.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cai.audit.runs import BuiltRun
    from cai.authoring.edits.run import EditsProposed, Rejections
    from cai.data.verdicts import Verdict
    from cai.types import Constitution

HELD_OUT = "held-out.jsonl"
REPORT = "report.json"


@click.command("edits", short_help="Edits of principles, from what auditors rejected.")
@click.argument("run_dir", metavar="FOLDER", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--verdicts", "verdict_files", multiple=True, metavar="FILE",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Verdicts exported from the page; may be given several times.  [default: those in FOLDER]",
)  # fmt: skip
@click.option(
    "--only", multiple=True, metavar="ID",
    help="Draft edits of this principle alone; may be given several times.",
)  # fmt: skip
@click.option(
    "--constitution", "-c", default=None,
    help="The constitution to edit: a file or a name.  [default: the one that FOLDER names]",
)  # fmt: skip
@models_of(None)
@click.option(
    "--drafter", default=None, metavar="MODEL",
    help="The model that words the drafts, named like --model.  [default: the critic]",
)  # fmt: skip
@click.option(
    "--template", type=click.Path(path_type=Path, dir_okay=False), default=None,
    help="Another wording of the request to the critic, in Jinja.  [default: the shipped"
    " constitution/templates/reword.j2]",
)  # fmt: skip
@click.option(
    "--out", "-o", type=click.Path(path_type=Path, file_okay=False), default=None, metavar="DIR",
    help="Write the drafts to this new folder: a copy of the constitution and its principles.",
)  # fmt: skip
@click.option(
    "--prove", is_flag=True, help="Run the drafted tests and cai diff on what was held out."
)
@config_options(EditsConfig)
@load_options
@click.option(
    "--runs-dir", type=click.Path(path_type=Path, file_okay=False), default=None,
    help="The folder of the store that keeps the models' answers.  [default: that of FOLDER]",
)  # fmt: skip
@click.option("--wait", is_flag=True, help="Wait for another build on the same store to finish.")
@json_option
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def command(
    run_dir: Path, verdict_files: tuple[Path, ...], only: tuple[str, ...],
    constitution: str | None, template: Path | None, out: Path | None, prove: bool, as_json: bool,
    quiet: bool, **options: Any,
) -> None:  # fmt: skip
    """Draft edits of principles and of their tests from what auditors rejected in a build.

    FOLDER is a build with verdicts (cai audit). Shown is, principle by principle, how often its
    responses and labels were rejected and what was wrong: a false alarm, a missed flaw, a revision,
    a label. Rejected texts become drafts of tests. With --model, the critic (or --drafter) also
    proposes other wordings: it is shown half of the texts, and the other half is held out to try
    them on. Nothing is applied: --out writes a copy, and the project's own files are only read.

    \b
    cai propose edits runs/first
    cai propose edits runs/first --only respect.rudeness --out drafts
    cai propose edits runs/first -m Qwen/Qwen3-4B --out drafts --prove
    cai propose edits runs/first -m Qwen/Qwen3-4B --drafter https://host/v1#large --prove
    """
    from cai.authoring.edits.run import (
        EditsProposed,
        WordingsDrafted,
        drafts_of_edits,
        tests_by_rule,
    )
    from cai.cli import propose_edits_text as told
    from cai.cli.propose import read_template
    from cai.content import find_constitution

    config = EditsConfig(**{name: options[name] for name in EditsConfig.__dataclass_fields__})
    _require_model(options, prove, template)
    request = read_template(template, "reword")
    name, rules, rejections = _read(run_dir, verdict_files, constitution, config.seed)
    file = find_constitution(name)
    _require_known(only, rejections)
    if out is not None:
        _require_new(out, file)
    tests = tests_by_rule(rejections, only)
    wordings = WordingsDrafted({}, {})
    if options["model"] is None and options["drafter"] is None:
        drafts = drafts_of_edits(file, tests, wordings)
        proposed = EditsProposed(rejections, tests, wordings, drafts)
    else:
        from cai.cli.propose_edits_models import ModelWork

        work = ModelWork(rules, file, config, request, only, prove, options, quiet)
        store = options["runs_dir"] or run_dir.resolve().parent
        proposed = work.add_to(EditsProposed(rejections, tests, wordings, None), store)
    commands = _commands(click.get_current_context(), name, out, proposed)
    values = _values(proposed, commands)
    if out is not None:
        _write(out, proposed, values)
    if as_json:
        print_json(values)
        return
    told.print_rejections(rejections, only)
    told.print_drafts(proposed)
    if proposed.proof is not None:
        told.print_proof(proposed.proof, f"of {HELD_OUT}, seed {config.seed}")
    told.print_next(proposed, commands)


def _require_model(options: Mapping[str, Any], prove: bool, template: Path | None) -> None:
    """Raise `UsageError` for options that are about a model where it is not named."""
    if options["model"] is not None:
        return
    roles = ("adapter", "critic", "critic_adapter", "judge", "judge_adapter")
    named = [name.replace("_", "-") for name in roles if options[name]]
    named += ["prove"] if prove else []
    named += ["template"] if template and options["drafter"] is None else []
    if named:
        raise UsageError(
            f"--{named[0]} is for a model, and none is named", hint="Name one with --model."
        )


def _read(
    run_dir: Path, verdict_files: Sequence[Path], constitution: str | None, seed: int
) -> tuple[str, Constitution, Rejections]:
    """The constitution to edit, with its name, and what was rejected."""
    from cai.audit.runs import BuiltRun, open_run
    from cai.authoring.edits.run import read_rejections
    from cai.constitution.load import load_constitution

    with open_run(run_dir) as run:
        if not isinstance(run, BuiltRun) or run.holds_documents:
            raise UsageError(
                f"{run_dir} is no build: its verdicts say nothing of critiques and revisions",
                hint="Give the folder of a run of cai build-data.",
            )
        verdicts = _verdicts(run, run_dir, verdict_files)
        name = constitution or _constitution_of(run, run_dir)
        rules = load_constitution(name)
        if not {str(p["id"]) for p in run.principles} & {m.principle.id for m in rules.members}:
            raise UsageError(
                f"{rules.id} has none of the principles of {run_dir}, which was built with"
                f" {run.constitution_id}",
                hint="Name the constitution to edit with --constitution.",
            )
        return name, rules, read_rejections(run, verdicts, rules, seed)


def _verdicts(run: BuiltRun, run_dir: Path, files: Sequence[Path]) -> list[Verdict]:
    """The verdicts of these files, or else of the run's folder; at least one."""
    from cai.data.verdicts import VerdictFile, read_verdicts
    from cai.errors import DataError

    verdicts = [verdict for file in files for verdict in read_verdicts(file)]
    if not files:
        verdicts = VerdictFile(run.folder).read()
    if not verdicts:
        where = ", ".join(map(str, files)) if files else f"{run_dir} yet"
        raise DataError(f"no verdicts in {where}", hint=f"Start with: cai audit serve {run_dir}")
    return verdicts


def _constitution_of(run: BuiltRun, run_dir: Path) -> str:
    """The name of a run's constitution, where there is one of this name."""
    from cai.content import find_constitution
    from cai.errors import ContentError

    try:
        find_constitution(run.constitution_id)
    except ContentError:
        raise UsageError(
            f"{run_dir} was built with the constitution {run.constitution_id!r}, and there is none"
            " of this name here",
            hint="Name its file with --constitution.",
        ) from None
    return run.constitution_id


def _require_known(only: Sequence[str], rejections: Rejections) -> None:
    """Raise `UsageError` for a principle that is unknown, or that nobody read anything of."""
    from difflib import get_close_matches

    read = [one.principle for one in rejections.readings]
    for name in only:
        if name not in rejections.principles:
            close = get_close_matches(name, rejections.principles, n=1)
            hint = f"Did you mean {close[0]}?" if close else f"Read were: {', '.join(read)}"
            raise UsageError(f"--only: the constitution has no principle {name!r}", hint=hint)
        if name not in read:
            raise UsageError(
                f"--only: nothing that {name} took part in was read",
                hint=f"Read were: {', '.join(read)}",
            )


def _require_new(out: Path, constitution: Path) -> None:
    """Raise `UsageError` unless drafts can be written there without touching any content."""
    from cai.content import project_root

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out} is there already, and not empty", hint="Choose another --out.")
    root = project_root(constitution).resolve()
    if any(out.resolve().is_relative_to(root / part) for part in ("constitution", "principles")):
        raise UsageError(
            f"{out} is among the content of the project, where drafts would be read as content",
            hint="Choose another --out.",
        )


_SHARED = (
    "model", "adapter", "critic", "critic_adapter", "judge", "judge_adapter", "seed", "device",
    "dtype", "batch_size", "thinking", "template_args", "date",
)  # fmt: skip
"""Options that `cai test` and `cai diff` have, too."""


def _commands(
    ctx: click.Context, constitution: str, out: Path | None, proposed: EditsProposed
) -> list[str]:
    """The commands that prove the written drafts, with the models that were named here."""
    import shlex

    from cai.content import shown

    drafts = proposed.drafts
    if out is None or drafts is None:
        return []
    asked = _given(ctx)
    store = ctx.params["runs_dir"] or ctx.params["run_dir"].resolve().parent
    if asked and shown(store) != "runs":
        asked += ["--runs-dir", shown(store)]
    place = str(out / drafts.place)
    files = [str(out / file.place) for file in drafts.files]
    commands = [["cai", "lint", str(out)], ["cai", "test", *files, "-c", place, *asked]]
    if drafts.changes_model_input and proposed.prompts:
        prompts = ["--prompts", str(out / HELD_OUT), "--limit", str(len(proposed.prompts))]
        commands.append(["cai", "diff", constitution, place, *prompts, *asked])
    return [shlex.join(command) for command in commands]


def _given(ctx: click.Context) -> list[str]:
    """The shared options that were given, as arguments."""
    from click.core import ParameterSource

    out: list[str] = []
    for option in ctx.command.params:
        name = str(option.name)
        if name in _SHARED and ctx.get_parameter_source(name) != ParameterSource.DEFAULT:
            value = ctx.params[name]
            for one in value if isinstance(value, tuple) else (value,):
                out += [option.opts[0], str(one)]
    return out


def _values(proposed: EditsProposed, commands: list[str]) -> dict[str, Any]:
    """Everything, as plain values."""
    from cai.authoring.edits.values import edits_values, proof_values

    values = {**edits_values(proposed), "commands": commands, "proof": None}
    if (proof := proposed.proof) is not None:
        from cai.authoring.changes import changes
        from cai.cli.diff_json import diff_values

        differences = changes(proof.before.content, proof.after.content)
        diff = diff_values(proof.before, proof.after, differences, proof.diff, f"of {HELD_OUT}")
        values["proof"] = {"texts": proof_values(proof.texts), "diff": diff}
    return values


def _write(out: Path, proposed: EditsProposed, values: Mapping[str, Any]) -> None:
    """Write the copy, the held-out prompts and the report."""
    import json

    from cai.cli.import_ import write_files
    from cai.types import as_dicts

    drafts = proposed.drafts
    if drafts is None:
        warn(f"no draft came of the rejections, so nothing is written to {out}")
        return
    texts = dict(drafts.texts)
    if drafts.changes_model_input and proposed.prompts:
        rows = ({"id": p.id, "messages": as_dicts(p.messages)} for p in proposed.prompts)
        texts[HELD_OUT] = "".join(json.dumps(row) + "\n" for row in rows)
    texts[REPORT] = json_text(values) + "\n"
    (out / ".cai").mkdir(parents=True, exist_ok=True)  # so that it is a project of its own
    write_files(out, texts)
    click.echo(f"Wrote {counted(len(drafts.files), 'draft')} to {out}.", err=True)
