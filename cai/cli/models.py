"""`cai models`: the training runs below a folder, each beneath the one that it started from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from cai.cli.output import json_option, print_json, print_table
from cai.text.terminal import visible

_COLUMNS = ("name", "id", "stage", "base", "status", "rows", "result", "also from")


@dataclass(frozen=True, slots=True)
class TrainedModel:
    """A training run as it is listed.

    name: its folder, seen from the one that is searched. measure, value: its main result, where
    there is one. parents: name, id, stage and part of each that it started from or was rewarded by.
    """

    name: str
    id: str
    stage: str
    base: str
    status: str
    rows: int | None
    measure: str
    value: float | None
    parents: tuple[dict[str, str], ...]

    @property
    def key(self) -> tuple[str, str]:
        """What tells it from all others that are listed: equal runs share an id."""
        return self.name, self.id

    @property
    def origin(self) -> dict[str, str] | None:
        """The run that it started from: that of its adapter, else that of its base."""
        by_part = {p["part"]: p for p in self.parents}
        return by_part.get("start", by_part.get("base"))


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A folder whose record can't be read, and why."""

    name: str
    reason: str


@click.command("models")
@click.option(
    "--runs-dir", type=click.Path(path_type=Path, file_okay=False), default=Path("runs"),
    show_default=True, help="The folder to search, with all folders in it.",
)  # fmt: skip
@json_option
def command(runs_dir: Path, as_json: bool) -> None:
    """List the training runs below a folder.

    Each run is listed below the run that it started from. The rows are those trained on. The result
    is the accuracy on held-out rows if the stage has one, else the loss on them; for PPO, the last
    mean score. A run with the status `interrupted` was ended by Ctrl-C or killed, and one with
    `failed` by an error, which its run.json and run.log name; run the same command again to resume
    either. `stopped` means that the monitors of PPO stopped it.
    """
    records = list(_records(runs_dir))
    models = [m for m in records if isinstance(m, TrainedModel)]
    unreadable = [m for m in records if isinstance(m, Unreadable)]
    if as_json:
        values = {
            "models": [asdict(m) for m in models],
            "unreadable": [asdict(m) for m in unreadable],
        }
        print_json(values)
        return
    if not records:
        where = "" if runs_dir.is_dir() else f": there is no folder {visible(str(runs_dir))}"
        click.echo(f"No models yet{where}. Train one with: cai train sft --data RUN")
        return
    if models:
        lineage = tree(models)
        indents = branches([depth for _, depth in lineage])
        rows = [_cells(m, indent) for (m, _), indent in zip(lineage, indents, strict=True)]
        last = len(_COLUMNS) if any(row[-1] for row in rows) else len(_COLUMNS) - 1
        print_table(_COLUMNS[:last], [row[:last] for row in rows])
    for one in unreadable:
        click.echo(visible(f"unreadable: {one.name}: {one.reason}"))


def _records(runs_dir: Path) -> Iterator[TrainedModel | Unreadable]:
    """Each training run below a folder, by name."""
    from cai.data.training_run import NAME, read_run
    from cai.errors import CaiError

    for file in sorted(runs_dir.rglob(NAME)):
        folder = file.parent
        name = folder.relative_to(runs_dir).as_posix()
        name = folder.resolve().name if name == "." else name
        try:
            yield _model(name, read_run(folder), folder)
        except CaiError as error:
            yield Unreadable(name, error.message)
        except KeyError as error:
            yield Unreadable(name, f"{NAME} lacks {error}")
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            yield Unreadable(name, f"{NAME} is not as it was written: {error}")


def _model(name: str, run: Mapping[str, Any], folder: Path) -> TrainedModel:
    parents = tuple(
        {key: str(parent[key]) for key in ("name", "id", "stage", "part")}
        for parent in run["parents"]
    )
    rows = run["counts"].get("trained", run["counts"].get("prompts"))
    measure, value = _result(run["results"], folder)
    return TrainedModel(
        name=name,
        id=str(run["id"]),
        stage=str(run["stage"]),
        base=str(run["base"]["name"]),
        status=_status(run, folder),
        rows=int(rows) if rows is not None else None,
        measure=measure,
        value=value,
        parents=parents,
    )


