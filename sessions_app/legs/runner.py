"""The inline runner: legs as asyncio tasks of this process (design, decision 4, embedded).

A wake-up only says where to look. Per session there is at most one task here; it claims the lease, runs legs while
there is work and lets go. At most GATEWAY_MAX_RUNS sessions at once, and
GATEWAY_MAX_RUNS_PER_TENANT of one tenant; the others wait their turn, one tenant after the other. In a worker it is the
queue that makes them wait, and `offer` that lets no tenant wait for all of another's.
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
from inference_app.providers.clients import clients_closed
from sessions_app.legs.checkpoints import leg_end, leg_time_out
from sessions_app.legs.lease_keeper import KEEPER, LeaseKeeper
from sessions_app.legs.leg import RunnerLeg
from sessions_app.legs.spans import leg_observed
from sessions_app.legs.start import LegStart, leg_begin, leg_hand_over
from sessions_app.models import AgentSession
from sessions_app.wakeup import WAKEUPS, Work

WARM_AFTER_SECONDS = 0.5

TASK = "session-"
"""Tasks are called so and by their session."""

HAND_OVER_SECONDS = 3.0
"""For a cancelled leg to write down that it hands over."""

PLACES_FOR_A_GUEST = 5
"""A worker whose places are all taken has one more for every so many, for tenants who have next to none here."""

log = structlog.get_logger("gateway.runner")


class Runner(Part):
    """A `core_app.lifecycle.Part`; every method but `wake` belongs to its loop."""

    def __init__(self, keeper: LeaseKeeper = KEEPER) -> None:
        self._keeper = keeper
        self._tasks: dict[Work, asyncio.Task[None]] = {}
        self._checks: set[asyncio.Task[None]] = set()
        self._again: set[Work] = set()
        self._running: Counter[int] = Counter()
        self._waiting: OrderedDict[int, dict[Work, None]] = OrderedDict()
        self._holding: dict[Work, LegStart] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._draining = False
        self.owner = ""

    @property
    def running(self) -> int:
        """Sessions with a task here."""
        return len(self._tasks)

    async def start(self) -> None:
        """Listens for wake-ups."""
        self.owner = f"{socket.gethostname()[:24]}:{os.getpid()}:{new_id('own')[-8:]}"
        self._loop, self._draining = asyncio.get_running_loop(), False
        WAKEUPS.listener, WAKEUPS.guest = self.wake, self.offer
        self._warming = asyncio.create_task(_warm(), name="warm-engines")

    async def drain(self) -> None:
        """Begins nothing new; what still runs after GATEWAY_DRAIN_SECONDS is handed over."""
        self._draining = True
        tasks = list(self._tasks.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=settings.GATEWAY_DRAIN_SECONDS)
            if late:
                await _ended(late)

    async def stop(self) -> None:
        """Ends what is left."""
        WAKEUPS.listener, WAKEUPS.guest, self._loop = None, None, None
        await _ended([*self._tasks.values(), *self._checks, self._warming])
        await clients_closed()
        self._waiting.clear()
        self._again.clear()

    def wake(self, work: Work) -> None:
        """Looks at a session soon; from any thread."""
        if (loop := self._loop) is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._consider, work)

    def offer(self, work: Work) -> None:
        """Begins what waits in the queue behind another tenant's sessions, when those have taken every place; from any
        thread. Only a worker is offered work."""
        if (loop := self._loop) is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._offered, work)

    async def run(self, work: Work) -> None:
        """Looks at a session and waits until its task, if this began it, has ended; for jobs, whose slot it is."""
        begun = work not in self._tasks
        self._consider(work)
        task = self._tasks.get(work)
        if begun and task is not None:
            await asyncio.wait([task])

    def _consider(self, work: Work) -> None:
        if self._loop is None or self._draining:
            return
        if work in self._tasks:
            self._again.add(work)
            # An abort took the lease: the leg notices at its next write, or here at once.
            checking = self._loop.create_task(self._check_holding(work), name=f"check-{work.session_id}")
            self._checks.add(checking)
            checking.add_done_callback(self._checks.discard)
        elif self._room_for(work.tenant_id):
            self._begin(work)
        else:
            self._waiting.setdefault(work.tenant_id, {})[work] = None

    def _offered(self, work: Work) -> None:
        places = settings.GATEWAY_WORKER_CONCURRENCY
        guests = max(1, places // PLACES_FOR_A_GUEST)
        is_guest = len(self._tasks) >= places and self._running[work.tenant_id] < guests
        if is_guest and len(self._tasks) < places + guests and work not in self._tasks:
            self._consider(work)

    def _room_for(self, tenant_id: int) -> bool:
        return (
            len(self._tasks) < settings.GATEWAY_MAX_RUNS
            and self._running[tenant_id] < settings.GATEWAY_MAX_RUNS_PER_TENANT
        )

    def _fill(self) -> None:
        """Begins what waits: one session of each tenant in turn, as long as there is room for any of them."""
        passed = 0
        while self._waiting and passed < len(self._waiting) and len(self._tasks) < settings.GATEWAY_MAX_RUNS:
            tenant_id, queue = self._waiting.popitem(last=False)
            if not self._room_for(tenant_id):
                self._waiting[tenant_id] = queue
                passed += 1
                continue
            passed = 0
            work = next(iter(queue))
            del queue[work]
            if queue:
                self._waiting[tenant_id] = queue
            if work not in self._tasks:
                self._begin(work)

    def _begin(self, work: Work) -> None:
        self._running[work.tenant_id] += 1
        task = asyncio.get_running_loop().create_task(self._work(work), name=f"{TASK}{work.session_id}")
        self._tasks[work] = task
        task.add_done_callback(lambda _: self._done(work))

    def _done(self, work: Work) -> None:
        del self._tasks[work]
        self._running[work.tenant_id] -= 1
        if work in self._again:
            self._again.discard(work)
            self._consider(work)
        if not self._draining:
            self._fill()

    async def _check_holding(self, work: Work) -> None:
        start = self._holding.get(work)
        if start is not None and not await database.run(lease_unclaimed, start.fence):
            task = self._tasks.get(work)
            if task is not None and self._holding.get(work) is start:
                log.info("leg_lost", session=start.session.public_id)
                task.cancel()

    async def _work(self, work: Work) -> None:
        """Claims the session and runs its legs. Nothing escapes: what fails is found again by the sweep."""
        try:
            # Whoever woke the session, perhaps for another run, is no parent of its legs.
            with without_span():
                fence = await database.run(self._claim, work.session_id)
                if fence is not None:
                    await self._hold(work, fence)
        except LeaseLost:
            log.info("leg_lost", session=_session())
        except DatabaseError as error:
            log.warning("leg_database_failed", session=_session(), error=error_summary(error))
        except Exception:  # contains: a bug in beginning or ending a leg must not cost the others' turns
            log.exception("session_failed", session=_session())

    def _claim(self, session_id: int) -> Fence | None:
        stream_id = AgentSession.objects.values_list("stream_id", flat=True).get(pk=session_id)
        return lease_claim(stream_id=stream_id, owner=self.owner, seconds=settings.GATEWAY_LEASE_SECONDS)

    async def _hold(self, work: Work, fence: Fence) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._keeper.hold(fence, partial(_cancel, task))
        run_id = None
        try:
            while (start := await database.run(leg_begin, session_id=work.session_id, fence=fence)) is not None:
                self._holding[work], run_id = start, start.run.pk
                task.set_name(f"{TASK}{start.session.public_id}")
                with leg_observed(start):
                    await self._leg(start)
                if self._draining:
                    break
            if start is not None:
                await database.run(leg_hand_over, fence=fence, run_id=start.run.pk)
        except asyncio.CancelledError:
            await database.run(leg_hand_over, fence=fence, run_id=run_id)
            if self._draining:
                raise
        finally:
            self._holding.pop(work, None)
            self._keeper.release(fence)

    async def _leg(self, start: LegStart) -> None:
        """Runs one leg; an engine that raises leaves the run to be retried from its last checkpoint."""
        leg = RunnerLeg(start)
        limit = settings.GATEWAY_MAX_RUN_SECONDS
        timer = asyncio.timeout(max(0.001, limit - start.run.active_ms / 1000))
        try:
            async with timer:
                outcome = await self._outcome(leg, start)
                await leg.drain()
            current_span().set_attributes({"gateway.leg.outcome": type(outcome).__name__.lower()})
            if isinstance(outcome, Failed):
                current_span().mark_failed(outcome.code)
            await database.run(leg_end, start, outcome)
        except LeaseLost:
            raise
        except Exception as error:  # contains: bugs of engines; the run is retried and ends after GATEWAY_MAX_ATTEMPTS
            await leg.flush()
            current_span().mark_failed("timeout" if timer.expired() else type(error).__name__)
            if timer.expired():
                await database.run(leg_time_out, start, limit)
                return
            self._say_failed(start, error)

    def _say_failed(self, start: LegStart, error: Exception) -> None:
        about = {"session": start.session.public_id, "run": start.run.pk, "attempt": start.run.attempt}
        if database.database_unavailable(error):
            # Each leg of the process meets it at the same moment; none of them has anything to add.
            log.warning("leg_database_failed", error=error_summary(error), **about)
        else:
            log.error("leg_failed", exc_info=error, **about)

    async def _outcome(self, leg: RunnerLeg, start: LegStart) -> LegOutcome:
        try:
            await leg.load()
        except GatewayError as error:
            # What the leg needs cannot be had: an attachment's address, an engine that was taken out.
            return Failed(error.code, error.message, error.retryable)
        return await leg.judged(await self._engine(start).run_leg(leg))

    def _engine(self, start: LegStart) -> Engine:
        return agents.engine_get(start.session.engine)


async def _warm() -> None:
    """Imports the agent loop (over a second of work) before the first prompt needs it, after the server answers."""
    await asyncio.sleep(WARM_AFTER_SECONDS)
    for name in ("demo", "model"):
        await asyncio.to_thread(agents.engine_get, name)


async def _ended(tasks: Collection[asyncio.Task[Any]]) -> None:
    """Cancels tasks and gives them HAND_OVER_SECONDS: an engine that will not be cancelled must not keep the process
    from telling its followers and writing what it owes. Its lease is not renewed: another process takes the session."""
    for task in tasks:
        task.cancel()
    await asyncio.wait([asyncio.gather(*tasks, return_exceptions=True)], timeout=HAND_OVER_SECONDS)
    for task in tasks:
        if not task.done():
            log.error("leg_does_not_end", session=task.get_name().removeprefix(TASK), at=task_location(task))


def _session() -> str:
    """The session of this task: its id once a leg has begun, before that its row's number."""
    task = asyncio.current_task()
    return task.get_name().removeprefix(TASK) if task is not None else ""


def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()


RUNNER = process_wide(Runner())
"""The runner of this process."""
