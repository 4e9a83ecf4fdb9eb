"""`/healthz` and `/readyz` (native contract, "Endpoints"): bare ASGI, before Django and without a key.

`/healthz` says that this process answers; its counts are a few seconds old, so it never waits for a database.
`/readyz` asks every part, each within two seconds, and answers one line per part, 503 when one is not well.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog
from channels.layers import get_channel_layer
from django.conf import settings
from django.db import connection
from django.db.migrations.executor import MigrationExecutor

from core_app import clock, database, jsontext
from core_app.lifecycle import Part, process_wide
from core_app.log_lines import error_summary
from core_app.timeouts import cancel_tasks
from edge_app.http.asgi import Receive, Scope, Send
from sessions_app.models import AgentSession, SessionState
from tenants_app.models import ApiKey

Probe = Callable[[], Awaitable[str]]

REFRESH_SECONDS = 5.0
PROBE_SECONDS = 2.0
WORKER_SECONDS = 30.0
"""Three heartbeats of a worker."""

NO_WORKER = "none is alive, prompts wait"
COUNTING_SHARE = 0.01
"""Counting millions of rows takes time; it is repeated only so often that it costs at most this share of it."""

LEAST_FREE_BYTES = 1024 * 1024
"""Less is full: SQLite's log grows by whole transactions."""

log = structlog.get_logger("gateway.health")


class NotReady(Exception):
    """A part is not well; the text is the line's, and never that of a foreign exception."""


class HealthCounts(Part):
    """A part of the process that keeps the counts of `/healthz` fresh."""

    def __init__(self) -> None:
        self.sessions = 0
        self.keys = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._refresh_for_ever(), name="health-counts")

    async def stop(self) -> None:
        if self._task is not None:
            await cancel_tasks(self._task)
            self._task = None

    async def refresh(self) -> None:
        """Counts now; the old counts stay when the database does not answer."""
        self.sessions, self.keys = await database.run(_counts)

    async def _refresh_for_ever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self.refresh()
            except Exception as error:  # whatever the database raises: old counts are better than no answer
                log.warning("health_counts_failed", error=error_summary(error))
            await asyncio.sleep(max(REFRESH_SECONDS, (loop.time() - began) / COUNTING_SHARE))


COUNTS = process_wide(HealthCounts())


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
        await answer(scope, send, 200, b"application/json", jsontext.encode(body))


class Readyz:
    """`GET /readyz`; `probes` are the parts by name, each returning its line or raising NotReady."""

    def __init__(self, probes: dict[str, Probe]) -> None:
        self.probes = probes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        results = await asyncio.gather(*(self._probe(name, probe) for name, probe in self.probes.items()))
        lines = "".join(f"{name}: {line}\n" for name, (_, line) in zip(self.probes, results, strict=True))
        status = 200 if all(well for well, _ in results) else 503
        await answer(scope, send, status, b"text/plain; charset=utf-8", lines.encode())

    async def _probe(self, name: str, probe: Probe) -> tuple[bool, str]:
        try:
            async with asyncio.timeout(PROBE_SECONDS):
                return True, await probe()
        except NotReady as reason:
            return False, str(reason)
        except TimeoutError:
            return False, f"no answer within {PROBE_SECONDS:.0f} s"
        except Exception as error:  # a probe meets whatever a broken part raises
            # In a line: whoever asks asks again in some seconds.
            log.warning("probe_failed", part=name, error=error_summary(error))
            return False, "failed; the log says why"


async def answer(scope: Scope, send: Send, status: int, content_type: bytes, body: bytes) -> None:
    """One whole answer to a GET or HEAD, `method_not_allowed` to anything else."""
    headers = [(b"cache-control", b"no-store")]
    if scope["method"] not in ("GET", "HEAD"):
        status, content_type = 405, b"application/json"
        headers.append((b"allow", b"GET, HEAD"))
        body = jsontext.encode({"error": "method_not_allowed", "message": "This path answers GET only."})
        headers.append((b"allow", b"GET, HEAD"))
    headers += [(b"content-type", content_type), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})


async def database_probe() -> str:
    """Whether the database answers a query, and SQLite has room to write: reading goes on when the disk is full."""
    await database.run(database.database_now)
    if not settings.GATEWAY_DATABASE_URL and shutil.disk_usage(settings.GATEWAY_DATA_DIR).free < LEAST_FREE_BYTES:
        raise NotReady("the disk of GATEWAY_DATA_DIR is full")
    return "ok"


async def channel_layer_probe() -> str:
    """Whether a message to nobody is taken; in memory it always is."""
    layer = get_channel_layer()
    if layer is None:
        raise NotReady("none is configured")
    await layer.group_send("gateway.readyz", {"type": "readyz"})
    return "ok"


class Draining(Protocol):
    """What runs this process's legs."""

    @property
    def draining(self) -> bool:
        """Whether it was told to end."""


class WorkersProbe:
    """Whether this process takes new work; and where workers run it, whether there are any, which says nothing of this
    process: it goes on to take prompts and to be read from."""

    def __init__(self, gateway: Draining) -> None:
        self.gateway = gateway

    async def __call__(self) -> str:
        if self.gateway.draining:
            raise NotReady("draining")
        if settings.GATEWAY_RUNNER == "worker" and not await database.run(workers_alive):
            return NO_WORKER
        return "ok"


class MigrationsProbe:
    """Whether the database's schema is this version's; asked until it is, then remembered."""

    def __init__(self) -> None:
        self._applied = False

    async def __call__(self) -> str:
        if not self._applied:
            missing = await database.run(migrations_missing)
            if missing:
                raise NotReady(f"{missing} not applied; run 'manage.py prepare'")
            self._applied = True
        return "ok"


def workers_alive() -> bool:
    """Whether some worker had a heartbeat lately; for PostgreSQL, which has their queue."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT EXISTS (SELECT 1 FROM procrastinate_workers"
            " WHERE last_heartbeat > now() - make_interval(secs => %s))",
            [WORKER_SECONDS],
        )
        return bool(cursor.fetchone()[0])


def migrations_missing() -> int:
    """How many migrations of this version the database does not have."""
    executor = MigrationExecutor(connection)
    return len(executor.migration_plan(executor.loader.graph.leaf_nodes()))


def _counts() -> tuple[int, int]:
    sessions = AgentSession.objects.exclude(state=SessionState.CLOSED).count()
    return sessions, ApiKey.objects.filter(revoked_at=None).count()
