"""The runner: executes legs as asyncio tasks of this process.

A wake-up names a session to look at. The session's task claims its lease, runs legs while there is work, and releases
it; there is at most one task per session. At most GATEWAY_MAX_RUNS sessions run at once, GATEWAY_MAX_RUNS_PER_TENANT of
one tenant; the others wait here and start round robin by tenant. In a worker, sessions wait in the job queue instead,
and overflow slots keep a tenant from waiting for all jobs of another one.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections import Counter, OrderedDict
from collections.abc import Collection
from functools import partial
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError

from agents_app import registry as agents
from agents_app.engine import Engine, Failed, LegOutcome
from core_app import database
from core_app.errors import GatewayError
from core_app.ids import new_id
from core_app.lifecycle import Part, process_wide
from core_app.log_lines import error_summary
from core_app.timeouts import task_location
from core_app.tracing import current_span, without_span
from events_app.lease import Fence, LeaseLost, lease_claim, lease_unclaimed
from inference_app.spend.price_list import load_price_list
from sessions_app.legs.checkpoints import leg_end, leg_time_out
from sessions_app.legs.lease_keeper import KEEPER, LeaseKeeper
from sessions_app.legs.leg import RunnerLeg
from sessions_app.legs.spans import leg_span
from sessions_app.legs.start import LegStart, leg_hand_over, leg_start, leg_start_count, leg_start_fail
from sessions_app.models import AgentSession
from sessions_app.wakeup import WAKEUPS, SessionKey
from tools_app.executors import mcp

WARM_AFTER_SECONDS = 0.5

TASK = "session-"
"""Prefix of the names of session tasks; the session's id follows."""

HAND_OVER_SECONDS = 3.0
"""Time in which a cancelled leg may write its hand-over."""

SLOTS_PER_OVERFLOW_SLOT = 5
"""Job slots of a worker per overflow slot. Overflow slots are used when all job slots are taken, by tenants with few
sessions in this process."""

logger = structlog.get_logger("gateway.runner")


