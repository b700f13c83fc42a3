"""The teacher of on-policy distillation: the start of the policy, behind the constitution.

Teacher and policy are one base. The teacher's weights are those that the policy started from,
frozen (the base alone, or a copy of the adapter that it started from), so that all it knows better
stands in its prompt. With the bare base as the teacher of a policy that starts from an adapter,
what that adapter learned would be unlearned. What stands in the prompt is called a lesson, and
there are three kinds:

constitution: a system message with all principles (context distillation: Askell et al. 2021, arXiv
2112.00861; on the policy's own responses: Ye et al. 2026, arXiv 2602.12275).
principle: the same with one principle, drawn by weight.
revision: the policy's own response, a critique of it under a drawn principle, and the request for a
revision, as in `cai.pipeline.revise` (feedback on one's own attempt as the teacher's context:
Hübotter et al. 2026, arXiv 2601.20802). The teacher writes the critique. A response without a
problem is left alone, as in a build.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from cai.constitution import messages
from cai.errors import PromptError
from cai.models.backbone import Backbone
from cai.text import seeds
from cai.text.critiques import read_critique
from cai.text.encode import Encoder
from cai.training.config import DistillConfig
from cai.training.rollout import EncodedPrompt, Response, generate_responses
from cai.training.samplers import sample_shared
from cai.types import Constitution, CritiqueOutcome, Message, Messages, Principle

_HELLO: Messages = (Message("user", "Hello."),)


@dataclass(frozen=True, slots=True)
class Lesson:
    """What the teacher reads in front of a response.

    ids: up to where the response begins; empty if nothing is taught about it. principle: the id of
    the one that was drawn; "" for all. critique: its text, and outcome, how it was read (None
    without one).
    """

    ids: tuple[int, ...]
    principle: str = ""
    critique: str = ""
    outcome: CritiqueOutcome | None = None

    @property
    def record(self) -> dict[str, Any]:
        """What `rollouts.jsonl` says of it."""
        return {
            **({"principle": self.principle} if self.principle else {}),
            **({"critique": self.critique, "outcome": self.outcome} if self.outcome else {}),
            "taught": bool(self.ids),
        }


class Teacher(Protocol):
    """Makes lessons."""

    def longest(self, prompt: Messages) -> int:
        """Most tokens that may stand in front of a response to the prompt.

        Raises `PromptError` for a prompt that can't be encoded.
        """
        ...

    def lessons(self, responses: Sequence[Response], update: int) -> list[Lesson]:
        """The lesson about each response. All processes call it, with the same responses."""
        ...


def make_teacher(
    backbone: Backbone, adapter: str | None, constitution: Constitution, settings: DistillConfig
) -> Teacher:
    """The teacher that `settings.teacher` names. adapter: its weights; None for the base alone."""
    if settings.teacher == "revision":
        return RevisingTeacher(backbone, adapter, constitution, settings)
    return InstructedTeacher(backbone.encoder, constitution, settings)


class InstructedTeacher:
    """A teacher that reads principles as a system message: all of them, or one for each prompt."""

    def __init__(
        self, encoder: Encoder, constitution: Constitution, settings: DistillConfig
    ) -> None:
        self.encoder = encoder
        self.constitution = constitution
        self.seed = settings.seed
        members = constitution.members
        self._draws = settings.teacher == "principle"
        self._all = tuple(m.principle for m in members)
        self._by_id = {m.principle.id: m.principle for m in members}
        self._weights = {m.principle.id: m.weight for m in members}
        choices = [(p,) for p in self._all] if self._draws else [self._all]
        self._longest = max(choices, key=lambda some: len(self._ids(some, _HELLO)))

    def longest(self, prompt: Messages) -> int:
        """As in `Teacher`."""
        return len(self._ids(self._longest, prompt))

    def lessons(self, responses: Sequence[Response], update: int) -> list[Lesson]:
        """As in `Teacher`."""
        return [self._lesson(response.prompt, update) for response in responses]

    def _lesson(self, prompt: EncodedPrompt, update: int) -> Lesson:
        if not self._draws:
            return Lesson(self._ids(self._all, prompt.messages))
        name = seeds.draw(self._weights, self.seed, prompt.id, "teacher", update)
        return Lesson(self._ids((self._by_id[name],), prompt.messages), name)

    def _ids(self, principles: Sequence[Principle], prompt: Messages) -> tuple[int, ...]:
        return self.encoder.encode(messages.taught(self.constitution, principles, prompt)).ids


class RevisingTeacher:
    """A teacher that reads the response, a critique of it, and the request to revise it.

    The principle is drawn from the phase `sl`, by weight where the plan draws `weighted`, whatever
    rounds it is for: there is one. Without critiques in the plan (`critique: false`) the request
    alone follows the response. The critic is greedy: two critiques of one response would differ by
    chance, and the policy would be taught the difference.
    """

    def __init__(
        self,
        backbone: Backbone,
        adapter: str | None,
        constitution: Constitution,
        settings: DistillConfig,
    ) -> None:
        self.backbone = backbone
        self.encoder = backbone.encoder
        self.adapter = adapter
        self.constitution = constitution
        self.settings = settings
        self._reasoning = settings.max_reasoning_tokens if self.encoder.template.reasons else 0
        weighted = constitution.plan.draw == "weighted"
        members = constitution.phase("sl")
        self._by_id = {m.principle.id: m.principle for m in members}
        self._weights = {m.principle.id: m.weight if weighted else 1.0 for m in members}
        self._longest = max(
            self._by_id.values(),
            key=lambda p: len(self._revision_ids(p, _answered(_HELLO, ""), "")),
        )

    def longest(self, prompt: Messages) -> int:
        """As in `Teacher`: with a response and a critique of the most tokens."""
        s = self.settings
        frame = self._revision_ids(self._longest, _answered(prompt, ""), "")
        critique = s.critique_tokens if self.constitution.plan.critique else 0
        return len(frame) + s.max_new_tokens + critique

    def lessons(self, responses: Sequence[Response], update: int) -> list[Lesson]:
        """As in `Teacher`; the critiques of all responses are sampled together."""
        drawn = [
            seeds.draw(self._weights, self.settings.seed, r.prompt.id, "teacher", update)
            for r in responses
        ]
        if not self.constitution.plan.critique:
            return [self._lesson(r, name, None) for r, name in zip(responses, drawn, strict=True)]
        critiques = self._critiques(responses, drawn, update)
        return [
            self._lesson(response, name, critiques.get(i, ""))
            for i, (response, name) in enumerate(zip(responses, drawn, strict=True))
        ]

    def _critiques(
        self, responses: Sequence[Response], drawn: Sequence[str], update: int
    ) -> dict[int, str]:
        """A critique of each response, by its index; none of one that leaves no room for it."""
        s = self.settings
        room = self.backbone.context - s.critique_tokens - self._reasoning - 1
        prompts = []
        for i, (response, name) in enumerate(zip(responses, drawn, strict=True)):
            conversation = _answered(response.prompt.messages, response.text)
            request = messages.critique(self.constitution, self._by_id[name], conversation)
            with contextlib.suppress(PromptError):
                ids = self.encoder.encode(request).ids
                if len(ids) <= room:
                    prompts.append((EncodedPrompt(f"{i}/critique", request, ids), i))
        written = sample_shared(prompts, lambda some: generate_responses(
            self.backbone, self.adapter, some, s.critique_tokens, 0.0, s.seed, update,
            self._reasoning, s.rollout_slots,
        ))  # fmt: skip
        return {i: _clean(r.text) for (_, i), r in zip(prompts, written, strict=True)}

    def _lesson(self, response: Response, name: str, critique: str | None) -> Lesson:
        """critique: None where the plan asks for none."""
        plan, outcome = self.constitution.plan, None
        shown = critique
        if critique is not None:
            outcome = read_critique(critique, self.constitution.no_problem)
            if outcome != "problem" and plan.skip_revision_if == "critique_none":
                return Lesson((), name, critique, outcome)
            shown = critique if outcome in ("problem", "no-problem") else None
        ids: tuple[int, ...] = ()
        with contextlib.suppress(PromptError):
            conversation = _answered(response.prompt.messages, response.text)
            ids = self._revision_ids(self._by_id[name], conversation, shown)
        if len(ids) + len(response.ids) > self.backbone.context:
            ids = ()  # a text that takes more tokens than it was sampled in
        return Lesson(ids, name, critique or "", outcome)

    def _revision_ids(
        self, principle: Principle, conversation: Messages, critique: str | None
    ) -> tuple[int, ...]:
        critique = critique if self.constitution.plan.critique else None
        request = messages.revision(self.constitution, principle, conversation, critique)
        return self.encoder.encode(request).ids


def _answered(prompt: Messages, text: str) -> Messages:
    """The prompt with a response, as the critic reads it."""
    return (*prompt, Message("assistant", _clean(text)))


def _clean(text: str) -> str:
    """A sampled text without the character that no encoder takes."""
    return text.replace("\0", "\ufffd")
