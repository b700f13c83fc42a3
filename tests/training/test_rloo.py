"""RLOO and GRPO: one update number by number, groups that teach nothing, and what is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cai.errors import UsageError
from cai.models.backbone import Backbone
from cai.training.config import RlooConfig
from cai.training.rloo import RlooTrainer
from cai.training.rollout import Response
from cai.training.scoring import FunctionScorer, MixedScorer
from tests.e2e.helpers import rows
from tests.models.fresh import assert_close
from tests.training import oracle
from tests.training.interrupted import goes_on_bit_for_bit
from tests.training.ppo_runs import PROMPTS, backbone, share_of_e

HOT, KL_COEF, EOS, CLIP, HIGH, LONGEST, K = 1.4, 0.3, 0.5, 0.05, 0.15, 9, 3
SETTINGS: dict[str, Any] = {
    "temperature": HOT, "kl_coef": KL_COEF, "missing_eos_penalty": EOS, "clip": CLIP,
    "clip_high": HIGH, "prompts_per_update": 4, "responses_per_prompt": K, "epochs": 2,
    "minibatches": 2, "max_new_tokens": LONGEST, "micro_tokens": 60, "learning_rate": 2e-2,
    "seed": 2,
}  # fmt: skip
GRPO = {"baseline": "group-mean", "ratio": "token", "kl_in": "loss"}
VARIANTS: dict[str, dict[str, Any]] = {
    "rloo": {},
    "grpo": {**GRPO, "scale_advantages": "group", "loss_normalisation": "sequence"},
    "dr-grpo": {**GRPO, "loss_normalisation": "constant"},
    "dapo": {**GRPO, "scale_advantages": "batch"},
    "gdpo": {**GRPO, "scale_advantages": "parts", "loss_normalisation": "token"},
    "sequences with k3": {"kl_in": "loss"},
}


def length(prompts: Any, responses: Sequence[str]) -> list[float]:
    return [len(r) / 7 for r in responses]


def letters(prompts: Any, responses: Sequence[str]) -> list[float]:
    return [float(len(set(r))) for r in responses]


def trainer(base: Backbone | None = None, scorer: Any = None, **changes: Any) -> RlooTrainer:
    mixed = MixedScorer([(1.0, FunctionScorer(length, "length")),
                         (0.5, FunctionScorer(letters, "letters"))])  # fmt: skip
    settings = RlooConfig(**SETTINGS | changes)
    return RlooTrainer(base or backbone(), scorer or mixed, PROMPTS[:6], settings)


def unit_of(values: Sequence[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((x - mean) ** 2 for x in values) / (len(values) - 1))


def normalised_sums(texts: Sequence[str], start: Sequence[str]) -> list[float]:
    """1 · length + 0.5 · letters, each normalised by its values of the start."""
    sums = [0.0] * len(texts)
    for weight, measure in ((1.0, length), (0.5, letters)):
        values = measure([], start)
        mean, unit = sum(values) / len(values), unit_of(values)
        for i, value in enumerate(measure([], texts)):
            sums[i] += weight * (value - mean) / unit
    return sums


class SecondUpdate:
    """The second update of a run: its responses, and the gradient of every step before clipping."""

    def __init__(self, run: RlooTrainer, monkeypatch: pytest.MonkeyPatch) -> None:
        self.run = run
        sample = run.sample_responses

        def some_ended() -> list[Response]:
            return [replace(r, ended=i % 5 < 2) for i, r in enumerate(sample())]

        monkeypatch.setattr(run, "sample_responses", some_ended)
        start = [r.text for r in run.sample_responses()]
        run.update()
        self.responses = run.sample_responses()
        self.old = [self.logprobs("policy", r) for r in self.responses]
        self.reference = [self.logprobs(None, r) for r in self.responses]
        texts = [r.text for r in self.responses]
        parts = list(zip(length([], texts), letters([], texts), strict=True))
        self.parts = [(a, b, float(r.ended)) for (a, b), r in
                      zip(parts, self.responses, strict=True)]  # fmt: skip
        # As both updates saw them: the first by its own values, the second by those of both.
        totals = [*normalised_sums(start, start), *normalised_sums(texts, [*start, *texts])]
        mean, unit = sum(totals) / len(totals), unit_of(totals)
        self.scores = [
            (total - mean) / unit - (0.0 if r.ended else EOS)
            for total, r in zip(totals[len(start) :], self.responses, strict=True)
        ]
        self.advantages = self.compared()
        self.steps: list[dict[str, Tensor]] = []
        self.expected: list[dict[str, Tensor]] = []
        orders = [m for epoch in range(2) for m in run.minibatches(len(self.responses), epoch)]
        clip = run.optimizer.clip

        def noted() -> Tensor:
            minibatch = orders[len(self.steps)]
            self.steps.append(
                {n: p.grad.clone() for n, p in run.parameters.items() if p.grad is not None}
            )
            self.expected.append(oracle.gradients(self.loss(minibatch), run.parameters))
            return clip()

        monkeypatch.setattr(run.optimizer, "clip", noted)
        self.figures = run.update()

    def logprobs(self, adapter: str | None, response: Response) -> Tensor:
        with torch.no_grad():
            return self.read(adapter, response)

    def read(self, adapter: str | None, response: Response) -> Tensor:
        ids = (*response.prompt.ids, *response.ids)
        return oracle.token_logprobs(self.run.backbone, adapter, ids, len(response.prompt.ids), HOT)

    def compared(self) -> list[float]:
        """Advantages by the formulas, in plain numbers."""
        s = self.run.settings
        paid = list(self.scores)
        if s.kl_in == "reward":
            kl = [(a - b).sum().item() for a, b in zip(self.old, self.reference, strict=True)]
            paid = [score - KL_COEF * each for score, each in zip(paid, kl, strict=True)]
        groups = [paid[i : i + K] for i in range(0, len(paid), K)]
        if s.scale_advantages == "parts":
            totals = [0.0] * len(self.parts)
            for m, weight in enumerate((1.0, 0.5, EOS)):
                values = [part[m] for part in self.parts]
                for i in range(0, len(values), K):
                    group = values[i : i + K]
                    for j, value in enumerate(group):
                        centred = value - sum(group) / K
                        totals[i + j] += weight * centred / (unit_of(group) + 1e-4)
            return [(t - sum(totals) / len(totals)) / (unit_of(totals) + 1e-4) for t in totals]
        if s.baseline == "leave-one-out":
            return [r - (sum(g) - r) / (K - 1) for g in groups for r in g]
        out = [r - sum(g) / K for g in groups for r in g]
        if s.scale_advantages == "group":
            return [a / (unit_of(groups[i // K]) + 1e-4) for i, a in enumerate(out)]
        return [a / (unit_of(paid) + 1e-4) for a in out] if s.scale_advantages == "batch" else out

    def loss(self, minibatch: Sequence[int]) -> Tensor:
        """The loss of a minibatch, a response at a time."""
        s = self.run.settings
        total = torch.zeros(())
        for i in minibatch:
            new, old, reference = (
                self.read("policy", self.responses[i]), self.old[i], self.reference[i],
            )  # fmt: skip
            a = self.advantages[i]
            kl = (reference - new).exp() - (reference - new) - 1
            if s.ratio == "sequence":
                ratio = (new - old).sum().exp()
                terms = -torch.minimum(ratio * a, ratio.clamp(1 - CLIP, 1 + HIGH) * a)
                weight = 1 / len(minibatch)
            else:
                ratio = (new - old).exp()
                terms = -torch.minimum(ratio * a, ratio.clamp(1 - CLIP, 1 + HIGH) * a)
                weight = {
                    "sequence": 1 / len(old) / len(minibatch),
                    "constant": 1 / LONGEST / len(minibatch),
                }.get(
                    str(s.loss_normalisation),
                    1 / sum(len(self.responses[j].ids) for j in minibatch),
                )
            total = total + terms.sum() * weight
            if s.kl_in == "loss":
                total = total + KL_COEF * kl.sum() * weight
        return total


@pytest.mark.parametrize("name", VARIANTS)
def test_every_gradient_of_an_update_is_that_of_a_plain_loop(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two epochs of two minibatches, each cut into pieces; some responses have ended."""
    watched = SecondUpdate(trainer(**VARIANTS[name]), monkeypatch)
    assert len(watched.steps) == 4
    for ours, expected in zip(watched.steps, watched.expected, strict=True):
        assert_close(ours, expected, 1e-3)
    assert watched.figures["clip_fraction"] > 0
    assert {"score/length", "score/letters"} <= watched.figures.keys()


