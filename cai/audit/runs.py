"""The runs that can be audited, item by item: builds, rollouts of training, and evaluations.

Of `cai build-data` the store is read, not the exported files: it has every critique and both orders
of every comparison. Of `cai train ppo` the rollouts are read, of `cai eval` the answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from cai.audit.evaluation_run import EvaluationRun
from cai.audit.items import (
    AuditItem,
    Entry,
    RunKind,
    comparison_item,
    rollout_item,
    trace_item,
)
from cai.content import shown
from cai.data import card
from cai.data.counts import RunCounts, in_order, kind_of
from cai.data.documents import is_documents
from cai.data.manifest import Manifest
from cai.data.rows import ExportedRow, ExportSettings
from cai.data.sft import LeftOut
from cai.data.signoff import data_files
from cai.data.training_run import is_run, read_run
from cai.data.verify import verify
from cai.errors import DataError, StoreError
from cai.evaluation.folder import is_redteam
from cai.evaluation.record import is_evaluation
from cai.evaluation.redteam.suites import ATTACKS
from cai.store.records import RunEvent
from cai.store.store import Store
from cai.types import Comparison, Trace

if TYPE_CHECKING:
    from cai.relations.principle_map import PrincipleMap

ROLLOUTS = "rollouts.jsonl"
CONSTITUTIONS = "constitutions.json"
"""Of a training run; `cai.training.metrics_log` writes both."""
_CONTRADICTIONS = 50  # of two principles, that a page lists


class AuditedRun(Protocol):
    """A run that can be audited.

    name: of its folder. principles: as the run's snapshot has them. draw: how they were drawn
    (`Plan.draw`); empty where they were not. facts: what the page shows at its top, label → text.
    licence: of its data, "unknown" where none is recorded. results: an evaluation's, as
    `cai.audit.answers.evaluation_values` has them; None of other runs. relations: those of the
    principles, as `cai.relations.values.map_values` has them; None where no two judged anything in
    common.
    """

    folder: Path
    name: str
    id: str
    kind: RunKind
    principles: list[dict[str, Any]]
    draw: str
    facts: dict[str, str]
    licence: str
    results: dict[str, Any] | None

    @property
    def relations(self) -> dict[str, Any] | None: ...

    def __len__(self) -> int: ...

    def problems(self) -> list[str]:
        """Differences between the run's files and what an auditor reads; mostly none."""
        ...

    def entries(self) -> Iterator[Entry]:
        """All items, in a fixed order."""
        ...

    def provenance(self) -> str:
        """Constitution, models and exclusions: sections of Markdown, for a card."""
        ...


