"""What tracing costs the gateway: nothing when it is off, and spans alone when its collector hangs or is gone."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from core_app import tracing
from core_app.metrics import REGISTRY
from core_app.tracing import NO_SPAN, TRACING
from gateway_project.configuration import checks
from gateway_project.observability import telemetry
from gateway_project.observability.telemetry import TELEMETRY
from tests.agents.conftest import ROOT
from tests.conftest import Caller
from tests.gateway_harness import Client, GatewayHarness
from tests.tracing.collector import Collector, running_collector
from tests.tracing.tree import Spans

pytestmark = pytest.mark.django_db(transaction=True)

# The SDK's metrics are loaded by redis-py wherever they are installed.
MODULES = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "gateway_project.observability.otel")
LOADED = """
import sys
import gateway_project.asgi
from agents_app.registry import engine_get
{more}
print([name for name in {names} if name in sys.modules])
"""


class Hanging(SpanExporter):
    """A collector that takes the first batch and never answers."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        self.released = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.released.wait()
        return SpanExportResult.FAILURE

    def shutdown(self) -> None:
        """Hangs on."""


class Gone(SpanExporter):
    """A collector that cannot be reached."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        raise ConnectionError("SECRET")


def span_count(outcome: str) -> float:
    return REGISTRY.get_sample_value("gateway_spans_total", {"outcome": outcome}) or 0.0


@pytest.mark.parametrize("more", ["", "engine_get('model'); engine_get('demo')"])
def test_a_gateway_that_does_not_trace_loads_no_sdk(more: str, tmp_path: Path) -> None:
    environment = {"GATEWAY_DATA_DIR": str(tmp_path), "GATEWAY_ENV_FILE": "/dev/null", "PATH": ""}
    code = LOADED.format(more=more, names=MODULES)
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_a_tracer_every_span_is_the_same_nothing() -> None:
    assert TRACING.tracer is None
    with tracing.span("a", {}) as one, tracing.span("b", {}) as other:
        assert one is other is NO_SPAN
    assert tracing.start_span("c", {}) is tracing.current_span() is NO_SPAN
    assert (tracing.reserve_span(), tracing.trace_ids(), NO_SPAN.headers("host")) == (None, None, {})
    assert tracing.content_attribute("said", lambda: pytest.fail("asked for what nobody wants")) == {}


@pytest.fixture
def hanging_exporter(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hanging]:
    """Where a gateway that starts now exports to, past a queue of eight spans."""
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "8")
    monkeypatch.setattr(telemetry, "FLUSH_SECONDS", 0.05)
    settings.GATEWAY_OTEL = True
    TELEMETRY.exporter = collector = Hanging()
    yield collector
    collector.released.set()
    TELEMETRY.exporter = None


async def test_a_collector_that_hangs_costs_spans_which_are_counted_and_never_a_run(
    hanging_exporter: Hanging, gateway: GatewayHarness, owner: Caller
) -> None:
    dropped = span_count("dropped")
    api = gateway.client(owner)
    session = await api.session()
    for number in range(5):
        assert (await api.run(session, f"prompt {number}"))["status"] == "completed"
    assert await asyncio.to_thread(hanging_exporter.asked.wait, 60)
    # One batch was taken and eight wait: of the five runs' spans, five each, the others have no place.
    assert span_count("dropped") > dropped
    waiting = TELEMETRY._exporting.waiting.count
    assert 0 < waiting <= 8
    dropped = span_count("dropped")
    await gateway.restart()
    assert span_count("dropped") >= dropped + waiting


async def test_a_collector_that_is_gone_costs_spans_and_never_a_run(spans: Spans, api: Client) -> None:
    exported = TELEMETRY._exporting
    failed = span_count("failed")
    exported.exporter.inner = Gone()
    session = await api.session()
    assert (await api.run(session, "hello"))["status"] == "completed"
    exported.provider.force_flush()
    assert span_count("failed") > failed


async def test_a_graceful_stop_exports_what_waits(spans: Spans, gateway: GatewayHarness, owner: Caller) -> None:
    api = gateway.client(owner)
    session = await api.session()
    await api.run(session, "hello")
    await gateway.drain()
    await gateway.stop()
    assert TELEMETRY._exporting is None
    names = [span.name for span in spans.all]
    await gateway.start()
    assert {"leg", "chat echo", "invoke_agent demo:echo"} <= set(names)


@pytest_asyncio.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    """Where the standard variables send spans."""
    async with running_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=tests")
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment=test")
        yield collector


async def test_a_collector_receives_the_tree_over_otlp(
    collector: Collector, spans: Spans, gateway: GatewayHarness, owner: Caller
) -> None:
    TELEMETRY.exporter = None
    await gateway.restart()
    api = gateway.client(owner)
    session = await api.session()
    await api.run(session, "hello")
    await gateway.drain()
    await gateway.stop()
    headers, body = collector.requests[0]
    assert headers["content-type"] == "application/x-protobuf"
    assert headers["x-team"] == "tests"
    resource = {pair.key: pair.value.string_value for pair in body.resource_spans[0].resource.attributes}
    assert resource["service.name"] == "agent-gateway"
    assert resource["gateway.role"] == "web"
    assert resource["deployment.environment"] == "test"
    by_name = {span.name: span for span in collector.spans}
    chain = ["chat echo", "leg", "invoke_agent demo:echo", "POST /v1/sessions/{session_id}/prompt"]
    below = [by_name[name] for name in chain]
    assert [span.parent_span_id for span in below[:-1]] == [span.span_id for span in below[1:]]
    assert below[-1].parent_span_id == b""
    assert len({span.trace_id for span in below}) == 1
    chat = {pair.key: pair.value for pair in below[0].attributes}
    assert chat["gen_ai.conversation.id"].string_value == session
    assert chat["gen_ai.usage.output_tokens"].int_value > 0
    await gateway.start()


async def test_log_lines_name_their_trace(spans: Spans, api: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.access")
    await api.session()
    [request] = await spans.came("POST /v1/sessions")
    assert request.context is not None
    lines: list[dict[str, Any]] = [record.msg for record in caplog.records if record.name == "gateway.access"]  # type: ignore[misc]
    [line] = [line for line in lines if line["path"] == "/v1/sessions"]
    assert line["trace_id"] == f"{request.context.trace_id:032x}"
    assert line["span_id"] == f"{request.context.span_id:016x}"


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_probes_are_no_spans(spans: Spans, api: Client, path: str) -> None:
    await api.get(path)
    await api.session()
    assert [span.name for span in await spans.came("POST")] == ["POST /v1/sessions"]
    assert [span.name for span in spans.all if path in span.name] == []


def test_tracing_without_its_packages_is_refused_with_what_to_install(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.GATEWAY_OTEL = True
    assert [message.id for message in checks.values(None)] == []
    monkeypatch.setattr(checks, "OTEL_PACKAGES", ("no_such_package.of_ours",))
    [message] = checks.values(None)
    assert message.id == "gateway.E011"
    assert "agent-gateway[otel]" in message.msg
    settings.GATEWAY_OTEL = False
    assert checks.values(None) == []


def test_another_protocol_than_the_gateways_is_warned_of(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.GATEWAY_OTEL = True
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    assert [message.id for message in checks.values(None)] == ["gateway.W002"]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
    assert checks.values(None) == []
