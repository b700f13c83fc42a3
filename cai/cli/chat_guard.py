"""The guard of `cai chat`: answers in a speaker's place, and says what it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from cai.cli.loaded_models import LoadedModels

if TYPE_CHECKING:
    from cai.guard.answer import GuardedAnswer
    from cai.guard.config import GuardMode
    from cai.types import Constitution, FinishReason, Generation, Messages, Sampling

_DONE = {
    "revised": "revised",
    "chosen": "chosen",
    "withheld": "withheld",
    "replaced": "an unusable revision was left out",
    "unguarded": "the guard failed, so this is the answer as it is",
}


class ChatGuard:
    """Guards the answers of every speaker, who critiques and judges them as well."""

    def __init__(self, constitution: Constitution, mode: GuardMode, models: LoadedModels) -> None:
        self._constitution, self._mode, self._models = constitution, mode, models
        self.last: GuardedAnswer | None = None

    @classmethod
    def load(cls, constitution: str, mode: GuardMode, models: LoadedModels) -> Self:
        """Load the constitution by name or path."""
        from cai.constitution.load import load_constitution

        return cls(load_constitution(constitution), mode, models)

    def answer(self, speaker: str, messages: Messages, sampling: Sampling) -> Generation:
        """The guarded answer. Raises `CaiError` if there is none."""
        from dataclasses import replace

        from cai.guard.config import GuardConfig
        from cai.guard.model import GuardedModel
        from cai.guard.request import AnswerRequest

        self.last = None
        config = GuardConfig(mode=self._mode, sampling=sampling)
        model = GuardedModel(self._constitution, self._models.backend(speaker), config)
        self.last = model.answer(AnswerRequest(messages, seed=sampling.seed))
        finish: FinishReason = "length" if self.last.finish_reason == "length" else "stop"
        return replace(self.last.original, text=self.last.text, finish_reason=finish)

    def notes(self) -> list[str]:
        """A line for each thing that the guard did to the last answer."""
        if self.last is None:
            return []
        lines = []
        for item in self.last.interventions:
            under = f" under {item.principle_id}" if item.kind == "revised" else ""
            lines.append(f"({_DONE[item.kind]}{under}: {item.reason}; /why shows more)")
        return lines

    def explanation(self) -> list[str]:
        """The model's own answer, each critique, and what was made of it."""
        if self.last is None:
            return []
        trace, lines = self.last.trace, [f"The model's own: {self.last.original.text}"]
        for comparison in self.last.comparisons:
            other = comparison.responses[1].text
            lines.append(f"Better with probability {comparison.probability:.2f} than: {other}")
        for revision in trace.revisions:
            if revision.critique is not None:
                lines.append(f"{revision.principle_id}: {revision.critique.text}")
            if revision.text is not None:
                lines.append(f"Revision: {revision.text}")
        if trace.withheld is not None:
            lines.append(f"Withheld: {trace.withheld.reason}")
        if worst := sorted(self.last.principles.items(), key=lambda item: item[1])[:3]:
            scores = ", ".join(f"{name} {p:.2f}" for name, p in worst)
            lines.append(f"Least probability of no problem: {scores}")
        return lines
