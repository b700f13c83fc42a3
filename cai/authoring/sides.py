"""The two sides of a diff: what each is, how it is read, and how it is built."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cai.authoring.changes import ConstitutionValues, content_of
from cai.authoring.committed import PREFIX, load_committed, parse_commit_file
from cai.constitution.load import load_constitution
from cai.content import enclosing_project, find_constitution, packaged, project_root, shown
from cai.data.manifest import NAME
from cai.errors import UsageError
from cai.pipeline.build import BuildConfig, Models, Progress, build
from cai.pipeline.steps import BuildStage
from cai.store.records import Run
from cai.store.store import Store
from cai.types import Constitution, Prompt, SetAside, Trace

DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Side:
    """One side: a constitution to build with, or the folder of a run to read."""

    label: str
    content: ConstitutionValues
    constitution: Constitution | None = None
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class StepCounts:
    """Steps of a build by stage: made anew by this command, and taken from the store."""

    made: Counter[BuildStage]
    taken: Counter[BuildStage]


def read_sides(before: str, after: str) -> tuple[Side, Side]:
    """Both sides: a constitution's path or name, the folder of a run, or `git:REV[:FILE]`.

    A commit whose file is not named is asked for the other side's, else for the project's default.
    """
    names = {"before": before, "after": after}
    files = {k: _file(v) for k, v in names.items() if not _is_commit(v) and not _is_run(v)}
    named = next(iter(files.values()), None)
    sides = [
        _committed(text, named) if _is_commit(text)
        else _run(Path(text)) if _is_run(text)
        else _loaded(files[name])
        for name, text in names.items()
    ]  # fmt: skip
    return sides[0], sides[1]


def build_side(
    side: Side,
    prompts: Iterable[Prompt | SetAside],
    store: Store,
    models: Models,
    config: BuildConfig,
    *,
    name: str,
    source: str,
    progress: Callable[[Progress], None],
) -> tuple[Run, StepCounts]:
    """Build with a side's constitution, and count what had to be made. Arguments as `build`."""
    assert side.constitution is not None
    made: Counter[BuildStage] = Counter()

    def look(now: Progress) -> None:
        made.clear()
        made.update(now.tally.generated)
        progress(now)

    run = build(side.constitution, prompts, store, models, config,
                name=name, source=source, progress=look)  # fmt: skip
    return run, StepCounts(made, _steps(store, run.id) - made)


@contextmanager
def opened(side: Side) -> Iterator[tuple[Store, str]]:
    """The store of a side that is a run, for reading, and the run's id."""
    from cai.audit.runs import open_run

    assert side.folder is not None
    with open_run(side.folder) as run:
        if run.kind != "build":
            raise UsageError(f"{side.label} is a run of `cai train`",
                             hint="Give two runs of cai build-data.")  # fmt: skip
        name = run.id
    with Store.open(side.folder.parent / "store.sqlite", read_only=True) as store:
        yield store, name


def _steps(store: Store, run_id: str) -> Counter[BuildStage]:
    """The steps of all records of a run, by stage."""
    out: Counter[BuildStage] = Counter()
    for trace in store.traces(run_id):
        out += _steps_of(trace)
    for comparison in store.comparisons(run_id):
        out["pair"] += len(comparison.responses)
        out["judgement"] += sum(len(j.scores) for j in comparison.judgements)
        out["reasoning"] += sum(len(j.reasoning) for j in comparison.judgements)
    return out


def _steps_of(trace: Trace) -> Counter[BuildStage]:
    return Counter(
        {
            "response": 1,
            "critique": sum(r.critique is not None for r in trace.revisions),
            "revision": sum(r.response is not None for r in trace.revisions),
            "check": len(trace.checks),
        }
    )


def _is_commit(text: str) -> bool:
    return text.startswith(PREFIX)


def _is_run(text: str) -> bool:
    return (Path(text) / NAME).is_file()


def _file(text: str) -> Path:
    if Path(text).is_dir():
        raise UsageError(
            f"{text} is a folder without a run",
            hint="Give a constitution's file or name, the folder of a run, or git:REV.",
        )
    return find_constitution(text)


def _loaded(file: Path) -> Side:
    constitution = load_constitution(file)
    return Side(shown(file), content_of(constitution), constitution)


def _committed(text: str, other: Path | None) -> Side:
    """A commit's constitution. `other` is the file of the other side, where it has one."""
    project, default = enclosing_project(Path.cwd()), DEFAULT
    if other is not None and text.count(":") == 1:  # no file is named
        if other.is_relative_to(packaged()) and project != packaged():
            raise UsageError(
                f"{other.stem} came with cai: no commit of this project has it",
                hint="Copy the content into your project with: cai init",
            )
        project = project_root(other)
        default = other.absolute().relative_to(project).as_posix()
    if project is None:
        raise UsageError(
            "There is no project here: no constitution/ in this folder or above it",
            hint="Run it in the project whose commits are meant.",
        )
    constitution = load_committed(parse_commit_file(text, default), project)
    return Side(constitution.path, content_of(constitution), constitution)


def _run(folder: Path) -> Side:
    """A run's constitution as its store remembers it."""
    folder = folder.resolve()
    side = Side(shown(folder), {}, folder=folder)
    with opened(side) as (store, run_id):
        return Side(side.label, store.run(run_id).constitution, folder=folder)
