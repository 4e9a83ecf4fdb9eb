"""`/metrics` in Prometheus' text format, for keys with the scope `platform`.

`PartsCollector` reads the numbers that the parts of the process keep. Only the runs by state need a query, which uses
an index; if it fails, that metric is left out. The text is rendered in a thread, because a process with many routes and
models has thousands of lines.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import structlog
from django.db import DatabaseError
from django.db.models import Count
from prometheus_client import CONTENT_TYPE_LATEST, GCCollector, PlatformCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from core_app import database
from core_app.lifecycle import process_wide
from core_app.log_lines import error_summary
from core_app.metrics import REGISTRY
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.http.body_budget import BODIES
from edge_app.sockets.open_sockets import SOCKETS
from events_app.flusher import FLUSHER
from events_app.hub import HUB
from gateway_project.http.health import send_page
from gateway_project.observability.provider_states import PROVIDER_STATES
from gateway_project.process.connections import CONNECTIONS
from inference_app.spend.metering import METER
from sessions_app.legs.runner import RUNNER
from sessions_app.models import UNFINISHED, Run, RunState
from tenants_app.principal import PLATFORM, Principal

DATABASE_SECONDS = 2.0

logger = structlog.get_logger("gateway.metrics")


class PartsCollector(Collector):
    """The numbers of this process's hub, flusher, runner, meter, connections and sockets."""

    def describe(self) -> Iterable[Metric]:
        """Returns the same as `collect`: reading costs nothing."""
        return self.collect()

    def collect(self) -> Iterable[Metric]:
        """Reads plain attributes of the parts, without a lock: each is one number."""
        yield GaugeMetricFamily("gateway_followers", "Open event streams.", value=HUB.follower_count)
        yield GaugeMetricFamily("gateway_sockets", "Open WebSockets.", value=SOCKETS.count)
        yield _connections()
        yield GaugeMetricFamily("gateway_body_bytes", "Request bodies in memory.", value=BODIES.held_bytes)
        yield GaugeMetricFamily("gateway_legs_running", "Sessions with a leg here.", value=RUNNER.running)
        yield _counter("gateway_hub_dropped", "Batches that did not reach the channel layer.", HUB.dropped)
        yield _counter("gateway_hub_repaired", "Followers that had to read the log for what was lost.", HUB.repaired)
        yield _counter("gateway_flusher_commits", "Group commits.", FLUSHER.commits)
        yield _counter("gateway_flusher_events", "Events in group commits.", FLUSHER.committed_events)
        waiting = "Requests to providers that wait to be written to the ledger."
        yield GaugeMetricFamily("gateway_calls_gathered", waiting, value=METER.gathered)


class RunStates(Collector):
    """Unfinished runs of the whole deployment by state, and those that wait for a provider, as of the last
    `refresh`."""

    def __init__(self) -> None:
        self.counts: dict[str, int] | None = None
        self.provider_waiting: int | None = None

    def describe(self) -> Iterable[Metric]:
        """Returns the metric without samples."""
        yield _runs()
        yield _provider_waiting(None)

    def collect(self) -> Iterable[Metric]:
        """Returns no samples when the last refresh failed: a gap says more than an old number."""
        family = _runs()
        for state, count in (self.counts or {}).items():
            family.add_metric([state], count)
        yield family
        yield _provider_waiting(self.provider_waiting)

    async def refresh(self) -> None:
        """Queries the database, for DATABASE_SECONDS at most."""
        self.counts = self.provider_waiting = None
        try:
            async with asyncio.timeout(DATABASE_SECONDS):
                self.counts, self.provider_waiting = await database.run(_count_unfinished)
        except (DatabaseError, TimeoutError) as error:
            logger.warning("runs_not_counted", error=error_summary(error))


RUN_STATES = process_wide(RunStates())
"""Process-wide instance, a collector of REGISTRY."""


class Metrics:
    """`GET /metrics`; the gate has put the principal into the scope."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        principal: Principal = scope["gateway.principal"]
        principal.require(PLATFORM)
        PROVIDER_STATES.refresh()
        await RUN_STATES.refresh()
        exposition = await asyncio.to_thread(generate_latest, REGISTRY)
        await send_page(scope, send, 200, CONTENT_TYPE_LATEST.encode(), exposition)


def _counter(name: str, documentation: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(name, documentation, value=value)


def _connections() -> GaugeMetricFamily:
    family = GaugeMetricFamily("gateway_connections", "Open HTTP connections by state.", labels=["state"])
    waiting = CONNECTIONS.waiting
    family.add_metric(["waiting"], waiting)
    family.add_metric(["serving"], max(0, CONNECTIONS.open - waiting))
    return family


def _runs() -> GaugeMetricFamily:
    return GaugeMetricFamily("gateway_runs", "Unfinished runs by state.", labels=["state"])


def _provider_waiting(value: int | None) -> GaugeMetricFamily:
    return GaugeMetricFamily("gateway_runs_provider_waiting", "Runs that wait for their provider.", value=value)


def _count_unfinished() -> tuple[dict[str, int], int]:
    found = Run.objects.filter(state__in=UNFINISHED).order_by().values_list("state").annotate(Count("pk"))
    away = Run.objects.filter(state=RunState.WAITING, resume_at__isnull=False).count()
    return {str(state): 0 for state in UNFINISHED} | dict(found), away


REGISTRY.register(PartsCollector())
REGISTRY.register(RUN_STATES)
for standard in (ProcessCollector, PlatformCollector, GCCollector):
    standard(registry=REGISTRY)
