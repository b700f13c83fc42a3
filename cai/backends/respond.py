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

    sampling: the model's own settings and seed 0 if None. Raises `CaiError` if the model can't
    respond, such as `PromptError` for a conversation longer than the context.
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
    """The response to each conversation, or its error."""
    responses: dict[int, Generation | CaiError] = {}
    for place, (messages, sampling) in enumerate(conversations):
        try:
            prepared = model.prepare(Generate(messages, sampling))
            model.submit(place, [prepared], f"conversation {place}")
        except PromptError as error:
            responses[place] = error
    while groups := model.poll():
        for group in groups:
            result = group.error or group.results[0]
            assert isinstance(result, Generation | CaiError)
            responses[group.ticket] = result
    return [responses[place] for place in range(len(conversations))]
