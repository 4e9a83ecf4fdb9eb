"""What every call used, written down off the hot path: gathered in memory, one transaction for many.

A call is handed over in a microsecond and written within FLUSH_SECONDS, or when many have gathered; what a killed
process had gathered by then is lost (its clients had their answers). Costs are worked out in the writer's thread,
because the public price list takes longer to ask than a call has time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Literal

import structlog

from core_app import clock, database
from core_app.lifecycle import Periodic, process_wide
from inference_app.catalogue.config import ModelsConfig, models_config
from inference_app.catalogue.resolution import Candidate
from inference_app.providers.stats import STATS
from inference_app.spend.daily_stats import Counts, counts_write
from inference_app.spend.price_list import listed_price
from inference_app.spend.prices import charged
from inference_app.spend.usage import Usage
from tenants_app.principal import Principal
from tenants_app.services import LedgerRow, ledger_record_many

FLUSH_SECONDS = 0.2
RETRY_SECONDS = 1.0
"""The pause after a batch that could not be written."""

BATCH = 500
MAX_GATHERED = 50_000
"""Beyond this, when the database has been away for long, calls are counted in the log only."""

Outcome = Literal["ok", "left", "broken", "refused", "failed"]
"""Answered; the client left; the stream broke; the request was the caller's mistake; every candidate failed."""

COUNTED, ESTIMATED = "inference", "inference_estimate"
"""The ledger's kinds: what the provider said, and what was worked out from lengths because it did not."""

_NOTHING = Decimal(0)

logger = structlog.get_logger("gateway.metering")


@dataclass(slots=True)
class CallRecord:
    """One call, whatever became of it. Milliseconds; `first_byte_ms` None when there was none."""

    principal: Principal
    request_id: str
    kind: str
    candidate: Candidate
    outcome: Outcome
    attempts: int
    usage: Usage
    first_byte_ms: float | None
    total_ms: float
    ledger_id: str
    settle: Callable[[Usage, Decimal | None], None] | None = None
    at: Any = field(default_factory=clock.now)

    @property
    def spent(self) -> bool:
        """Whether a provider had work with it."""
        return self.outcome in ("ok", "left", "broken")


class Meter(Periodic):
    """The record of calls that have ended, a part of the process (`core_app.lifecycle`). Call `record` on its loop."""

    def __init__(self) -> None:
        super().__init__("meter", self._write, FLUSH_SECONDS, first=False)
        self._gathered: list[CallRecord] = []
        self._counts = Counts()
        self._some, self._full = asyncio.Event(), asyncio.Event()
        self._writing = asyncio.Lock()
        self._write_failed = False
        self._lost = 0

    async def start(self) -> None:
        """Starts the writing."""
        self._some, self._full, self._writing = asyncio.Event(), asyncio.Event(), asyncio.Lock()
        await super().start()

    async def stop(self) -> None:
        """Ends the writing and writes what is still gathered."""
        await super().stop()
        await self.flush()

    async def wait(self) -> None:
        """Waits for a call, then until FLUSH_SECONDS have passed or a batch is full."""
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

    def record(self, call: CallRecord) -> None:
        """Takes a call that has ended."""
        self._some.set()
        STATS.ended(call.candidate.provider, call.candidate.model, call.outcome, call.total_ms)
        tenant_id, day = call.principal.tenant_id, call.at.date()
        self._counts.ended(tenant_id, day, call.candidate, call.outcome, call.total_ms, call.first_byte_ms)
        if not call.spent:
            if call.settle is not None:
                call.settle(call.usage, Decimal(0))
            return
        if len(self._gathered) >= MAX_GATHERED:
            self._lost += 1
            if call.settle is not None:
                call.settle(call.usage, None)
            return
        self._gathered.append(call)
        if len(self._gathered) >= BATCH:
            self._full.set()

    def failed_attempt(self, principal: Principal, candidate: Candidate, code: str) -> None:
        """An attempt that another one may make good."""
        self._some.set()
        self._counts.attempt_failed(principal.tenant_id, clock.now().date(), candidate)
        STATS.failed_attempt(candidate.provider, candidate.model, code)

    async def flush(self) -> None:
        """Writes everything gathered so far; what could not be written stays gathered."""
        async with self._writing:
            while (batch := self._gathered[:BATCH]) or self._counts:
                counts, self._counts = self._counts, Counts()
                try:
                    costs = await database.run(_written, batch, counts)
                except Exception:
                    self._counts.add(counts)
                    raise
                # The same calls again, should this have been cancelled: the ledger counts each once.
                del self._gathered[: len(batch)]
                for call, cost in zip(batch, costs, strict=True):
                    if call.settle is not None:
                        call.settle(call.usage, cost)

    async def _write(self) -> None:
        await self.flush()
        self._write_failed = False

    def _log_failure(self, error: Exception) -> None:
        """Logs that a batch could not be written; the database may be away, and the next round tries again."""
        self._some.set()
        self._write_failed = True
        logger.error("calls_not_written", gathered=len(self._gathered), lost=self._lost, exc_info=error)


def _written(batch: Sequence[CallRecord], counts: Counts) -> list[Decimal | None]:
    """Writes a batch in one transaction; what each call cost."""
    config = models_config()
    costs = [_cost(config, call) for call in batch]
    # What fails is counted again without these, and its calls bring their costs along again.
    costly = Counts()
    costly.add(counts)
    sums: dict[tuple[int, date, Candidate], Decimal] = {}
    for call, cost in zip(batch, costs, strict=True):
        if cost:
            cell = (call.principal.tenant_id, call.at.date(), call.candidate)
            sums[cell] = sums.get(cell, _NOTHING) + cost
    for cell, cost in sums.items():
        costly.cost(*cell, cost)
    with database.write_transaction():
        ledger_record_many([_row(call, cost) for call, cost in zip(batch, costs, strict=True)])
        counts_write(costly)
    return costs


def _cost(config: ModelsConfig, call: CallRecord) -> Decimal | None:
    provider, usage = config.providers.get(call.candidate.provider), call.usage
    if provider is None:
        return None
    entry = provider.model(call.candidate.model)
    if entry is None or entry.price is None:
        return listed_price(call.candidate, usage)
    return charged(entry.price, usage.input, usage.output, min(usage.cached, usage.input))


def _row(call: CallRecord, cost: Decimal | None) -> LedgerRow:
    usage = call.usage
    return LedgerRow(
        tenant_id=call.principal.tenant_id,
        api_key_id=call.principal.key_id,
        run_id=call.ledger_id,
        response_no=1,
        model=call.candidate.name,
        input_tokens=usage.input,
        output_tokens=usage.output,
        cached_tokens=usage.cached,
        reasoning_tokens=usage.reasoning,
        cost_usd=cost,
        kind=ESTIMATED if usage.estimated else COUNTED,
        created_at=call.at,
    )


METER = process_wide(Meter())
"""The process's."""
