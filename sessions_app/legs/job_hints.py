"""Hints over Redis that a job was queued, which wake idle workers at once.

A hint is sent after the commit. Procrastinate's own way, `NOTIFY` in the transaction of each prompt, makes PostgreSQL
commit those transactions one after the other for the whole cluster. Hints may be lost: workers also look for jobs every
GATEWAY_SWEEP_SECONDS. Hints of one moment go together.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog
from django.conf import settings
from django.utils.module_loading import import_string

from core_app import database
from core_app.lifecycle import Part, process_wide
from core_app.log_lines import error_summary
from core_app.metrics import JOB_HINT_FAILURES
from core_app.redis_errors import redis_errors
from core_app.timeouts import cancel_tasks

if TYPE_CHECKING:
    from redis.asyncio import Redis

REDIS_SECONDS = 1.0
RETRY_SECONDS = 1.0
"""Pause after the subscription failed."""

JOIN_SECONDS = 0.005
"""Pause after a hint was sent, in which further ones gather."""

ECHO_SECONDS = 0.05
"""A listener repeats the last hint after this time, because a worker forgets one that comes while it takes a job."""

QUIET_SECONDS = 30.0
LOG_SECONDS = 60.0

OnHint = Callable[[], Awaitable[None]]

logger = structlog.get_logger("gateway.jobs")


class JobHints(Part):
    """Sends hints, from any thread, and listens for those of all processes of the deployment."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._redis: Redis | None = None
        self._channel = ""
        self._log_at = 0.0

    async def start(self) -> None:
        """Connects to Redis when it is first needed; without a Redis no hint is sent."""
        if not settings.GATEWAY_REDIS_URL:
            return
        self._due, self._log_at = asyncio.Event(), 0.0
        self._channel = f"gateway:{await database.run(database.database_identity)}:jobs"
        # Imported by name, because an embedded gateway never loads it.
        self._redis = import_string("redis.asyncio.Redis").from_url(
            settings.GATEWAY_REDIS_URL,
            socket_timeout=REDIS_SECONDS,
            socket_connect_timeout=REDIS_SECONDS,
            socket_keepalive=True,
            health_check_interval=QUIET_SECONDS,
        )
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._send_hints(self._redis), name="job-hints")

    async def stop(self) -> None:
        """Ends the sender and the connections."""
        self._loop = None
        task, self._task = self._task, None
        if task is not None:
            await cancel_tasks(task)
        redis, self._redis = self._redis, None
        if redis is not None:
            await redis.aclose()

    def send(self) -> None:
        """Tells the workers that a job is committed. In a process without the started part (a command) nothing is
        sent."""
        if (loop := self._loop) is not None:
            # The loop may close at any moment, which must not look like a failed commit.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(self._due.set)

    async def listen(self, on_hint: OnHint) -> None:
        """Calls `on_hint` after each hint, and when hints may have been missed; runs until it is cancelled."""
        while self._redis is not None:
            try:
                await self._listen(self._redis, on_hint)
            except redis_errors() as error:
                self._log_failure("job_hints_not_received", error)
                await asyncio.sleep(RETRY_SECONDS)
        await asyncio.Event().wait()

    async def _listen(self, redis: Redis, on_hint: OnHint) -> None:
        async with redis.pubsub(ignore_subscribe_messages=True) as pubsub:
            await pubsub.subscribe(self._channel)
            missed = True
            while True:
                message = await pubsub.get_message(timeout=ECHO_SECONDS if missed else QUIET_SECONDS)
                if message is not None or missed:
                    await on_hint()
                missed = message is not None

    async def _send_hints(self, redis: Redis) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                await redis.publish(self._channel, b"")
            except redis_errors() as error:
                JOB_HINT_FAILURES.inc()
                self._log_failure("job_hints_not_sent", error)
            await asyncio.sleep(JOIN_SECONDS)

    def _log_failure(self, event: str, error: Exception) -> None:
        if time.monotonic() >= self._log_at:
            self._log_at = time.monotonic() + LOG_SECONDS
            logger.warning(event, error=error_summary(error), do="Workers start runs up to GATEWAY_SWEEP_SECONDS late.")


JOB_HINTS = process_wide(JobHints())
"""Process-wide instance, started by `Gateway` in deployments with workers."""
