"""Scores of responses: by a reward model, a Python function, or a weighted sum of several."""

from __future__ import annotations

import importlib
import math
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from torch import nn

from cai.digest import digest, file_digest
from cai.errors import PromptError, TrainingError, UsageError
from cai.models.backbone import Backbone
from cai.stats import spread
from cai.text.encode import Encoder
from cai.text.reasoning import Reply
from cai.training.batches import Tokens, encode_scored, score_all
from cai.training.processes import world
from cai.training.rollout import Response
from cai.training.score_parts import Scored, ScorePart, StartScores, WeightedSum, is_rounding
from cai.types import as_dicts

RewardFunction: TypeAlias = Callable[[list[list[dict[str, str]]], list[str]], Sequence[float]]
"""(prompts, responses) -> scores. A prompt is a list of messages, {"role": …, "content": …}."""


class Scorer(Protocol):
    """Scores responses."""

    name: str
    """What people call it."""

    def __call__(self, responses: Sequence[Response]) -> list[float]:
        """A finite score for each response, in order."""
        ...


class FunctionScorer:
    """Scores by a Python function.

    Raises `UsageError` if the function fails, or returns anything but one finite number each.
    """

    def __init__(self, function: RewardFunction, name: str) -> None:
        self.function = function
        self.name = name

    @property
    def digest(self) -> str:
        """Of the name and of the file that it is in: the function's code is part of the run."""
        module = sys.modules.get(self.name.partition(":")[0])
        file = getattr(module, "__file__", None)
        code = file_digest(Path(file)) if file and Path(file).is_file() else ""
        return digest([self.name, code])

    @classmethod
    def load(cls, name: str) -> FunctionScorer:
        """The function `module:function`, from an installed module or the working directory.

        Raises `UsageError` if there is no such function.
        """
        return cls(load_function(name), name)

    def __call__(self, responses: Sequence[Response]) -> list[float]:
        """As in `Scorer`: by the first process, for all."""
        return world().from_first(lambda: self._score(responses))

    def _score(self, responses: Sequence[Response]) -> list[float]:
        prompts = [as_dicts(r.prompt.messages) for r in responses]
        try:
            scores = self.function(prompts, [r.text for r in responses])
        except (Exception, SystemExit) as error:  # one that exits would end the run in silence
            raise UsageError(
                f"The reward function {self.name} failed: {_summary(error)}",
                hint=_place(error),
            ) from error
        return as_scores(scores, len(responses), self.name)


class ModelScorer:
    """Scores by a reward model: an adapter on the policy's base or another, and a head on it.

    It reads the ids that it was trained on: those of a row with this prompt and this response
    (`batches.encode_scored`), with the token that ends a turn also where the response ran into the
    limit (which `missing_eos_penalty` is for), and without the reasoning before an answer.
    """

    def __init__(
        self,
        backbone: Backbone,
        adapter: str | None,
        head: nn.Module,
        name: str = "reward model",
        micro_tokens: int = 8192,
        encoder: Encoder | None = None,
    ) -> None:
        """encoder: the one of the rows that it was trained on; the backbone's by default."""
        self.encoder = encoder or backbone.encoder
        self.backbone = backbone
        self.adapter = adapter
        self.head = head
        self.name = name
        self.micro_tokens = micro_tokens

    def __call__(self, responses: Sequence[Response]) -> list[float]:
        """As in `Scorer`. Raises `TrainingError` if a score is NaN or infinite."""
        read = [self._tokens(r) for r in responses]
        scores = score_all(self.backbone, self.head, read, self.adapter, self.micro_tokens)
        if not all(map(math.isfinite, scores)):
            raise TrainingError(
                f"The {self.name} returns scores that contain NaN or inf",
                hint="Try --dtype float32; if it stays, its weights are damaged.",
            )
        return scores

    def _tokens(self, response: Response) -> Tokens:
        """Prompt, answer and end of the turn: the ids of a training row with this text."""
        text = response.text.replace("\0", "\ufffd")  # which no encoder takes
        try:
            return encode_scored(
                self.encoder, response.prompt.messages, Reply(text), self.backbone.context
            )
        except PromptError as error:
            raise self._unreadable(response.prompt.id, error.message) from error

    def _unreadable(self, prompt_id: str, why: str) -> TrainingError:
        return TrainingError(
            f"The {self.name} can't read the response to {prompt_id}: {why}; its context is"
            f" {self.backbone.context}",
            hint="Lower --max-new-tokens, leave out long prompts, or train the reward model on a"
            " base with a longer context.",
        )


class PartedScorer(ABC):
    """A `Scorer` whose scores are sums of parts.

    sum: adds them up; its state is the scorer's.
    """

    name: str
    sum: WeightedSum

    def __call__(self, responses: Sequence[Response]) -> list[float]:
        """As in `Scorer`."""
        return self.scored(responses).scores

    @abstractmethod
    def scored(self, responses: Sequence[Response], calibrate: bool = False) -> Scored:
        """The scores of responses, and what each part adds to them.

        calibrate: the responses are an update's, and count for the units of the parts.
        """


def scored(scorer: Scorer, responses: Sequence[Response], calibrate: bool = False) -> Scored:
    """The scores of responses by any scorer, and their parts where it has some.

    calibrate: as of `PartedScorer.scored`.
    """
    if isinstance(scorer, PartedScorer):
        return scorer.scored(responses, calibrate)
    return Scored(scorer(responses), [])


def all_scorers(scorer: Scorer) -> list[Scorer]:
    """A scorer, and all that it mixes."""
    mixed = scorer.parts if isinstance(scorer, MixedScorer) else ()
    return [scorer, *(each for _, part in mixed for each in all_scorers(part))]


