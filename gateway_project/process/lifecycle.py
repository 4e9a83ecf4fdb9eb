"""The owner of a process's parts: it lists them, starts them in order, drains them and stops them in reverse.

Under uvicorn the lifespan protocol starts it; under daphne, which has none, the first connection does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal

import structlog
from django.conf import settings
from django.db import connection
from django.utils.module_loading import import_string

from agents_app.acp.parked import PARKED
from agents_app.directory.checks import AGENT_CHECKS
from core_app import database
from core_app.guarded_client import CLIENT
from core_app.lifecycle import Part, process_wide
from edge_app.sockets.open_sockets import SOCKETS
from events_app.flusher import FLUSHER
from events_app.hub import HUB
from events_app.incarnation import incarnation_begin, incarnation_end
from events_app.lease import leases_reset
from events_app.webhooks.sender import WebhookSender
from gateway_project.http.faces import faces
from gateway_project.http.health import COUNTS
from gateway_project.observability.telemetry import TELEMETRY
from gateway_project.process.configuration_watch import CONFIGURATION_WATCH
from inference_app.operator.operator_settings import OPERATOR_SETTINGS
from inference_app.providers.quota import QUOTAS
from inference_app.providers.state_sync import SHARED
from inference_app.providers.upstreams import UPSTREAMS
from inference_app.spend.budgets import BUDGETS
from inference_app.spend.metering import METER
from sessions_app.legs.job_hints import JOB_HINTS
from sessions_app.legs.lease_keeper import KEEPER
from sessions_app.legs.runner import RUNNER
from sessions_app.legs.sweep import SWEEP
from sessions_app.selectors import session_names
from tenants_app.limits import RATE_LIMITS
from tools_app.executors.mcp import SERVERS

_JOBS = "sessions_app.legs.jobs.JOBS"
"""By name, because its library is installed for PostgreSQL only."""

logger = structlog.get_logger("gateway.lifecycle")

WEBHOOKS = process_wide(WebhookSender(session_names))
"""Process-wide instance, started by `Gateway`."""


class Gateway:
    """Starts, drains and stops the parts of the process; a second call of each step does nothing."""

    def __init__(self) -> None:
        self.role: Literal["web", "worker"] = "web"
        """Set before the start: a web process serves requests, a worker runs legs from the queue."""
        self._started: list[Part] = []
        self._starting: asyncio.Future[None] | None = None
        self._owns_database = False
        self.started = False
        """True while all parts run."""
        self.draining = False
        """True once the process was told to end."""

    def parts(self) -> Sequence[Part]:
        """Returns the parts of this process in the order they start; they stop in reverse."""
        legs: Sequence[Part]
        # Legs of stored responses relay, too.
        relay: Sequence[Part] = (UPSTREAMS, OPERATOR_SETTINGS, METER, BUDGETS, SHARED, QUOTAS)
        if self.role == "worker":
            legs = (KEEPER, PARKED, RUNNER, JOB_HINTS, SWEEP, AGENT_CHECKS, WEBHOOKS, import_string(_JOBS))
            return (TELEMETRY, CLIENT, SERVERS, *relay, HUB, FLUSHER, *legs, COUNTS, CONFIGURATION_WATCH)
        legs = (KEEPER, PARKED, RUNNER, AGENT_CHECKS) if settings.GATEWAY_RUNNER == "inline" else (JOB_HINTS,)
        ends: Sequence[Part] = (COUNTS, CONFIGURATION_WATCH)
        own = dict.fromkeys(part for face in faces() for part in face.parts)
        return (TELEMETRY, CLIENT, SERVERS, *relay, SOCKETS, HUB, FLUSHER, *legs, SWEEP, WEBHOOKS, *ends, *own)

    async def ensure_started(self) -> None:
        """Starts the parts once, however many connections call this at the same time. An exception of a part is raised
        to all of them; the parts before it are stopped, and the next call tries again."""
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
        await asyncio.shield(self._starting)

    start = ensure_started

    async def _start(self) -> None:
        try:
            await database.run(_take_database)
            self._owns_database = True
            TELEMETRY.role = self.role
            for part in self.parts():
                await part.start()
                self._started.append(part)
            self.started = True
        except BaseException:
            await self.stop()
            raise

    async def drain(self) -> None:
        """Tells followers to reconnect, and lets running legs finish or hands them over. Exceptions of parts are raised
        after all parts have been drained."""
        if self.draining:
            return
        self.draining = True
        await _run_step("drain", [(part, part.drain) for part in reversed(self._started)])

    async def stop(self) -> None:
        """Stops the parts, the connections of the rate limits and the database threads. Exceptions of parts are raised
        after all parts have been stopped."""
        self.started = False
        try:
            started, self._started = self._started, []
            await _run_step("stop", [(part, part.stop) for part in reversed(started)])
            if self._owns_database:
                await database.run(incarnation_end)
        finally:
            self._owns_database = False
            self._starting, self.draining = None, False
            await RATE_LIMITS.close()
            await asyncio.get_running_loop().run_in_executor(None, database.shutdown)


async def _run_step(step: str, actions: Iterable[tuple[Part, Callable[[], Awaitable[None]]]]) -> None:
    """Runs all actions in order. A part that fails must not keep the others from theirs: they have legs to hand over
    and records to write."""
    errors: list[Exception] = []
    for part, action in actions:
        try:
            await action()
        except Exception as error:
            logger.exception("part_failed", part=type(part).__name__, step=step)
            errors.append(error)
    if errors:
        raise ExceptionGroup(f"The gateway's {step} failed.", errors)


def _take_database() -> None:
    """Begins a generation if the database went back in time. On SQLite, which serves one process, frees the leases that
    the process before this one held."""
    incarnation_begin()
    if connection.vendor == "sqlite":
        leases_reset()


GATEWAY = process_wide(Gateway())
"""Process-wide instance, started by the server's lifespan."""
