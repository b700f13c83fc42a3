"""Responses of a model to conversations, outside of a build."""

from __future__ import annotations

from collections.abc import Sequence

from cai.backends.base import Backend
from cai.errors import CaiError, PromptError
from cai.types import Generate, Generation, Message, Messages, Sampling


def respond(
    model: Backend, conversation: Messages | str, sampling: Sampling | None = None
) -> Generation:
    """The model's response to a conversation, or to a user's text.

    sampling: the model's own settings and seed 0 where None. Raises `CaiError` where there is no
    response, such as `PromptError` for a conversation longer than the context.
    """
    if isinstance(conversation, str):
        conversation = (Message("user", conversation),)
    response = respond_all(model, [(conversation, sampling or Sampling())])[0]
    if isinstance(response, CaiError):
        raise response
    return response


def respond_all(
    model: Backend, conversations: Sequence[tuple[Messages, Sampling]]
) -> list[Generation | CaiError]:
    """A response to each conversation, or the reason why there is none."""
    responses: dict[int, Generation | CaiError] = {}
    for place, (messages, sampling) in enumerate(conversations):
        try:
            prepared = model.prepare(Generate(messages, sampling))
            model.submit(place, [prepared], f"conversation {place}")
        except PromptError as error:
            responses[place] = error
    while done := model.poll():
        for one in done:
            result = one.error or one.results[0]
            assert isinstance(result, Generation | CaiError)
            responses[one.ticket] = result
    return [responses[place] for place in range(len(conversations))]