class BuiltRun:
    """A run of `cai build-data`."""

    kind: RunKind = "build"
    results: dict[str, Any] | None = None

    def __init__(self, folder: Path, store: Store) -> None:
        manifest = Manifest.read(folder)
        self.folder = folder
        self.name = folder.name
        self.id = str(manifest.run["id"])
        self._store = store
        if self.id not in {run.id for run in store.runs()}:
            raise DataError(
                f"{store.path} has no run {self.id}: folder and store are not of one project",
                hint="Move the folder back beside the store that it was built with.",
            )
        run = store.run(self.id)
        self._sides = ExportSettings.of(run)
        constitution = run.constitution
        self.principles: list[dict[str, Any]] = constitution.get("principles", [])
        self.draw: str = (constitution.get("plan") or {}).get("draw", "")
        roles = run.config.get("models", {})
        models = dict.fromkeys(str(m.get("name")) for m in roles.values())
        sampling = "; ".join(line.removeprefix(": ").strip() for line in card.sampling_lines(roles))
        self.licence = manifest.licence
        self._record = run
        self.constitution_id = str(constitution.get("id", ""))
        self.constitution_digest = str(constitution.get("digest", ""))
        self.facts = {
            **_build_date(store.events(self.id)),
            "model": ", ".join(models) or "unknown",
            **_servers(roles),
            **({"sampling": sampling} if sampling else {}),
            "constitution": f"{constitution.get('id')} {constitution.get('version')}",
            "seed": str(run.seed),
            "run": self.id,
            **_examination(store.examination(self.id)),
        }

    @cached_property
    def principle_map(self) -> PrincipleMap:
        """How the principles relate by this run's verdicts; all of its records are read once.

        Imported here: most commands on a run do without numpy.
        """
        from cai.pipeline.snapshot import constitution_of
        from cai.relations.principle_map import principle_map

        traces, comparisons = self._store.traces(self.id), self._store.comparisons(self.id)
        return principle_map(
            constitution_of(self._record.constitution), in_order(traces, comparisons)
        )

    @property
    def relations(self) -> dict[str, Any] | None:
        """The map as the page shows it, with the clearest contradictions."""
        from cai.relations.values import map_values

        found = self.principle_map
        return map_values(found, most=_CONTRADICTIONS) if found.pairs or found.responses else None

    @property
    def holds_documents(self) -> bool:
        """Whether its traces are documents that explain principles, which nobody critiqued."""
        return is_documents(self._record.config)

    def problems(self) -> list[str]:
        """Where the exported files are not what the store holds; see `cai verify`."""
        problems = verify(self.folder, self._store, limit=3).problems
        manifest_files = Manifest.read(self.folder).files
        others = [name for name in data_files(self.folder) if name not in manifest_files]
        return [*problems, *(f"{name}: not written by cai build-data" for name in others)]

    def __len__(self) -> int:
        counts = self._store.counts(self.id)
        return counts["trace"] + counts["comparison"]

    def records(self) -> Iterable[Trace | Comparison]:
        """Traces and comparisons in the order of their prompts."""
        return in_order(self._store.traces(self.id), self._store.comparisons(self.id))

    def entries(self) -> Iterator[Entry]:
        """The items of `records`, each with the rows that it became."""
        for record in self.records():
            rows = self._sides.rows(record)
            yield Entry(
                item_of(record),
                tuple(
                    (f"{r.file}.jsonl", r.values["id"]) for r in rows if isinstance(r, ExportedRow)
                ),
                tuple(r.reason for r in rows if isinstance(r, LeftOut)),
            )

    def provenance(self) -> str:
        """Constitution, models, exclusions: as in the card of the run's own folder."""
        counts = RunCounts()
        for record in self.records():
            counts.add(record)
            rows = self._sides.rows(record)
            counts.left_out.update(r.reason for r in rows if isinstance(r, LeftOut))
        prompts = self._store.set_asides(self.id)
        counts.set_aside.update(kind_of(prompt.reason) for prompt in prompts)
        return card.provenance(self._record, counts, self._store.examination(self.id))


def _build_date(events: Sequence[RunEvent]) -> dict[str, str]:
    """The day on which the run was finished, or was last worked on, in UTC."""
    times = [e.at for e in events if e.event == "finished"] or [e.at for e in events]
    return {"built": times[-1][:10]} if times else {}


