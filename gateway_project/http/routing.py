"""From a connection to what answers it: the gate, then sockets and long answers, then Django.

The gate checks host, key, rate and size before anything is read. What streams or answers without a database is bare
ASGI in front of Django, whose middleware costs a thread per request.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.conf import settings
from django.urls import Resolver404, URLPattern, path, re_path, resolve

from core_app.errors import GatewayError
from edge_app.gate import Gate
from edge_app.gate.exchange import default_body
from edge_app.http.asgi import Application, Receive, Scope, Send
from faces.inference.http import is_elsewhere, refusal_body
from faces.inference.routes import INFERENCE_PATH, INFERENCE_PATHS
from faces.native.group_events import GroupEventStream
from faces.native.prompt_wait import PromptWait
from faces.native.session_events import SessionEventStream
from faces.native.socket.application import SessionSocket
from faces.native.stream_tokens import token_principal
from faces.native.tool_test import ToolTestEndpoint
from faces.responses.routes import RESPONSES_PATH, RESPONSES_PATHS
from gateway_project import urls
from gateway_project.http.error_pages import unknown_socket
from gateway_project.http.health import (
    COUNTS,
    Healthz,
    MigrationsProbe,
    Readyz,
    WorkersProbe,
    channel_layer_probe,
    database_probe,
)
from gateway_project.observability.http_metrics import Measured, Routes, templates_of
from gateway_project.observability.metrics import Metrics
from gateway_project.observability.telemetry import Traced
from gateway_project.process.lifecycle import gateway
from gateway_project.process.lifespan import Lifespan, StartedFirst
from tools_app.executors.callback import RESULT_PATH


def asgi(route: str, application: Any) -> URLPattern:
    """A route to an ASGI application, which Django's `path` takes for a view."""
    pattern: URLPattern = path(route, application)
    return pattern


def matching(expression: re.Pattern[str], application: Any) -> URLPattern:
    """The same for all paths that an expression matches from their beginning: Django would look for it anywhere."""
    pattern: URLPattern = re_path(rf"\A{expression.pattern}", application)
    return pattern


def rest(application: Any) -> URLPattern:
    """What no other route took."""
    pattern: URLPattern = re_path(r"", application)
    return pattern


READYZ = Readyz(
    {
        "database": database_probe,
        "channel layer": channel_layer_probe,
        "workers": WorkersProbe(gateway),
        "migrations": MigrationsProbe(),
    }
)
PROBES: list[URLPattern] = [asgi("healthz", Healthz(COUNTS)), asgi("readyz", READYZ)]
MODELS: list[URLPattern] = [matching(INFERENCE_PATH, INFERENCE_PATHS), matching(RESPONSES_PATH, RESPONSES_PATHS)]
MODEL_ROUTES = (
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v1/messages",
    "/v1/messages/count_tokens",
    "/v1/responses",
    "/v1/responses/{response_id}",
    "/v1/responses/{response_id}/cancel",
    "/v1/responses/{response_id}/input_items",
)
"""What MODELS match, as routes in the metrics."""

METRICS = asgi("metrics", Metrics())
STREAMS: list[URLPattern] = [
    METRICS,
    asgi("v1/sessions/<str:session_id>/events", SessionEventStream()),
    asgi("v1/groups/<str:group_id>/events", GroupEventStream()),
    asgi("v1/sessions/<str:session_id>/tools/<str:name>/test", ToolTestEndpoint()),
]
SOCKETS: list[URLPattern] = [asgi("v1/sessions/<str:session_id>/ws", SessionSocket())]
_FREQUENT: Mapping[str, Application] = {
    "/v1/chat/completions": INFERENCE_PATHS,
    "/v1/embeddings": INFERENCE_PATHS,
    "/v1/messages": INFERENCE_PATHS,
    "/v1/responses": RESPONSES_PATHS,
}
"""What MODELS would find too, for a tenth of the time: a router tries its expressions and copies the scope."""

PROMPT_PATH = re.compile(r"/v1/sessions/[^/]+/prompt\Z")


