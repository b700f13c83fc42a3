"""From an address or a registry entry to a served model that is known to answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from cai.backends.server.address import ApiKey
from cai.backends.server.client import Client
from cai.backends.server.identify import identify
from cai.backends.server.probe import probe_chat, probe_completion
from cai.backends.server.served_model import ServedModel, ServerIdentity
from cai.constitution.model_registry import ModelEntry
from cai.errors import ServerError

if TYPE_CHECKING:
    from cai.text.encode import Encoder


async def connect_model(
    entry: ModelEntry,
    key: ApiKey,
    template: Mapping[str, Any],
    encoder: Encoder | None,
    reasoning_tokens: int,
) -> tuple[ServedModel, bool]:
    """The model, and whether it reasons before it answers.

    template: arguments of the server's chat template. reasoning_tokens: the most of a reasoning.
    Raises `ServerError` where an endpoint does not answer, or several differ.
    """
    client = Client(entry, key)
    try:
        urls = entry.url or []
        answers = [await identify(client, url, entry.model) for url in urls]
        _require_equal(urls, [identity for identity, _ in answers])
        model = ServedModel(entry, client, answers[0][0], template, encoder)
        reasons = False
        for url, (_, hint) in zip(urls, answers, strict=True):
            if encoder is None:
                reasons |= await probe_chat(model, url, hint)
            else:
                await probe_completion(model, url)
                reasons |= encoder.template.thinks
        reasons = reasons if entry.reasons is None else entry.reasons
        if reasons and template.get("enable_thinking") is False and encoder is None:
            raise ServerError(
                f"The model server at {model.place} reasons although --thinking is off",
                hint="Its chat template has no switch `enable_thinking`, or the server does not"
                " pass it on. Turn reasoning off at the server, or leave --thinking out.",
            )
        model.reasoning_tokens = reasoning_tokens if reasons else 0
    except BaseException:
        await client.aclose()
        raise
    return model, reasons


def _require_equal(urls: list[str], identities: list[ServerIdentity]) -> None:
    """Raise `ServerError` where the endpoints of one model say different things of it."""
    for url, identity in zip(urls, identities, strict=True):
        if identity != identities[0]:
            raise ServerError(
                f"The servers of one model differ: {urls[0]} has {_in_words(identities[0])},"
                f" {url} has {_in_words(identity)}",
                hint="Serve the same model with the same software, or name them as two models.",
            )


def _in_words(identity: ServerIdentity) -> str:
    software = " ".join(filter(None, (identity.software, identity.version))) or "unknown software"
    revision = f" ({identity.revision})" if identity.revision else ""
    context = f", context {identity.context}" if identity.context else ""
    return f"{identity.model}{revision} on {software}{context}"
