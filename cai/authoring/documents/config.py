"""Settings of `cai build-documents`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from cai.data.documents import KINDS
from cai.decoding import BOUNDS
from cai.errors import UsageError
from cai.evaluation.config import SampledText
from cai.options import option
from cai.types import Sampling

SAFE_KINDS = tuple(kind for kind in KINDS if kind != "example")
"""The default: models that learn from documents tend to take up what these show and warn against
(Mayne et al. 2026, arXiv 2605.13829), and an example shows an answer that breaks the principle."""


@dataclass(frozen=True, slots=True)
class DocumentsConfig(SampledText):
    """Settings of `cai build-documents`. Raises `UsageError` for a value out of range."""

    per_principle: int = option(
        20, "Documents to write on each principle.", least=1, metavar="N", short="-n"
    )
    kinds: str = option(
        ",".join(SAFE_KINDS),
        "Kinds of documents, joined by commas, of question, essay, dialogue and example; each"
        " document's is drawn. An example shows a bad answer, which is learned with the rest.",
        metavar="KINDS",
    )
    why: bool = option(
        True, "Show the writer each principle's reason; --no-why leaves it out, to compare."
    )
    temperature: float | None = option(
        None,
        "Sampling temperature.  [default: the model's own, else 1]",
        **BOUNDS["temperature"],
    )
    top_p: float | None = option(
        None,
        "Sample from the most likely tokens that together have this probability."
        "  [default: the model's own, else 1]",
        **BOUNDS["top_p"],
    )
    max_new_tokens: int = option(
        1024, "Longest document, in tokens; longer ones are left out.", least=1
    )
    min_tokens: int = option(
        64, "Shortest document, in tokens; shorter ones are left out.", least=0
    )
    max_reasoning_tokens: int = option(
        1024, "Longest reasoning before a document, in tokens, for models that reason.", least=1
    )
    seed: int = option(0, "Random seed: the same seed writes the same documents.")

    def __post_init__(self) -> None:
        SampledText.__post_init__(self)  # slots: super() would look for another class
        names = self.kinds.split(",")
        if unknown := [name for name in names if name not in KINDS]:
            raise UsageError(
                f"--kinds has no {unknown[0]!r}", hint=f"The kinds are: {', '.join(KINDS)}."
            )
        if len(set(names)) != len(names):
            raise UsageError("--kinds names a kind twice")
        if self.temperature == 0 and self.per_principle > len(names):
            raise UsageError(
                f"{self.per_principle} documents of {len(names)} kinds at temperature 0: those of"
                " one kind are all the same",
                hint="Leave --temperature out.",
            )

    @property
    def sampling(self) -> Sampling:
        """What is set for the model; its seed is the run's."""
        return Sampling(
            temperature=self.temperature,
            top_p=self.top_p,
            max_new_tokens=self.max_new_tokens,
            max_reasoning_tokens=self.max_reasoning_tokens,
            seed=self.seed,
        )

    @property
    def values(self) -> dict[str, Any]:
        """All settings; the order of the kinds, which changes nothing, is fixed."""
        return {**asdict(self), "kinds": sorted(self.kinds.split(","))}
