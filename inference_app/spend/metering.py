"""Metering: the spend of every request to a provider, gathered in memory and written to the ledger off the hot path.

Recording a call takes a microsecond. It is written within FLUSH_SECONDS, or when a batch is full, many calls in one
transaction. A request that runs for longer than OPEN_SECONDS gets a row before it ends, with its estimate so far, which
is renewed every REFRESH_SECONDS and replaced at its end. So a killed process loses the calls of its last second and a
quarter of a minute of the output of those that ran. Costs are computed in the writer's thread, because the public price
list is too slow for the hot path.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import structlog

from core_app import clock, database
from core_app.lifecycle import Periodic, process_wide
from core_app.metrics import CALLS_LOST
from core_app.timeouts import running_loop
from inference_app.catalogue.resolution import Candidate
from inference_app.providers.instruments import INSTRUMENTS
from inference_app.providers.stats import STATS
from inference_app.spend.batch_write import RequestSpend, batch_write
from inference_app.spend.daily_stats import Counts
from tenants_app.ledger_kinds import REFRESH_SECONDS
from tenants_app.principal import Principal

FLUSH_SECONDS = 0.2
RETRY_SECONDS = 1.0
"""The pause after a batch that could not be written."""

OPEN_SECONDS = 1.0
"""The time after which a running request gets a row. Shorter ones, by far the most, are written once."""

BATCH = 500
MAX_GATHERED = 50_000
"""The limit of gathered calls, reached when the database is away for long; further ones are only counted in the log."""

Outcome = Literal["ok", "left", "broken", "refused", "failed"]
"""Answered; the client left; the stream broke; the request was the caller's mistake; every target failed."""

logger = structlog.get_logger("gateway.metering")


class RunningRequest(Protocol):
    """A request that a provider works on."""

    def spend_so_far(self) -> RequestSpend:
        """Returns its spend as estimated now, to be written as an open row."""


@dataclass(slots=True)
class CallRecord:
    """A relayed call that has ended in any way. Times are in milliseconds; `first_byte_ms` None: there was no response.

    `spend` is None if no provider worked on it."""

    principal: Principal
    candidate: Candidate
    outcome: Outcome
    first_byte_ms: float | None
    total_ms: float
    spend: RequestSpend | None
    at: Any = field(default_factory=clock.now)