class Runner(Part):
    """The part that runs legs. Every method but `wake` and `try_overflow` must be called on its event loop."""

    def __init__(self, keeper: LeaseKeeper = KEEPER) -> None:
        self._keeper = keeper
        self._tasks: dict[SessionKey, asyncio.Task[None]] = {}
        self._checks: set[asyncio.Task[None]] = set()
        self._woken_again: set[SessionKey] = set()
        self._running: Counter[int] = Counter()
        self._waiting: OrderedDict[int, dict[SessionKey, None]] = OrderedDict()
        self._current: dict[SessionKey, LegStart] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining = False
        self.owner = ""

    @property
    def running(self) -> int:
        """Number of sessions with a task in this process."""
        return len(self._tasks)

    async def start(self) -> None:
        """Registers for wake-ups, and starts to import the engines in the background."""
        self.owner = f"{socket.gethostname()[:24]}:{os.getpid()}:{new_id('own')[-8:]}"
        self._loop, self._draining = asyncio.get_running_loop(), False
        WAKEUPS.listener, WAKEUPS.overflow = self.wake, self.try_overflow
        self._loading = asyncio.create_task(_load_engines(), name="warm-engines")

    async def drain(self) -> None:
        """Starts no new leg. Legs that still run after GATEWAY_DRAIN_SECONDS are cancelled and handed over."""
        self._draining = True
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=settings.GATEWAY_DRAIN_SECONDS)
            if late:
                await _cancel_all(late)

    async def stop(self) -> None:
        """Cancels the remaining tasks."""
        WAKEUPS.listener, WAKEUPS.overflow, self._loop = None, None, None
        await _cancel_all([*self._tasks.values(), *self._checks, self._loading])
        self._waiting.clear()
        self._woken_again.clear()

    def wake(self, key: SessionKey) -> None:
        """Schedules a look at the session; may be called from any thread."""
        if (loop := self._loop) is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._consider, key)

    def try_overflow(self, key: SessionKey) -> None:
        """Runs the session in an overflow slot if all job slots are taken, so that it need not wait in the queue behind
        another tenant's sessions. Called in workers only, from any thread."""
        if (loop := self._loop) is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._start_overflow, key)

    async def run(self, key: SessionKey) -> None:
        """Looks at the session, and waits for its task if this call started it: a job occupies its slot until then."""
        is_new = key not in self._tasks
        self._consider(key)
        task = self._tasks.get(key)
        if is_new and task is not None:
            await asyncio.wait([task])

    def _consider(self, key: SessionKey) -> None:
        if self._loop is None or self._draining:
            return
        if key in self._tasks:
            self._woken_again.add(key)
            # If an abort revoked the lease, the leg ends now and not only at its next write.
            checking = self._loop.create_task(self._check_lease(key), name=f"check-{key.session_id}")
            self._checks.add(checking)
            checking.add_done_callback(self._checks.discard)
        elif self._has_slot(key.tenant_id):
            self._start_task(key)
        else:
            self._waiting.setdefault(key.tenant_id, {})[key] = None

    def _start_overflow(self, key: SessionKey) -> None:
        slots = settings.GATEWAY_WORKER_CONCURRENCY
        overflow_slots = max(1, slots // SLOTS_PER_OVERFLOW_SLOT)
        may_overflow = len(self._tasks) >= slots and self._running[key.tenant_id] < overflow_slots
        if may_overflow and len(self._tasks) < slots + overflow_slots and key not in self._tasks:
            self._consider(key)

    def _has_slot(self, tenant_id: int) -> bool:
        return (
            len(self._tasks) < settings.GATEWAY_MAX_RUNS
            and self._running[tenant_id] < settings.GATEWAY_MAX_RUNS_PER_TENANT
        )

    def _fill_slots(self) -> None:
        """Starts waiting sessions, one of each tenant in turn, while there are free slots for them."""
        skipped = 0
        while self._waiting and skipped < len(self._waiting) and len(self._tasks) < settings.GATEWAY_MAX_RUNS:
            tenant_id, queue = self._waiting.popitem(last=False)
            if not self._has_slot(tenant_id):
                self._waiting[tenant_id] = queue
                skipped += 1
                continue
            skipped = 0
            key = next(iter(queue))
            del queue[key]
            if queue:
                self._waiting[tenant_id] = queue
            if key not in self._tasks:
                self._start_task(key)

    def _start_task(self, key: SessionKey) -> None:
        self._running[key.tenant_id] += 1
        task = asyncio.get_running_loop().create_task(self._serve(key), name=f"{TASK}{key.session_id}")
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._end_task(key))

    def _end_task(self, key: SessionKey) -> None:
        del self._tasks[key]
        self._running[key.tenant_id] -= 1
        if key in self._woken_again:
            self._woken_again.discard(key)
            self._consider(key)
        if not self._draining:
            self._fill_slots()

    async def _check_lease(self, key: SessionKey) -> None:
        start = self._current.get(key)
        if start is not None and not await database.run(lease_unclaimed, start.fence):
            task = self._tasks.get(key)
            if task is not None and self._current.get(key) is start:
                logger.info("leg_lost", session=start.session.public_id)
                task.cancel()

    async def _serve(self, key: SessionKey) -> None:
        """Claims the session's lease and runs its legs. Raises nothing: the sweep finds a session that failed."""
        try:
            # Not a child of the span that woke the session, which may belong to another run.
            with without_span():
                fence = await database.run_leg(key.tenant_id, self._claim, key.session_id)
                if fence is not None:
                    await self._run_legs(key, fence)
        except LeaseLost:
            logger.info("leg_lost", session=_session_label())
        except DatabaseError as error:
            logger.warning("leg_database_failed", session=_session_label(), error=error_summary(error))
        except Exception:  # contains: a bug in starting or ending a leg, so that the task's slot is freed
            logger.exception("session_failed", session=_session_label())

    def _claim(self, session_id: int) -> Fence | None:
        stream_id = AgentSession.objects.values_list("stream_id", flat=True).get(pk=session_id)
        return lease_claim(stream_id=stream_id, owner=self.owner, seconds=settings.GATEWAY_LEASE_SECONDS)

    async def _start_leg(self, key: SessionKey, fence: Fence) -> LegStart | None:
        """Starts the next leg. A start that fails for a reason of its own is counted and gives the session up: without
        that it would be tried for ever, and hold its lease meanwhile."""
        try:
            return await database.run_leg(key.tenant_id, leg_start, session_id=key.session_id, fence=fence)
        except LeaseLost:
            raise
        except Exception as error:  # contains: a broken row or a bug, which ends this run only
            if database.database_unavailable(error) or database.database_busy(error):
                raise
            logger.exception("leg_start_failed", session=key.session_id)
        if await database.run_leg(key.tenant_id, leg_start_count, session_id=key.session_id, fence=fence):
            await database.run_leg(key.tenant_id, leg_start_fail, session_id=key.session_id, fence=fence)
        return None

    async def _run_legs(self, key: SessionKey, fence: Fence) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._keeper.hold(fence, partial(_cancel, task))
        run_id = None
        try:
            while (start := await self._start_leg(key, fence)) is not None:
                self._current[key], run_id = start, start.run.pk
                task.set_name(f"{TASK}{start.session.public_id}")
                with leg_span(start):
                    released = await self._run_leg(start)
                if released:
                    return
                if self._draining:
                    break
            if start is not None:
                await database.run_leg(key.tenant_id, leg_hand_over, fence=fence, run_id=start.run.pk)
        except asyncio.CancelledError:
            await database.run_leg(key.tenant_id, leg_hand_over, fence=fence, run_id=run_id)
            if self._draining:
                raise
        finally:
            self._current.pop(key, None)
            self._keeper.release(fence)

    async def _run_leg(self, start: LegStart) -> bool:
        """Runs one leg. When the engine raises, the run is retried from its last checkpoint. Returns True if the
        session has no other leg, and its lease is released."""
        leg = RunnerLeg(start)
        limit = settings.GATEWAY_MAX_RUN_SECONDS
        timer = asyncio.timeout(max(0.001, limit - start.run.active_ms / 1000))
        try:
            async with timer:
                outcome = await self._execute(leg, start)
                await leg.drain()
            current_span().set_attributes({"gateway.leg.outcome": type(outcome).__name__.lower()})
            if isinstance(outcome, Failed):
                current_span().mark_failed(outcome.code)
            return await database.run_leg(start.session.tenant_id, leg_end, start, outcome)
        except LeaseLost:
            raise
        except Exception as error:  # contains: bugs of engines; the run is retried and ends after GATEWAY_MAX_ATTEMPTS
            await leg.flush()
            current_span().mark_failed("timeout" if timer.expired() else type(error).__name__)
            if timer.expired():
                await database.run_leg(start.session.tenant_id, leg_time_out, start, limit)
            else:
                self._log_failure(start, error)
            return False

    def _log_failure(self, start: LegStart, error: Exception) -> None:
        about = {"session": start.session.public_id, "run": start.run.pk, "attempt": start.run.attempt}
        if database.database_unavailable(error):
            # Every leg of the process fails at the same moment; tracebacks would say nothing more.
            logger.warning("leg_database_failed", error=error_summary(error), **about)
        else:
            logger.error("leg_failed", exc_info=error, **about)

    async def _execute(self, leg: RunnerLeg, start: LegStart) -> LegOutcome:
        try:
            await leg.load()
        except GatewayError as error:
            # An attachment cannot be downloaded, or the engine is no longer configured.
            return Failed(error.code, error.message, error.retryable)
        return await leg.check_answer(await self._engine(start).run_leg(leg))

    def _engine(self, start: LegStart) -> Engine:
        return agents.engine_get(start.session.engine)


