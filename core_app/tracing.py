"""Spans at the gateway's seams, off by default (GATEWAY_OTEL): request → run → leg → model call → tool call.

Every room speaks to this module and none to OpenTelemetry. While tracing is off `TRACING.tracer` is None: nothing of
OpenTelemetry is imported, every function here returns at once, and no event costs anything, since spans are made per
request, leg, model call and tool call. `gateway_project.observability.telemetry`
puts the tracer here when the process starts.

A trace crosses processes as text: the W3C `traceparent`, and for a run, whose span is reported by whoever ends it,
the `traceparent` of that span with its own parent's id behind it (`reserved`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from typing import Literal, Protocol

from core_app.lifecycle import process_wide

Value = str | bool | int | float | tuple[str, ...]
Attributes = Mapping[str, Value | None]
"""What is None is left out."""

Kind = Literal["internal", "server", "client"]

TRACEPARENT_CHARACTERS = 55


class Span(Protocol):
    """One span. Everything may be said after its end, and is then lost."""

    def set_attributes(self, attributes: Attributes) -> None:
        """Adds attributes."""

    def mark_failed(self, error_type: str) -> None:
        """Marks it as failed: `error.type`, a code or a class, never a text. The first one counts."""

    def end(self) -> None:
        """Ends it; once is enough, and twice no harm."""

    def headers(self, host: str | None) -> dict[str, str]:
        """What a request to `host` that is made for this span carries; empty unless GATEWAY_OTEL_PROPAGATE names it."""


class Tracer(Protocol):
    """What `gateway_project.observability.otel` brings."""

    content: bool
    """Whether prompts, answers, arguments and results may be put into spans (GATEWAY_OTEL_CONTENT)."""

    def start_span(self, name: str, attributes: Attributes, kind: Kind, parent: Mapping[str, str] | None) -> Span:
        """A span that is not the current one; `parent` are W3C headers, None is the current span."""

    def activate(self, span: Span) -> AbstractContextManager[None]:
        """Makes the span the current one."""

    def current_span(self) -> Span | None:
        """The current span."""

    def without_span(self) -> AbstractContextManager[None]:
        """No current span."""

    def ids(self) -> tuple[str, str] | None:
        """Trace and span, as log lines name them."""

    def reserve(self) -> str:
        """See `reserve_span`."""

    def report(
        self, name: str, attributes: Attributes, parent: str, began: datetime, ended: datetime, error: str | None
    ) -> None:
        """A span that is over, below `parent` (a traceparent)."""

    def report_reserved(
        self, reserved: str, name: str, attributes: Attributes, began: datetime, ended: datetime, error: str | None
    ) -> None:
        """The span that `reserve` gave a place."""


class _NoSpan:
    """The span of a process that does not trace."""

    def set_attributes(self, attributes: Attributes) -> None:
        pass

    def mark_failed(self, error_type: str) -> None:
        pass

    def end(self) -> None:
        pass

    def headers(self, host: str | None) -> dict[str, str]:
        return {}


class Tracing:
    """Where the process's tracer is found."""

    def __init__(self) -> None:
        self.tracer: Tracer | None = None


TRACING = process_wide(Tracing())
NO_SPAN: Span = _NoSpan()
_EMPTY_BLOCK: AbstractContextManager[Span] = nullcontext(NO_SPAN)
_NO_CHANGE: AbstractContextManager[None] = nullcontext()
NO_PARENT: Mapping[str, str] = {}
"""The beginning of a trace, whatever is current."""


def tracing_enabled() -> bool:
    """Whether spans are made; for what is worked out for a span alone."""
    return TRACING.tracer is not None


def content_enabled() -> bool:
    """Whether spans may carry what people and models say."""
    return TRACING.tracer is not None and TRACING.tracer.content


def span(
    name: str, attributes: Attributes, *, kind: Kind = "internal", parent: Mapping[str, str] | None = None
) -> AbstractContextManager[Span]:
    """A span that lasts as long as the block and is the current one in it; whatever is raised marks it as failed."""
    tracer = TRACING.tracer
    return _EMPTY_BLOCK if tracer is None else _span_block(tracer, tracer.start_span(name, attributes, kind, parent))


def start_span(name: str, attributes: Attributes, *, kind: Kind = "internal") -> Span:
    """A span below the current one, which its maker ends."""
    tracer = TRACING.tracer
    return NO_SPAN if tracer is None else tracer.start_span(name, attributes, kind, None)


def without_span() -> AbstractContextManager[None]:
    """What runs in the block belongs to no span, whoever set it off."""
    return _NO_CHANGE if TRACING.tracer is None else TRACING.tracer.without_span()


def current_span() -> Span:
    """The current span."""
    tracer = TRACING.tracer
    return NO_SPAN if tracer is None else tracer.current_span() or NO_SPAN


def trace_ids() -> tuple[str, str] | None:
    """The trace and the span that a log line belongs to."""
    return None if TRACING.tracer is None else TRACING.tracer.ids()


def reserve_span() -> str | None:
    """A place below the current span for one that is reported when it is over, by whatever process; None when off."""
    return None if TRACING.tracer is None else TRACING.tracer.reserve()


def parent_headers(reserved: str | None) -> Mapping[str, str]:
    """The `parent` of spans below a reserved one."""
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
    """Reports the span whose place `reserve_span` gave, at its end."""
    if TRACING.tracer is not None:
        TRACING.tracer.report_reserved(reserved, name, attributes, began, ended, error)


def content_attribute(name: str, text: Callable[[], str]) -> Attributes:
    """An attribute of what was said, when that is wanted; else nothing, and `text` is not asked for."""
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
