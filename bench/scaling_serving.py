"""Memory and speed of model servers by the roofline, and the hours of a build on them.

Prefill is bound by FLOP/s, decoding by memory bandwidth (or, in large batches, by FLOP/s). A
replica does one after the other, which is what chunked prefill costs at worst.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from scaling_models import GLM_AIR, LLAMA_8B, LLAMA_70B, Shape, constant

SCORING = ("check", "judgement")
"""Stages whose answers are scored; vLLM computes a prompt whose log-probabilities are asked for in
full, whatever its prefix cache has (vllm-project/vllm#17251)."""


@dataclass(frozen=True)
class Work:
    """What a prompt of a build asks of the models, on average.

    read, uncached, scored_whole: prompt tokens without a prefix cache, with one, and with one
    that scoring can't use. written: tokens generated, in so many generations. context: prompt
    tokens of one. sequence: tokens of the longest sequence. steps: results in the store. store:
    their bytes. requests: those that a server gets.
    """

    read: float
    uncached: float
    scored_whole: float
    written: float
    generations: float
    context: float
    sequence: float
    steps: float
    store: float
    requests: float

    @classmethod
    def of(cls, record: dict[str, Any], response_tokens: int) -> Work:
        """The averages of one measured build."""
        prompts, stages = record["prompts"], record["stages"]

        def total(key: str, *, scoring: bool | None = None) -> float:
            counted = (s for n, s in stages.items() if scoring in (None, n in SCORING))
            return float(sum(s[key] for s in counted) / prompts)

        read, cached = total("read"), total("cached")
        generations = total("requests", scoring=False)
        return cls(
            read=read,
            uncached=read - cached,
            scored_whole=read - total("cached", scoring=False),
            written=total("written"),
            generations=generations,
            context=total("read", scoring=False) / generations,
            sequence=record["longest"] + response_tokens,
            steps=record["steps"] / prompts,
            store=record["store_bytes"] / prompts,
            requests=total("requests"),
        )

    @property
    def by_cache(self) -> tuple[float, float, float]:
        """Prompt tokens computed: without a prefix cache, with vLLM's, with one for all."""
        return self.read, self.scored_whole, self.uncached


@dataclass(frozen=True)
class Layout:
    """A model on some GPUs: replicas of `tensor_parallel` GPUs each.

    weight_bytes: of a parameter; 2 for bfloat16, 1 for FP8.
    """

    shape: Shape
    gpus: int
    tensor_parallel: int
    weight_bytes: int

    @property
    def replicas(self) -> int:
        """Servers."""
        return self.gpus // self.tensor_parallel

    @property
    def name(self) -> str:
        """Such as `4 × TP 2, bfloat16`."""
        dtype = "FP8" if self.weight_bytes == 1 else "bfloat16"
        return f"{self.replicas} × TP {self.tensor_parallel}, {dtype}"

    @property
    def weights(self) -> int:
        """Bytes of a replica's weights."""
        return self.shape.parameters * self.weight_bytes

    @property
    def cache_tokens(self) -> int:
        """Tokens that a replica's KV cache holds."""
        memory = constant("memory") * constant("memory_share") - constant("workspace")
        return int((self.tensor_parallel * memory - self.weights) // self.shape.cache_bytes)

    def sequences(self, length: float) -> int:
        """Sequences of this length that a replica works on at once."""
        return int(min(constant("sequences"), self.cache_tokens // length))

    @property
    def _flops(self) -> float:
        share = constant("prefill_moe" if self.shape.experts else "prefill")
        peak = constant("flops") * self.tensor_parallel * (2 if self.weight_bytes == 1 else 1)
        return peak * share * (constant("parallel") if self.tensor_parallel > 1 else 1)

    def prefill(self, context: float) -> float:
        """Prompt tokens that a replica computes in a second, at this mean length of a prompt."""
        return self._flops / self.shape.forward_flops(context / 2)

    def step_seconds(self, sequences: int, context: float) -> float:
        """Seconds of a decoding step in which each sequence gets a token."""
        shape = self.shape
        cold = shape.parameters - shape.vocabulary * shape.hidden - shape.expert_parameters
        # The share of experts that at least one of the tokens is sent to, if all are alike.
        used = (
            1 - (1 - shape.experts_per_token / shape.experts) ** sequences if shape.experts else 0
        )
        read = (cold + used * shape.expert_parameters) * self.weight_bytes
        read += sequences * context * shape.cache_bytes
        bandwidth = constant("bandwidth") * constant("decode") * self.tensor_parallel
        computed = sequences * shape.forward_flops(context) / self._flops
        reduced = 2 * shape.layers * constant("all_reduce") if self.tensor_parallel > 1 else 0
        return max(read / bandwidth, computed) + reduced + constant("step")

    def decode(self, work: Work) -> float:
        """Tokens that a replica generates in a second."""
        sequences = self.sequences(work.sequence)
        context = work.context + work.written / work.generations / 2
        return sequences / self.step_seconds(sequences, context)

    def seconds(self, work: Work, computed: float) -> float:
        """Seconds of all replicas together for a prompt of a build.

        computed: prompt tokens of `work.by_cache`.
        """
        prefill = computed / self.prefill(work.context)
        return (prefill + work.written / self.decode(work)) / self.replicas


def layouts() -> Iterator[Layout]:
    """Each model on 1, 8 and 64 GPUs: the smallest replica that leaves room for 100 sequences.

    On one GPU the larger models fit in FP8 alone.
    """
    for gpus in (1, 8, 64):
        yield Layout(LLAMA_8B, gpus, 1, 2)
    for shape, tensor_parallel in ((LLAMA_70B, 2), (GLM_AIR, 4)):
        yield Layout(shape, 1, 1, 1)
        for gpus in (8, 64):
            yield Layout(shape, gpus, tensor_parallel, 2)