def test_each_prompt_has_several_responses_side_by_side() -> None:
    run = trainer()
    responses = run.sample_responses()
    names = [r.prompt.id for r in responses]
    assert len(names) == 12 and all(len(set(names[i : i + K])) == 1 for i in range(0, 12, K))
    assert len(set(names)) == 4
    assert all(len({r.ids for r in responses[i : i + K]}) > 1 for i in range(0, 12, K))
    again = trainer().sample_responses()
    assert [r.ids for r in again] == [r.ids for r in responses]


def test_a_prompt_that_is_drawn_twice_in_an_update_has_new_responses() -> None:
    """Six prompts, twelve draws: the second pass draws other responses than the first."""
    run = trainer(prompts_per_update=12)
    by_prompt: dict[str, set[tuple[int, ...]]] = {}
    for response in run.sample_responses():
        by_prompt.setdefault(response.prompt.id, set()).add(response.ids)
    assert len(by_prompt) == 6 and all(len(some) > K for some in by_prompt.values())


def prompt_alone(prompts: Any, responses: Sequence[str]) -> list[float]:
    """A reward that tells prompts apart, and no two responses of one; one by rounding alone."""
    return [len(p[0]["content"]) + 1e-9 * len(r) for p, r in zip(prompts, responses, strict=True)]


