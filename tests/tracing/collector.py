"""A real OTLP/HTTP receiver, as a tracing system would have it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """A real OTLP/HTTP receiver."""

    def __init__(self) -> None:
        self.requests: list[tuple[dict[str, str], ExportTraceServiceRequest]] = []
        self.url = ""

    async def receive(self, request: web.Request) -> web.Response:
        body = ExportTraceServiceRequest.FromString(await request.read())
        self.requests.append(({name.lower(): value for name, value in request.headers.items()}, body))
        return web.Response(content_type="application/x-protobuf")

    @property
    def spans(self) -> list[Span]:
        bodies = (body for _, body in self.requests)
        return [
            span
            for body in bodies
            for part in body.resource_spans
            for scope in part.scope_spans
            for span in scope.spans
        ]


@asynccontextmanager
async def running_collector() -> AsyncIterator[Collector]:
    """A collector that listens."""
    collector = Collector()
    application = web.Application()
    application.router.add_post("/v1/traces", collector.receive)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()
