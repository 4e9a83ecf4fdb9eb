"""The OpenTelemetry implementation of `core_app.tracing`. Imported only when GATEWAY_OTEL is on, like the packages of
the extra `otel`.

Spans wait in a bounded queue and are exported in batches by a thread of its own, so that a collector that hangs or is
down costs spans, which are counted, and never a request. Target, sampling and queue length are the SDK's standard
OTEL_* variables, which the SDK reads itself.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from fnmatch import fnmatchcase

from opentelemetry.context import Context, attach, detach
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import (
    INVALID_SPAN,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace import Span as LibrarySpan
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from core_app.metrics import SPANS
from core_app.tracing import TRACEPARENT_CHARACTERS, Attributes, Kind, Span, Value

_KINDS = {"internal": SpanKind.INTERNAL, "server": SpanKind.SERVER, "client": SpanKind.CLIENT}
_WIRE = TraceContextTextMapPropagator()
_EMPTY = Context()

ATTRIBUTE_CHARACTERS = 16_384
"""Longest attribute unless OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT says otherwise: a prompt may have megabytes."""

QUEUE_LENGTH = 2048
BATCH_SPANS = 512
"""The defaults of OTEL_BSP_MAX_QUEUE_SIZE and OTEL_BSP_MAX_EXPORT_BATCH_SIZE."""


class OtelSpan:
    """Implements `core_app.tracing.Span`."""

    def __init__(self, span: LibrarySpan, hosts: Sequence[str]) -> None:
        self.span = span
        self._hosts = hosts
        self._failed = False

    def set_attributes(self, attributes: Attributes) -> None:
        """See `Span.set_attributes`."""
        if self.span.is_recording():
            self.span.set_attributes(_without_none(attributes))

    def mark_failed(self, error_type: str) -> None:
        """See `Span.mark_failed`."""
        if not self._failed and self.span.is_recording():
            self._failed = True
            self.span.set_attribute("error.type", error_type)
            self.span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        """See `Span.end`."""
        if self.span.is_recording():
            self.span.end()

    def headers(self, host: str | None) -> dict[str, str]:
        """See `Span.headers`."""
        carrier: dict[str, str] = {}
        if host is not None and any(fnmatchcase(host.lower(), pattern) for pattern in self._hosts):
            _WIRE.inject(carrier, set_span_in_context(self.span, _EMPTY))
        return carrier


class OtelTracer:
    """Implements `core_app.tracing.Tracer`. `hosts` are the patterns of GATEWAY_OTEL_PROPAGATE."""

    def __init__(self, provider: TracerProvider, ids: ReservedIds, *, content: bool, hosts: Sequence[str]) -> None:
        self.content = content
        self._tracer = provider.get_tracer("agent_gateway")
        self._ids = ids
        self._hosts = [host.lower() for host in hosts]

    def start_span(self, name: str, attributes: Attributes, kind: Kind, parent: Mapping[str, str] | None) -> Span:
        """See `Tracer.start_span`."""
        context = None if parent is None else _WIRE.extract(parent, _EMPTY)
        span = self._tracer.start_span(name, context=context, kind=_KINDS[kind], attributes=_without_none(attributes))
        return OtelSpan(span, self._hosts)

    @contextmanager
    def activate(self, span: Span) -> Iterator[None]:
        """See `Tracer.activate`."""
        assert isinstance(span, OtelSpan)
        token = attach(set_span_in_context(span.span))
        try:
            yield
        finally:
            detach(token)

    def current_span(self) -> Span | None:
        """See `Tracer.current_span`."""
        span = get_current_span()
        return None if span is INVALID_SPAN else OtelSpan(span, self._hosts)

    @contextmanager
    def without_span(self) -> Iterator[None]:
        """See `Tracer.without_span`."""
        token = attach(_EMPTY)
        try:
            yield
        finally:
            detach(token)

    def ids(self) -> tuple[str, str] | None:
        """See `Tracer.ids`."""
        context = get_current_span().get_span_context()
        return (f"{context.trace_id:032x}", f"{context.span_id:016x}") if context.is_valid else None

    def reserve(self) -> str:
        """See `reserve_span`: `00-<trace>-<own id>-<flags>-<parent's id>`; without a parent the last one is empty."""
        parent = get_current_span().get_span_context()
        # A span that is never ended: it makes the sampling decision for the span that will take its ids.
        reserved = self._tracer.start_span("run").get_span_context()
        carrier: dict[str, str] = {}
        _WIRE.inject(carrier, set_span_in_context(NonRecordingSpan(reserved), _EMPTY))
        return f"{carrier['traceparent']}-{parent.span_id:016x}" if parent.is_valid else f"{carrier['traceparent']}-"

    def report(
        self, name: str, attributes: Attributes, parent: str, began: datetime, ended: datetime, error: str | None
    ) -> None:
        """See `Tracer.report`."""
        self._report(_WIRE.extract({"traceparent": parent}, _EMPTY), name, attributes, began, ended, error)

    def report_reserved(
        self, reserved: str, name: str, attributes: Attributes, began: datetime, ended: datetime, error: str | None
    ) -> None:
        """See `Tracer.report_reserved`."""
        placeholder = get_current_span(_WIRE.extract({"traceparent": reserved[:TRACEPARENT_CHARACTERS]}, _EMPTY))
        own, parent_id = placeholder.get_span_context(), reserved[TRACEPARENT_CHARACTERS + 1 :]
        if not own.is_valid or not own.trace_flags.sampled:
            return
        context = _EMPTY
        if parent_id:
            parent = SpanContext(own.trace_id, int(parent_id, 16), is_remote=True, trace_flags=own.trace_flags)
            context = set_span_in_context(NonRecordingSpan(parent), _EMPTY)
        with self._ids.use(own):
            self._report(context, name, attributes, began, ended, error)

    def _report(
        self, context: Context, name: str, attributes: Attributes, began: datetime, ended: datetime, error: str | None
    ) -> None:
        known = _without_none(attributes)
        span = self._tracer.start_span(name, context, attributes=known, start_time=_nanoseconds(began))
        if error is not None:
            span.set_attribute("error.type", error)
            span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(ended))


class ReservedIds(RandomIdGenerator):
    """Generates random ids, except for a reserved span, which gets the ids of its reservation."""

    def __init__(self) -> None:
        self._thread = threading.local()

    @contextmanager
    def use(self, reserved: SpanContext) -> Iterator[None]:
        """Gives the next span of this thread the ids of `reserved`."""
        self._thread.reserved = reserved
        try:
            yield
        finally:
            self._thread.reserved = None

    def generate_span_id(self) -> int:
        """See the base."""
        reserved: SpanContext | None = getattr(self._thread, "reserved", None)
        return super().generate_span_id() if reserved is None else reserved.span_id

    def generate_trace_id(self) -> int:
        """See the base."""
        reserved: SpanContext | None = getattr(self._thread, "reserved", None)
        return super().generate_trace_id() if reserved is None else reserved.trace_id


class QueueCounter:
    """Counts the spans that wait for the exporter's thread, so that spans beyond the queue's length can be counted."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._guard = threading.Lock()
        self.count = 0

    def try_add(self) -> bool:
        """Counts one more span; False when the queue is full."""
        with self._guard:
            if self.count >= self._limit:
                return False
            self.count += 1
            return True

    def remove(self, spans: int) -> None:
        """Counts spans that left the queue."""
        with self._guard:
            self.count -= spans


