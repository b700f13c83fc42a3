"""Sample tokens so that a draw depends on the seed and the text alone, not on rounding.

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
from dataclasses import dataclass, field

import torch
from torch import Tensor

from cai.decoding import Decoding
from cai.text.seeds import derive
from cai.types import Sampling

MARGIN = 1e-3
"""Smallest lead, in logits, that rounding in float32 can't reverse."""

_STRIDE, _MIX1, _MIX2 = -1640531527, -2048144789, -1028477387
"""0x9E3779B9 and MurmurHash3's 0x85EBCA6B and 0xC2B2AE35, as signed 32-bit numbers."""

_SHORTLIST = 1024
"""Tokens sorted at first for a nucleus; all of them only where these do not reach it."""


@dataclass(frozen=True, slots=True)
class Draw:
    """One draw: the token at `position` of a response sampled with `seed`.

    The settings are those of `cai.decoding.Decoding`. context: ids of the prompt and the response
    so far, to which the repetition penalty applies.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    position: int = 0
    top_k: int = 0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    context: Sequence[int] = field(default=(), repr=False)

    @classmethod
    def of(cls, sampling: Sampling, position: int, context: Sequence[int]) -> Draw:
        """The draw at a position; a setting that is None is off."""
        d = Decoding.of(sampling)
        return cls(
            d.temperature, d.top_p, sampling.seed, position, d.top_k, d.min_p,
            d.repetition_penalty, context,
        )  # fmt: skip

    @property
    def filters(self) -> bool:
        """Whether top_k, top_p or min_p filter tokens."""
        return bool(self.temperature and (self.top_p < 1 or self.top_k or self.min_p))

    @property
    def penalty_scale(self) -> float:
        """The largest factor by which the penalty may enlarge a rounding difference."""
        return max(self.repetition_penalty, 1 / self.repetition_penalty)


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
    temperatures = torch.tensor([d.temperature or 1.0 for d in draws], device=logits.device)
    race = penalized(logits, draws) / temperatures[:, None]
    certain: dict[int, Tensor] = {}
    for i, draw in enumerate(draws):
        if draw.filters:
            masks = filter_tokens(race[i], draw)
            certain[i] = masks.sure
            race[i].masked_fill_(~(masks.exact if final else masks.possible), -torch.inf)
    if rows := [i for i, d in enumerate(draws) if d.temperature]:
        noise = gumbel([draws[i] for i in rows], race.shape[1], race.device)
        if len(rows) == len(draws):
            race += noise
        else:
            race[torch.tensor(rows, device=race.device)] += noise
    best = race.max(dim=1).values
    finite = best.isfinite()
    winner = (race == best[:, None]).int().argmax(dim=1)  # the first of equals
    winner = torch.where(finite, winner, -1)
    if final:
        return winner.tolist(), [False] * len(draws)
    second = race.scatter_(1, winner.clamp(min=0)[:, None], -torch.inf).max(dim=1).values
    tokens: list[int] = winner.tolist()
    margin = torch.tensor([MARGIN * d.penalty_scale for d in draws], device=race.device)
    close: list[bool] = ((best - second) * temperatures < margin).tolist()
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


@dataclass(frozen=True, slots=True)
class TokenMasks:
    """Tokens that remain after filtering: boolean masks [vocabulary].

    exact: by these logits. possible, sure: tokens that may remain, and those that must, if each
    logit may be off by rounding (half of `MARGIN` each way).
    """

    exact: Tensor
    possible: Tensor
    sure: Tensor


def penalized(logits: Tensor, draws: Sequence[Draw]) -> Tensor:
    """Logits after each row's repetition penalty; `logits` themselves where there is none."""
    if all(d.repetition_penalty == 1 for d in draws):
        return logits
    out = logits.clone()
    for row, draw in zip(out, draws, strict=True):
        if draw.repetition_penalty != 1 and draw.context:
            ids = torch.tensor(sorted(set(draw.context)), device=row.device)
            values = row[ids]
            penalty = draw.repetition_penalty
            row[ids] = torch.where(values < 0, values * penalty, values / penalty)
    return out


def filter_tokens(scaled: Tensor, draw: Draw) -> TokenMasks:
    """The tokens that remain after top_k, top_p and min_p, in this order.

    scaled: logits after the penalty, divided by the temperature [vocabulary].
    """
    slack = MARGIN * draw.penalty_scale / draw.temperature
    masks = _likeliest(scaled, draw.top_k, slack) if draw.top_k else None
    if draw.top_p < 1:
        masks = _nucleus_of(scaled, masks, draw.top_p, slack)
    if draw.min_p:
        least = scaled.max() + math.log(draw.min_p)
        near = TokenMasks(scaled >= least, scaled >= least - slack, scaled >= least + slack)
        masks = near if masks is None else _both(masks, near)
    assert masks is not None
    return masks


def _both(a: TokenMasks, b: TokenMasks) -> TokenMasks:
    return TokenMasks(a.exact & b.exact, a.possible & b.possible, a.sure & b.sure)


def _likeliest(scaled: Tensor, k: int, slack: float) -> TokenMasks:
    """The k most likely tokens, and all that equal the last of them."""
    if k >= len(scaled):
        everything = torch.ones_like(scaled, dtype=torch.bool)
        return TokenMasks(everything, everything, everything)
    best = torch.topk(scaled, k + 1).values
    return TokenMasks(
        scaled >= best[k - 1], scaled >= best[k - 1] - slack, scaled >= best[k] + slack
    )


def _nucleus_of(scaled: Tensor, masks: TokenMasks | None, top_p: float, slack: float) -> TokenMasks:
    """The nucleus of the remaining tokens. The fewer remain, the smaller their nucleus."""
    if masks is None:
        return _nucleus(scaled, top_p, slack)
    inside = _nucleus(scaled.masked_fill(~masks.exact, -torch.inf), top_p, slack)
    if torch.equal(masks.possible, masks.sure):
        return _both(inside, masks)
    widest = _nucleus(scaled.masked_fill(~masks.possible, -torch.inf), top_p, slack)
    tightest = _nucleus(scaled.masked_fill(~masks.sure, -torch.inf), top_p, slack)
    return _both(TokenMasks(inside.exact, widest.possible, tightest.sure), masks)


def _nucleus(scaled: Tensor, top_p: float, slack: float) -> TokenMasks:
    """The nucleus: the smallest set of most likely tokens whose probabilities reach `top_p`.

    slack: how far two logits may drift apart through rounding.
    """
    p = scaled.double().softmax(0)
    ranked = torch.topk(p, min(len(p), _SHORTLIST)).values
    if float(ranked.sum()) < top_p + slack:
        ranked = p.sort(descending=True).values
    before = ranked.cumsum(0) - ranked

    def size(reached: float) -> int:
        return max(1, int((before < reached).sum()))

    count = size(top_p)
    least = ranked[count - 1]
    exact = p > least
    exact[(p == least).nonzero()[: count - int(exact.sum()), 0]] = True  # of equals, the first
    possible = p >= ranked[size(top_p + slack / 2) - 1] * math.exp(-slack)
    # A token must stay where all that may be ranked above it do not reach top_p together.
    rivals = torch.searchsorted(-ranked, -ranked * math.exp(-slack))  # itself among them
    above = (before + ranked)[rivals - 1] - ranked
    certain = (above < top_p - slack / 2) & ((rivals < len(ranked)) | (len(ranked) == len(p)))
    least_certain = ranked[certain].min() if bool(certain.any()) else torch.inf
    return TokenMasks(exact, possible, p >= least_certain)
