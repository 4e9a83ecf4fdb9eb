"""The HTTP side of the inference face: the dialect of a path's clients, and the exchange of a request."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from core_app.errors import GatewayError
from edge_app.http.asgi import Headers, Receive, Scope, Send, header
from edge_app.http.errors import error_body
from edge_app.http.exchange import Exchange as HttpExchange
from edge_app.http.exchange import Router
from inference_app.relay import ANTHROPIC, OPENAI, Dialect

OPERATORS = "/model-gateway/"
"""Prefix of the operators' pages, whose errors have the native shape."""

Exchange = HttpExchange[Dialect]

_SHARED_PATHS = ("/v1/models", "/v1/background/", "/v1/files", "/v1/skills", "/v1/complete")
"""Paths that clients of both vendors use; Anthropic's send their version header."""

_VENDOR_PATHS = re.compile(
    r"/v1/(?:assistants|audio|batches|chat|complete|completions|containers|conversations|embeddings|evals|files"
    r"|fine_tuning|images|messages|moderations|realtime|responses|skills|threads|uploads|vector_stores|videos)(?:/|\Z)"
)


def dialect_of(scope: Scope) -> Dialect:
    """Returns the dialect of the path's clients; for shared paths, Anthropic's if the version header is there."""
    path: str = scope["path"]
    if path.startswith("/v1/messages"):
        return ANTHROPIC
    if path.startswith(_SHARED_PATHS) and header(scope, b"anthropic-version") is not None:
        return ANTHROPIC
    return OPENAI


def is_vendor_path(path: str) -> bool:
    """True for API paths of OpenAI or Anthropic that the gateway does not implement. Their 404 uses the vendor's error
    format."""
    return _VENDOR_PATHS.match(path) is not None


def render_error(scope: Scope, error: GatewayError) -> Mapping[str, Any]:
    """Returns the body of an error in the dialect of the path's clients; operators' pages use the native shape."""
    return error_body(error) if scope["path"].startswith(OPERATORS) else dialect_of(scope).body(error)


def refusal_headers(scope: Scope, request_id: str) -> Headers:
    """Returns the headers of a refusal at the gate: Anthropic's clients look for the request's id in `request-id`."""
    return [(b"request-id", request_id.encode())] if dialect_of(scope) is ANTHROPIC else []


def open_exchange(scope: Scope, receive: Receive, send: Send) -> Exchange:
    """Returns the exchange of a request."""
    dialect = dialect_of(scope)
    # Not through the alias: calling a subscripted class costs as much as making the exchange.
    return HttpExchange(
        scope,
        receive,
        send,
        dialect,
        settings.GATEWAY_MAX_INFERENCE_BODY_BYTES,
        refusal_headers(scope, scope["gateway.request_id"]),
        scope.get("gateway.send"),
    )


__all__ = [
    "OPERATORS",
    "Exchange",
    "Router",
    "dialect_of",
    "is_vendor_path",
    "open_exchange",
    "refusal_headers",
    "render_error",
]
