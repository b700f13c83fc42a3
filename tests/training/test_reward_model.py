"""A trained reward model scores responses as PPO scores them, and says what it can't use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cai
from cai.errors import DataError, PromptError
from cai.models.backbone import Backbone
from cai.training.rewards import build_reward
from cai.training.rollout import EncodedPrompt, Response

QUESTION = "How do I bake bread?"
RESPONSES = ["You could use rye flour.", "No.", "Read a book about bread."]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two steps on pairs of which the longer side is better."""
    folder = tmp_path_factory.mktemp("reward")
    rows = [
        {"prompt": f"What of {c}?", "chosen": "Gladly, now.", "rejected": "No."} for c in "abcd"
    ]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = cai.RewardConfig(max_steps=2, test_share=0.0, device="cpu", dtype="float32")
    cai.train(config, [folder / "pairs.jsonl"], folder / "reward")
    return folder / "reward"


@pytest.fixture(scope="module")
def model(run: Path) -> cai.RewardModel:
    return cai.RewardModel.load(str(run), device="cpu", dtype="float32")


def test_its_scores_are_those_that_ppo_uses(run: Path, model: cai.RewardModel) -> None:
    base = Backbone.load("miniature", device="cpu", dtype="float32")
    config = cai.PpoConfig(device="cpu", dtype="float32", gate=False)
    scorer = build_reward(str(run), base, config, "reward").scorer
    prompt = EncodedPrompt("p", (cai.Message("user", QUESTION),), ())
    expected = scorer([Response(prompt, (), text, True) for text in RESPONSES])
    scores = model.scores(QUESTION, RESPONSES)
    assert scores == pytest.approx(expected, abs=1e-6)
    assert len(set(scores)) == 3


def test_a_conversation_and_a_text_are_one(model: cai.RewardModel) -> None:
    messages = (cai.Message("user", QUESTION),)
    assert model.scores(messages, RESPONSES) == model.scores(QUESTION, RESPONSES)
    assert model.scores(QUESTION, []) == []


def test_a_response_beyond_the_context_is_refused(model: cai.RewardModel) -> None:
    with pytest.raises(PromptError, match="too long"):
        model.scores(QUESTION, ["bread " * 5000])


def test_a_folder_without_a_reward_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not the folder of a training run"):
        cai.RewardModel.load(tmp_path)
