"""Who samples a rollout's responses: the policy here, or a server that is handed its adapter.

The server is in `cai.training.served_sampler`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

from torch import Tensor

from cai.models.backbone import Backbone
from cai.training.config import OnPolicyConfig
from cai.training.processes import world
from cai.training.rollout import EncodedPrompt, Response, generate_responses

DrawnPrompts: TypeAlias = Sequence[tuple[EncodedPrompt, int]]
"""Prompts, each with its epoch."""
LogProbs: TypeAlias = Callable[[Sequence[Response]], Tensor]
"""Log-probabilities of responses under the policy: float32 [B, T], as in `Rollout`."""


class ResponseSampler(Protocol):
    """Samples responses from the policy as it is now."""

    def respond(self, prompts: DrawnPrompts, update: int) -> list[Response]:
        """A response to each prompt, seeded by prompt, epoch and update. All processes call it."""
        ...

    def test(self, prompts: DrawnPrompts, logprobs: LogProbs) -> None:
        """Test, before the first step, that it samples from the policy."""
        ...

    @property
    def description(self) -> str:
        """What samples, for the record of a run; "" for the policy itself."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


def sample_shared(
    prompts: DrawnPrompts, sample: Callable[[DrawnPrompts], list[Response]]
) -> list[Response]:
    """What `sample` returns for all prompts; each process samples to its share of them.

    Their seeds are the prompts', so they do not depend on who samples them. Under sharded weights
    all sample all of them: every token needs all processes anyway.
    """
    here = world()
    if here.size == 1 or here.sharded:
        return sample(prompts) if prompts else []
    share = prompts[here.rank :: here.size]
    parts = here.gather(sample(share) if share else [])
    return [parts[i % here.size][i // here.size] for i in range(len(prompts))]


class LocalSampler:
    """Samples with the trained weights. max_reasoning_tokens: of the reasoning before an answer."""

    def __init__(
        self, backbone: Backbone, policy: str, settings: OnPolicyConfig, max_reasoning_tokens: int
    ) -> None:
        self.backbone = backbone
        self.policy = policy
        self.settings = settings
        self.max_reasoning_tokens = max_reasoning_tokens

    def respond(self, prompts: DrawnPrompts, update: int) -> list[Response]:
        """As in `ResponseSampler`; a process samples those to its share of the prompts."""
        s = self.settings
        return sample_shared(prompts, lambda some: generate_responses(
            self.backbone, self.policy, some, s.max_new_tokens, s.temperature, s.seed, update,
            self.max_reasoning_tokens, s.rollout_slots,
        ))  # fmt: skip

    def test(self, prompts: DrawnPrompts, logprobs: LogProbs) -> None:
        """No-op: there are no other weights."""

    description = ""

    def close(self) -> None:
        """No-op."""
