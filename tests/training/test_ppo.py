"""PPO on a tiny random llama: it learns, touches what it should, resumes exactly, stops itself."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cai.errors import DataError, ModelError, TrainingError, UsageError
from cai.models.adapters import LoraSettings
from cai.models.backbone import Backbone
from cai.training import on_policy, rollout
from cai.training.checkpoint import load_tensors, save_tensors
from cai.training.config import PpoConfig
from cai.training.kl_controller import AdaptiveKl
from cai.training.loop import Loop
from cai.training.metrics_log import ROLLOUTS
from cai.training.monitors import AlarmBounds
from cai.training.ppo import PpoTrainer
from cai.training.scoring import FunctionScorer, MixedScorer
from cai.types import Message, Prompt
from tests.e2e.helpers import rows as read_rows
from tests.models import fresh
from tests.models.fresh import adapter_state
from tests.training.ppo_runs import PROMPTS, backbone, loaded, share_of_e, trainer


def weights(run: PpoTrainer) -> dict[str, Tensor]:
    """Copies of every parameter: base, adapters and value head."""
    parameters = {f"model/{n}": p for n, p in run.backbone.model.named_parameters()}
    parameters |= {f"value/{n}": p for n, p in run.value_head.named_parameters()}
    return {name: p.detach().clone() for name, p in parameters.items()}


def changed(before: dict[str, Tensor], after: dict[str, Tensor]) -> set[str]:
    assert before.keys() == after.keys()
    return {name for name in before if not torch.equal(before[name], after[name])}


def test_a_right_run_learns_and_is_left_alone() -> None:
    """Paid for the letter e, twelve updates of 32 responses of 4 tokens: twice as many and more."""
    run = trainer(updates=12, learning_rate=6e-3, prompts_per_update=32, max_new_tokens=4)
    figures = []
    while not run.done:
        figures.append(run.update())
    assert run.stopped is None
    scores = [f["score"] for f in figures]
    assert len(scores) == 12
    assert sum(scores[-3:]) > 2 * sum(scores[:3])
    assert figures[0]["kl"] == pytest.approx(0.0, abs=1e-4)
    assert figures[-1]["kl"] > 1.0
    assert all(math.isfinite(v) for f in figures for v in f.values())


def test_a_hacked_run_is_stopped_within_twenty_updates() -> None:
    """No KL penalty and a high rate. What made it stop is not learned from.

    Responses that no longer end, which this policy soon writes, are the other monitor's affair.
    """
    bounds = AlarmBounds(kl=30.0, missing_eos=1.0)
    run = trainer(updates=20, learning_rate=2e-2, kl_coef=0.0, bounds=bounds)
    before = weights(run)
    while not run.done:
        before = weights(run)
        run.update()
    assert run.step < 20
    assert run.stopped is not None
    assert "has left its reference: KL" in run.stopped
    assert changed(before, weights(run)) == set()
    with pytest.raises(TrainingError, match="has left its reference"):
        run.update()


def test_an_update_changes_policy_and_value_and_nothing_else() -> None:
    base = backbone()
    base.copy_adapter("policy", "reference")
    base.add_adapter("reward", LoraSettings(r=2), seed=9)
    run = trainer(base, reference="reference")
    before = weights(run)
    run.update()
    assert {name.split(".")[0] for name in base.trainable()} == {"policy"}
    now = changed(before, weights(run))
    learned = {n for n in before if ".policy." in n or n.startswith("value/")}
    assert now == learned, (now ^ learned, "every part of both moves, and no other part")


def test_the_first_step_is_from_a_policy_that_has_not_moved() -> None:
    """One epoch, one minibatch: ratio 1, so nothing is clipped, no KL to what was drawn, and the
    loss is minus the mean of whitened advantages, 0. Values are 0 at first: no value is clipped."""
    figures = trainer(epochs=1, minibatches=1).update()
    assert figures["clip_fraction"] == 0.0
    assert figures["value_clip_fraction"] == 0.0
    assert figures["approximate_kl"] < 1e-9
    assert figures["policy_loss"] == pytest.approx(0.0, abs=1e-4)
    assert figures["kl"] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("kind", ["fresh adapter", "trained adapter"])
def test_the_first_step_in_bfloat16_starts_at_zero(kind: str) -> None:
    """No rounding is between policy and reference, nor between π and π_old: to the bit."""
    base = fresh.backbone(dtype=torch.bfloat16)
    if kind == "fresh adapter":
        base.add_adapter("policy", LoraSettings(r=4, alpha=8), seed=1)
    else:
        fresh.add_trained(base, "policy", seed=5)
        base.copy_adapter("policy", "reference")
    run = trainer(
        base, reference=None if kind == "fresh adapter" else "reference", epochs=1, minibatches=1,
        micro_tokens=60, temperature=0.7,
    )  # fmt: skip
    figures = run.update()
    assert figures["kl"] == figures["noise_floor"] == figures["approximate_kl"] == 0.0
    assert figures["clip_fraction"] == 0.0
    assert "noise_floor" not in run.update()


def test_a_rollout_is_read_as_the_first_epoch_learns_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same responses together, in the same order, as shapes decide what half precision rounds;
    `ratio_noise` reads it once more, in the pieces of the second epoch."""
    read: list[tuple[str, ...]] = []
    real = rollout.logprobs_and_values

    def noted(base: Backbone, adapter: Any, responses: Any, *rest: Any) -> Any:
        if adapter == "policy":
            read.append(tuple(r.prompt.id for r in responses))
        return real(base, adapter, responses, *rest)

    monkeypatch.setattr(on_policy, "logprobs_and_values", noted)
    figures = trainer(epochs=2, minibatches=2, micro_tokens=60).update()
    assert 0 <= figures["ratio_noise"] < 1e-4
    size = len(read) // 4
    rolled, again, first, second = (read[i * size : (i + 1) * size] for i in range(4))
    assert rolled == first and again == second and first != second
    assert len(rolled) > 2, "more pieces than minibatches"
    run = trainer(held_out=PROMPTS[:3], micro_tokens=60)
    read.clear()
    run.evaluate()
    assert sorted(p for some in read for p in some) == sorted(p.id for p in run.held_out)


