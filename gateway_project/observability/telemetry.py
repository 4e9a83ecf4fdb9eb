"""Traces of this process (GATEWAY_OTEL): the part that starts first and stops last, and a span for each request."""

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
from edge_app.http.asgi import Application, Message, Receive, Scope, Send
from gateway_project.configuration.checks import OTEL_MISSING, otel_missing
from gateway_project.observability.http_metrics import METHODS, OTHER, RouteTemplates, status_of

FLUSH_SECONDS = 3.0
"""A stopping process waits this long for its collector, after everything else has ended."""

logger = structlog.get_logger("gateway.telemetry")


class Telemetry(Part):
    """Exports the spans of this process. `exporter` replaces the settings' OTLP exporter; `role` is the process's."""

    def __init__(self) -> None:
        self.exporter: Any = None
        self.role = "web"
        self._exporting: Any = None

    async def start(self) -> None:
        """Sets the tracer of `core_app.tracing` when GATEWAY_OTEL is on; else loads nothing."""
        if not settings.GATEWAY_OTEL:
            return
        if otel_missing():
            raise ImproperlyConfigured(OTEL_MISSING)
        exporting = import_module("gateway_project.observability.otel").SpanPipeline
        self._exporting = exporting(self.exporter, version=settings.GATEWAY_VERSION, role=self.role)
        TRACING.tracer = self._exporting.tracer(
            content=settings.GATEWAY_OTEL_CONTENT, hosts=settings.GATEWAY_OTEL_PROPAGATE
        )

    async def stop(self) -> None:
        """Exports the spans that wait, for FLUSH_SECONDS at most."""
        TRACING.tracer, exporting, self._exporting = None, self._exporting, None
        if exporting is not None and (lost := await asyncio.to_thread(exporting.close, FLUSH_SECONDS)):
            logger.warning("spans_lost", spans=lost)


class RequestTracing:
    """Wraps the application that serves everything: a span per request, from its arrival to the end of its response.

    The span of an event stream or a socket ends when the stream begins; a socket's actions have spans of their own
    below it. Requests to the paths in `untraced` have none.
    """

    def __init__(self, application: Application, templates: RouteTemplates, untraced: frozenset[str]) -> None:
        self._application = application
        self._templates = templates
        self._untraced = untraced

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if TRACING.tracer is None or scope["path"] in self._untraced:
            return self._application(scope, receive, send)
        return self._trace(scope, receive, send)

    async def _trace(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope.get("method", "WEBSOCKET")
        method = method if method in METHODS else OTHER
        route = self._templates.find(scope["path"])
        attributes = {
            "http.request.method": "GET" if method == "WEBSOCKET" else method,
            "http.route": route,
            "url.scheme": scope.get("scheme"),
            "network.protocol.name": "websocket" if method == "WEBSOCKET" else "http",
        }
        begun = False
        with span(f"{method} {route}", attributes, kind="server", parent=_trace_headers(scope)) as request:

            def note_status(message: Message) -> Awaitable[None]:
                nonlocal begun
                if not begun and (status := status_of(message)):
                    begun = True
                    request.set_attributes({"http.response.status_code": status})
                    if status >= 500:
                        request.mark_failed(str(status))
                    if status == 101 or (method == "GET" and _is_stream(message)):
                        request.end()
                return send(message)

            await self._application(scope, receive, note_status)


def _trace_headers(scope: Scope) -> dict[str, str]:
    """Returns the W3C headers of the request; without any it begins a trace."""
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
"""Process-wide instance, started by `Gateway`."""