async def _load_engines() -> None:
    """Imports the agent loop, the price list and the libraries of MCP servers, which take seconds, once the server
    answers and before the first prompt needs them."""
    await asyncio.sleep(WARM_AFTER_SECONDS)
    for name in ("demo", "model"):
        await asyncio.to_thread(agents.engine_get, name)
    await asyncio.to_thread(load_price_list)
    try:
        await mcp.preload()
    except Exception as error:  # contains: a mistake in the configuration, which the first use of it reports
        logger.warning("preload_failed", error=error_summary(error))


async def _cancel_all(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels tasks and waits at most HAND_OVER_SECONDS, because an engine that ignores cancellation must not block the
    process's end. The lease of such an engine expires, and another process takes the session."""
    for task in tasks:
        task.cancel()
    await asyncio.wait([asyncio.gather(*tasks, return_exceptions=True)], timeout=HAND_OVER_SECONDS)
    for task in tasks:
        if not task.done():
            logger.error("leg_does_not_end", session=task.get_name().removeprefix(TASK), at=task_location(task))


def _session_label() -> str:
    """Returns the public id of this task's session once a leg has started, before that its primary key."""
    task = asyncio.current_task()
    return task.get_name().removeprefix(TASK) if task is not None else ""


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


RUNNER = process_wide(Runner())
"""Process-wide instance, started by `Gateway`."""