def test_a_reference_that_is_not_the_start_is_refused() -> None:
    """A policy that was trained before, against the base with adapters off."""
    base = backbone()
    trainer(base).update()
    with pytest.raises(ModelError, match="is not its reference") as error:
        trainer(base).update()
    assert "frozen copy" in error.value.hint
    base.copy_adapter("policy", "reference")
    assert trainer(base, reference="reference").update()["kl"] == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize("target", [None, 3.0])
def test_a_resumed_run_equals_a_straight_one(tmp_path: Path, target: float | None) -> None:
    """Bit for bit, through the checkpoint file, with another state of the global generator."""
    changes: dict[str, Any] = {"target_kl": target, "max_new_tokens": 6, "epochs": 2}
    straight = trainer(**changes)
    figures = [straight.update() for _ in range(4)]

    run = trainer(**changes)
    assert [run.update() for _ in range(2)] == figures[:2]
    save_tensors(tmp_path / "c.safetensors", *run.state())
    torch.manual_seed(1234)
    resumed = trainer(**changes)
    resumed.load_state(*load_tensors(tmp_path / "c.safetensors"))
    assert [resumed.update() for _ in range(2)] == figures[2:]
    assert changed(weights(straight), weights(resumed)) == set()
    for (a, ta), (b, tb) in zip(
        straight.state()[0].items(), resumed.state()[0].items(), strict=True
    ):
        assert a == b
        assert torch.equal(ta, tb)
    assert json.dumps(straight.state()[1]) == json.dumps(resumed.state()[1])


def test_an_adaptive_coefficient_follows_the_kl() -> None:
    """KL is 0 at first: 2% less after the update (Ziegler et al. 2019, section 2.2)."""
    run = trainer(target_kl=6.0, kl_coef=0.1)
    assert isinstance(run.kl, AdaptiveKl)
    run.update()
    assert run.kl.coef == pytest.approx(0.098)


