"""Scores: from functions that people write, from reward models, from mixtures of them."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cai.errors import TrainingError, UsageError
from cai.models.adapters import LoraSettings
from cai.models.heads import ScalarHead
from cai.stats import spread
from cai.training.batches import encode_tokens
from cai.training.rollout import EncodedPrompt, Response
from cai.training.score_parts import START_RESPONSES, StartScores, is_rounding
from cai.training.scoring import (
    FunctionScorer,
    MixedScorer,
    ModelScorer,
    ScoreScale,
    load_function,
)
from cai.types import Message
from tests.models.tiny import encoder
from tests.training.ppo_runs import backbone


def response(text: str, prompt: str = "Hello there.", ended: bool = True) -> Response:
    messages = (Message("user", prompt),)
    words = tuple(encoder().tokenizer(text, add_special_tokens=False)["input_ids"])
    end = encoder().turn_end_id
    assert end is not None
    ids = (*words, end) if ended else words
    return Response(EncodedPrompt("p", messages, encoder().encode(messages).ids), ids, text, ended)


TWO = [response("Bread is kind."), response("No.", "What is bread?", ended=False)]


def by(function: Any) -> FunctionScorer:
    return FunctionScorer(function, "mine:f")


# -- functions ------------------------------------------------------------------------------------


def test_a_function_gets_messages_and_texts() -> None:
    calls: list[Any] = []

    def lengths(prompts: Any, responses: Any) -> Any:
        calls.append((prompts, responses))
        return torch.tensor([len(r) for r in responses])

    assert by(lengths)(TWO) == [14.0, 3.0]
    assert calls == [
        (
            [
                [{"role": "user", "content": "Hello there."}],
                [{"role": "user", "content": "What is bread?"}],
            ],
            ["Bread is kind.", "No."],
        )
    ]


@pytest.mark.parametrize(
    ("returned", "words"),
    [
        ([1.0], "returned 1 scores for 2 responses"),
        ([1.0, float("nan")], "returned nan for response 2"),
        ([float("-inf"), 1.0], "returned -inf for response 1"),
        (None, "returned None, not a list of numbers"),
        (["good", "bad"], "not a list of numbers"),
        ("12", "not a list of numbers"),
        ({1: 2, 3: 4}, "not a list of numbers"),
        ([None, 1.0], "not a list of numbers"),
    ],
)
def test_anything_but_one_finite_number_each_is_told(returned: Any, words: str) -> None:
    with pytest.raises(UsageError, match="mine:f") as error:
        by(lambda prompts, responses: returned)(TWO)
    assert words in str(error.value)


def test_a_function_that_fails_is_told_with_its_place() -> None:
    def broken(prompts: Any, responses: Any) -> Any:
        return dict[str, int]()["key"]

    with pytest.raises(UsageError) as error:
        by(broken)(TWO)
    assert "mine:f failed: KeyError: 'key'" in str(error.value)
    assert f"{__file__}:" in error.value.hint


def test_a_function_that_exits_does_not_end_the_run_in_silence() -> None:
    def leaves(prompts: Any, responses: Any) -> Any:
        sys.exit(0)

    with pytest.raises(UsageError, match="mine:f failed: SystemExit: 0"):
        by(leaves)(TWO)


def test_functions_are_found_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rewards_of_mine.py").write_text("def f(p, r):\n    return [len(x) for x in r]\n")
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert FunctionScorer.load("rewards_of_mine:f")(TWO) == [14.0, 3.0]
    assert sys.path == before


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("f", "names no reward function"),
        (":f", "names no reward function"),
        ("math:", "names no reward function"),
        ("no_such_module_here:f", "There is no module 'no_such_module_here'"),
        ("math:no_such", "The module math has no function 'no_such'"),
        ("math:pi", "The module math has no function 'pi'"),
        ("rewards_that_break:f", "can't be imported: ZeroDivisionError"),
        ("rewards_that_miss:f", "can't be imported: ModuleNotFoundError"),
    ],
)
def test_a_name_without_a_function_is_told(
    name: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "rewards_that_break.py").write_text("1 / 0\n")
    (tmp_path / "rewards_that_miss.py").write_text("import no_such_module_here\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as error:
        load_function(name)
    assert words in str(error.value)


# -- reward models --------------------------------------------------------------------------------


def model_scorer(**changes: Any) -> ModelScorer:
    base = backbone()
    base.add_adapter("reward", LoraSettings(r=4), seed=3)
    noise = torch.Generator().manual_seed(5)
    base.train_only("reward")
    with torch.no_grad():
        for parameter in base.trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=noise) * 0.1)
    base.train_only()
    return ModelScorer(base, "reward", ScalarHead(base.hidden_size, seed=4), **changes)


@torch.no_grad()
def test_a_reward_model_reads_what_it_was_trained_on() -> None:
    """Its score is the head's at the last token of the row that the reward trainer would read.

    The second response did not end; the token that ends a turn is put behind it.
    """
    scorer = model_scorer()
    scores = scorer(TWO)
    for score, r in zip(scores, TWO, strict=True):
        row = (*r.prompt.messages, Message("assistant", r.text))
        ids = encode_tokens(encoder(), row, 512).ids
        with scorer.backbone.using("reward"):
            hidden = scorer.backbone.hidden_states(torch.tensor([ids]))
        assert score == pytest.approx(scorer.head(hidden[0, -1]).item(), abs=1e-5)


def test_a_reward_model_with_another_tokenizer_reads_the_text() -> None:
    """The policy's ids mean other words there, or the same ones cut otherwise: what counts is what
    was said. A NUL, which no encoder takes, is read as an unknown character."""
    scorer = model_scorer()
    read = [response("Bread is kind."), response("a\ufffdb")]
    foreign = [
        replace(read[0], prompt=replace(read[0].prompt, ids=(7, 8, 9)), ids=(11, 12)),
        replace(read[1], ids=(11,), text="a\0b"),
    ]
    assert scorer(foreign) == pytest.approx(scorer(read), abs=1e-5)


def test_scores_do_not_depend_on_the_batch_or_on_who_is_active() -> None:
    many = [response("ab " * n) for n in range(1, 8)]
    whole, parts = model_scorer()(many), model_scorer(micro_tokens=1)(many)
    assert whole == pytest.approx(parts, abs=1e-5)
    assert len({round(s, 4) for s in whole}) == 7
    scorer = model_scorer()
    assert scorer.backbone.active == "policy"
    scorer(many)
    assert scorer.backbone.active == "policy"


def test_a_damaged_reward_model_is_told() -> None:
    scorer = model_scorer()
    with torch.no_grad():
        scorer.head.get_parameter("bias").fill_(float("nan"))
    with pytest.raises(TrainingError, match="NaN or inf"):
        scorer(TWO)


# -- mixtures and scale ---------------------------------------------------------------------------


def test_a_mixture_is_the_weighted_sum() -> None:
    """As they are: 2 · (14, 3) - 0.5 · (1, 2) = (27.5, 5).

    Each by its values at the start: (14, 3) has the mean 8.5 and the deviation 11/√2, so it becomes
    (1, -1)/√2; (1, 2) becomes (-1, 1)/√2. 2 · (1, -1)/√2 - 0.5 · (-1, 1)/√2 = (2.5, -2.5)/√2.
    """
    lengths = by(lambda p, r: [len(x) for x in r])
    places = by(lambda p, r: range(1, len(r) + 1))
    parts = [(2.0, lengths), (-0.5, places)]
    plain = MixedScorer(parts, normalise=False)
    assert plain(TWO) == [27.5, 5.0]
    assert plain.name == "2 × mine:f + -0.5 × mine:f"
    mixed = MixedScorer(parts)
    assert mixed(TWO) == plain(TWO)  # before any update
    assert mixed.scored(TWO, calibrate=True).scores == pytest.approx([2.5 / 2**0.5, -2.5 / 2**0.5])
    assert mixed(TWO[:1]) == pytest.approx([2.5 / 2**0.5])
    parts_of_first = mixed.scored(TWO[:1]).parts
    assert [part.adds(0) for part in parts_of_first] == pytest.approx([2**0.5, 8**-0.5])
    for bad in ([], [(float("inf"), lengths)]):
        with pytest.raises(UsageError):
            MixedScorer(bad)


def test_scores_are_normalised_by_those_at_the_start() -> None:
    """Of (1, 3): mean 2, deviation √2. Others' 4 and 2: 2/√2 clipped to 1; 0, less 0.5 unended.

    Of (1, 3) and 254 times 2: mean 2, deviation √(2/255). A further update changes nothing.
    """
    scale = ScoreScale(normalise=True, clip=1.0, missing_eos=0.5)
    scale.calibrate([1.0, 3.0])
    assert scale([1.0, 3.0], TWO) == pytest.approx([-(0.5**0.5), 0.5**0.5 - 0.5])
    assert scale([4.0, 2.0], TWO) == pytest.approx([1.0, -0.5])
    assert (scale.unit, scale.settled) == (None, False)
    scale.calibrate([2.0] * 254)
    assert scale.unit == pytest.approx((2 / 255) ** 0.5) and scale.settled
    scale.calibrate([70.0, 80.0])
    assert (scale.start.mean, scale.start.std) == pytest.approx((2.0, (2 / 255) ** 0.5))


@pytest.mark.parametrize("sizes", [(300,), (100, 100, 100), (7, 255, 38), (1,) * 300])
def test_the_start_is_that_of_all_scores_until_there_are_enough(sizes: Sequence[int]) -> None:
    """However they come in updates, and through JSON: as numpy has it of those that count."""
    scores = np.random.default_rng(0).normal(40.0, 3.0, 300)
    start = StartScores()
    for update in np.split(scores, np.cumsum(sizes)[:-1]):
        start.add(update.tolist())
        start = StartScores(**json.loads(json.dumps(start.state())))
    counted = next(n for n in np.cumsum(sizes) if n >= START_RESPONSES)
    assert start.count == counted
    assert start.mean == pytest.approx(scores[:counted].mean())
    assert start.std == pytest.approx(scores[:counted].std(ddof=1))
    assert start.largest == pytest.approx(np.abs(scores[:counted]).max())


def test_one_lucky_update_gives_no_unit() -> None:
    """63 of 64 at 4.7 and one at 4.6 would divide by 0.0125; later spread of 0.6 rules it out."""
    lucky, usual = [4.7] * 63 + [4.6], [4.7, 3.5] * 32
    start = StartScores()
    start.add(lucky)
    assert start.std == pytest.approx(0.0125)
    start.add(usual)
    assert start.std == pytest.approx(spread(lucky + usual)) and start.std > 0.5


def test_a_mixture_whose_unit_changes_stays_in_proportion() -> None:
    """The second update's unit is 8 times the first's: its scores are of the same size all the same
    since means are taken off too, and do not spread the start's over what only the unit did."""
    values = iter([[4.7, 4.6] * 8, [4.7, 3.1] * 8])
    mixed = MixedScorer([(1.0, by(lambda p, r: next(values)))])
    scale = ScoreScale(normalise=True, clip=None, missing_eos=None)
    responses = TWO * 8
    for _ in range(2):
        scores = mixed.scored(responses, calibrate=True).scores
        scale.calibrate(scores)
        assert 0.5 < spread(scores) < 2
    assert 0.5 < scale.start.std < 2 and abs(scale.start.mean) < 1


