"""The paths of the model gateway, for the router and for the gate in front of it.

One regular expression decides whether a path is here at all; the gate asks it for every request.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping

from core_app.errors import NotFound
from edge_app.http.asgi import Receive, Scope, Send
from faces.inference import model_list
from faces.inference.count_tokens import count_tokens
from faces.inference.http import OPERATORS, Endpoint, Paths
from faces.inference.operators import OPERATORS_PATHS, health_one
from faces.inference.relay import relayed
from tenants_app.principal import INFERENCE, PLATFORM

INFERENCE_PATH = re.compile(
    r"(?:v1/(?:chat/completions|embeddings|messages(?:/count_tokens)?|models(?:/.+)?)|model-gateway/.+)\Z"
)
MODEL = "/v1/models/"
PROVIDER = "/model-gateway/health/"

_FIXED: Mapping[str, Mapping[str, Endpoint]] = {
    "/v1/chat/completions": {"POST": relayed("chat")},
    "/v1/embeddings": {"POST": relayed("embeddings")},
    "/v1/messages": {"POST": relayed("messages")},
    "/v1/messages/count_tokens": {"POST": count_tokens},
    "/v1/models": {"GET": model_list.listed},
    **{path: {"GET": endpoint} for path, endpoint in OPERATORS_PATHS.items()},
}


def _route(path: str) -> Mapping[str, Endpoint]:
    if (methods := _FIXED.get(path)) is not None:
        return methods
    if path.startswith(MODEL):
        return {"GET": model_list.one(path.removeprefix(MODEL))}
    if path.startswith(PROVIDER):
        return {"GET": health_one(path.removeprefix(PROVIDER))}
    raise NotFound("There is nothing at this path.")


_USERS, _OPERATORS = Paths(_route, scope=INFERENCE), Paths(_route, scope=PLATFORM)


def model_gateway(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
    """The ASGI application of all these paths."""
    paths = _OPERATORS if scope["path"].startswith(OPERATORS) else _USERS
    return paths(scope, receive, send)


INFERENCE_PATHS = model_gateway