@pytest.mark.parametrize("variant", ["rloo", "grpo"])
def test_groups_without_variance_are_counted_and_skipped(variant: str) -> None:
    """No step is taken, though scores differ between prompts. With a KL penalty in the reward there
    is something to compare; with one in the loss there is something to learn."""
    function = FunctionScorer(prompt_alone, "prompt")
    options = VARIANTS[variant] | {"missing_eos_penalty": 0.0}
    run = trainer(scorer=function, **options | {"kl_coef": 0.0})
    before = {n: p.detach().clone() for n, p in run.parameters.items()}
    for _ in range(2):
        metrics = run.update()
        assert metrics["equal_groups"] == 1.0 and metrics["skipped"] == 1.0
        assert "policy_loss" not in metrics
    assert all(p.equal(before[n]) for n, p in run.parameters.items())
    penalised = trainer(scorer=function, **options)
    penalised.update()
    with torch.no_grad():
        for parameter in penalised.parameters.values():
            parameter.add_(0.05)
    metrics = penalised.update()
    assert metrics["equal_groups"] == 1.0 and metrics["skipped"] == 0.0
    assert metrics["policy_loss"] != 0.0 or metrics["kl_loss"] > 0


def only_bread(prompts: Any, responses: Sequence[str]) -> list[float]:
    return [
        float(len(r)) if "bread" in p[0]["content"] else 0.0
        for p, r in zip(prompts, responses, strict=True)
    ]


def test_what_is_skipped_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    run = trainer(scorer=FunctionScorer(only_bread, "bread"), kl_coef=0.0, missing_eos_penalty=0.0)
    read: list[str] = []
    forward = run.forward

    def noted(responses: Sequence[Response], width: int) -> Any:
        if torch.is_grad_enabled():
            read.extend(r.prompt.messages[0].content for r in responses)
        return forward(responses, width)

    monkeypatch.setattr(run, "forward", noted)
    metrics = run.update()
    drawn = {r.prompt.id for r in trainer().sample_responses()}
    bread = sum("bread" in p.messages[0].content for p in PROMPTS[:6] if p.id in drawn)
    assert set(read) == {"What is bread?"} and metrics["equal_groups"] == 1 - bread / 4
    assert metrics["skipped"] == pytest.approx(1 - bread / 4)


def test_it_learns() -> None:
    """Paid for the letter e, at the defaults but for rate and size."""
    base = backbone()
    settings = RlooConfig(
        prompts_per_update=6, responses_per_prompt=4, max_new_tokens=8, updates=14,
        learning_rate=2e-2, kl_coef=0.0,
    )  # fmt: skip
    run = RlooTrainer(base, FunctionScorer(share_of_e, "e"), PROMPTS[:6], settings)
    scores = [run.update()["score"] for _ in range(14)]
    assert sum(scores[-3:]) / 3 > 2.5 * sum(scores[:3]) / 3


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"responses_per_prompt": 1}, "responses_per_prompt is 1; it must be 2 or more"),
        ({"loss_normalisation": "token"}, "needs --ratio token"),
        ({"scale_advantages": "group"}, "needs --kl-in loss"),
        ({"scale_advantages": "parts"}, "needs --kl-in loss"),
        ({"baseline": "value"}, "baseline is 'value'"),
        ({"minibatches": 13}, "at most the responses of an update, 12"),
    ],
)
def test_settings_that_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        RlooConfig(**SETTINGS | changes)


def test_a_reward_of_one_part_has_no_parts_to_normalise() -> None:
    with pytest.raises(UsageError, match="e has one") as error:
        trainer(scorer=FunctionScorer(share_of_e, "e"), **VARIANTS["gdpo"])
    assert "--scale-advantages group" in str(error.value.hint)


def test_monitors_count_prompts() -> None:
    """Two prompts an update: eight updates are compared, however many responses each has."""
    for k in (2, 8):
        run = trainer(prompts_per_update=2, responses_per_prompt=k)
        assert run.monitors.bounds.window == 8


def test_a_run_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after the first update of three; also what its parts were is in the rollouts."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "rewards_of_rloo.py").write_text(
        "def short(prompts, responses):\n    return [-float(len(r)) for r in responses]\n\n\n"
        "def late(prompts, responses):\n    return [float(r.count('e')) for r in responses]\n"
    )
    data = tmp_path / "prompts.jsonl"
    data.write_text("".join(json.dumps({"prompt": f"Tell me about {n}."}) + "\n" for n in "abcde"))
    config = RlooConfig(
        device="cpu", lora_r=4, prompts_per_update=2, responses_per_prompt=3, max_new_tokens=12,
        updates=3, reward="rewards_of_rloo:short, 0.5*rewards_of_rloo:late",
    )  # fmt: skip
    goes_on_bit_for_bit(config, data, tmp_path)
    rollouts = rows(tmp_path / "broken" / "rollouts.jsonl")
    assert [row["update"] for row in rollouts] == [1] * 6 + [2] * 6 + [3] * 6
    for row in rollouts:
        names = [part["name"] for part in row["parts"]]
        assert names == ["rewards_of_rloo:short", "rewards_of_rloo:late"]
        total = sum(part["weight"] * (part["value"] - part["mean"]) for part in row["parts"])
        assert total == pytest.approx(row["score"])
