"""On-policy self-distillation: the policy learns to answer as if it had read the constitution.

    L = E_{y ~ π(·|x)} Σ_t KL( π(·|x, y_<t) ‖ π_T(·|c, x, y_<t) ) / tokens

with π the policy, which reads the prompt x alone, π_T its frozen start, and c the lesson that the
teacher reads besides (`cai.training.teacher`). Ye et al. 2026 (arXiv 2602.12275, equation 2);
Agarwal et al. 2024 (arXiv 2306.13649) on distilling on a student's own responses; Shenfeld et al.
2026 (arXiv 2601.19897) on a teacher that is the student with a demonstration.

As there, no gradient flows through the sampling of y. An update is one rollout and one optimizer
step. Every sampled token counts, also the one that ends the turn: a policy that ends where the
teacher would go on is taught so. Both distributions are taken at the temperature of the rollout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from cai.constitution.load import load_constitution
from cai.constitution.project import find_project
from cai.errors import PromptError, TrainingError
from cai.losses.distill import Direction, distillation_kl
from cai.models.backbone import Backbone
from cai.models.divergences import token_divergences
from cai.training.batches import Tokens, collate, hidden_states
from cai.training.config import DistillConfig
from cai.training.lineage import constitution_facts
from cai.training.micro_batches import Metrics, TokenBudget
from cai.training.on_policy import EVAL_SEED_STEP, OnPolicyTrainer
from cai.training.policy import load_policy
from cai.training.prompts import load_prompts
from cai.training.rollout import Response
from cai.training.served_sampler import connect_sampler
from cai.training.teacher import Lesson, Teacher, make_teacher
from cai.training.trainer import floats, require_finite
from cai.types import Constitution, Prompt, SetAside


class TeacherScorer:
    """Scores a response by minus its KL to the teacher, in nats: 0 at best.

    It is what the policy is trained on, so it says how much is left to learn. The teacher's
    log-probability would not do: it rises, too, where a policy only loses its variety. Evaluations
    go by it, with the lessons of no update; a response that nothing is taught about scores 0.
    """

    name = "teacher"

    def __init__(
        self,
        backbone: Backbone,
        policy: str,
        reference: str | None,
        teacher: Teacher,
        settings: DistillConfig,
    ) -> None:
        self.backbone = backbone
        self.policy = policy
        self.reference = reference
        self.teacher = teacher
        self.settings = settings
        self.budget = TokenBudget(settings.micro_tokens)

    def __call__(self, responses: Sequence[Response]) -> list[float]:
        """As in `Scorer`."""
        return self.scores(responses, self.teacher.lessons(responses, EVAL_SEED_STEP))

    @torch.no_grad()
    def scores(self, responses: Sequence[Response], lessons: Sequence[Lesson]) -> list[float]:
        """A score for each response, under these lessons."""
        taught = _taught(lessons)
        if not taught:
            return [0.0] * len(responses)

        def read(batch: list[int]) -> Tensor:
            return self.kl([responses[i] for i in batch], [lessons[i] for i in batch])

        lengths = read_lengths(responses, lessons)
        kl = self.budget.rows(read, lengths, self.backbone.device, groups=[taught])
        return [0.0 - x for x in kl.tolist()]

    def kl(self, responses: Sequence[Response], lessons: Sequence[Lesson]) -> Tensor:
        """Each response's KL between policy and teacher, summed over its tokens: float32 [B].

        Gradient flows to the policy alone.
        """
        s, device = self.settings, self.backbone.device
        read = collate([r.tokens for r in responses]).to(device)
        taught = collate(
            [
                Tokens.counted_from((*lesson.ids, *r.ids), len(lesson.ids))
                for r, lesson in zip(responses, lessons, strict=True)
            ]
        ).to(device)
        with torch.no_grad(), self.backbone.using(self.reference):
            teacher_head = self.backbone.head
            teacher = hidden_states(self.backbone, taught).flatten(0, 1)[taught.target_positions]
        divergence = partial(distillation_kl, direction=cast(Direction, s.kl), top_k=s.top_k)
        with self.backbone.using(self.policy):
            hidden = hidden_states(self.backbone, read).flatten(0, 1)[read.target_positions]
            per_token = token_divergences(
                hidden, self.backbone.head, teacher, teacher_head, divergence, s.temperature
            )
        return per_token.new_zeros(len(responses)).index_add(0, read.owner, per_token)


class DistillTrainer(OnPolicyTrainer):
    """Trains a policy on its teacher's distributions: `cai train distill`.

    constitution: what the teacher reads. Its weights are those of `reference`. Other arguments as
    of `OnPolicyTrainer`. Raises `DataError` if no prompt can be used.
    """

    settings: DistillConfig
    scorer: TeacherScorer
    best_metric = "score"
    signal = "token"

    screen_metrics: Sequence[str] = (
        "loss", "score", "taught", "kl", "length", "repetition", "missing_eos", "entropy",
    )  # fmt: skip

    def __init__(
        self,
        backbone: Backbone,
        constitution: Constitution,
        prompts: Sequence[Prompt],
        settings: DistillConfig,
        *,
        policy: str = "policy",
        reference: str | None = None,
        held_out: Sequence[Prompt] = (),
        set_aside: Sequence[SetAside] = (),
        **rest: Any,
    ) -> None:
        self.constitution = constitution
        self.teacher = make_teacher(backbone, reference, constitution, settings)
        reasoning = settings.max_reasoning_tokens if backbone.encoder.template.reasons else 0
        room = backbone.context - settings.max_new_tokens - reasoning - 1
        usable, too_long, longest = _readable(self.teacher, prompts, room)
        evaluated, too_long_held_out, _ = _readable(self.teacher, held_out, room)
        super().__init__(
            backbone,
            TeacherScorer(backbone, policy, reference, self.teacher, settings),
            usable,
            settings,
            policy=policy,
            reference=reference,
            held_out=evaluated,
            set_aside=[*set_aside, *too_long, *too_long_held_out],
            **rest,
        )
        self.workload = dataclasses.replace(
            self.workload, longest=longest + settings.max_new_tokens + reasoning
        )

    @classmethod
    def load(cls, config: DistillConfig, data: Sequence[Path]) -> DistillTrainer:
        """Load constitution, prompts, and the base with the policy and its frozen start.

        config: `resolve`d. Raises `ContentError`, `UsageError` and `DataError` for what can't be
        used.
        """
        constitution = load_constitution(
            config.constitution or find_project([Path.cwd()]).constitution or "default"
        )
        prompts = load_prompts(config, data)
        server = connect_sampler(config)
        policy = load_policy(config, reference=True)
        if not config.full:
            policy.backbone.no_dropout("policy")
        return cls(
            policy.backbone,
            constitution,
            prompts.train,
            config,
            reference=policy.reference,
            held_out=prompts.held_out,
            set_aside=prompts.set_aside,
            parents=(*policy.parents, constitution_facts(constitution, "constitution")),
            data=prompts.data,
            rollout_server=server,
        )

    @property
    def constitutions(self) -> list[Constitution]:
        """As in `OnPolicyTrainer`: what the teacher reads."""
        return [self.constitution]

    def update(self) -> dict[str, float]:
        """Do one update: a rollout, its lessons, and a step on them. Returns its metrics.

        If the monitors stop the run, `stopped` is set to their reason, and nothing is learned from
        the rollout. Raises `TrainingError` if the loss is not finite, if a single response does not
        fit into memory, and after a stop.
        """
        if self.stopped is not None:
            raise TrainingError(self.stopped)
        responses = self.sample_responses()
        lessons = self.teacher.lessons(responses, self.step)
        scores = self.scorer.scores(responses, lessons)
        rollout = self.evaluate_rollout(responses, scores)
        details = [lesson.record for lesson in lessons]
        metrics = self.watch(responses, rollout, scores, details=details)
        metrics["taught"] = len(_taught(lessons)) / len(lessons)
        if self.stopped is None:
            metrics |= self._learn(responses, lessons)
        self.step += 1
        return metrics

    def _learn(self, responses: Sequence[Response], lessons: Sequence[Lesson]) -> dict[str, float]:
        """Take a step on the responses that something is taught about. Returns its metrics."""
        taught = _taught(lessons)
        if not taught:
            return {"loss": 0.0, "gradient_norm": 0.0}
        total = float(sum(len(responses[i].ids) for i in taught))

        def loss(batch: list[int]) -> tuple[Tensor, Metrics]:
            kl = self.scorer.kl([responses[i] for i in batch], [lessons[i] for i in batch])
            share = kl.sum() / total
            return share, {"loss": share}

        self.backbone.train()  # there is no dropout: this is for gradient checkpointing
        metrics = self.budget.accumulate(
            loss, read_lengths(responses, lessons), self.backbone.device, groups=[taught],
            clear=self.optimizer.clear,
        )  # fmt: skip
        metrics["gradient_norm"] = self.optimizer.clip()
        values = floats(metrics)
        require_finite(values, f"of update {self.step + 1}")
        self.optimizer.step(self.step)
        self.backbone.train(False)
        return values


def read_lengths(responses: Sequence[Response], lessons: Sequence[Lesson]) -> list[int]:
    """Tokens of each response behind the longer of its prompt and its lesson."""
    return [
        max(len(r.prompt.ids), len(lesson.ids)) + len(r.ids)
        for r, lesson in zip(responses, lessons, strict=True)
    ]


def _taught(lessons: Sequence[Lesson]) -> list[int]:
    """The indices of the responses that something is taught about."""
    return [i for i, lesson in enumerate(lessons) if lesson.ids]


def _readable(
    teacher: Teacher, prompts: Sequence[Prompt], room: int
) -> tuple[list[Prompt], list[SetAside], int]:
    """The prompts that leave the teacher room for a response, the others, and its longest text."""
    usable, set_aside, longest = [], [], 0
    for prompt in prompts:
        try:
            tokens = teacher.longest(prompt.messages)
            if tokens > room:
                raise PromptError(
                    f"too long for the teacher: what it reads before the response may take {tokens}"
                    f" tokens, and the context allows {max(room, 0)}"
                )
        except PromptError as error:
            set_aside.append(SetAside(prompt.source or prompt.id, error.message))
        else:
            usable.append(prompt)
            longest = max(longest, tokens)
    return usable, set_aside, longest
