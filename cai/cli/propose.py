"""`cai propose`: drafts for a person to read, made of what people preferred."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cai.authoring.inverse.config import InverseConfig
from cai.cli.config_options import config_options
from cai.cli.defaults import constitution_option
from cai.cli.output import counted, json_option, print_json, warn
from cai.cli.propose_edits import command as edits_command
from cai.cli.roles import load_options, models_of
from cai.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cai.authoring.inverse.run import InverseModels, PrinciplesFound
    from cai.data.training_rows import PairRow
    from cai.types import Constitution, Principle, SetAside


@click.group("propose", short_help="Propose principles, and edits of them.")
def command() -> None:
    """Propose drafts, which a person reads, edits and adopts; nothing is applied.

    \b
    cai propose principles --data pairs.jsonl
    cai propose edits runs/first
    """


command.add_command(edits_command)


@command.command("principles", short_help="Principles that explain the labels of pairs.")
@click.option(
    "--data", "-d", "data", multiple=True, required=True, type=click.Path(path_type=Path),
    help="Pairs with a label: a file that `cai train dpo` reads, or the folder of a run; may be"
    " given several times.",
)  # fmt: skip
@click.option(
    "--from", "sources", multiple=True, metavar="PRINCIPLE",
    help="Candidates that there are already: a file, a folder, or an id in the constitution; may be"
    " given several times. No model then writes, unless --requests is given.",
)  # fmt: skip
@click.option(
    "--audited",
    is_flag=True,
    help="Of a run, only the comparisons that auditors decided, with their label.",
)
@constitution_option
@models_of("miniature")
@click.option(
    "--template", type=click.Path(path_type=Path, dir_okay=False), default=None,
    help="Another wording of the request to the critic, in Jinja.  [default: the shipped"
    " constitution/templates/propose.j2]",
)  # fmt: skip
@click.option(
    "--write", type=click.Path(path_type=Path, file_okay=False), default=None, metavar="FOLDER",
    help="Write the chosen principles as drafts, and a constitution that names them.",
)  # fmt: skip
@click.option(
    "--name", default="proposed", show_default=True,
    help="Id of that constitution, and the first part of new principles' ids.",
)  # fmt: skip
@config_options(InverseConfig)
@load_options
@click.option(
    "--runs-dir", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"),
    show_default=True, help="The folder of the store that keeps the models' answers.",
)  # fmt: skip
@click.option("--wait", is_flag=True, help="Wait for another build on the same store to finish.")
@json_option
@click.option("--quiet", "-q", is_flag=True, help="No progress.")
def principles_command(
    data: tuple[Path, ...], sources: tuple[str, ...], audited: bool, constitution: str,
    template: Path | None, write: Path | None, name: str, as_json: bool, quiet: bool,
    **options: Any,
) -> None:  # fmt: skip
    """Find principles that explain why one response of each pair was chosen.

    The critic proposes rules for some pairs, or --from names principles that there are. The judge
    says how each candidate would decide other pairs, and the candidates that together explain most
    labels are chosen one by one. What is printed is measured on pairs that had no part in this, of
    prompts of their own. Answers are kept in the store; the same command goes on after an
    interruption.

    \b
    cai propose principles -d pairs.jsonl -m Qwen/Qwen3-4B --write drafts
    cai propose principles -d pairs.jsonl --from principles/ -m Qwen/Qwen3-4B
    cai propose principles -d runs/first --audited --from harm.ethics --from honesty.untruth
    """
    from cai.cli.content import find_principles
    from cai.cli.propose_text import print_found
    from cai.constitution.load import load_constitution

    config = InverseConfig(
        **{field: options[field] for field in InverseConfig.__dataclass_fields__}
    )
    _require_id(name)
    rules = load_constitution(constitution)
    principles = find_principles(sources, rules) if sources else []
    proposing = config.requests if config.requests is not None else not sources
    if not principles and not proposing:
        raise UsageError("--requests 0 proposes nothing", hint="Name principles with --from.")
    text = read_template(template, "propose")
    rows = _read(data, audited)
    if write is not None:
        _require_new(write, name)
    found = _find(rows, principles, rules, config, text, name, bool(proposing), options, quiet)
    written = None if write is None else _write(found, write, name, data)
    if as_json:
        from cai.authoring.inverse.values import found_values

        print_json({**found_values(found), "written": written})
        return
    print_found(found)
    if written is not None:
        click.echo(f"\nwritten  {counted(len(written), 'file')} to {write}")
        click.echo(f"         read them, then: cai lint {write}")


def _require_id(name: str) -> None:
    import re

    if not re.fullmatch(r"[a-z0-9]+([._-][a-z0-9]+)*", name):
        raise UsageError(f"--name {name!r} is no id", hint="Lower-case words joined by - or _.")


def read_template(file: Path | None, kind: str) -> str:
    """The text of a request's template, the shipped one where no file is named.

    Raises `ContentError` for problems in it.
    """
    from cai.constitution.load import template_problems
    from cai.content import shipped_source, shown
    from cai.errors import ContentError

    if file is None:
        return shipped_source(kind)
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(f"--template {file} can't be read: {reason}") from None
    if problems := template_problems(text, shown(file), kind):
        raise ContentError(problems)
    return text


def _read(data: Sequence[Path], audited: bool) -> list[PairRow | SetAside]:
    """The pairs of all files, those of held-out files too."""
    from cai.audit.reasons import REVERSED
    from cai.data.training import read_audited_pairs, read_pairs, training_files

    files = training_files(data, "preferences", to_train=False)
    paths = [*files.train, *files.test]
    return list(read_audited_pairs(paths, (REVERSED,)) if audited else read_pairs(paths))


def _find(
    rows: list[PairRow | SetAside], principles: list[Principle], rules: Constitution,
    config: InverseConfig, template: str, name: str, proposing: bool, options: dict[str, Any],
    quiet: bool,
) -> PrinciplesFound:  # fmt: skip
    from cai.authoring.inverse.run import find_principles_of
    from cai.cli.live import LiveLine
    from cai.data.files import store_errors
    from cai.store.store import Store

    place: Path = options["runs_dir"]
    with store_errors(place):
        place.mkdir(parents=True, exist_ok=True)
    with (
        Store.open(place / "store.sqlite") as store,
        store.lock(wait=options["wait"]),
    ):
        models = _models(options, proposing)  # once nothing else can be in the way
        _warn_of_words(models, rows)
        with LiveLine(quiet=quiet) as live:
            return find_principles_of(
                rows, principles, rules, models, store, config, template=template, name=name,
                progress=lambda what, done, total: live.update(f"{done:,} of {total:,} {what}"),
            )  # fmt: skip


def _models(options: dict[str, Any], proposing: bool) -> InverseModels:
    """The judge, and the critic where it is to propose something; nothing else is loaded."""
    from cai.authoring.inverse.run import InverseModels
    from cai.cli.roles import role_backends, role_models
    from cai.pipeline.steps import ModelRole

    chosen = role_models(options)
    needed: list[ModelRole] = ["critic", "judge"] if proposing else ["judge"]
    backends = role_backends(options, {role: chosen[role] for role in needed})
    return InverseModels(backends.get("critic"), backends["judge"])


def _warn_of_words(models: InverseModels, rows: Sequence[PairRow | SetAside]) -> None:
    """Say so where the miniature is to read pairs from outside of its world."""
    from cai.cli.unknown_words import warn_of_unknown_words
    from cai.data.training_rows import PairRow

    names = [one.info.name for one in (models.critic, models.judge) if one is not None]
    pairs = (row for row in rows if isinstance(row, PairRow))
    texts = (m.content for row in pairs for m in (*row.prompt, *row.chosen, *row.rejected))
    warn_of_unknown_words(names, {"the pairs": texts})


def _require_new(folder: Path, name: str) -> None:
    """Raise `UsageError` where a proposal of this name was written; before anything is asked."""
    if (file := folder / "constitution" / f"{name}.yaml").exists():
        raise UsageError(f"{file} is there already", hint="Choose another --write or --name.")


def _write(found: PrinciplesFound, folder: Path, name: str, data: Sequence[Path]) -> list[str]:
    """Write the drafts; the paths of the files."""
    from datetime import UTC, datetime

    from cai.authoring.inverse.drafts import drafts_of
    from cai.cli.import_ import require_loadable, write_files

    if not found.chosen:
        warn("no candidate explains labels better than a coin, so nothing is written")
        return []
    drafts = drafts_of(
        found.chosen, found.examples, found.judging, name=name,
        about=f"principles that explain preferences in {', '.join(p.name for p in data)}",
        today=datetime.now(UTC).date().isoformat(),
    )  # fmt: skip
    require_loadable(drafts.texts)
    write_files(folder, drafts.texts)
    for principle in drafts.untested:
        warn(f"{principle} has no test: no pair that it explains has a prompt of one user turn")
    return list(drafts.texts)
