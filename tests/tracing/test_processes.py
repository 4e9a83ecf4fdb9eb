"""Real processes: what a web process begins and a worker goes on with is one trace, and a SIGTERM loses none of it."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.settings import DEPLOYMENT
from tests.stack.client import Client
from tests.stack.conftest import deployment_of
from tests.stack.deployment import Deployment
from tests.stack.fleet import SETTINGS, WorkerProcess
from tests.stack.process import GatewayProcess
from tests.tracing.collector import running_collector

pytestmark = pytest.mark.skipif(DEPLOYMENT == "embedded", reason="workers need PostgreSQL and Redis")


class Traced(Deployment):
    """Its processes export to `endpoint`."""

    endpoint = ""

    def environment(self, port: int) -> dict[str, str]:
        return super().environment(port) | {"OTEL_EXPORTER_OTLP_ENDPOINT": self.endpoint}


async def test_a_run_of_a_worker_is_in_the_trace_of_the_web_processs_request(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with ExitStack() as stack:
        async with running_collector() as collector, aiohttp.ClientSession() as http:
            found = deployment_of(tmp_path / "data", stack, **SETTINGS, OTEL="true")
            deployment = Traced(found.directory, found.database_url, found.redis_url, found.settings)
            Traced.endpoint = collector.url
            processes = [GatewayProcess(deployment), WorkerProcess(deployment, "worker")]
            for process in processes:
                stack.callback(process.end)
                await process.start(60)
            client = Client(http, processes[0].url)
            await client.create("traced", model="demo:echo")
            await client.post("/v1/sessions/traced/prompt?wait=60", {"text": "hello"}, expect=200)
            for process in processes:
                process.signal(signal.SIGTERM)
            assert [await process.wait_exit() for process in processes] == [0, 0]
    by_name = {span.name: span for span in collector.spans}
    chain = ["chat echo", "leg", "invoke_agent demo:echo", "POST /v1/sessions/{session_id}/prompt"]
    below = [by_name[name] for name in chain]
    assert [span.parent_span_id for span in below[:-1]] == [span.span_id for span in below[1:]]
    assert roles_of(collector, below[0].trace_id) == {"web", "worker"}


def roles_of(collector: Any, trace: bytes) -> set[str]:
    """Which kinds of processes exported spans of the trace."""
    return {
        next(pair.value.string_value for pair in part.resource.attributes if pair.key == "gateway.role")
        for _, body in collector.requests
        for part in body.resource_spans
        if any(span.trace_id == trace for scope in part.scope_spans for span in scope.spans)
    }
