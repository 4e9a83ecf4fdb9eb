"""The lease keeper: a thread that renews the leases of running legs, so that a busy event loop does not lose them.

It stops renewing when the event loop is stuck, because a process that cannot run its legs must not hold their sessions.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterable

import structlog
from django.conf import settings
from django.db import connections

from core_app.lifecycle import Part, process_wide
from core_app.log_lines import error_summary
from events_app.lease import Fence, lease_renew_waiting, leases_held, leases_renew

STALL_SECONDS = 30.0
"""An event loop without a heartbeat for this long counts as stuck."""

BEAT_SECONDS = 0.25

CHECK_SECONDS = 0.5
"""Interval of the checks that notice a lost lease, such as one that an abort in another process revoked."""

ROW_SECONDS = 0.1
"""Time to wait for one locked row: many times as long as a flusher's commit."""

LOST_ADVICE = (
    "This process could not keep its leases (GATEWAY_LEASE_SECONDS): it was stopped, starved of CPU, or cut off from"
    " the database. Its sessions go on elsewhere from their last checkpoint."
)

logger = structlog.get_logger("gateway.leases")


class LeaseKeeper(Part):
    """The part that keeps leases. Call `hold` and `release` on its event loop."""

    def __init__(self) -> None:
        self._held: dict[Fence, Callable[[], None]] = {}
        self._guard = threading.Lock()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._beat_at = 0.0
        self._kept_at: dict[Fence, float] = {}
        self._beat_timer: asyncio.TimerHandle | None = None

    async def start(self) -> None:
        """Starts the thread and the event loop's heartbeat."""
        self._loop = asyncio.get_running_loop()
        self._stopping.clear()
        self._beat()
        self._thread = threading.Thread(target=self._run, name="gateway-leases", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Stops the heartbeat and the thread."""
        if self._beat_timer is not None:
            self._beat_timer.cancel()
        thread, self._thread = self._thread, None
        if thread is not None:
            self._stopping.set()
            await self._loop.run_in_executor(None, thread.join)

    @property
    def alive(self) -> bool:
        """True while the thread runs that should; for `/readyz`."""
        return self._thread is None or self._thread.is_alive()

    def hold(self, fence: Fence, lost: Callable[[], None]) -> None:
        """Renews the lease until `release`. Calls `lost` on the event loop if the lease is lost before."""
        with self._guard:
            self._kept_at[fence] = time.monotonic()
            self._held[fence] = lost

    def release(self, fence: Fence) -> None:
        """Stops renewing the lease."""
        with self._guard:
            self._held.pop(fence, None)
            self._kept_at.pop(fence, None)

    def _beat(self) -> None:
        self._beat_at = time.monotonic()
        self._beat_timer = self._loop.call_later(BEAT_SECONDS, self._beat)

    def _run(self) -> None:
        while not self._stopping.wait(min(CHECK_SECONDS, settings.GATEWAY_LEASE_SECONDS / 4)):
            with self._guard:
                held = dict(self._held)
            if not held:
                continue
            if time.monotonic() - self._beat_at > STALL_SECONDS:
                logger.error("loop_stalled", held=len(held), seconds=STALL_SECONDS)
            else:
                self._check(held, self._look)
        connections.close_all()

    def _look(self, fences: Iterable[Fence]) -> set[Fence]:
        """Renews the leases that are due, checks the others, and returns those that are alive.

        A lease whose row is locked stays due, so that it is asked for again in the next round. It is lost only when the
        database says that it has run out.
        """
        now = time.monotonic()
        due = [fence for fence in fences if now - self._kept_at.get(fence, 0.0) >= settings.GATEWAY_LEASE_SECONDS / 4]
        alive = leases_held(set(fences).difference(due))
        if due:
            renewal = leases_renew(fences=due, seconds=settings.GATEWAY_LEASE_SECONDS)
            waited = self._wait_for(renewal.unknown, now)
            self._note_kept(renewal.renewed | waited, now)
            alive |= renewal.renewed | renewal.unknown
        return alive

    def _note_kept(self, fences: Iterable[Fence], now: float) -> None:
        with self._guard:
            # A leg may have released its lease meanwhile.
            self._kept_at.update((fence, now) for fence in fences if fence in self._held)

    def _wait_for(self, fences: Iterable[Fence], now: float) -> set[Fence]:
        """Renews leases of locked rows that have not been renewed for half their length, one by one and waiting for
        each; the oldest first, within a bounded time. Returns those renewed."""
        late = sorted((self._kept_at.get(fence, 0.0), fence.stream_id, fence) for fence in fences)
        seconds, renewed = settings.GATEWAY_LEASE_SECONDS, set[Fence]()
        for kept_at, _, fence in late:
            if now - kept_at < seconds / 2 or time.monotonic() - now > CHECK_SECONDS:
                break
            if lease_renew_waiting(fence=fence, seconds=seconds, wait_seconds=ROW_SECONDS):
                renewed.add(fence)
        return renewed

    def _check(self, held: dict[Fence, Callable[[], None]], look: Callable[[Iterable[Fence]], set[Fence]]) -> None:
        """Calls `look`, which returns the leases that are alive, and notifies the legs of all others."""
        try:
            alive = look(held)
        except Exception as error:  # contains: any error of a lost connection; the thread must go on
            logger.warning("lease_renewal_failed", error=error_summary(error), held=len(held))
            connections.close_all()
            return
        for fence, lost in held.items():
            with self._guard:
                gone = fence not in alive and self._held.pop(fence, None) is not None
            if gone:
                # Measured now and not when it asked: the process may have been frozen during the query.
                self._log_lost(fence, time.monotonic() - self._kept_at.pop(fence, 0.0))
                self._loop.call_soon_threadsafe(lost)

    def _log_lost(self, fence: Fence, seconds: float) -> None:
        if seconds >= settings.GATEWAY_LEASE_SECONDS:
            logger.warning(
                "lease_lost", stream=fence.stream_id, epoch=fence.epoch, not_kept_for=round(seconds, 1), do=LOST_ADVICE
            )
        else:
            # No fault: another process aborted the run, or the leg has just released its lease.
            logger.info("lease_gone", stream=fence.stream_id, epoch=fence.epoch)


KEEPER = process_wide(LeaseKeeper())
"""Process-wide instance, started by `Gateway`."""
