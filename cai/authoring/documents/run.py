"""From a constitution to documents on its principles: `cai build-documents`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from cai.authoring.documents.config import DocumentsConfig
from cai.authoring.documents.write import requests, without_duplicates, write
from cai.backends.base import Backend
from cai.content import shipped_source
from cai.digest import digest
from cai.errors import CaiError, Interrupted, StoreError
from cai.pipeline.build import Progress
from cai.pipeline.drive import PromptTask, Tally, drive
from cai.pipeline.run_record import make_run
from cai.pipeline.steps import Draws
from cai.store.records import Run
from cai.store.store import Store
from cai.types import Constitution, Generate, SetAside, Trace

_COMMIT_SECONDS = 0.05


def documents_run(
    constitution: Constitution, model: Backend, config: DocumentsConfig, name: str
) -> Run:
    """The record of a run of documents: the same one for the same texts, settings and model."""
    template = constitution.templates.document or shipped_source("document")
    settings = {
        "seed": config.seed,
        "documents": {**config.values, "template": digest(template)},
    }
    return make_run(constitution, {"generator": model}, settings, config.sampling, name)


def build_documents(
    constitution: Constitution,
    model: Backend,
    store: Store,
    config: DocumentsConfig,
    *,
    name: str = "documents",
    progress: Callable[[Progress], None] = lambda _: None,
    wait: bool = False,
) -> Run:
    """Have a model write documents on every principle, and record each as a trace of the run.

    Every text is kept in the store as it comes, so the same call resumes, and after an edit of one
    principle only its documents are written anew. What is recorded does not depend on the order in
    which they come. wait: as in `cai.pipeline.build.build`. Raises `ModelError` where the model
    can't write, `Interrupted` on Ctrl-C.
    """
    asked = list(requests(constitution, config))
    draws = _draws(config, model)
    model.verify([Generate(asked[0].prompt.messages, draws.sampling(asked[0].prompt, "document"))])
    run = documents_run(constitution, model, config, name)
    tally = Tally(total=len(asked))
    written: dict[str, Trace] = {}

    def tasks() -> Iterator[PromptTask[Trace]]:
        for one in asked:
            yield PromptTask(
                f"document/{one.prompt.id}", one.prompt, write(one, draws, config.min_tokens)
            )

    def finish(task: PromptTask[Trace], trace: Trace) -> None:
        written[task.prompt.id] = trace

    def give_up(task: PromptTask[Trace], error: CaiError) -> None:
        store.put_set_aside(run.id, task.prompt.id, SetAside(task.prompt.id, error.message))

    def tick() -> None:
        spent = model.throughput
        progress(
            Progress(
                tally, spent.prompt_tokens, spent.response_tokens, spent.cached_tokens, spent.cost
            )
        )

    with store.lock(wait=wait):
        store.put_run(run)
        store.add_event(run.id, "started", {"documents": len(asked)})
        try:
            with store.grouped(_COMMIT_SECONDS) as commits:
                drive(
                    tasks(), {"generator": model}, store, tally,
                    finish=finish, give_up=give_up, tick=tick, commits=commits,
                )  # fmt: skip
        except KeyboardInterrupt:
            store.add_event(run.id, "interrupted", tally.plain())
            raise Interrupted(
                f"Stopped: {tally.finished} of {tally.total} documents are written and kept.",
                hint="Run the same command again to resume.",
            ) from None
        except Exception as error:
            with suppress(StoreError):
                store.add_event(run.id, "failed", {"error": str(error), **tally.plain()})
            raise
        _record(store, run, [written[one.prompt.id] for one in asked if one.prompt.id in written])
        store.add_event(run.id, "finished", tally.plain())
    return run


def _record(store: Store, run: Run, traces: list[Trace]) -> None:
    """Record the documents, at once: which are near duplicates is known when all are there."""
    with store.transaction():
        for trace in without_duplicates(traces):
            if not store.has_record(run.id, "trace", trace.prompt.id, 0):
                store.put_trace(run.id, trace)


def _draws(config: DocumentsConfig, model: Backend) -> Draws:
    return replace(config.draws, reasoners=frozenset({"generator"} if model.info.reasons else ()))
