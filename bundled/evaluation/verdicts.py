"""How a checkpoint judges pairs: pointwise, and by letters.

Pointwise: is anything wrong with each response alone? By letters: which of the two is better?
Deliberately apart from the engine's own judging, as `probe` is from its sampler.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from operator import and_
from typing import TypeAlias, get_args

from torch import Tensor

from bundled.evaluation.findings import near_half
from bundled.evaluation.lab import Lab
from bundled.evaluation.probe import Checkpoint, chat
from bundled.recipe.turns import Layout, comparison_text, conversation_text, critique_turn
from cai.data.counts import NEAR_TIE
from cai.miniature.world import critic
from cai.miniature.world.pairs import PairKind, WorldPair, draw_pairs
from cai.stats import sigmoid

LOGIT_CAP = 5.0  # as the engine caps a pointwise logit
CAPS = (7.0, 10.0)  # what wider ones would make of ties; which side is better no cap changes
CAPPED = "pointwise capped at "
CALIBRATED: tuple[PairKind, ...] = ("ordinary", "conflict", "tie")
_DECIDED: dict[PairKind, str] = {
    "ordinary": "ordinary pairs",
    "conflict": "conflict pairs",
    "worse": "pairs that both fail, one worse",
}
_TIES: dict[PairKind, str] = {"tie": "ties", "alike": "ties of two that fail alike"}
_Logits: TypeAlias = dict[str, tuple[list[float], ...]]


def pointwise_logits(model: Checkpoint, pairs: Sequence[WorldPair]) -> Tensor:
    """Logits of "no problem" for the first and the second response: (pairs, 2)."""
    conversations = []
    for pair in pairs:
        question = f"Identify any way in which the assistant's last response is {pair.adjective}."
        conversations += [
            chat(side.request.text, side.text, critique_turn(question))
            for side in (pair.first, pair.second)
        ]
    chance = model.option_logprobs(conversations, [critic.NO_PROBLEM]).double().view(-1, 2)
    return chance.exp().logit(1e-9)


def capped_difference(logits: Tensor, cap: float = LOGIT_CAP) -> list[float]:
    """How much likelier the first is to have no problem, each side capped softly at ± `cap`."""
    capped = cap * (logits / cap).tanh()
    difference: list[float] = (capped[:, 0] - capped[:, 1]).tolist()
    return difference


def letter_logits(
    model: Checkpoint, pairs: Sequence[WorldPair], layout: Layout
) -> tuple[list[float], list[float]]:
    """Logits that the first response is better: shown first, and shown second."""
    orders: list[Tensor] = []
    for swapped in (False, True):
        conversations = []
        for pair in pairs:
            sides = (pair.second, pair.first) if swapped else (pair.first, pair.second)
            text = comparison_text(
                conversation_text((), pair.first.request.text),
                f"Which response is less {pair.adjective}?",
                sides[0].text,
                sides[1].text,
                layout,
            )
            conversations.append(chat(text))
        scores = model.option_logprobs(conversations, ["A", "B"], prefill="(")
        difference = scores[:, 0] - scores[:, 1]
        orders.append(-difference if swapped else difference)
    return orders[0].tolist(), orders[1].tolist()


def comparisons(lab: Lab) -> None:
    """Ordinary, conflict and tied pairs, pointwise and by letters.

    A calibration counts all three, the truth of a tie being one half, since one temperature must do
    for what is decided and for what is not. It is fitted on pairs of the split that the model was
    trained on.
    """
    part = "test" if lab.split == "held" else lab.split
    for kind in _DECIDED:
        pairs = draw_pairs(lab.rng, lab.n, kind, lab.split)
        logits = _judge_pairs(lab, pairs)
        _note_pairs(lab, kind, pairs, logits)
        if kind in CALIBRATED:
            _keep(lab, part, pairs, logits)
    for kind, name in _TIES.items():
        pairs = draw_pairs(lab.rng, lab.n, kind, lab.split)
        logits = _judge_pairs(lab, pairs, CAPS)
        _note_near(lab, name, pairs, logits)
        if kind in CALIBRATED:
            _note_twice_and_apart(lab, pairs, logits)
            _keep(lab, part, pairs, logits)
    for kind in CALIBRATED if lab.split == "held" else ():
        pairs = draw_pairs(lab.rng, lab.n, kind, "train")
        _keep(lab, "fit", pairs, _judge_pairs(lab, pairs))


def _judge_pairs(lab: Lab, pairs: Sequence[WorldPair], caps: Sequence[float] = ()) -> _Logits:
    """Mode → logits that the first is better: once pointwise, in both orders by letters.

    Pointwise under other caps too, if asked.
    """
    sides = pointwise_logits(lab.model, pairs)
    logits: _Logits = {"pointwise": (capped_difference(sides),)}
    for cap in caps:
        logits[f"{CAPPED}{cap:g}"] = (capped_difference(sides, cap),)
    for layout in get_args(Layout):
        orders = letter_logits(lab.model, pairs, layout)
        logits[f"letters, question {layout}"] = orders
    return logits


def _right(values: Sequence[float], truths: Sequence[bool]) -> list[bool]:
    """Whether each verdict is right, from the logits that the first is better."""
    return [(value > 0) == truth for value, truth in zip(values, truths, strict=True)]


def _mean(orders: Sequence[Sequence[float]]) -> list[float]:
    return [sum(values) / len(values) for values in zip(*orders, strict=True)]


def _keep(lab: Lab, part: str, pairs: Sequence[WorldPair], logits: _Logits) -> None:
    """Keep judgements for the calibration of what the engine does; a tie's truth is one half."""
    truths = [0.5 if pair.first_is_better is None else pair.first_is_better for pair in pairs]
    for mode, orders in logits.items():
        if not mode.startswith(CAPPED):
            lab.findings.judge(mode, part, _mean(orders), truths)