def application_build(django_application: Any) -> Any:
    """The whole application; `django_application` takes what nothing in front of it does."""
    http = URLRouter([*MODELS, *PROBES, *STREAMS, *waits(django_application), rest(django_application)])
    router = by_type(http=frequent_first(http), websocket=URLRouter([*SOCKETS, rest(unknown_socket)]))
    gate = Gate(
        router,
        known_path=known_path,
        is_stream=is_stream,
        body_limit=body_limit,
        token_principal=token_principal,
        own_login=own_login,
        is_counted=is_counted,
        render_error=render_error,
    )
    known: list[Any] = [*PROBES, *STREAMS, *SOCKETS, *waits(None), *urls.urlpatterns]
    routes = Routes([*templates_of(known), *MODEL_ROUTES])
    served = StartedFirst(Traced(Measured(gate, routes), routes), gateway)
    return ProtocolTypeRouter({"http": served, "websocket": served, "lifespan": Lifespan(gateway)})


def by_type(*, http: Application, websocket: Application) -> Application:
    """What the gate lets through is one of the two. No coroutine of its own, as few have that are in front of a
    stream: each is gone through for every piece of it."""

    def served(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return (http if scope["type"] == "http" else websocket)(scope, receive, send)

    return served


def frequent_first(application: Application) -> Application:
    """What is asked most goes past the router."""

    def served(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return _FREQUENT.get(scope["path"], application)(scope, receive, send)

    return served


def probes_build() -> Any:
    """What a worker answers: its probes and its metrics, and nothing else."""
    gate = Gate(URLRouter([*PROBES, METRICS]), known_path=lambda path: path == "/metrics", is_stream=lambda scope: True)
    return ProtocolTypeRouter({"http": StartedFirst(gate, gateway), "lifespan": Lifespan(gateway)})


def waits(django_application: Any) -> list[URLPattern]:
    """Django's own paths with something in front of them."""
    return [asgi("v1/sessions/<str:session_id>/prompt", PromptWait(django_application))]


def known_path(path: str) -> bool:
    """Whether any route, of a consumer or of Django, matches."""
    return is_inference(path) or _matches(path.removeprefix("/"), (*STREAMS, *SOCKETS)) or _django_knows(path)


def is_inference(path: str) -> bool:
    """Whether the model gateway takes the path."""
    return path in _FREQUENT or INFERENCE_PATH.match(path) is not None or RESPONSES_PATH.match(path) is not None


def is_counted(scope: Scope) -> bool:
    """Whether a request takes from its key's `rpm`: the inference paths have buckets of their own."""
    return not is_inference(scope["path"])


def render_error(scope: Scope, error: GatewayError) -> Mapping[str, Any]:
    """The body of the gate's refusal: in the dialect of the path's clients, whether it is here or not."""
    path = scope["path"]
    return refusal_body(scope, error) if is_inference(path) or is_elsewhere(path) else default_body(scope, error)


def is_stream(scope: Scope) -> bool:
    """Whether a consumer takes the request, which holds no Django thread however long it lasts."""
    path: str = scope["path"]
    return is_inference(path) or _matches(path.removeprefix("/"), STREAMS)


def body_limit(path: str) -> int:
    """Bytes of a request's body: prompts carry their attachments in base64."""
    limit: int = settings.GATEWAY_MAX_BODY_BYTES
    if is_inference(path):
        return int(settings.GATEWAY_MAX_INFERENCE_BODY_BYTES)
    if PROMPT_PATH.match(path):
        return limit + settings.GATEWAY_MAX_ATTACHMENT_BYTES * 4 // 3
    return limit


def own_login(scope: Scope) -> bool:
    """Whether the path brings its own credential: the `resultUrl` of a callback ends in one."""
    path: str = scope["path"]
    return path.startswith(RESULT_PATH)


def _matches(path: str, routes: list[URLPattern] | tuple[URLPattern, ...]) -> bool:
    return any(route.pattern.match(path) for route in routes)


def _django_knows(path: str) -> bool:
    try:
        resolve(path)
    except Resolver404:
        return False
    return True
