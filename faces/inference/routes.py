"""The paths of the inference face, for the router and for the gate in front of it.

One regular expression decides if a path belongs to the face; the gate uses it for every request.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from typing import Any

from core_app.errors import NotFound
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.http.exchange import Endpoint
from faces.inference import model_list
from faces.inference.background import completion_endpoints
from faces.inference.count_tokens import count_tokens
from faces.inference.http import OPERATORS, Router, open_exchange, render_error
from faces.inference.operators import OPERATORS_PATHS, probe_endpoint
from faces.inference.relay import relay_endpoint
from inference_app.relay import Dialect
from inference_app.relay.dialect import error_headers
from responses_app.completions.wire import BACKGROUND_PATH, PATHS
from responses_app.models import Kind
from tenants_app.principal import INFERENCE, PLATFORM

INFERENCE_PATH = re.compile(
    r"(?:v1/(?:chat/completions|embeddings|messages(?:/count_tokens)?|models(?:/.+)?)|model-gateway/.+)\Z"
)
COMPLETION_PATH = re.compile(
    r"v1/(?:(?:background|chat/completions)/[^/]+|messages/(?!batches(?:/|\Z)|count_tokens\Z)[^/]+)(?:/cancel)?\Z"
)
"""Paths of completions in the background. Anthropic's batches are not served."""

MODEL = "/v1/models/"
PROVIDER = "/model-gateway/health/"

_FIXED: Mapping[str, Mapping[str, Endpoint[Dialect]]] = {
    "/v1/chat/completions": {"POST": relay_endpoint("chat")},
    "/v1/embeddings": {"POST": relay_endpoint("embeddings")},
    "/v1/messages": {"POST": relay_endpoint("messages")},
    "/v1/messages/count_tokens": {"POST": count_tokens},
    "/v1/models": {"GET": model_list.list_models},
    **{path: {"GET": endpoint} for path, endpoint in OPERATORS_PATHS.items()},
}


_COMPLETIONS = {
    f"{BACKGROUND_PATH}/": completion_endpoints(None),
    **{f"{PATHS[kind]}/": completion_endpoints(kind) for kind in (Kind.CHAT, Kind.MESSAGES)},
}


def _route(path: str) -> Mapping[str, Endpoint[Dialect]]:
    if (methods := _FIXED.get(path)) is not None:
        return methods
    if path.startswith(MODEL):
        return {"GET": model_list.get_model(path.removeprefix(MODEL))}
    if path.startswith(PROVIDER):
        return {"GET": probe_endpoint(path.removeprefix(PROVIDER))}
    for prefix, endpoints in _COMPLETIONS.items():
        if path.startswith(prefix):
            return endpoints[path.removeprefix(prefix).partition("/")[2]]
    raise NotFound("There is nothing at this path.")


_ROUTER_OPTIONS: Mapping[str, Any] = {
    "open_exchange": open_exchange,
    "error_body": render_error,
    "error_headers": error_headers,
}
_USERS = Router(_route, scope=INFERENCE, **_ROUTER_OPTIONS)
_OPERATORS = Router(_route, scope=PLATFORM, **_ROUTER_OPTIONS)


def inference_application(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    """Runs the router of a path; this is the ASGI application of the face."""
    router = _OPERATORS if scope["path"].startswith(OPERATORS) else _USERS
    return router(scope, receive, send)
