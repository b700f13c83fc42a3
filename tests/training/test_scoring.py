"""Scores: from functions that people write, from reward models, from mixtures of them."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from cai.errors import TrainingError, UsageError
from cai.models.adapters import LoraSettings
from cai.models.heads import ScalarHead
from cai.stats import spread
from cai.training.batches import encode_tokens
from cai.training.rollout import EncodedPrompt, Response
from cai.training.score_parts import is_rounding
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

    Each in its first spread: (14, 3) has the deviation 11/√2, (1, 2) has 1/√2, so
    2√2/11 · (14, 3) - 0.5√2 · (1, 2) = √2 · (28/11 - 0.5, 6/11 - 1). Later scores keep the unit.
    """
    lengths = by(lambda p, r: [len(x) for x in r])
    places = by(lambda p, r: range(1, len(r) + 1))
    parts = [(2.0, lengths), (-0.5, places)]
    plain = MixedScorer(parts, normalise=False)
    assert plain(TWO) == [27.5, 5.0]
    assert plain.name == "2 × mine:f + -0.5 × mine:f"
    mixed = MixedScorer(parts)
    root = 2**0.5
    assert mixed(TWO) == pytest.approx([root * (28 / 11 - 0.5), root * (6 / 11 - 1)])
    assert mixed(TWO[:1]) == pytest.approx([root * (28 / 11 - 0.5)])
    for bad in ([], [(float("inf"), lengths)]):
        with pytest.raises(UsageError):
            MixedScorer(bad)


def test_scores_take_the_unit_of_the_first_ones() -> None:
    """First (1, 3): mean 2, deviation √2. Later 4 and 2: 2 / √2 clipped to 1; 0 - 0.5 unended."""
    scale = ScoreScale(normalise=True, clip=1.0, missing_eos=0.5)
    assert scale([1.0, 3.0], TWO) == pytest.approx([-(0.5**0.5), 0.5**0.5 - 0.5])
    assert scale([4.0, 2.0], TWO) == pytest.approx([1.0, -0.5])
    assert scale.start is not None
    assert scale.start == pytest.approx((2.0, 2**0.5))


def test_equal_scores_and_no_scale() -> None:
    """No spread, or but float32's rounding: the unit stays 1. Not normalised: as they are."""
    assert ScoreScale(True, None, None)([5.0, 5.0], TWO) == [0.0, 0.0]
    assert len(set(ScoreScale(True, None, None)([5.0, 5.0 + 5e-7], TWO))) == 1
    assert ScoreScale(False, None, None)([5.0, -7.0], TWO) == [5.0, -7.0]
    normalised, plain = ScoreScale(True, None, None), ScoreScale(False, None, None)
    assert normalised.unit is None
    for one in (normalised, plain):
        one([5.0, -7.0], TWO)
        one([1.0, 2.0], TWO)
    assert normalised.unit == pytest.approx(72**0.5)  # 6² + 6², divided by one less than two
    assert plain.unit is None
    assert spread([3.0]) == 0.0


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("size", [1.0, -1000.0, 0.0])
def test_a_spread_that_is_rounding_is_no_difference(normalise: bool, size: float) -> None:
    """1e-9 beside 1, and 1e-6 of 1000, is rounding: exactly equal, whatever whitens it later. A
    thousandth is a difference, and in the first scores' own unit a large one."""
    scale = ScoreScale(normalise, None, None)
    step = 1e-9 * max(1.0, abs(size))
    first, second = scale([size, size + step], TWO)
    assert first == second == pytest.approx(0.0 if normalise else size, abs=1e-6)
    first, second = scale([size, size + 0.001 * max(1.0, abs(size))], TWO)
    assert second > first


def test_what_rounding_is() -> None:
    assert is_rounding(1e-9, 1.0) and is_rounding(9e-4, -1000.0) and is_rounding(0.0, 0.0)
    assert not is_rounding(1e-5, 1.0) and not is_rounding(2e-3, -1000.0)
