"""A server named on the command line: `http://host:port/v1#model`, several joined by commas."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import ValidationError

from cai.constitution.model_registry import ModelEntry
from cai.errors import UsageError

KEY_VARIABLE = "CAI_API_KEY"
"""The environment variable of the key for servers that are named by their address."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key for a server. It is in no representation, and `redacted` takes it out of a text."""

    value: str = field(default="", repr=False)

    @property
    def headers(self) -> dict[str, str]:
        """The header that carries it."""
        return {"Authorization": f"Bearer {self.value}"} if self.value else {}

    def redacted(self, text: str) -> str:
        """The text with `***` for the key."""
        return text.replace(self.value, "***") if self.value else text


def is_address(name: str) -> bool:
    """Whether a model's name is the address of a server."""
    return name.startswith(("http://", "https://"))


def parse_address(address: str) -> tuple[ModelEntry, ApiKey]:
    """The server of an address, and its key: the address's own, else that of `CAI_API_KEY`.

    `http://a:8000/v1,http://b:8000/v1#name` is one model on two servers. A key may stand in the
    address as in `https://KEY@host/v1`; it is kept in memory alone. Raises `UsageError`, without
    the address, which may hold a key.
    """
    places, _, name = address.partition("#")
    urls: list[str] = []
    keys: dict[str, None] = {}
    for number, place in enumerate(places.split(","), start=1):
        try:
            url = urlsplit(place.strip())
            urls.append(_bare_url(url))
        except ValueError:
            raise UsageError(
                f"Address {number} of the model server is not valid",
                hint="Write it like http://127.0.0.1:8000/v1#model-name",
            ) from None
        keys[unquote(url.password or url.username or "")] = None
    try:
        entry = ModelEntry(url=urls, model=name or None)
    except ValidationError as error:
        reason = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
        raise UsageError(f"The address of the model server {reason}") from None
    if len(keys) > 1:
        raise UsageError(
            "The addresses of one model hold different keys",
            hint="Give the key in the environment variable CAI_API_KEY, or use cai.yaml.",
        )
    return entry, _key(next(iter(keys)) or os.environ.get(KEY_VARIABLE, ""), KEY_VARIABLE)


def without_key(address: str) -> str:
    """An address as it may be shown: `***` for what stands before the host."""
    return re.sub(r"(?<=://)[^/#?]*@", "***@", address)


def _bare_url(url: SplitResult) -> str:
    host = url.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = f":{url.port}" if url.port is not None else ""
    return url._replace(netloc=host + port).geturl()


def read_key(entry: ModelEntry) -> ApiKey:
    """The key of a registry entry, from the environment or a file. Raises `UsageError`.

    Messages never show what `api_key_env` and `api_key_file` say: it may be the key itself, put
    there by mistake.
    """
    if entry.api_key_env is not None:
        value = os.environ.get(entry.api_key_env)
        if not value:
            raise UsageError(
                "the environment variable that `api_key_env` names is not set",
                hint="Set it, or name another in cai.yaml; the key itself does not belong there.",
            )
        return _key(value, "the variable that `api_key_env` names")
    if entry.api_key_file is not None:
        try:
            value = Path(entry.api_key_file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            raise UsageError(
                "the file that `api_key_file` names can't be read",
                hint="Check the path in cai.yaml; the key itself does not belong there.",
            ) from None
        return _key(value, "the file that `api_key_file` names")
    return ApiKey()


def _key(value: str, place: str) -> ApiKey:
    value = value.strip()
    if not value.isascii() or any(c.isspace() or not c.isprintable() for c in value):
        raise UsageError(f"The key in {place} holds characters that no key has")
    return ApiKey(value)
