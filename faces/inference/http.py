"""What every endpoint shares: its scope of keys, the body, and a refusal in the caller's dialect.

An endpoint is a coroutine over a `Visit`; whatever it raises before its answer began becomes an answer here, which is
the boundary of this wire.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings

from core_app.errors import GatewayError, InternalError, MethodNotAllowed
from core_app.jsontext import encode
from edge_app.http.asgi import ClientGone, Headers, Receive, Scope, Send, header
from edge_app.http.body import read_body
from edge_app.rest.errors import error_body, error_headers, internal_error
from inference_app.relay import ANTHROPIC, OPENAI, Dialect, Refusal, refusal_of
from tenants_app.principal import Principal

JSON = (b"content-type", b"application/json")
OPERATORS = "/model-gateway/"

_BOTH_HAVE = ("/v1/models", "/v1/files", "/v1/skills", "/v1/complete")

_ELSEWHERE = re.compile(
    r"/v1/(?:assistants|audio|batches|chat|complete|completions|containers|conversations|embeddings|evals|files"
    r"|fine_tuning|images|messages|moderations|realtime|responses|skills|threads|uploads|vector_stores|videos)(?:/|\Z)"
)


def dialect_of(scope: Scope) -> Dialect:
    """By the path, and for the paths that both have by Anthropic's version header."""
    path: str = scope["path"]
    if path.startswith("/v1/messages"):
        return ANTHROPIC
    if path.startswith(_BOTH_HAVE) and header(scope, b"anthropic-version") is not None:
        return ANTHROPIC
    return OPENAI


def is_elsewhere(path: str) -> bool:
    """Whether the path is one that OpenAI or Anthropic have and this gateway may not have, so that whoever asks for it
    is a client of theirs and reads their errors."""
    return _ELSEWHERE.match(path) is not None


def refusal_body(scope: Scope, error: GatewayError) -> Mapping[str, Any]:
    """The gate's own refusals on the inference paths."""
    if scope["path"].startswith(OPERATORS):
        return error_body(error)
    return dialect_of(scope).body(refusal_of(error))


@dataclass(slots=True)
class Visit:
    """One request at an endpoint. `send_body` is the server's own way to send what follows an answer's head, past the
    layers that only look at heads; what it raises for a client that has gone is an OSError."""

    scope: Scope
    receive: Receive
    send: Send
    dialect: Dialect
    begun: bool = False
    send_body: Send | None = None

    @property
    def principal(self) -> Principal:
        principal: Principal = self.scope["gateway.principal"]
        return principal

    @property
    def request_id(self) -> str:
        request_id: str = self.scope["gateway.request_id"]
        return request_id

    @property
    def naming(self) -> Headers:
        """The request's id once more, where Anthropic's clients look for it."""
        return [(b"request-id", self.request_id.encode())] if self.dialect is ANTHROPIC else []

    async def body(self) -> bytes:
        """The request's; the gate counts it against the same limit."""
        return await read_body(self.receive, settings.GATEWAY_MAX_INFERENCE_BODY_BYTES)

    async def answer(self, status: int, value: Any, headers: Headers | None = None) -> None:
        """A whole answer of JSON."""
        body = encode(value)
        length = (b"content-length", b"%d" % len(body))
        self.begun = True
        named = [JSON, length, *(headers or ()), *self.naming]
        await self.send({"type": "http.response.start", "status": status, "headers": named})
        await self.send({"type": "http.response.body", "body": body})


Endpoint = Callable[[Visit], Awaitable[None]]


class Paths:
    """The ASGI application of some paths: `methods` of `route(path)`, refusals answered."""

    def __init__(self, route: Callable[[str], Mapping[str, Endpoint]], *, scope: str) -> None:
        self._route = route
        self._scope = scope

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = Visit(scope, receive, send, dialect_of(scope), send_body=scope.get("gateway.send"))
        try:
            visit.principal.require(self._scope)
            methods = self._route(scope["path"])
            endpoint = methods.get(scope["method"])
            if endpoint is None:
                raise MethodNotAllowed("This path does not have that method.")
            await endpoint(visit)
        except ClientGone:
            raise
        except Exception as error:  # everything that an endpoint did not answer itself
            await _refuse(visit, error)


async def _refuse(visit: Visit, error: Exception) -> None:
    if visit.begun:
        # The answer has begun; the gate cuts the connection, which is the only way left to say so.
        raise error
    if isinstance(error, Refusal):
        headers: Headers = [*error.headers]
        if error.retry_after is not None:
            headers.append((b"retry-after", b"%d" % error.retry_after))
        await visit.answer(error.status, visit.dialect.body(error), headers)
        return
    told = error if isinstance(error, GatewayError) else internal_error(error)
    pairs = [(name.lower().encode(), value.encode()) for name, value in error_headers(told).items()]
    body = dict(refusal_body(visit.scope, told))
    if isinstance(told, InternalError):
        pairs.append((b"x-error-id", told.error_id.encode()))
    await visit.answer(told.status, body, pairs)
