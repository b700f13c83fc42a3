"""Items: what is shown, and the digest that a verdict is kept under."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from cai.audit.items import Entry, comparison_item, rollout_item, trace_item
from cai.audit.page import Frames, item_values, own_texts
from cai.types import ExplainedPrinciple, Withheld
from tests.store.samples import comparison, say, score, trace

ROLLOUT = {
    "update": 2, "prompt_id": "p", "response": "Yes.", "score": 1.5, "kl": 0.5, "tokens": 2,
    "ended": True,
}  # fmt: skip


def test_the_key_is_of_what_is_shown() -> None:
    """Another text is another item; another model call for the same text is not."""
    plain = trace("p")
    same = replace(plain, response=replace(plain.response, rendered_prompt="<user>another frame"))
    other = replace(plain, response=say("Second p", "k"))
    assert trace_item(plain).key == trace_item(same).key
    assert trace_item(plain).key != trace_item(other).key
    assert trace_item(plain).key != trace_item(trace("q")).key
    judged = comparison("p")
    assert comparison_item(judged).key != comparison_item(replace(judged, probability=0.7)).key


def test_what_was_sent_instead_is_shown_and_keys_of_builds_are_as_they_were() -> None:
    plain = trace("p")
    withheld = replace(plain, withheld=Withheld("No.", "rude: 0.1 is below 0.5"))
    assert "withheld" not in trace_item(plain).values
    assert trace_item(withheld).values["withheld"]["text"] == "No."
    assert trace_item(withheld).key != trace_item(plain).key
    about = ExplainedPrinciple("vague", "1.0.0", "d", "essay", True, ("loop",))
    document = trace_item(replace(plain, explained=about))
    assert "explained" not in trace_item(plain).values
    assert document.values["explained"] == {
        "principle": "vague", "version": "1.0.0", "kind": "essay", "why": True, "guards": ["loop"],
    }  # fmt: skip
    assert "vague" in document.principles and document.doubt == trace_item(plain).doubt + 1


def test_the_last_look_is_the_judge_of_a_trace() -> None:
    """exp(-inf) + exp(-0.1) = 0.905: nothing is wrong. exp(-2) = 0.135: something is."""
    assert trace_item(trace("p")).judge is True
    check = replace(trace("p").checks[0], scores=score("k", float("-inf"), -2.0))
    item = trace_item(replace(trace("p"), checks=(check,)))
    assert item.judge is False and item.values["checks"][0]["p"] == pytest.approx(0.1353, abs=1e-4)
    assert item.doubt > trace_item(trace("p")).doubt
    assert trace_item(replace(trace("p"), checks=())).judge is None


@pytest.mark.parametrize(("p", "judge"), [(0.8, True), (0.2, False), (0.52, None)])
def test_the_label_is_the_judge_of_a_comparison(p: float, judge: bool | None) -> None:
    assert comparison_item(comparison("p", probability=p)).judge is judge


def test_the_spread_of_an_ensemble() -> None:
    """0.9 and 0.5: mean 0.7, deviations 0.2, so √(0.04 + 0.04) = 0.2828."""
    one = comparison("p").judgements[0]
    both = replace(comparison("p"), judgements=(one, replace(one, p_first=0.5)))
    assert comparison_item(both).values["spread"] == pytest.approx(0.2828, abs=1e-4)


def test_rollouts() -> None:
    item = rollout_item(ROLLOUT)
    assert (item.id, item.flags, item.judge) == ("2.p", (), None)
    assert rollout_item(ROLLOUT | {"kl": 40.0}).doubt > item.doubt
    with pytest.raises(KeyError):
        rollout_item({"update": 1})
    with pytest.raises(ValueError):
        rollout_item(ROLLOUT | {"score": "high"})


def test_what_a_rollout_s_score_is_made_of() -> None:
    """(value - mean) · weight each; a capped logit of 2 is 5·tanh(0.4) = 1.8997; σ(2) = 0.88."""
    parts = [
        {"name": "kind", "principle": "kind", "value": 5 * math.tanh(0.4), "weight": 0.5},
        {"name": "sure", "principle": "sure", "value": 5.0, "weight": 0.1},
        {"name": "rewards:short", "value": -3.0, "weight": 0.25},
        {"name": "rewards:long", "value": 7.0, "mean": 5.0, "weight": 0.25},
    ]
    item = rollout_item(ROLLOUT | {"parts": parts, "number": 2})
    assert item.id == "2.p.2" and item.principles == ("kind", "sure")
    kind, sure, short, long = item.values["parts"]
    assert (long["adds"], long["mean"], "mean" in short) == (0.5, 5.0, False)
    assert kind["adds"] == pytest.approx(0.9499, abs=1e-4) and short["adds"] == -0.75
    assert kind["p"] == pytest.approx(0.8808, abs=1e-4)
    assert (sure["p"], short["p"], short["principle"]) == (1.0, None, "")
    assert item.key != rollout_item(ROLLOUT | {"number": 2}).key
    for damaged in ({"name": "kind"}, {"name": "kind", "value": "high", "weight": 1}):
        with pytest.raises((KeyError, ValueError)):
            rollout_item(ROLLOUT | {"parts": [damaged]})


def test_what_a_teacher_read_is_shown() -> None:
    row = ROLLOUT | {
        "taught": True,
        "principle": "kind",
        "critique": "Unkind.",
        "outcome": "problem",
    }
    item = rollout_item(row)
    assert item.principles == ("kind",)
    assert item.values["lesson"] == {
        "principle": "kind", "critique": "Unkind.", "found": True, "taught": True,
    }  # fmt: skip
    left_alone = rollout_item(ROLLOUT | {"taught": False, "outcome": "no-problem"})
    assert not left_alone.values["lesson"]["found"] and not left_alone.values["lesson"]["taught"]


def test_rollouts_of_the_earlier_format_are_read_and_keep_their_keys() -> None:
    """The second reward was called `check`; the key is that of its time."""
    now, earlier = (rollout_item(ROLLOUT | {name: 0.5}) for name in ("second_reward", "check"))
    assert now.values["second_reward"] == earlier.values["second_reward"] == 0.5
    assert now.key == earlier.key == "1fcf04fa98f8d7a8fc20dd86"


def test_frames_are_shared_and_give_back_every_byte() -> None:
    """What a model was given, less the item's own texts, which are put back in."""
    frames = Frames()
    for name in ("p1", "p2"):
        made = trace(name)
        long = f"A first response, long enough to be taken out: {name}."
        asked = made.prompt.messages[0].content
        given = f"<user>{asked}<assistant>{long}<user>Say what is not kind. {long}"
        made = replace(
            made, response=say(long, f"{name}/a"),
            revisions=(
                replace(
                    made.revisions[0], critique=replace(say("It is.", "c"), rendered_prompt=given)
                ),
            ),
        )  # fmt: skip
        item = trace_item(made)
        frame, *numbers = frames.pack(item.inputs["critique 0"], own_texts(item))
        text = frames.texts[frame]
        for place, number in enumerate(numbers):
            text = text.replace(f"\x01{place}\x01", own_texts(item)[number])
        assert text == given
    assert len(frames.texts) == 1  # both prompts share it


def test_a_mark_in_the_text_itself_is_left_alone() -> None:
    frames = Frames()
    assert frames.pack("odd \x010\x01 text of some length", ["text of some length"]) == [0]
    assert frames.texts == ["odd \x010\x01 text of some length"]


def test_the_page_gets_the_word_counts_of_first_and_final() -> None:
    """ "First p" has two words; round 1 makes it "Better p and more", round 2 leaves that."""
    item = trace_item(trace("p", final="Better p and more"))
    assert item_values(Entry(item), Frames(), 0)["words"] == [2, 4]
    kept = trace_item(replace(trace("p"), revisions=()))
    assert item_values(Entry(kept), Frames(), 0)["words"] == [2, 2]