class MixedScorer(PartedScorer):
    """The weighted sum of several scorers: helpful, harmless and honest, say.

    normalise: as in `WeightedSum`.
    """

    def __init__(self, parts: Sequence[tuple[float, Scorer]], normalise: bool = True) -> None:
        if not parts or not all(math.isfinite(weight) for weight, _ in parts):
            raise UsageError("A mixed reward needs at least one part, and finite weights.")
        self.parts = tuple(parts)
        self.name = " + ".join(f"{weight:g} × {scorer.name}" for weight, scorer in self.parts)
        self.sum = WeightedSum(normalise)

    def scored(self, responses: Sequence[Response], calibrate: bool = False) -> Scored:
        """As in `PartedScorer`: a term that has parts of its own stands for them."""
        inner = [scored(scorer, responses, calibrate) for _, scorer in self.parts]
        terms = [
            ScorePart(scorer.name, some.scores, weight)
            for (weight, scorer), some in zip(self.parts, inner, strict=True)
        ]
        scores, terms = self.sum(terms, calibrate)
        return Scored(
            scores,
            [part for term, some in zip(terms, inner, strict=True) for part in _within(term, some)],
        )


def _within(term: ScorePart, inner: Scored) -> list[ScorePart]:
    """The parts of a term as parts of the whole; the term itself where it has none.

    What the term's own mean takes off is shared out by weight, so that the parts still add up.
    """
    weights = sum(abs(part.weight) for part in inner.parts)
    return [
        replace(
            part, name=f"{term.name}/{part.name}", weight=term.weight * part.weight,
            mean=part.mean + term.mean * part.std * math.copysign(1 / weights, part.weight),
            std=term.std * part.std,
        )
        for part in inner.parts
    ] or [term]  # fmt: skip


class ScoreScale:
    """Turns scores into rewards: normalisation, clipping, the penalty for a missing EOS.

    normalise: put scores to mean 0 and variance 1 by those at the start of training, which
    `calibrate` counts (Ziegler et al. 2019, section 2.1, who do so by the reward model's own gain
    and bias). clip: bound on a normalised score; None for none. missing_eos: penalty for a response
    that did not end, in normalised score (Huang et al. 2024, arXiv 2403.17031, "EOS trick").
    """

    def __init__(self, normalise: bool, clip: float | None, missing_eos: float | None) -> None:
        self.normalise = normalise
        self.clip = math.inf if clip is None else clip
        self.missing_eos = missing_eos or 0.0
        self.start = StartScores()

    @property
    def unit(self) -> float | None:
        """What scores are divided by, once it is settled; None where they are not normalised."""
        return self.start.std if self.normalise and self.start.settled else None

    @property
    def settled(self) -> bool:
        """Whether rewards can be compared with later ones."""
        return not self.normalise or self.start.settled

    def calibrate(self, scores: Sequence[float]) -> None:
        """Count the scores of an update for the start's, if there are too few yet."""
        self.start.add(scores)

    def __call__(self, scores: Sequence[float], responses: Sequence[Response]) -> list[float]:
        """The reward of each response; scores that differ by rounding alone count as equal."""
        average = sum(scores) / len(scores)
        mean, std = (self.start.mean, self.start.std) if self.normalise else (0.0, 1.0)
        if is_rounding(spread(scores), average):  # or PPO would scale it up: it whitens advantages
            scores = [average] * len(scores)
        return [
            min(max((score - mean) / std, -self.clip), self.clip)
            - (0.0 if response.ended else self.missing_eos)
            for score, response in zip(scores, responses, strict=True)
        ]


def load_function(name: str) -> RewardFunction:
    """Import `module:function`; the working directory is looked in, too.

    Raises `UsageError` if the name is malformed, or is not that of a function.
    """
    module_name, colon, function_name = name.partition(":")
    if not (module_name and colon and function_name):
        raise UsageError(
            f"{name!r} names no reward function",
            hint="Give it as module:function, for example my_rewards:politeness.",
        )
    here = str(Path.cwd())
    sys.path.insert(0, here)
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == module_name.split(".")[0]:
            raise UsageError(
                f"There is no module {module_name!r} for the reward {name}",
                hint=f"Looked in {here} and in what is installed.",
            ) from None
        raise UsageError(
            f"The module of the reward {name} can't be imported: {_summary(error)}",
            hint=_place(error),
        ) from error
    finally:
        sys.path.remove(here)
    function: Any = getattr(module, function_name, None)
    if not callable(function):
        raise UsageError(
            f"The module {module_name} has no function {function_name!r}",
            hint="It takes (prompts, responses), two lists, and returns a list of numbers.",
        )
    reward: RewardFunction = function
    return reward


def as_scores(scores: Any, count: int, name: str) -> list[float]:
    """A reward function's return value as floats.

    Raises `UsageError` unless it is `count` finite numbers.
    """
    try:
        if isinstance(scores, str | bytes | dict | set):
            raise TypeError
        values = [float(score) for score in scores]
    except (TypeError, ValueError):
        raise UsageError(
            f"The reward function {name} returned {_short(scores)}, not a list of numbers"
        ) from None
    if len(values) != count:
        raise UsageError(
            f"The reward function {name} returned {len(values)} scores for {count} responses"
        )
    for i, value in enumerate(values):
        if not math.isfinite(value):
            raise UsageError(f"The reward function {name} returned {value} for response {i + 1}")
    return values


def _summary(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


def _place(error: BaseException) -> str:
    """File and line where an error arose."""
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