def _servers(roles: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Who served the models, as a fact about a run; nothing where they ran here."""
    places = dict.fromkeys(filter(None, (card.served_by(model) for model in roles.values())))
    return {"served by": "; ".join(places)} if places else {}


def _examination(examination: Mapping[str, Any] | None) -> dict[str, str]:
    """The judge's examination as a fact about a run; nothing where it was not asked."""
    if examination is None or not examination["judge"]["asked"]:
        return {}
    judge = examination["judge"]
    low, high = judge["interval"]
    return {"judge": f"right on {judge['right']} of {judge['asked']} ({low:.0%} to {high:.0%})"}


def item_of(record: Trace | Comparison) -> AuditItem:
    """What an auditor sees of a record of a build."""
    return trace_item(record) if isinstance(record, Trace) else comparison_item(record)


class RolloutRun:
    """The rollouts of a training run that samples its own responses, such as PPO's."""

    kind: RunKind = "rollouts"
    results: dict[str, Any] | None = None
    relations: dict[str, Any] | None = None

    def __init__(self, folder: Path) -> None:
        run = read_run(folder)
        self.folder = folder
        self.name = folder.name
        self.id = str(run.get("id"))
        constitutions = _constitutions(folder)
        self.principles: list[dict[str, Any]] = list(
            {p["id"]: p for one in reversed(constitutions) for p in one["principles"]}.values()
        )
        self.draw = ""
        self.licence = "unknown"
        self._file = folder / ROLLOUTS
        if not self._file.is_file():
            raise DataError(
                f"{shown(folder)} is a training run (stage {run.get('stage')}) without {ROLLOUTS}",
                hint="Stages that learn from the policy's own responses write it, from their first"
                " update on. Of the others, audit the data that they were trained on.",
            )
        paid_by = {
            part: ", ".join(p["name"] for p in run.get("parents", []) if p.get("part") == part)
            for part in ("reward", "constitution")
        }
        self.facts = {
            "run": self.id,
            "base": str((run.get("base") or {}).get("name")),
            **({k: v for k, v in paid_by.items() if v} or {"reward": "unknown"}),
            **(
                {"constitution": ", ".join(f"{c['id']} {c['version']}" for c in constitutions)}
                if constitutions
                else {}
            ),
            "status": str(run.get("status")),
        }
        with self._lines() as file:
            self._count = sum(1 for line in file if line.endswith(b"\n"))

    def problems(self) -> list[str]:
        """None: rollouts are read as they are."""
        return []

    def __len__(self) -> int:
        return self._count

    def _lines(self) -> BinaryIO:
        try:
            return self._file.open("rb")
        except OSError as error:
            raise DataError(f"{shown(self._file)} can't be read: {error.strerror}") from None

    def entries(self) -> Iterator[Entry]:
        """Every response, update by update."""
        with self._lines() as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):  # cut off by a kill; it will be written again
                    return
                try:
                    yield Entry(rollout_item(json.loads(line)))
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise DataError(
                        f"{shown(self._file)}:{number} is no rollout: {error!r}",
                        hint="Was it edited? cai verify tells.",
                    ) from None

    def provenance(self) -> str:
        """Nothing but the facts: the training run's own card tells the rest."""
        return ""


def _constitutions(folder: Path) -> list[dict[str, Any]]:
    """The constitutions that judged a run's rollouts, as they were read; none if none did."""
    file = folder / CONSTITUTIONS
    if not file.is_file():
        return []
    try:
        found = json.loads(file.read_bytes())
        return [{**one, "principles": list(one["principles"])} for one in found]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{shown(file)} can't be read: {error!r}", hint="Was it edited? cai verify tells."
        ) from None


@contextmanager
def open_run(folder: Path) -> Iterator[AuditedRun]:
    """A run by its folder, with its store open for reading.

    Raises `DataError` where the folder holds no run, `StoreError` where its store is missing.
    """
    if is_run(folder):
        yield RolloutRun(folder.resolve())
        return
    if is_evaluation(folder):
        yield EvaluationRun(folder.resolve())
        return
    if is_redteam(folder):
        raise DataError(
            f"{shown(folder)} is a red-teaming: its attacks.jsonl, answers.jsonl and slipped.jsonl"
            " are read as they are",
            hint=f"To audit replies to its attacks: cai eval MODEL --suite"
            f" {shown(folder / ATTACKS)}.yaml, and cai audit on what that writes.",
        )
    Manifest.read(folder)  # by the name that was given, which an error repeats
    folder = folder.resolve()
    place = folder.parent / "store.sqlite"
    if not place.is_file():
        raise StoreError(
            f"there is no store {shown(place)} for the run {shown(folder)}",
            hint="A run's folder belongs beside the store.sqlite that it was built with.",
        )
    with Store.open(place, read_only=True) as store:
        yield BuiltRun(folder, store)
