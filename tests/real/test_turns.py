"""What stands behind each family's generation prompt: what is sampled, learned and scored."""

from __future__ import annotations

import pytest

from cai.types import Message
from tests.real.families import encoder, of_each_family, tokenizer

pytestmark = pytest.mark.real

ASK = (Message("user", "Say hello."),)
TALK = (*ASK, Message("assistant", "Hello."), Message("user", "Again."))

REPLIES = {
    "smollm2": "Yes.<|im_end|>",
    "qwen3": "<think>\n\n</think>\n\nYes.<|im_end|>",
    "qwen3_5": "\n</think>\n\nYes.<|im_end|>",
    "llama3_1": "Yes.<|eot_id|>",
    "llama3_2": "Yes.<|eot_id|>",
    "llama2": " Yes.</s>",
    "gemma3": "Yes.<end_of_turn>",
    "deepseek_v3": "Yes.<｜end▁of▁sentence｜>",
    "deepseek_r1": "\n</think>\n\nYes.<｜end▁of▁sentence｜>",
    "gptoss": "<|channel|>final<|message|>Yes.<|return|>",
    "mistral_nemo": "Yes.</s>",
    "mistral_small3": "Yes.</s>",
    "phi3": "Yes.<|end|>",
    "phi4": "Yes.<|im_end|>",
    "phi4_mini": "Yes.<|end|>",
    "olmo2": "Yes.<|endoftext|>",
    "olmo3": "Yes.<|endoftext|>",
    "glm4": "\n<think></think>\nYes.<|endoftext|>",  # the template writes no end
    "lfm2": "Yes.<|im_end|>",
    "nemotron3": "\n</think>\n\nYes.<|im_end|>",
}


@of_each_family()
def test_a_reply_stands_behind_the_prompt_that_is_sampled_from(name: str) -> None:
    """After one turn and after several; it ends with a token that ends the model's replies."""
    ours = encoder(name)
    for messages in (ASK, TALK):
        turn = ours.turn(messages, " Yes. ")
        assert turn.prompt == ours.encode(messages).ids
        reply = tokenizer(name).decode(list(turn.reply))
        # A decoder may drop the space before a text's first word.
        assert reply.replace(" ", "") == REPLIES[name].replace(" ", "")
        assert turn.reply[-1] in ours.eos_ids
        answer = turn.reply[turn.answer : -1]
        assert ours.decode(answer).strip() == "Yes."
        assert not set(answer) & ours.control_ids
