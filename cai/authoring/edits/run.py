"""From the verdicts on a build to drafts: what was rejected, tests, wordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from cai.audit.runs import BuiltRun, item_of
from cai.authoring.attempt import run_tasks
from cai.authoring.edits.config import EditsConfig
from cai.authoring.edits.draft_tests import DraftTest, TestsDrafted, accepted_test, draft_tests
from cai.authoring.edits.drafts import EditDrafts, draft
from cai.authoring.edits.faults import (
    AuditedRecord,
    PrincipleFault,
    audited_records,
    faults_of,
)
from cai.authoring.edits.halves import held_out_families
from cai.authoring.edits.proof import EditProof, ProofSet
from cai.authoring.edits.readings import PrincipleReading, readings
from cai.authoring.edits.rewording import DraftWording, reword
from cai.authoring.inverse.parts import drawn
from cai.backends.base import Backend
from cai.content import shown
from cai.data.verdicts import Verdict
from cai.errors import CaiError, DataError, Interrupted
from cai.pipeline.build import Models
from cai.pipeline.drive import PromptTask
from cai.store.store import Store
from cai.types import (
    Comparison,
    Constitution,
    Message,
    Principle,
    PrincipleTest,
    Prompt,
    Trace,
)


@dataclass(frozen=True, slots=True)
class Rejections:
    """What auditors made of a build.

    items: of the build. audited: those that they accepted or rejected. unknown: verdicts on texts
    that the build does not hold. faults: record id → what was concluded from its rejection.
    held_out: prompt families that no critic is shown. principles: those of the constitution that
    the drafts are for, by id. gone: principles of the build that it no longer has; changed: those
    that have other wordings there than in the build.
    """

    run: str
    items: int
    audited: tuple[AuditedRecord, ...]
    unknown: int
    faults: Mapping[str, tuple[PrincipleFault, ...]]
    readings: tuple[PrincipleReading, ...]
    held_out: frozenset[str]
    principles: Mapping[str, Principle]
    gone: tuple[str, ...]
    changed: tuple[str, ...]

    @property
    def all_faults(self) -> list[PrincipleFault]:
        """Those of all records, in their order."""
        return [fault for one in self.audited for fault in self.faults[one.id]]

    def is_held_out(self, audited: AuditedRecord) -> bool:
        """Whether no critic is shown the record."""
        return audited.family in self.held_out


@dataclass(frozen=True, slots=True)
class WordingsDrafted:
    """Wordings by principle, and why others have none."""

    drafts: Mapping[str, DraftWording]
    refused: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class EditsProposed:
    """All that came of the verdicts on a build.

    drafts: None where there is nothing to draft. prompts: those held out, where a critic was asked.
    proof: None where it was not asked for.
    """

    rejections: Rejections
    tests: TestsDrafted
    wordings: WordingsDrafted
    drafts: EditDrafts | None
    prompts: tuple[Prompt, ...] = ()
    proof: EditProof | None = None


def read_rejections(
    run: BuiltRun, verdicts: Sequence[Verdict], constitution: Constitution, seed: int
) -> Rejections:
    """What the verdicts on a build say of its principles.

    constitution: the one that is to be edited. Raises `DataError` where no verdict is on this
    build, where none accepts or rejects, and where nothing was rejected.
    """
    keys: set[str] = set()

    def keyed() -> Iterator[tuple[str, Trace | Comparison]]:
        for record in run.records():
            key = item_of(record).key
            keys.add(key)
            yield key, record

    audited = audited_records(keyed(), verdicts)
    unknown = len({(v.item, v.author) for v in verdicts if v.item not in keys})
    _require_rejection(run, verdicts, audited, keys)
    principles = {m.principle.id: m.principle for m in constitution.members}
    faults = {one.id: faults_of(one, principles) for one in audited}
    took_part = dict.fromkeys(name for one in audited for name in one.principles)
    before = {str(p["id"]): str(p.get("digest", "")) for p in run.principles}
    return Rejections(
        run=run.id,
        items=len(keys),
        audited=tuple(audited),
        unknown=unknown,
        faults=faults,
        readings=tuple(readings(audited, faults, dict.fromkeys((*before, *took_part)))),
        held_out=held_out_families(audited, faults, seed),
        principles=principles,
        gone=tuple(name for name in took_part if name not in principles),
        changed=tuple(
            name for name in took_part
            if name in principles and before.get(name) != principles[name].digest
        ),
    )  # fmt: skip


def _require_rejection(
    run: BuiltRun, verdicts: Sequence[Verdict], audited: Sequence[AuditedRecord], keys: set[str]
) -> None:
    folder = shown(run.folder)
    on_it = [v for v in verdicts if v.item in keys]
    if verdicts and not on_it:
        first = verdicts[0]
        raise DataError(
            f"none of the {len(verdicts)} verdicts is on an item of {folder}; the first is on"
            f" {first.record} of the run {first.run}",
            hint="Name the run that was audited. A verdict holds for the texts that were shown: a"
            " build with other texts needs an audit of its own.",
        )
    if not any(one.rejected for one in audited):
        read = f"{len(audited)} of its items were accepted" if audited else "no item was accepted"
        raise DataError(
            f"nothing in {folder} was rejected ({read}), so there is nothing to learn from",
            hint=f"Go on reading with: cai audit serve {folder}",
        )


def tests_by_rule(rejections: Rejections, only: Iterable[str] = ()) -> TestsDrafted:
    """Tests made of the rejections. only: of these principles; of all where none is named."""
    names = set(only) or rejections.principles.keys()
    faults = [fault for fault in rejections.all_faults if fault.principle in names]
    return draft_tests(faults, rejections.principles)


def wordings_by(
    critic: Backend,
    rejections: Rejections,
    store: Store,
    config: EditsConfig,
    template: str,
    only: Sequence[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> WordingsDrafted:
    """Ask a critic for other wordings of the principles that went wrong.

    Each is asked once, and shown records that are not held out. only: these principles, also where
    a rejection only may be about them. template: of the kind `reword`. Answers are kept in the
    store. Raises `Interrupted` on Ctrl-C, and what a model raises.
    """
    models = Models.all(critic)
    draws = replace(config.draws, reasoners=models.reasoners)
    wrong = dict.fromkeys(fault.principle for fault in rejections.all_faults)
    names = [name for name in only or wrong if name in rejections.principles]
    drafts: dict[str, DraftWording] = {}
    refused: dict[str, str] = {}
    tasks: list[PromptTask[DraftWording | str]] = []
    for name in names:
        rejected, accepted = shown_records(rejections, name, config, unclear=bool(only))
        if not rejected:
            refused[name] = "all rejections of it are held out, or none is about it"
            continue
        principle = rejections.principles[name]
        steps = reword(principle, rejected, accepted, template, draws)
        prompt = Prompt(f"reword/{name}", (Message("user", principle.title),), principle.path)
        tasks.append(PromptTask(name, prompt, steps))

    def finish(task: PromptTask[DraftWording | str], reply: DraftWording | str) -> None:
        if isinstance(reply, str):
            refused[task.name] = reply
        else:
            drafts[task.name] = reply
        progress(len(drafts) + len(refused), len(names))

    def give_up(task: PromptTask[DraftWording | str], error: CaiError) -> None:
        refused[task.name] = error.message
        progress(len(drafts) + len(refused), len(names))

    try:
        run_tasks(tasks, models, finish=finish, give_up=give_up, store=store)
    except KeyboardInterrupt:
        raise Interrupted(
            f"Stopped: {len(drafts)} of {len(names)} wordings are there.",
            hint="They are kept. Run the same command again to resume.",
        ) from None
    in_order = {name: drafts[name] for name in names if name in drafts}
    return WordingsDrafted(in_order, {n: refused[n] for n in names if n in refused})


def drafts_of_edits(
    path: Path, tests: TestsDrafted, wordings: WordingsDrafted
) -> EditDrafts | None:
    """The drafts of a constitution's files; None where there is nothing to draft.

    path: of the constitution.
    """
    by_principle: dict[str, list[DraftTest]] = {}
    for one in tests.drafts:
        by_principle.setdefault(one.principle, []).append(one)
    if not by_principle and not wordings.drafts:
        return None
    return draft(path, wordings.drafts, by_principle)


def shown_records(
    rejections: Rejections, name: str, config: EditsConfig, *, unclear: bool
) -> tuple[list[AuditedRecord], list[AuditedRecord]]:
    """The rejected and the accepted records that the critic is shown of a principle.

    unclear: also rejections that it took part in and that are not clearly about any principle.
    """
    shown = [
        one for one in rejections.audited
        if name in one.principles and not rejections.is_held_out(one)
    ]  # fmt: skip
    about = [
        one for one in shown
        if any(fault.principle == name for fault in rejections.faults[one.id])
        or (unclear and one.rejected and not rejections.faults[one.id])
    ]  # fmt: skip
    accepted = [one for one in shown if not one.rejected]
    return (
        drawn(about, config.examples, config.seed),
        drawn(accepted, config.examples, config.seed),
    )


def proof_sets(
    rejections: Rejections, drafts: Iterable[DraftTest], names: Iterable[str],
    config: EditsConfig, *, any_shown: bool,
) -> dict[str, dict[ProofSet, list[PrincipleTest]]]:  # fmt: skip
    """Principle → the texts that a proof runs on. any_shown: whether a critic was shown any."""
    out: dict[str, dict[ProofSet, list[PrincipleTest]]] = {}
    of_rejected = list(drafts)
    for name in names:
        principle = rejections.principles[name]
        own = [one for one in of_rejected if one.principle == name]
        held = [d for d in own if not any_shown or rejections.is_held_out(d.audited)]
        accepted = [
            one for one in rejections.audited
            if name in one.principles and not one.rejected
            and (not any_shown or rejections.is_held_out(one))
        ]  # fmt: skip
        agreed = [one for one in accepted if accepted_test(one, principle) is not None]
        kept = [
            test for one in drawn(agreed, config.limit, config.seed)
            if (test := accepted_test(one, principle)) is not None
        ]  # fmt: skip
        out[name] = {
            "rejected, held out": [draft.test for draft in held],
            "accepted, held out": kept,
            "rejected, shown": [draft.test for draft in own if draft not in held],
            "own tests": list(principle.tests),
        }
    return out


def held_out_prompts(rejections: Rejections, limit: int) -> list[Prompt]:
    """Prompts that no critic was shown, those of rejected records first, each once."""
    held = [one for one in rejections.audited if rejections.is_held_out(one)]
    ordered = sorted(held, key=lambda one: not one.rejected)
    return list({one.record.prompt.id: one.record.prompt for one in ordered}.values())[:limit]