class Meter(Periodic):
    """The record of requests, a part of the process (`core_app.lifecycle`). Its methods are called on its loop."""

    def __init__(self) -> None:
        super().__init__("meter", self._write, FLUSH_SECONDS, first=False)
        self._gathered: list[RequestSpend] = []
        self._counts = Counts()
        self._running: dict[RunningRequest, float] = {}
        """Running requests without a row, in the order of their beginning."""
        self._open: dict[RunningRequest, float] = {}
        """Running requests with a row, in the order of its last renewal."""
        self._some, self._full = asyncio.Event(), asyncio.Event()
        self._writing = asyncio.Lock()
        self._write_failed = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def gathered(self) -> int:
        """Number of requests that wait to be written."""
        return len(self._gathered)

    async def start(self) -> None:
        """Starts the writing."""
        self._some, self._full, self._writing = asyncio.Event(), asyncio.Event(), asyncio.Lock()
        await super().start()

    async def stop(self) -> None:
        """Ends the writing and writes what is still gathered."""
        await super().stop()
        await self.flush()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._running.clear()
        self._open.clear()

    async def wait(self) -> None:
        """Waits for a request, then until FLUSH_SECONDS have passed or a batch is full."""
        if self._write_failed:
            await asyncio.sleep(RETRY_SECONDS)
        # An idle process would look five times a second for nothing.
        await self._some.wait()
        try:
            async with asyncio.timeout(FLUSH_SECONDS):
                await self._full.wait()
        except TimeoutError:
            pass
        self._some.clear()
        self._full.clear()

    def begin(self, request: RunningRequest) -> None:
        """Notes a request that is sent now."""
        loop = running_loop()
        self._running[request] = loop.time()
        if self._timer is None:
            self._timer = loop.call_later(OPEN_SECONDS, self._look)

    def _look(self) -> None:
        """Wakes the writer for running requests, every OPEN_SECONDS while there are any."""
        self._timer = None
        if self._running or self._open:
            self._some.set()
            self._timer = running_loop().call_later(OPEN_SECONDS, self._look)

    def end(self, request: RunningRequest) -> None:
        """Notes that the request has ended; its spend is recorded by the caller."""
        if self._running.pop(request, None) is None:
            self._open.pop(request, None)

    def record(self, call: CallRecord) -> None:
        """Records a relayed call that has ended."""
        self._some.set()
        STATS.record_call(call.candidate.provider, call.candidate.model, call.outcome, call.total_ms)
        INSTRUMENTS.record_call(call.candidate, call.outcome, call.total_ms, call.first_byte_ms)
        tenant_id, day = call.principal.tenant_id, call.at.date()
        self._counts.record_call(tenant_id, day, call.candidate, call.outcome, call.total_ms, call.first_byte_ms)
        if call.spend is not None:
            self.record_spend(call.spend)

    def record_spend(self, spend: RequestSpend) -> None:
        """Records the spend of a request that has ended. Its reservation is settled now, whether or not the spend can
        be written."""
        self._some.set()
        INSTRUMENTS.record_usage(spend.candidate, spend.usage)
        spend.settle()
        if len(self._gathered) >= MAX_GATHERED:
            CALLS_LOST.labels("full").inc()
            spend.confirm(None)
            return
        self._gathered.append(spend)
        if len(self._gathered) >= BATCH:
            self._full.set()

    def record_failed_attempt(
        self,
        principal: Principal,
        candidate: Candidate,
        code: str,
        reason: str = "status",
        sentence: str | None = None,
    ) -> None:
        """Counts a failed attempt, after which another one may succeed. `code` is the provider's, `reason` a word of
        ours, and `sentence` the fault in words."""
        self._some.set()
        INSTRUMENTS.record_failed_attempt(candidate, reason)
        self._counts.record_failed_attempt(principal.tenant_id, clock.now().date(), candidate)
        STATS.record_failed_attempt(candidate.provider, candidate.model, code, reason, sentence)

    async def flush(self) -> None:
        """Writes everything gathered so far; requests that cannot be written now stay gathered."""
        async with self._writing:
            while (batch := self._gathered[:BATCH]) or self._counts:
                counts, self._counts = self._counts, Counts()
                try:
                    costs = await database.run(batch_write, batch, counts)
                except Exception:
                    self._counts.add(counts)
                    raise
                # After a cancellation the same requests are written again: the ledger counts each once.
                del self._gathered[: len(batch)]
                for spend, cost in zip(batch, costs, strict=True):
                    INSTRUMENTS.record_cost(spend.candidate, cost)
                    spend.confirm(cost)

    async def open_rows_write(self) -> None:
        """Writes the rows of running requests that are due."""
        async with self._writing:
            due = list(self._due())
            for begin in range(0, len(due), BATCH):
                # Those that ended meanwhile have been recorded, and their record would replace the row.
                some = [request for request in due[begin : begin + BATCH] if self._is_running(request)]
                await database.run(batch_write, [request.spend_so_far() for request in some], Counts())
                now = running_loop().time()
                for request in some:
                    if self._is_running(request):
                        self.end(request)
                        self._open[request] = now

    def _is_running(self, request: RunningRequest) -> bool:
        return request in self._running or request in self._open

    def _due(self) -> Iterator[RunningRequest]:
        now = running_loop().time()
        for requests, seconds in ((self._running, OPEN_SECONDS), (self._open, REFRESH_SECONDS)):
            for request, since in requests.items():
                if now - since < seconds:
                    break
                yield request

    async def _write(self) -> None:
        await self.flush()
        await self.open_rows_write()
        self._write_failed = False

    def _log_failure(self, error: Exception) -> None:
        """Logs that a batch could not be written; the database may be away, and the next round tries again."""
        self._some.set()
        self._write_failed = True
        logger.error("calls_not_written", gathered=len(self._gathered), exc_info=error)


METER = process_wide(Meter())
"""Process-wide instance, started by `Gateway`."""
