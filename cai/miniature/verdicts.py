"""How a checkpoint judges pairs: pointwise, and by letters.

Pointwise: is anything wrong with each response alone? By letters: which of the two is better?
Deliberately apart from the engine's own judging, as `probe` is from its sampler.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cai.miniature import critic
from cai.miniature.pairs import Pair
from cai.miniature.probe import Checkpoint, chat
from cai.miniature.turns import Layout, comparison_text, conversation_text, critique_turn

LOGIT_BOUND = 5.0  # as the engine clips a pointwise logit


def pointwise_logits(model: Checkpoint, pairs: Sequence[Pair]) -> list[float]:
    """How much likelier "no problem" is for the first response, in logits clipped a response."""
    conversations = []
    for pair in pairs:
        asked = f"Identify any way in which the assistant's last response is {pair.adjective}."
        conversations += [
            chat(side.request.text, side.text, critique_turn(asked))
            for side in (pair.first, pair.second)
        ]
    chance = model.option_logprobs(conversations, [critic.NO_PROBLEM]).double().view(-1, 2)
    logits = chance - torch.log1p(-chance.exp().clamp(max=1 - 1e-9))
    logits = logits.clamp(-LOGIT_BOUND, LOGIT_BOUND)
    difference: list[float] = (logits[:, 0] - logits[:, 1]).tolist()
    return difference


def letter_logits(
    model: Checkpoint, pairs: Sequence[Pair], layout: Layout
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
