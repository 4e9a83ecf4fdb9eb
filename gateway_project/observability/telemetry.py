"""The traces of this process (GATEWAY_OTEL): a part that starts first and stops last, and requests as spans."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from importlib import import_module
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from core_app.lifecycle import Part, process_wide
from core_app.tracing import NO_PARENT, TRACING, span
from edge_app.gate.exchange import PROBES
from edge_app.http.asgi import Application, Message, Receive, Scope, Send
from gateway_project.configuration.checks import OTEL_MISSING, otel_missing
from gateway_project.observability.http_metrics import METHODS, OTHER, Routes, status_of

FLUSH_SECONDS = 3.0
"""How long a stopping process waits for its collector, after everything else has ended."""

UNTRACED = PROBES | {"/metrics"}

log = structlog.get_logger("gateway.telemetry")


class Telemetry(Part):
    """A `core_app.lifecycle.Part`. `exporter` goes before the OTLP one of the settings; `role` is the process's."""

    def __init__(self) -> None:
        self.exporter: Any = None
        self.role = "web"
        self._exporting: Any = None

    async def start(self) -> None:
        """Puts the tracer where every room finds it, when GATEWAY_OTEL is on; else loads nothing."""
        if not settings.GATEWAY_OTEL:
            return
        if otel_missing():
            raise ImproperlyConfigured(OTEL_MISSING)
        exporting = import_module("gateway_project.observability.otel").Exporting
        self._exporting = exporting(self.exporter, version=settings.GATEWAY_VERSION, role=self.role)
        TRACING.tracer = self._exporting.tracer(
            content=settings.GATEWAY_OTEL_CONTENT, hosts=settings.GATEWAY_OTEL_PROPAGATE
        )

    async def stop(self) -> None:
        """Exports what waits, for FLUSH_SECONDS at most."""
        TRACING.tracer, exporting, self._exporting = None, self._exporting, None
        if exporting is not None and (lost := await asyncio.to_thread(exporting.close, FLUSH_SECONDS)):
            log.warning("spans_lost", spans=lost)


class RequestTracing:
    """Wraps the application that answers everything: a span per request, from its arrival to the end of its answer.

    What is followed without end (event streams, sockets) has its span until the stream begins; a socket's actions have
    spans of their own below it.
    """

    def __init__(self, application: Application, routes: Routes) -> None:
        self._application = application
        self._routes = routes

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if TRACING.tracer is None or scope["path"] in UNTRACED:
            return self._application(scope, receive, send)
        return self._traced(scope, receive, send)

    async def _traced(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope.get("method", "WEBSOCKET")
        method = method if method in METHODS else OTHER
        route = self._routes.of(scope["path"])
        attributes = {
            "http.request.method": "GET" if method == "WEBSOCKET" else method,
            "http.route": route,
            "url.scheme": scope.get("scheme"),
            "network.protocol.name": "websocket" if method == "WEBSOCKET" else "http",
        }
        begun = False
        with span(f"{method} {route}", attributes, kind="server", parent=_carried(scope)) as request:

            def noticed(message: Message) -> Awaitable[None]:
                nonlocal begun
                if not begun and (status := status_of(message)):
                    begun = True
                    request.set_attributes({"http.response.status_code": status})
                    if status >= 500:
                        request.mark_failed(str(status))
                    if status == 101 or (method == "GET" and _is_stream(message)):
                        request.end()
                return send(message)

            await self._application(scope, receive, noticed)


def _carried(scope: Scope) -> dict[str, str]:
    """The W3C headers of the request; without any it begins a trace."""
    found = {
        name.decode(): value.decode("latin-1")
        for name, value in scope["headers"]
        if name in (b"traceparent", b"tracestate")
    }
    return found or dict(NO_PARENT)


def _is_stream(message: Message) -> bool:
    return any(
        name.lower() == b"content-type" and value.startswith(b"text/event-stream")
        for name, value in message.get("headers", ())
    )


TELEMETRY = process_wide(Telemetry())
"""The process's."""