def test_a_small_memory_gives_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Out of memory whenever more than two responses are read at once."""
    plain = trainer(epochs=1)
    expected = plain.update()
    real = rollout.logprobs_and_values
    sizes = []

    def narrow(base: Backbone, adapter: Any, responses: Any, *rest: Any) -> Any:
        sizes.append(len(responses))
        if len(responses) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(base, adapter, responses, *rest)

    monkeypatch.setattr(on_policy, "logprobs_and_values", narrow)
    short = trainer(epochs=1)
    figures = short.update()
    assert max(sizes) > 2
    assert figures == pytest.approx(expected, abs=1e-4)
    for name, tensor in weights(plain).items():
        assert torch.allclose(tensor, weights(short)[name], atol=2e-4), name

    monkeypatch.setattr(
        on_policy, "logprobs_and_values", lambda *_: (_ for _ in ()).throw(MemoryError())
    )
    with pytest.raises(TrainingError, match="a single example"):
        trainer().update()


def test_a_loss_that_is_no_number_stops_the_run() -> None:
    run = trainer()
    run.update()
    with torch.no_grad():
        run.value_head.get_parameter("bias").fill_(float("nan"))
    before = adapter_state(run.backbone, "policy")
    with pytest.raises(TrainingError, match="not a number") as error:
        run.update()
    assert "prompts p" in error.value.message
    after = adapter_state(run.backbone, "policy")
    assert all(torch.equal(before[name], after[name]) for name in before)  # nothing reached it


def test_auditors_get_every_response(tmp_path: Path) -> None:
    longer = FunctionScorer(lambda p, r: [len(x) for x in r], "longer")
    run = trainer(second_scorer=longer)
    run.attach(tmp_path)
    figures = [run.update(), run.update()]
    rows = read_rows(tmp_path / ROLLOUTS)
    assert len(rows) == 16
    assert [r["update"] for r in rows] == [1] * 8 + [2] * 8
    assert {r["prompt_id"] for r in rows[:8]} == {p.id for p in PROMPTS}
    for rowed, f in zip((rows[:8], rows[8:]), figures, strict=True):
        assert sum(r["score"] for r in rowed) / 8 == pytest.approx(f["score"])
        assert sum(r["kl"] for r in rowed) / 8 == pytest.approx(f["kl"])
        assert sum(r["second_reward"] for r in rowed) / 8 == pytest.approx(f["second_reward"])
        assert all(r["second_reward"] == len(r["response"]) for r in rowed)
        assert [r["score"] for r in rowed] == share_of_e([], [r["response"] for r in rowed])


def test_a_second_reward_that_falls_stops_the_run() -> None:
    """The score rises by itself and the second reward falls by itself, whatever is written."""
    calls = {"score": 0.0, "second": 0.0}

    def rising(prompts: Any, responses: Any) -> list[float]:
        calls["score"] += 1
        return [calls["score"] + i / 8 for i in range(len(responses))]

    def falling(prompts: Any, responses: Any) -> list[float]:
        calls["second"] -= 1
        return [calls["second"] + i / 8 for i in range(len(responses))]

    run = trainer(
        scorer=FunctionScorer(rising, "rising"),
        second_scorer=FunctionScorer(falling, "falling"),
        bounds=AlarmBounds(window=2),
        epochs=1,
        minibatches=1,
        max_new_tokens=2,
        learning_rate=1e-5,
    )
    while not run.done:
        run.update()
    assert run.step == 5  # windows of 2 part at the fourth update, and patience is 2
    assert run.stopped is not None
    assert run.stopped.startswith("Reward hacking")


def test_the_weights_before_the_alarm_are_kept() -> None:
    """The hacked run again: the weights from before the first sign, through a resume as well."""
    run = trainer(updates=20, learning_rate=2e-2, kl_coef=0.0, bounds=AlarmBounds(kl=10.0))
    weights_before = []
    while not run.done:
        weights_before.append({n: p.detach().clone() for n, p in run.parameters.items()})
        run.update()
    assert run.stopped is not None and run.last_good is not None
    assert run.last_good.step == run.step - 3  # an alarm in two updates; calm before
    last_good = run.last_good.tensors
    assert all(
        torch.equal(last_good[name], weights_before[run.last_good.step][name]) for name in last_good
    )
    again = trainer(updates=20, learning_rate=2e-2, kl_coef=0.0, bounds=AlarmBounds(kl=10.0))
    again.load_state(*run.state())
    assert again.last_good is not None and again.last_good.step == run.last_good.step
    assert all(torch.equal(again.last_good.tensors[name], last_good[name]) for name in last_good)


class Content:
    """A monitor that has nothing against any weights."""

    has_begun = False

    def begin(self) -> dict[str, float]:
        return {}

    def watch(self) -> tuple[dict[str, float], str | None]:
        return {}, None

    def state(self) -> dict[str, Any]:
        return {}


@pytest.mark.slow
@pytest.mark.parametrize("every", [1, 2])
def test_an_alarm_goes_back_to_weights_that_a_suite_monitor_passed(
    every: int, tmp_path: Path
) -> None:
    """Of those that it passed, the last before the first sign of KL, also where it passed some
    after that: PPO's own monitors see what weights write one update later."""
    hacked: dict[str, Any] = {
        "updates": 20, "learning_rate": 4e-3, "kl_coef": 0.0, "bounds": AlarmBounds(kl=5.0)
    }  # fmt: skip
    run = trainer(**hacked)
    loop = Loop(run, tmp_path, 5, torch.device("cpu"), lambda report: None, monitor_every=every)
    loop.monitor = Content()  # type: ignore[assignment]
    loop.run()
    assert run.stopped is not None and run.last_good is not None
    good = run.last_good.step
    assert good == run.step - 3 and good > 1
    assert loop.best == {"step": good // every * every}
    tensors, _ = load_tensors(tmp_path / "best.safetensors")
    again = trainer(**hacked)
    for _ in range(loop.best["step"]):
        again.update()
    assert all(torch.equal(tensors[f"parameter/{n}"], p) for n, p in again.parameters.items())


def test_held_out_prompts_are_answered_alike_every_time() -> None:
    """At the start: no KL, so the reward is the mean score in its unit; the same draws twice."""
    run = trainer(held_out=PROMPTS[:3], kl_coef=0.5, missing_eos_penalty=0.0)
    run.update()  # whose scores set the unit
    with torch.no_grad():
        for parameter in run.parameters.values():
            parameter.zero_()  # an adapter of zeros is no adapter: the policy is the base again
    first, second = run.evaluate(), run.evaluate()
    assert first == second and first["kl"] == pytest.approx(0.0, abs=1e-4)
    assert run.scale.start.count == run.settings.responses_per_update  # evaluations add none
    mean, one = run.scale.start.mean, run.scale.start.std
    assert first["reward"] == pytest.approx((first["score"] - mean) / one, abs=1e-4)
    assert trainer().evaluate() == {}


def test_a_mixture_goes_on_in_its_units(tmp_path: Path) -> None:
    """What a part's values were at the start is part of the state."""

    def mixed() -> MixedScorer:
        longer = FunctionScorer(lambda p, r: [float(len(x)) for x in r], "longer")
        return MixedScorer([(1.0, FunctionScorer(share_of_e, "share_of_e")), (0.5, longer)])

    straight = trainer(scorer=mixed())
    figures = [straight.update(), straight.update()]
    broken = trainer(scorer=mixed())
    broken.update()
    save_tensors(tmp_path / "state", *broken.state())
    going = trainer(scorer=mixed())
    going.load_state(*load_tensors(tmp_path / "state"))
    assert going.update() == figures[1]


def test_minibatches_part_a_batch() -> None:
    """Each response once an epoch, in an order of its own."""
    run = trainer(minibatches=3)
    orders = [run.minibatches(8, epoch) for epoch in range(2)]
    assert [sorted(len(part) for part in parts) for parts in orders] == [[2, 3, 3]] * 2
    for parts in orders:
        assert sorted(i for part in parts for i in part) == list(range(8))
    assert orders[0] != orders[1]
    assert orders == [trainer(minibatches=3).minibatches(8, epoch) for epoch in range(2)]


def test_all_weights_can_be_trained() -> None:
    """In full: the policy is the base, the reference its frozen copy."""
    base = Backbone(loaded(), full=True)
    base.freeze_reference()
    run = trainer(base, reference="reference", learning_rate=1e-4, epochs=1)
    before = weights(run)
    assert run.update()["kl"] == pytest.approx(0.0, abs=1e-4)
    assert changed(before, weights(run)) == before.keys()
    assert run.update()["kl"] != 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"updates": 0},
        {"temperature": 0.0},
        {"clip": -0.1},
        {"gamma": 1.1},
        {"kl_coef": -0.1},
        {"target_kl": 0.0},
        {"target_kl": 3.0, "kl_coef": 0.0},
        {"score_clip": 0.0},
        {"minibatches": 33},
        {"learning_rate": float("nan")},
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"^{next(iter(change))} is "):
        PpoConfig(**change)


def test_dropout_is_refused() -> None:
    base = backbone()
    base.add_adapter("wet", LoraSettings(r=2, dropout=0.1), seed=1)
    with pytest.raises(UsageError, match=r"has dropout 0\.1"):
        trainer(base, policy="wet")


def test_prompts_without_room_are_told() -> None:
    long = Prompt("long", (Message("user", "bread " * 600),), source="x.jsonl:1")
    run = trainer(prompts=[*PROMPTS, long])
    assert [a.source for a in run.set_aside] == ["x.jsonl:1"]
    with pytest.raises(
        DataError, match="None of the 1 prompts can be used: too long: the prompt has"
    ):
        trainer(prompts=[long])