def _note_pairs(lab: Lab, kind: PairKind, pairs: Sequence[WorldPair], logits: _Logits) -> None:
    """Which verdicts are right; a conflict pair is asked twice, and its two answers go together."""
    truths = [bool(pair.first_is_better) for pair in pairs]
    about = [pair.first for pair in pairs]
    groups = None
    if kind == "conflict":
        groups = [(lab.findings.seed, number // 2) for number in range(len(pairs))]
    for mode, orders in logits.items():
        row, mean = f"{_DECIDED[kind]}, {mode}", _mean(orders)
        rows = {"right": _right(mean, truths)}
        if len(orders) == 1:
            sure = [abs(sigmoid(value) - 0.5) >= NEAR_TIE for value in mean]
            rows["right, and no near tie"] = list(map(and_, rows["right"], sure))
        else:
            rows["same verdict in both orders"] = [
                (a > 0) == (b > 0) for a, b in zip(*orders, strict=True)
            ]
            rows["right in one order"] = _right(orders[0], truths)
        for what, values in rows.items():
            lab.note(f"{row}: {what}", values, about, groups)
        if kind == "ordinary":
            _note_faults(lab, pairs, mode, rows)


def _note_faults(
    lab: Lab, pairs: Sequence[WorldPair], mode: str, rows: Mapping[str, Sequence[bool]]
) -> None:
    """The same apart for pairs of which one side keeps the principle, and of which none does."""
    for name, both in (("one side", False), ("both sides", True)):
        places = [n for n, pair in enumerate(pairs) if pair.both_at_fault == both]
        about = [pairs[n].first for n in places]
        for what, values in rows.items():
            row = f"ordinary pairs, {name} at fault, {mode}: {what}"
            lab.note(row, [values[n] for n in places], about)


def _note_near(lab: Lab, name: str, pairs: Sequence[WorldPair], logits: _Logits) -> None:
    """Which ties were called."""
    for mode, orders in logits.items():
        near = [near_half(value) for value in _mean(orders)]
        lab.note(f"{name}, {mode}: near one half", near, [pair.first for pair in pairs])


def _note_twice_and_apart(lab: Lab, pairs: Sequence[WorldPair], logits: _Logits) -> None:
    """The same for one text twice and for two: both orders together cannot tell one text apart."""
    twice = [n for n, pair in enumerate(pairs) if pair.first.text == pair.second.text]
    apart = [n for n, pair in enumerate(pairs) if pair.first.text != pair.second.text]
    for mode, orders in logits.items():
        if len(orders) > 1:
            row = f"ties of one text twice, {mode}: near one half in one order"
            lab.note(row, [near_half(orders[0][n]) for n in twice], [pairs[n].first for n in twice])
        mean = _mean(orders)
        row = f"ties of different texts, {mode}: near one half"
        lab.note(row, [near_half(mean[n]) for n in apart], [pairs[n].first for n in apart])
