"""Hidden states and log-probabilities equal the model's own, padded and packed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers as tf
from torch import Tensor

from cai.errors import ModelError
from cai.models.backbone import Backbone
from cai.models.hidden import head_fits, hidden_states, rows_pack
from cai.models.logprobs import head_of, token_logprobs
from tests.models.fresh import (
    ARCHITECTURES,
    add_trained,
    assert_close,
    backbone,
    gradients,
    loaded,
    token_ids,
)
from tests.models.tiny import SHAPE, tiny

LENGTHS = (11, 4, 1, 13)
"""Longer than the tiny models' sliding windows of 8, and a single token."""


@pytest.fixture(params=ARCHITECTURES)
def bone(request: pytest.FixtureRequest) -> Backbone:
    out = backbone(request.param)
    add_trained(out, "policy", 1)
    out.train_only("policy")
    return out


def numbers(hidden: Tensor) -> Tensor:
    """One number of hidden states [.., H] in which every entry counts differently."""
    weights = torch.linspace(-1, 1, hidden.shape[-1])
    return (hidden * weights).sum()


def alone(bone: Backbone, texts: list[Tensor]) -> tuple[list[Tensor], dict[str, Tensor]]:
    hidden = [bone.hidden_states(text[None])[0] for text in texts]
    torch.stack([numbers(h) for h in hidden]).sum().backward()
    return [h.detach() for h in hidden], gradients(bone)


def test_logprobs_are_those_of_the_models_own_logits(bone: Backbone) -> None:
    ids = token_ids(2, 12)
    targets = ids[:, 1:].flatten()
    weights = torch.linspace(-1, 2, len(targets))

    hidden = bone.hidden_states(ids)[:, :-1].flatten(0, 1)
    ours = token_logprobs(hidden, bone.head, targets, chunk=5)
    (weights * ours).sum().backward()
    our_gradients = gradients(bone)

    scores = torch.log_softmax(bone.inner(input_ids=ids).logits[:, :-1].float(), dim=-1)
    theirs = scores.flatten(0, 1).gather(1, targets[:, None])[:, 0]
    (weights * theirs).sum().backward()
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    assert_close(our_gradients, gradients(bone))


def test_packed_texts_are_as_each_alone(bone: Backbone) -> None:
    """Two rows of two texts each; what the second row lacks is a text of one token."""
    texts = [token_ids(n, seed=n) for n in LENGTHS]
    padding = torch.zeros(1, dtype=torch.long)
    rows = [texts[:2], [*texts[2:], padding]]
    ids = torch.stack([torch.cat(row) for row in rows])
    positions = torch.stack([torch.cat([torch.arange(len(t)) for t in row]) for row in rows])

    expected, expected_gradients = alone(bone, texts)
    hidden = bone.hidden_states(ids, positions=positions)
    packed = [hidden[0, :11], hidden[0, 11:15], hidden[1, :1], hidden[1, 1:14]]
    torch.stack([numbers(h) for h in packed]).sum().backward()
    assert bone.packs
    for ours, theirs in zip(packed, expected, strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-5, atol=1e-5)
    assert_close(gradients(bone), expected_gradients)


def test_padded_rows_are_as_each_alone(bone: Backbone) -> None:
    texts = [token_ids(n, seed=n) for n in LENGTHS]
    ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    mask = torch.arange(ids.shape[1]) < torch.tensor(LENGTHS)[:, None]
    expected, expected_gradients = alone(bone, texts)
    hidden = bone.hidden_states(ids, mask)
    assert hidden.isfinite().all()
    padded = [row[:n] for row, n in zip(hidden, LENGTHS, strict=True)]
    torch.stack([numbers(h) for h in padded]).sum().backward()
    for ours, theirs in zip(padded, expected, strict=True):
        torch.testing.assert_close(ours.detach(), theirs, rtol=1e-5, atol=1e-5)
    assert_close(gradients(bone), expected_gradients)


def test_an_architecture_that_mixes_packed_texts_is_refused() -> None:
    """Mamba's state runs on from one text into the next."""
    bone = backbone("mamba")
    assert not bone.packs
    positions = torch.tensor([[0, 1, 0, 1]])
    with pytest.raises(ModelError, match=r"can't read several texts in one row\n.*packing off"):
        bone.hidden_states(token_ids(1, 4), positions=positions)
    assert bone.hidden_states(token_ids(1, 4)).shape == (1, 4, 32)


def test_a_library_that_no_longer_sees_packed_rows_is_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert rows_pack(tiny())
    monkeypatch.setattr("transformers.masking_utils.find_packed_sequence_indices", lambda _: None)
    assert not rows_pack(tiny())


def test_what_makes_no_sense_is_refused() -> None:
    ids = token_ids(1, 4)
    with pytest.raises(ValueError, match="on the right"):
        hidden_states(tiny(), ids, torch.tensor([[False, True, True, True]]))
    with pytest.raises(ValueError, match="a text of its own"):
        hidden_states(tiny(), ids, torch.ones(1, 4).bool(), torch.arange(4)[None])


SCALED: dict[str, Any] = {
    "cohere": lambda: tf.CohereConfig(**SHAPE, logit_scale=0.3),
    "granite": lambda: tf.GraniteConfig(**SHAPE, logits_scaling=5.0),
}


@pytest.mark.parametrize("name", SCALED)
def test_scaled_logits_are_understood(name: str) -> None:
    torch.manual_seed(0)
    model = tf.AutoModelForCausalLM.from_config(SCALED[name]()).eval()
    assert head_of(model).scale == pytest.approx({"cohere": 0.3, "granite": 0.2}[name])
    assert head_fits(model)


def test_logits_that_are_not_understood_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that does more after its head than the config says."""
    model = backbone().model
    forward = model.forward

    def changed(**inputs: Any) -> Any:
        out = forward(**inputs)
        out.logits = out.logits * 1.01
        return out

    monkeypatch.setattr(model, "forward", changed)
    with pytest.raises(ModelError, match="computes its logits in a way that is not understood"):
        Backbone(loaded(model))