def _status(run: Mapping[str, Any], folder: Path) -> str:
    """The recorded status; a run whose process is gone is interrupted, not running."""
    from cai.data.training_run import LOCK
    from cai.store.lock import is_locked

    if run["status"] == "running" and not is_locked(folder / LOCK):
        return "interrupted"
    return str(run["status"])


def _result(results: Mapping[str, Any], folder: Path) -> tuple[str, float | None]:
    """The metric that says most about a run, and its name."""
    metrics = _last_evaluation(folder / "metrics.jsonl") | dict(results)
    side = "trained" if str(metrics.get("rows", "")).startswith("trained") else "held-out"
    for name in ("accuracy", "loss"):
        if isinstance(value := metrics.get(name), int | float):
            return f"{side} {name}", float(value)
    if isinstance(value := metrics.get("score"), int | float):
        return "score", float(value)
    return "", None


def _last_evaluation(file: Path) -> dict[str, Any]:
    """The last metrics of the held-out set; empty where there are none or the file is damaged."""
    import json

    try:
        rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
        held_out: list[dict[str, Any]] = [row for row in rows if row["held_out"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}
    return held_out[-1] if held_out else {}


def tree(models: Sequence[TrainedModel]) -> list[tuple[TrainedModel, int]]:
    """Runs in the order of their lineage, each with its depth.

    A run stands once, beneath the run that it started from. An origin that is not among them gets
    a line of its own, with its name, id and stage alone.
    """
    by_id: dict[str, list[TrainedModel]] = {}
    for model in models:
        by_id.setdefault(model.id, []).append(model)
    beneath: dict[tuple[str, str], list[TrainedModel]] = {}
    roots: dict[tuple[str, str], TrainedModel] = {}
    for model in models:
        origin = model.origin
        if origin is None:
            roots[model.key] = model
            continue
        home = _home(origin, by_id.get(origin["id"], ()))
        beneath.setdefault(home.key, []).append(model)
        if not home.status:
            roots[home.key] = home
    out: list[tuple[TrainedModel, int]] = []
    listed: set[tuple[str, str]] = set()

    def walk(model: TrainedModel, depth: int) -> None:
        if model.key in listed:
            return
        listed.add(model.key)
        out.append((model, depth))
        for child in beneath.get(model.key, ()):
            walk(child, depth + 1)

    for model in (*roots.values(), *models):  # the latter: runs whose records form a ring
        walk(model, 0)
    return out


def _home(parent: Mapping[str, str], candidates: Sequence[TrainedModel]) -> TrainedModel:
    """The run that a parent's facts mean; equal runs have one id, and their names decide."""
    namesakes = [m for m in candidates if m.name.rsplit("/", 1)[-1] == parent["name"]]
    if candidates:
        return (namesakes or list(candidates))[0]
    name = f"{parent['name']} (not here)"
    return TrainedModel(name, parent["id"], parent["stage"], "–", "", None, "", None, ())


def branches(depths: Sequence[int]) -> list[str]:
    """The lines of a tree before each of its names, from their depths in order."""
    out: list[str] = []
    open_levels: set[int] = set()  # levels at which another line follows below
    for depth in reversed(depths):
        bars = ("│ " if level in open_levels else "  " for level in range(1, depth))
        corner = "├ " if depth in open_levels else "└ "
        out.append("".join(bars) + corner if depth else "")
        open_levels = {level for level in open_levels if level < depth} | {depth}
    return out[::-1]


def _cells(model: TrainedModel, indent: str) -> tuple[str, ...]:
    others = [p for p in model.parents if p != model.origin]
    names = (dict.fromkeys((p["part"].replace("_", " "), p["name"], p["id"])) for p in others)
    also = ", ".join(dict.fromkeys(" ".join(parts) for parts in names))
    rows = "–" if model.rows is None else str(model.rows)
    name = indent + model.name
    result = "–" if model.value is None else f"{model.measure} {model.value:.3f}"
    return (name, model.id, model.stage, model.base, model.status, rows, result, also)