def test_equal_scores_and_no_scale() -> None:
    """No spread, or but float32's rounding: the unit stays 1. Not normalised: as they are."""
    for scores in ([5.0, 5.0], [5.0, 5.0 + 5e-7]):
        scale = ScoreScale(True, None, None)
        scale.calibrate(scores)
        first, second = scale(scores, TWO)
        assert first == second == pytest.approx(0.0, abs=1e-6)
    assert ScoreScale(False, None, None)([5.0, -7.0], TWO) == [5.0, -7.0]
    normalised, plain = ScoreScale(True, None, None), ScoreScale(False, None, None)
    for one in (normalised, plain):
        assert one.unit is None
        one.calibrate([5.0, -7.0] * 128)
    assert normalised.unit == pytest.approx(6 * (256 / 255) ** 0.5)
    assert plain.unit is None and plain.settled
    assert spread([3.0]) == 0.0


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("size", [1.0, -1000.0, 0.0])
def test_a_spread_that_is_rounding_is_no_difference(normalise: bool, size: float) -> None:
    """1e-9 beside 1, and 1e-6 of 1000, is rounding: exactly equal, whatever whitens it later. A
    thousandth is a difference, and in the first scores' own unit a large one."""
    scale = ScoreScale(normalise, None, None)
    step = 1e-9 * max(1.0, abs(size))
    scale.calibrate([size, size + step])
    first, second = scale([size, size + step], TWO)
    assert first == second == pytest.approx(0.0 if normalise else size, abs=1e-6)
    first, second = scale([size, size + 0.001 * max(1.0, abs(size))], TWO)
    assert second > first


def test_what_rounding_is() -> None:
    assert is_rounding(1e-9, 1.0) and is_rounding(9e-4, -1000.0) and is_rounding(0.0, 0.0)
    assert not is_rounding(1e-5, 1.0) and not is_rounding(2e-3, -1000.0)
