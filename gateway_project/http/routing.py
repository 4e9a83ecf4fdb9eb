"""The whole application, made from the faces: the gate, then sockets and long responses, then Django.

The gate checks host, key, rate and size before anything is read. Streams, and what answers without a database, are
bare ASGI in front of Django, whose middleware costs a thread per request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterator, Mapping, Sequence
from typing import Any

from channels.routing import ProtocolTypeRouter, URLRouter
from django.urls import URLPattern, path, re_path

from edge_app.face import Face
from edge_app.gate import Gate, PathTable
from edge_app.http.asgi import Application, Receive, Scope, Send
from gateway_project.http.error_pages import unknown_socket
from gateway_project.http.faces import faces
from gateway_project.http.own_pages import PROBES
from gateway_project.observability.http_metrics import RequestMetrics, RouteTemplates, templates_of
from gateway_project.observability.telemetry import RequestTracing
from gateway_project.process.lifecycle import GATEWAY
from gateway_project.process.lifespan import EnsureStarted, Lifespan


def application_build(django_application: Application) -> Any:
    """Builds the application; `django_application` takes every path that no route in front of it has."""
    served = faces()
    router = by_protocol(http=http_router(served, django_application), websocket=websocket_router(served))
    templates = route_templates(served)
    measured = RequestMetrics(Gate(router, PathTable(served)), templates)
    application = EnsureStarted(RequestTracing(measured, templates, untraced_paths(served)), GATEWAY)
    return ProtocolTypeRouter({"http": application, "websocket": application, "lifespan": Lifespan(GATEWAY)})


def probes_build() -> Any:
    """Builds the application of a worker: its probes and its metrics, and nothing else."""
    face = Face(name="worker", consumers=PROBES)
    gate = Gate(URLRouter(_patterns([face], "http")), PathTable([face]))
    return ProtocolTypeRouter({"http": EnsureStarted(gate, GATEWAY), "lifespan": Lifespan(GATEWAY)})


def http_router(served: Sequence[Face], django_application: Application) -> Application:
    """Returns the application for HTTP requests that the gate lets through."""
    wrapped = [_route(wrapper.path, wrapper.wrap(django_application)) for face in served for wrapper in face.wrappers]
    router = URLRouter([*_patterns(served, "http"), *wrapped, fallback(django_application)])
    frequent = {path: route.application for face in served for route in face.consumers for path in route.frequent}
    return frequent_first(frequent, router)


def websocket_router(served: Sequence[Face]) -> Application:
    """Returns the application for sockets that the gate lets through."""
    router: Application = URLRouter([*_patterns(served, "websocket"), fallback(unknown_socket)])
    return router


def by_protocol(*, http: Application, websocket: Application) -> Application:
    """Returns the application that serves both. It is no coroutine of its own, as few are that stand in front of a
    stream: every piece of a stream passes through each."""

    def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return (http if scope["type"] == "http" else websocket)(scope, receive, send)

    return serve


def frequent_first(frequent: Mapping[str, Application], application: Application) -> Application:
    """Returns the application that looks a path up in `frequent` before it asks the router, which takes ten times as
    long."""

    def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        return frequent.get(scope["path"], application)(scope, receive, send)

    return serve


def fallback(application: Application) -> URLPattern:
    """Returns the route for everything that no other route took."""
    view: Any = application
    pattern: URLPattern = re_path(r"", view)
    return pattern


def route_templates(served: Sequence[Face]) -> RouteTemplates:
    """Returns the names of all routes in metrics and spans."""
    folders = [folder for face in served for folder in face.page_folders]
    return RouteTemplates([template for face in served for template in face_templates(face)], folders)


def face_templates(face: Face) -> Iterator[str]:
    """Yields the path templates of a face's routes and Django paths; a folder of pages and those in it have none."""
    folders = {f"/{folder}" for folder in face.page_folders}
    pages = tuple(f"{folder}/" for folder in folders)
    for route in face.consumers:
        yield from route.templates or templates_of([route.pattern()])
    yield from (
        template for template in templates_of(face.urls) if template not in folders and not template.startswith(pages)
    )


def socket_templates(face: Face) -> set[str]:
    """Returns the path templates of a face's sockets. Such a path may be another face's over HTTP."""
    sockets = (route for route in face.consumers if route.protocol == "websocket")
    return {template for route in sockets for template in route.templates or templates_of([route.pattern()])}


def untraced_paths(served: Sequence[Face]) -> frozenset[str]:
    """Returns the exact paths of the routes that have no span."""
    return frozenset(f"/{route.path}" for face in served for route in face.consumers if not route.traced)


def _patterns(served: Sequence[Face], protocol: str) -> list[URLPattern]:
    return [route.pattern() for face in served for route in face.consumers if route.protocol == protocol]


def _route(template: str, application: Any) -> URLPattern:
    pattern: URLPattern = path(template, application)
    return pattern
