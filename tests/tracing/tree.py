"""Exported spans as a test wants to see them: by name, and as a tree."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from gateway_project.observability.telemetry import TELEMETRY
from tests.gateway_harness import eventually

Tree = dict[str, Any]
"""Names of spans to what is below them; a second one of a name below the same span has `#2` behind it."""


class Spans:
    """What has been exported."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> list[ReadableSpan]:
        """Everything that has ended, in the order of its beginning; a failed export would be missing here."""
        if TELEMETRY._exporting is not None:
            TELEMETRY._exporting.provider.force_flush()
        return sorted(self._exporter.get_finished_spans(), key=lambda span: span.start_time or 0)

    def with_name(self, name: str) -> list[ReadableSpan]:
        """Those of a name, or whose name begins with it and a blank."""
        return [span for span in self.all if span.name == name or span.name.startswith(f"{name} ")]

    async def came(self, name: str, count: int = 1) -> list[ReadableSpan]:
        """The same, when there are so many: a leg's span ends after the event that its client was waiting for."""
        await eventually(lambda: len(self.with_name(name)) >= count)
        return self.with_name(name)

    def tree(self, trace_id: int) -> Tree:
        """The spans of a trace; what has no parent among them is at the top."""
        mine = [span for span in self.all if span.context is not None and span.context.trace_id == trace_id]
        known = {span.context.span_id for span in mine if span.context is not None}
        tops = [span for span in mine if span.parent is None or span.parent.span_id not in known]
        return _below(tops, mine)


class Kept(InMemorySpanExporter):
    """Goes on after the gateway's end: a restarted one exports here too."""

    def shutdown(self) -> None:
        """Nothing."""


@contextmanager
def spans_gathered(settings: Any) -> Iterator[Spans]:
    """Tracing is on for gateways that start in the block."""
    settings.GATEWAY_OTEL = True
    TELEMETRY.exporter = exporter = Kept()
    try:
        yield Spans(exporter)
    finally:
        TELEMETRY.exporter = None


def _below(spans: list[ReadableSpan], known: list[ReadableSpan]) -> Tree:
    tree: Tree = {}
    for span in spans:
        assert span.context is not None
        own = span.context.span_id
        name, number = span.name, 1
        while name in tree:
            number += 1
            name = f"{span.name} #{number}"
        tree[name] = _below([child for child in known if child.parent and child.parent.span_id == own], known)
    return tree


def attributes(span: ReadableSpan) -> dict[str, Any]:
    """Its attributes."""
    return dict(span.attributes or {})


def trace_of(span: ReadableSpan) -> int:
    """Its trace."""
    assert span.context is not None
    return int(span.context.trace_id)
