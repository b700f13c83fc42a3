"""Draw tokens so that a draw depends on the seed and the text alone, not on rounding.

A token is drawn by an exponential race (the Gumbel trick): each token of the vocabulary gets a
number that depends on (seed, position, token) alone, and the token that maximises
logit / temperature + Gumbel number wins, which happens with its softmax probability. The numbers
come from an integer hash, so they are the same on every device and in every batch.

The same text computed in another batch gives logits that differ by rounding. A race won by a wide
margin has the same winner all the same; one won by less than `MARGIN` is reported as close, and
the caller draws again from logits computed in one fixed way. How much the winner leads is
exponentially distributed, so fewer than one draw in 1 / MARGIN is close, whatever the size of the
vocabulary (by inverse CDF every draw of a rare token would be).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cai.text.seeds import derive

MARGIN = 1e-3
"""Smallest lead, in logits, that is trusted not to be turned around by rounding in float32."""

_STRIDE, _MIX1, _MIX2 = -1640531527, -2048144789, -1028477387
"""0x9E3779B9 and MurmurHash3's 0x85EBCA6B and 0xC2B2AE35, as signed 32-bit numbers."""

_SHORTLIST = 1024
"""Tokens sorted at first for a nucleus; all of them only where these do not reach it."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw to make: the token at `position` of a response sampled with `seed`."""

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    position: int = 0


def choose(
    logits: Tensor, draws: Sequence[Draw], *, final: bool = False
) -> tuple[list[int], list[bool]]:
    """Draw one token a row.

    logits: float32 [rows, vocabulary]. Temperature 0 takes the best token, the first of equals.
    Returns the tokens, and for each row whether it was close. A close row is to be drawn again
    from canonical logits with `final`, which draws from exactly these logits: nothing is close.
    A row whose logits are not numbers gets the token -1.
    """
    if logits.device.type == "mps":  # no float64 there
        logits = logits.cpu()
    heat = torch.tensor([d.temperature or 1.0 for d in draws], device=logits.device)
    race = logits / heat[:, None]
    certain: dict[int, Tensor] = {}
    for i, draw in enumerate(draws):
        if draw.temperature and draw.top_p < 1:
            exact, possible, certain[i] = _nucleus(race[i], draw)
            race[i].masked_fill_(~(exact if final else possible), -torch.inf)
    if rows := [i for i, d in enumerate(draws) if d.temperature]:
        noise = gumbel([draws[i] for i in rows], race.shape[1], race.device)
        if len(rows) == len(draws):
            race += noise
        else:
            race[torch.tensor(rows, device=race.device)] += noise
    best = race.max(dim=1).values
    sound = best.isfinite()
    winner = (race == best[:, None]).int().argmax(dim=1)  # the first of equals
    winner = torch.where(sound, winner, -1)
    if final:
        return winner.tolist(), [False] * len(draws)
    second = race.scatter_(1, winner.clamp(min=0)[:, None], -torch.inf).max(dim=1).values
    tokens: list[int] = winner.tolist()
    close: list[bool] = ((best - second) * heat < MARGIN).tolist()
    for i, sure in certain.items():
        close[i] = close[i] or not bool(sure[tokens[i]])
    return tokens, close


def gumbel(draws: Sequence[Draw], vocabulary: int, device: torch.device) -> Tensor:
    """Gumbel numbers, float32 [rows, vocabulary], a function of seed, position and token.

    -log(-log(1 - v)) with v uniform in (0, 1): 31 bits of a two-key hash of the token's id.
    """
    keys = [derive("token", d.seed, d.position) for d in draws]
    low = torch.tensor([_signed(k & 0xFFFFFFFF) for k in keys], dtype=torch.int32, device=device)
    high = torch.tensor([_signed(k >> 32) for k in keys], dtype=torch.int32, device=device)
    token = torch.arange(vocabulary, dtype=torch.int32, device=device) * _STRIDE
    bits = _mix(_mix(token[None] ^ low[:, None]) ^ high[:, None])
    uniform = bits.bitwise_and_(0x7FFFFFFF).float().add_(0.5).mul_(2.0**-31)
    uniform.clamp_(max=1 - 2.0**-24)
    return uniform.neg_().log1p_().neg_().log_().neg_()


def _mix(x: Tensor) -> Tensor:
    """MurmurHash3's finaliser on int32, which wraps around; changes `x`."""
    x ^= (x >> 16) & 0xFFFF
    x *= _MIX1
    x ^= (x >> 13) & 0x7FFFF
    x *= _MIX2
    x ^= (x >> 16) & 0xFFFF
    return x


def _signed(word: int) -> int:
    return word - (1 << 32) if word >> 31 else word


def _nucleus(scaled: Tensor, draw: Draw) -> tuple[Tensor, Tensor, Tensor]:
    """Which tokens are in the nucleus: exactly; possibly, and certainly, given rounding.

    scaled: logits / temperature [vocabulary]. The nucleus is the smallest set of best tokens whose
    probabilities reach `top_p`. Returns three boolean masks [vocabulary].
    """
    slack = MARGIN / draw.temperature
    p = scaled.double().softmax(0)
    ranked = torch.topk(p, min(len(p), _SHORTLIST)).values
    if float(ranked.sum()) < draw.top_p + slack:
        ranked = p.sort(descending=True).values
    before = ranked.cumsum(0) - ranked

    def size(top_p: float) -> int:
        return max(1, int((before < top_p).sum()))

    count = size(draw.top_p)
    cut = ranked[count - 1]
    exact = p > cut
    exact[(p == cut).nonzero()[: count - int(exact.sum()), 0]] = True  # of equals, the first
    possible = p >= ranked[size(draw.top_p + slack / 2) - 1] * math.exp(-slack)
    sure = p >= ranked[size(draw.top_p - slack / 2) - 1] * math.exp(slack)
    return exact, possible, sure
