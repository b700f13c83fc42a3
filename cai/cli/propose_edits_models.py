"""The part of `cai propose edits` that asks models: wordings, and the proof of the drafts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cai.authoring.changes import content_of
from cai.authoring.edits.config import EditsConfig
from cai.authoring.edits.proof import EditProof, prove_effect, prove_texts
from cai.authoring.edits.run import (
    EditsProposed,
    Rejections,
    drafts_of_edits,
    held_out_prompts,
    proof_sets,
    wordings_by,
)
from cai.authoring.sides import Side
from cai.backends.base import Backend
from cai.cli.diff import silent
from cai.cli.live import LiveLine
from cai.cli.progress import BuildProgress
from cai.cli.roles import make_models, named_model, role_backends, role_models
from cai.cli.unknown_words import warn_of_unknown_words
from cai.content import shown
from cai.data.files import store_errors
from cai.pipeline.build import Models
from cai.pipeline.config import BuildConfig
from cai.store.store import Store
from cai.types import Constitution


@dataclass(frozen=True, slots=True)
class ModelWork:
    """How models are asked.

    rules: the constitution to edit. file: its path. only: as in `wordings_by`. prove: whether the
    drafts are tried, too. options: of the command.
    """

    rules: Constitution
    file: Path
    config: EditsConfig
    template: str
    only: tuple[str, ...]
    prove: bool
    options: dict[str, Any]
    quiet: bool

    def add_to(self, proposed: EditsProposed, place: Path) -> EditsProposed:
        """Add wordings, and the proof if it is asked for. place: the folder of the store."""
        with store_errors(place):
            place.mkdir(parents=True, exist_ok=True)
        with (
            Store.open(place / "store.sqlite") as store,
            store.lock(wait=self.options["wait"]),
        ):
            drafter, models = self._backends()  # once nothing else can be in the way
            _warn_of_words(drafter, proposed.rejections)
            with LiveLine(quiet=self.quiet) as live:
                wordings = wordings_by(
                    drafter, proposed.rejections, store, self.config, self.template,
                    self.only,
                    lambda done, total: live.update(f"{done:,} of {total:,} principles reworded"),
                )  # fmt: skip
            proposed = replace(
                proposed,
                wordings=wordings,
                drafts=drafts_of_edits(self.file, proposed.tests, wordings),
                prompts=tuple(held_out_prompts(proposed.rejections, self.config.limit)),
            )
            if models is not None and proposed.drafts is not None:
                proposed = replace(proposed, proof=self._proof(proposed, store, models))
        return proposed

    def _backends(self) -> tuple[Backend, Models | None]:
        """Who words the drafts, and the models of a proof; None where none is asked for."""
        models = make_models(self.options) if self.prove else None
        if self.options["drafter"] is not None:
            drafter = named_model(self.options["drafter"])
        elif models is not None:
            return models.critic, models
        else:
            drafter = role_models(self.options)["critic"]
        return role_backends(self.options, {"critic": drafter})["critic"], models

    def _proof(self, proposed: EditsProposed, store: Store, models: Models) -> EditProof:
        drafts = proposed.drafts
        assert drafts is not None
        sets = proof_sets(
            proposed.rejections,
            proposed.tests.drafts,
            [file.principle for file in drafts.files],
            self.config,
            any_shown=bool(proposed.wordings.drafts),
        )
        with LiveLine(quiet=self.quiet) as live:
            texts = prove_texts(
                self.rules, drafts.constitution, sets, store, models, self.config.seed,
                lambda done, total: live.update(f"{done:,} of {total:,} texts asked"),
            )  # fmt: skip
        before = Side(shown(self.file), content_of(self.rules), self.rules)
        after = Side("the draft", content_of(drafts.constitution), drafts.constitution)
        config = BuildConfig(
            seed=self.config.seed, sft_share=0.0, pairs=1, limit=self.config.limit
        )  # fmt: skip
        diff = prove_effect(
            before, after, proposed.prompts, store, models, config, source="held-out.jsonl",
            watch=silent if self.quiet else BuildProgress,
        )  # fmt: skip
        return EditProof(texts, before, after, diff)


def _warn_of_words(drafter: Backend, rejections: Rejections) -> None:
    """Say so where the miniature is to read texts from outside of its world."""
    texts = (m.content for one in rejections.audited for m in one.record.prompt.messages)
    warn_of_unknown_words([drafter.info.name], {"the prompts": texts})
