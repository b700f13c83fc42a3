"""What a LoRA adapter can hold, beside what its data can ask of it.

From Schulman et al. 2025, "LoRA Without Regret" (thinkingmachines.ai/blog/lora), the section on the
capacity that learning needs. A network stores about 2 bits a parameter where it is trained to the
end (Allen-Zhu and Li 2024, arXiv 2404.05405). A text asks for at most its total log-loss in the
first epoch, about 1 bit a token; a policy gradient learns about 1 bit from a whole response. Of a
pair the label alone is learned, which is 1 bit. These are upper bounds on what the data holds, and
a rule of thumb for what the adapter does: one of much less capacity learns more slowly than a full
training, and one of more gains nothing by it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cai.models.coverage import AdapterCoverage, coverage
from cai.training.trainer import LearnedUnit, StageTrainer

BITS_A_PARAMETER = 2.0
BITS_A_SIGNAL = 1.0


@dataclass(frozen=True, slots=True)
class AdapterCapacity:
    """An adapter's capacity and the data's demand, both in bits.

    trained: parameters of the adapter. signal, signals: what the data teaches by, each thing once
    however many epochs there are. coverage: the base's weights that the adapter is beside.
    """

    trained: int
    bits: float
    signal: LearnedUnit
    signals: int
    needed: float
    coverage: AdapterCoverage

    @property
    def too_small(self) -> bool:
        """Whether the data may hold more than the adapter can."""
        return self.needed > self.bits

    def rank_for_all(self, rank: int) -> int:
        """The rank at which an adapter of this shape holds all of the data; `rank` is its own."""
        return math.ceil(rank * self.needed / self.bits)


def capacity_of(trainer: StageTrainer, name: str = "policy") -> AdapterCapacity | None:
    """The capacity of the adapter that a run trains; None in full training."""
    backbone, work = trainer.backbone, trainer.workload
    if backbone.full:
        return None
    of_adapter = (p for path, p in backbone.trainable().items() if path.startswith(f"{name}."))
    trained = sum(p.numel() for p in of_adapter)
    return AdapterCapacity(
        trained=trained,
        bits=BITS_A_PARAMETER * trained,
        signal=work.signal,
        signals=work.signals,
        needed=BITS_A_SIGNAL * work.signals,
        coverage=coverage(backbone.model, name),
    )