class BoundedProcessor(BatchSpanProcessor):
    """The SDK's batch processor, except that spans beyond its queue are counted: the SDK drops them silently."""

    def __init__(self, exporter: CountedExporter, waiting: QueueCounter, limit: int) -> None:
        batch = os.environ.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "")
        size = int(batch) if batch.isdecimal() and int(batch) > 0 else BATCH_SPANS
        super().__init__(exporter, max_queue_size=limit, max_export_batch_size=min(size, limit))
        self._waiting = waiting

    def on_end(self, span: ReadableSpan) -> None:
        """See the base."""
        if span.context is None or not span.context.trace_flags.sampled:
            return
        if self._waiting.try_add():
            super().on_end(span)
        else:
            SPANS.labels("dropped").inc()


class CountedExporter(SpanExporter):
    """Counts spans by the outcome of their export."""

    def __init__(self, exporter: SpanExporter, waiting: QueueCounter) -> None:
        self.inner = exporter
        self._waiting = waiting

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """See the base."""
        self._waiting.remove(len(spans))
        outcome = "failed"
        try:
            result = self.inner.export(spans)
            outcome = "exported" if result is SpanExportResult.SUCCESS else outcome
            return result
        finally:
            SPANS.labels(outcome).inc(len(spans))

    def shutdown(self) -> None:
        """See the base."""
        self.inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """See the base."""
        return self.inner.force_flush(timeout_millis)


class SpanPipeline:
    """The tracer provider of the process and its export queue. It is the gateway's own: no global provider is set."""

    def __init__(self, exporter: SpanExporter | None, *, version: str, role: str) -> None:
        os.environ.setdefault("OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", str(ATTRIBUTE_CHARACTERS))
        limit = _queue_length()
        self.waiting = QueueCounter(limit)
        self.ids = ReservedIds()
        self.provider = TracerProvider(resource=_resource(version, role), shutdown_on_exit=False, id_generator=self.ids)
        self.exporter = CountedExporter(exporter or OTLPSpanExporter(), self.waiting)
        self.provider.add_span_processor(BoundedProcessor(self.exporter, self.waiting, limit))

    def tracer(self, *, content: bool, hosts: Sequence[str]) -> OtelTracer:
        """Returns the tracer of the process."""
        return OtelTracer(self.provider, self.ids, content=content, hosts=hosts)

    def close(self, seconds: float) -> int:
        """Exports the waiting spans, for `seconds` at most, and returns how many are lost."""
        # In a daemon thread: an exporter that hangs must not keep the process from its exit.
        closing = threading.Thread(target=self.provider.shutdown, name="gateway-otel-close", daemon=True)
        closing.start()
        closing.join(seconds)
        lost = self.waiting.count
        SPANS.labels("dropped").inc(lost)
        return lost


def _resource(version: str, role: str) -> Resource:
    own = {
        "service.name": "agent-gateway",
        "service.version": version,
        "service.instance.id": f"{socket.gethostname()}:{os.getpid()}",
        "gateway.role": role,
    }
    # OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES take precedence.
    return Resource.create(own).merge(OTELResourceDetector().detect())


def _queue_length() -> int:
    """Returns OTEL_BSP_MAX_QUEUE_SIZE as the SDK reads it: its default for a value that is not a number."""
    given = os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", "")
    return int(given) if given.isdecimal() and int(given) > 0 else QUEUE_LENGTH


def _without_none(attributes: Attributes) -> dict[str, Value]:
    return {name: value for name, value in attributes.items() if value is not None}


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1e9)
