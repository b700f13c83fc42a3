"""Stand-ins of inference servers: strict about what they are sent, consistent in what they answer.

A stand-in validates every field against the documented API of its server, and records whatever is
not in it as a `Misuse`, besides refusing it. Its model is the toy one, whose log-probabilities
agree over all endpoints. It shows that a client speaks the API, and not how fast or how well.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import regex  # type: ignore[import-untyped]
from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from tests.servers import toy_lm
from tests.servers.faults import respond
from tests.servers.loopback import LoopbackServer

Json = dict[str, Any]
Schema = TypeVar("Schema", bound=BaseModel)


@dataclass(frozen=True)
class Misuse:
    """A request that the server's documentation does not allow. field: `messages.0.role`."""

    path: str
    field: str
    message: str


class Refused(Exception):
    """The request is refused with this status. misuse: whether the client is to blame for it."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        field: str = "",
        kind: str = "BadRequestError",
        misuse: bool = True,
    ) -> None:
        super().__init__(message)
        self.status, self.field, self.kind, self.misuse = status, field, kind, misuse


Answer = Json | list[Any] | str
Handler = Callable[[Json], Answer]


class StandIn:
    """A server of documented endpoints: see the module. Subclasses fill `routes` and `error`.

    strict: whether unknown fields are refused; else they are ignored, as by the real server, and
    recorded all the same. requests: bodies of POSTs with their paths, in order.
    """

    def __init__(self, *, strict: bool = True) -> None:
        self._strict = strict
        self.misuses: list[Misuse] = []
        self.requests: list[tuple[str, Json]] = []
        self.routes: dict[tuple[str, str], Handler] = {}
        self.adapters: dict[str, tuple[str, str]] = {}
        """By name: the path, and the digest of the files, which names the toy model's variant."""
        self._numbers = itertools.count()
        self._server = LoopbackServer(self._app)

    @property
    def address(self) -> str:
        """`http://127.0.0.1:8000`; OpenAI's endpoints are below `/v1`."""
        return self._server.address

    def __enter__(self) -> Self:
        self._server.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._server.__exit__(*error)

    def error(self, path: str, refused: Refused) -> Json:
        """The body of a refusal."""
        raise NotImplementedError

    def read(
        self, schema: type[Schema], path: str, body: Json, unmodelled: frozenset[str]
    ) -> Schema:
        """A request's fields. Raises `Refused` for what the schema does not allow."""
        for name in sorted(unmodelled & set(body)):
            message = f"`{name}` is documented, but the stand-in has no model of it."
            raise Refused(400, message, field=name)
        try:
            return schema.model_validate(body)
        except ValidationError as error:
            unknown = [e for e in error.errors() if e["type"] == "extra_forbidden"]
            if unknown and not self._strict and len(unknown) == error.error_count():
                for one in unknown:
                    self._note(path, _field(one["loc"]), "Extra inputs are not permitted")
                    _remove(body, one["loc"])
                return schema.model_validate(body)
            first = (unknown or error.errors())[0]
            field = _field(first["loc"])
            raise Refused(400, f"{field}: {first['msg']}", field=field) from None

    def number(self) -> int:
        """A number no request had before: the seed of requests without one."""
        return next(self._numbers)

    def _note(self, path: str, field: str, message: str) -> None:
        self.misuses.append(Misuse(path, field, message))

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        path = str(scope["path"])
        try:
            answer = self._answer(request.method, path, request, await request.body())
        except ClientDisconnect:
            return
        except Refused as refused:
            if refused.misuse:
                self._note(path, refused.field, str(refused))
            body = json.dumps(self.error(path, refused)).encode()
            await respond(send, refused.status, body)
            return
        if isinstance(answer, str):
            await respond(send, 200, answer.encode(), "text/plain; charset=utf-8")
        else:
            await respond(send, 200, json.dumps(answer).encode())

    def _answer(self, method: str, path: str, request: Request, body: bytes) -> Answer:
        handler = self.routes.get((method, path))
        if handler is None:
            raise Refused(404, "Not Found", kind="NotFoundError")
        if method == "GET":
            return handler({})
        if not request.headers.get("content-type", "").startswith("application/json"):
            raise Refused(400, "Unsupported Media Type: Only 'application/json' is allowed")
        try:
            sent = json.loads(body)
        except ValueError:
            raise Refused(400, "JSON decode error") from None
        if not isinstance(sent, dict):
            raise Refused(400, "Input should be a valid dictionary")
        self.requests.append((path, json.loads(body)))
        return handler(sent)


def _field(location: tuple[int | str, ...]) -> str:
    return ".".join(map(str, location))


def _remove(body: Any, location: tuple[int | str, ...]) -> None:
    for part in location[:-1]:
        body = body[part]
    del body[location[-1]]


@dataclass(frozen=True)
class Pattern:
    """Answers that match a regular expression as a whole."""

    pattern: str

    def allows(self, text: str) -> bool:
        return regex.fullmatch(self.pattern, text, partial=True) is not None

    def is_complete(self, text: str) -> bool:
        return regex.fullmatch(self.pattern, text) is not None


def pattern(text: str, *, field: str) -> Pattern:
    """Raises `Refused` where it is none."""
    try:
        re.compile(text)
    except re.error as error:
        raise Refused(400, f"Invalid regex: {error}", field=field) from None
    return Pattern(text)


def read_adapter(path: str) -> str:
    """The digest of an adapter's files (PEFT's layout). Raises `Refused` where there is none."""
    folder = Path(path)
    names = ("adapter_config.json", "adapter_model.safetensors")
    if not all((folder / name).is_file() for name in names):
        message = f"Loading lora failed: No adapter found for {path}"
        raise Refused(404, message, field="lora_path", kind="NotFoundError")
    return hashlib.blake2b(b"".join((folder / name).read_bytes() for name in names)).hexdigest()


def validate_ids(prompts: list[list[int]], field: str) -> None:
    for id_ in itertools.chain.from_iterable(prompts):
        if not 0 <= id_ < toy_lm.VOCABULARY:
            raise Refused(400, f"Token id {id_} is out of vocabulary", field=field)
