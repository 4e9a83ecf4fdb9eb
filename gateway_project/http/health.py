"""`/healthz` and `/readyz` (docs/operating.md): bare ASGI, before Django and without a key.

`/healthz` says that this process runs; its counts are a few seconds old, so it never waits for a database.
`/readyz` asks every part of the process, each within two seconds, and responds with a line per part; 503 when one is
not well.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from core_app import clock, database, jsontext
from core_app.lifecycle import Periodic, process_wide
from core_app.log_lines import error_summary
from edge_app.http.asgi import Receive, Scope, Send
from edge_app.http.response import send_json, send_response
from events_app.flusher import FLUSHER
from sessions_app.legs.lease_keeper import KEEPER
from sessions_app.models import AgentSession, SessionState
from tenants_app.models import ApiKey

Probe = Callable[[], Awaitable[str]]

REFRESH_SECONDS = 5.0
PROBE_SECONDS = 2.0
WORKER_SECONDS = 30.0
"""Three heartbeats of a worker; one that is silent for longer counts as dead."""

NO_WORKER = "none is alive, prompts wait"
COUNTING_SHARE = 0.01
"""Counting millions of rows takes time; it is repeated only so often that it costs at most this share of it."""

LEAST_FREE_BYTES = 1024 * 1024
"""With less the disk counts as full: SQLite's log grows by whole transactions."""

logger = structlog.get_logger("gateway.health")


class NotReady(Exception):
    """A part of the process is not well. The text is shown in its line; it never comes from a foreign exception."""


class HealthCounts(Periodic):
    """Keeps the counts of `/healthz` fresh."""

    def __init__(self) -> None:
        super().__init__("health-counts", self.refresh, self._pause_seconds, failed=_log_failure)
        self.sessions = 0
        self.keys = 0
        self._counting_seconds = 0.0

    async def refresh(self) -> None:
        """Counts now; when the database does not answer the old counts stay."""
        began = time.perf_counter()
        try:
            self.sessions, self.keys = await database.run(_counts)
        finally:
            self._counting_seconds = time.perf_counter() - began

    def _pause_seconds(self) -> float:
        return max(REFRESH_SECONDS, self._counting_seconds / COUNTING_SHARE)


def _log_failure(error: Exception) -> None:
    """Old counts are better than no answer, whatever the database raises."""
    logger.warning("health_counts_failed", error=error_summary(error))


COUNTS = process_wide(HealthCounts())
"""Process-wide instance, started by `Gateway`."""


class Healthz:
    """`GET /healthz`."""

    def __init__(self, counts: HealthCounts) -> None:
        self.counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = {
            "status": "ok",
            "version": settings.GATEWAY_VERSION,
            "sessions": {"active": self.counts.sessions},
            "meter": {"tracked_keys": self.counts.keys},
            "timestamp": clock.iso_ms(clock.now()),
        }
        await send_page(scope, send, 200, b"application/json", jsontext.encode(body))


class Readyz:
    """`GET /readyz`; `probes` are by the names of the parts, each returning its line or raising NotReady."""

    def __init__(self, probes: dict[str, Probe]) -> None:
        self.probes = probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts = await self.look()
        lines = "".join(f"{name}: {line}\n" for name, _, line in parts)
        status = 200 if all(well for _, well, _ in parts) else 503
        await send_page(scope, send, status, b"text/plain; charset=utf-8", lines.encode())

    async def look(self) -> list[tuple[str, bool, str]]:
        """Returns every part's name, whether it is well, and its line."""
        results = await asyncio.gather(*(self._probe(name, probe) for name, probe in self.probes.items()))
        return [(name, well, line) for name, (well, line) in zip(self.probes, results, strict=True)]

    async def _probe(self, name: str, probe: Probe) -> tuple[bool, str]:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return True, await probe()
        except NotReady as reason:
            return False, str(reason)
        except TimeoutError:
            return False, f"no answer within {PROBE_SECONDS:.0f} s"
        except Exception as error:  # a probe meets whatever a broken part raises
            # A line without a traceback: the next request comes in some seconds.
            logger.warning("probe_failed", part=name, error=error_summary(error))
            return False, "failed; the log says why"


async def send_page(scope: Scope, send: Send, status: int, content_type: bytes, body: bytes) -> None:
    """Responds to a GET or HEAD with the page, which no cache keeps; to other methods with `method_not_allowed`."""
    no_store = (b"cache-control", b"no-store")
    if scope["method"] in ("GET", "HEAD"):
        headers = [no_store, (b"content-type", content_type)]
        await send_response(send, status, body, headers, head=scope["method"] == "HEAD")
        return
    refusal = {"error": "method_not_allowed", "message": "This path answers GET only."}
    await send_json(send, 405, refusal, [no_store, (b"allow", b"GET, HEAD")])


async def database_probe() -> str:
    """Checks that the database answers a query and that SQLite can write: reading goes on when the disk is full."""
    await database.run(database.database_now)
    if await database.run(database.read_only_check):
        raise NotReady("the server is a standby (target_session_attrs=read-write in GATEWAY_DATABASE_URL avoids it)")
    if not settings.GATEWAY_DATABASE_URL and shutil.disk_usage(settings.GATEWAY_DATA_DIR).free < LEAST_FREE_BYTES:
        raise NotReady("the disk of GATEWAY_DATA_DIR is full")
    return "ok"


async def channel_layer_probe() -> str:
    """Checks that the channel layer takes a message to nobody; the one in memory always does."""
    layer = get_channel_layer()
    if layer is None:
        raise NotReady("none is configured")
    await layer.group_send("gateway.readyz", {"type": "readyz"})
    return "ok"


async def threads_probe() -> str:
    """Checks the threads on which every leg of the process depends."""
    for name, part in (("the flusher", FLUSHER), ("the lease keeper", KEEPER)):
        if not part.alive:
            raise NotReady(f"{name} has ended; the log says why")
    return "ok"


class Draining(Protocol):
    """The process, as far as its readiness depends on it."""

    @property
    def draining(self) -> bool:
        """True after the process was told to end."""


class WorkersProbe:
    """Checks that this process takes new prompts. Where workers run them, the line also says when there is none: that
    does not make this process unready, since it still takes prompts and serves readers."""

    def __init__(self, gateway: Draining) -> None:
        self.gateway = gateway

    async def __call__(self) -> str:
        if self.gateway.draining:
            raise NotReady("draining")
        if settings.GATEWAY_RUNNER == "worker" and not await database.run(workers_alive):
            return NO_WORKER
        return "ok"


class MigrationsProbe:
    """Checks that the database's schema is this version's; asked until it is, then remembered."""

    def __init__(self) -> None:
        self._applied = False

    async def __call__(self) -> str:
        if not self._applied:
            missing = await database.run(migrations_missing)
            if missing:
                raise NotReady(f"{missing} not applied; run 'gateway prepare'")
            self._applied = True
        return "ok"


def workers_alive() -> bool:
    """Returns True when a worker had a heartbeat lately. Only for PostgreSQL, which has the workers' queue."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM procrastinate_workers"
            " WHERE last_heartbeat > now() - make_interval(secs => %s))",
            [WORKER_SECONDS],
        )
        return bool(cursor.fetchone()[0])


def migrations_missing() -> int:
    """Returns the number of migrations that the database still needs."""
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _counts() -> tuple[int, int]:
    sessions = AgentSession.objects.exclude(state=SessionState.CLOSED).count()
    return sessions, ApiKey.objects.filter(revoked_at=None).count()
