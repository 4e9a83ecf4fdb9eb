"""Trace spans, off by default (GATEWAY_OTEL): request → run → leg → model call → tool call.

Rooms use this module and not OpenTelemetry's API, although that does nothing without an SDK: importing the API takes
53 ms of a start, and one of its spans without an SDK 5 µs where a span here takes 0.3 µs. While tracing is off
`TRACING.tracer` is None, nothing of OpenTelemetry is imported and every function here returns at once. There are spans
per request, leg, model call and tool call, and none per event.
`gateway_project.observability.telemetry` sets the tracer when the process starts.

A trace crosses processes as text: the W3C `traceparent`. The span of a run is reported by the process that ends the
run; until then its place in the trace is kept as a reservation, the `traceparent` of the span followed by the id of its
parent (`reserve_span`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Literal, Protocol

from core_app.lifecycle import process_wide

Value = str | bool | int | float | tuple[str, ...]
Attributes = Mapping[str, Value | None]
"""Attributes of a span; those with None are left out."""

Kind = Literal["internal", "server", "client"]

TRACEPARENT_CHARACTERS = 55
"""The length of a W3C `traceparent`."""


class Span(Protocol):
    """One span. Calls after its end are allowed and have no effect."""

    def set_attributes(self, attributes: Attributes) -> None:
        """Adds attributes."""

    def mark_failed(self, error_type: str) -> None:
        """Marks it as failed with `error.type`: a code or a class, never a text. The first call counts."""

    def end(self) -> None:
        """Ends it; a second call does nothing."""

    def headers(self, host: str | None) -> dict[str, str]:
        """Returns the headers for a request to `host` below this span; empty unless GATEWAY_OTEL_PROPAGATE names it."""


class Tracer(Protocol):
    """The interface that `gateway_project.observability.otel` implements."""

    content: bool
    """True when spans may carry prompts, completions, arguments and results (GATEWAY_OTEL_CONTENT)."""

    def start_span(self, name: str, attributes: Attributes, kind: Kind, parent: Mapping[str, str] | None) -> Span:
        """Starts a span without making it the current one. `parent` are W3C headers; None means the current span."""

    def activate(self, span: Span) -> AbstractContextManager[None]:
        """Makes the span the current one for the block."""

    def current_span(self) -> Span | None:
        """Returns the current span."""

    def without_span(self) -> AbstractContextManager[None]:
        """Removes the current span for the block."""

    def ids(self) -> tuple[str, str] | None:
        """Returns the ids of trace and span, as log lines show them."""

    def reserve(self) -> str:
        """Implements `reserve_span`."""

    def report(
        self, name: str, attributes: Attributes, parent: str, began: datetime, ended: datetime, error: str | None
    ) -> None:
        """Reports a span that is over, below `parent` (a traceparent)."""

    def report_reserved(
        self, reserved: str, name: str, attributes: Attributes, began: datetime, ended: datetime, error: str | None
    ) -> None:
        """Reports the span that `reserve` reserved."""


class _NoSpan:
    """The span of a process without tracing: it ignores every call."""

    def set_attributes(self, attributes: Attributes) -> None:
        pass

    def mark_failed(self, error_type: str) -> None:
        pass

    def end(self) -> None:
        pass

    def headers(self, host: str | None) -> dict[str, str]:
        return {}


class Tracing:
    """The holder of the process's tracer; None while tracing is off."""

    def __init__(self) -> None:
        self.tracer: Tracer | None = None


TRACING = process_wide(Tracing())
"""Process-wide instance; its tracer is set by `Telemetry`."""
NO_SPAN: Span = _NoSpan()
_EMPTY_BLOCK: AbstractContextManager[Span] = nullcontext(NO_SPAN)
_NO_CHANGE: AbstractContextManager[None] = nullcontext()
NO_PARENT: Mapping[str, str] = {}
"""The `parent` of a span that begins a trace, whatever the current span is."""


def tracing_enabled() -> bool:
    """Returns True while spans are made; callers check it before they compute values for spans alone."""
    return TRACING.tracer is not None


def content_enabled() -> bool:
    """Returns True when spans may carry the texts of people, models and tools."""
    return TRACING.tracer is not None and TRACING.tracer.content


def span(
    name: str, attributes: Attributes, *, kind: Kind = "internal", parent: Mapping[str, str] | None = None
) -> AbstractContextManager[Span]:
    """Starts a span for the block and makes it the current one; an exception marks it as failed."""
    tracer = TRACING.tracer
    return _EMPTY_BLOCK if tracer is None else _span_block(tracer, tracer.start_span(name, attributes, kind, parent))


def start_span(name: str, attributes: Attributes, *, kind: Kind = "internal") -> Span:
    """Starts a span below the current one; the caller ends it."""
    tracer = TRACING.tracer
    return NO_SPAN if tracer is None else tracer.start_span(name, attributes, kind, None)


def without_span() -> AbstractContextManager[None]:
    """Removes the current span for the block: work that a request starts, but that outlives it."""
    return _NO_CHANGE if TRACING.tracer is None else TRACING.tracer.without_span()


def current_span() -> Span:
    """Returns the current span, NO_SPAN without one."""
    tracer = TRACING.tracer
    return NO_SPAN if tracer is None else tracer.current_span() or NO_SPAN


def trace_ids() -> tuple[str, str] | None:
    """Returns the ids of the trace and the span that a log line belongs to."""
    return None if TRACING.tracer is None else TRACING.tracer.ids()


def reserve_span() -> str | None:
    """Reserves a place below the current span for one that any process reports when it is over; None while tracing is
    off."""
    return None if TRACING.tracer is None else TRACING.tracer.reserve()


def parent_headers(reserved: str | None) -> Mapping[str, str]:
    """Returns the `parent` of spans below a reserved one."""
    return NO_PARENT if reserved is None else {"traceparent": reserved[:TRACEPARENT_CHARACTERS]}


def report_span(
    name: str, attributes: Attributes, *, below: str, began: datetime, ended: datetime, error: str | None = None
) -> None:
    """Reports a span that is over, below a reserved one."""
    if TRACING.tracer is not None:
        TRACING.tracer.report(name, attributes, below[:TRACEPARENT_CHARACTERS], began, ended, error)


def report_reserved_span(
    reserved: str, name: str, attributes: Attributes, *, began: datetime, ended: datetime, error: str | None = None
) -> None:
    """Reports a span that `reserve_span` reserved, at its end."""
    if TRACING.tracer is not None:
        TRACING.tracer.report_reserved(reserved, name, attributes, began, ended, error)


def content_attribute(name: str, text: Callable[[], str]) -> Attributes:
    """Returns an attribute with a text of people, models or tools, or nothing, without calling `text`, where spans may
    not carry it."""
    return {name: text()} if content_enabled() else {}


@contextmanager
def _span_block(tracer: Tracer, span: Span) -> Iterator[Span]:
    try:
        with tracer.activate(span):
            yield span
    except BaseException as error:
        span.mark_failed(type(error).__name__)
        raise
    finally:
        span.end()
