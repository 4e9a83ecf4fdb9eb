"""A batch of the meter, written in one transaction; a request that the database refuses costs nobody else anything.

A batch has requests of all tenants. If it is refused for what it contains (a number that no column holds, a tenant that
is gone), it is halved until the refused rows are alone: those are logged and dropped. Each part is a transaction of its
own and not a savepoint, because the database checks references to tenants only at the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import TypeVar

import structlog
from django.db import DataError, IntegrityError

from core_app import clock, database
from core_app.log_lines import error_summary
from core_app.metrics import CALLS_LOST
from inference_app.catalogue.resolution import Candidate
from inference_app.spend.budgets import Reservation
from inference_app.spend.daily_stats import Cell, Counts, counts_write
from inference_app.spend.usage import Usage
from tenants_app.ledger_kinds import Origin, estimated_kind, open_kind
from tenants_app.numbers import bounded_usd
from tenants_app.services import LedgerRow, ledger_record_many

Price = Callable[[Usage], Decimal | None]
Names = Callable[[Collection[str]], Mapping[str, tuple[str, str | None]]]
"""Returns the session and the end user of runs; those of an erased session or person are left out."""

Part = TypeVar("Part")

logger = structlog.get_logger("gateway.metering")


@dataclass(slots=True, eq=False)
class RequestSpend:
    """The spend of one request to a provider. Its row in the ledger is (`run_id`, `number`).

    `price` may block. `known_price` must not: it returns what is known of the cost at once.
    """

    origin: Origin
    tenant_id: int
    key_id: int | None
    run_id: str
    number: int
    candidate: Candidate
    usage: Usage
    price: Price
    known_price: Price | None = None
    running: bool = False
    names: Names | None = None
    reservation: Reservation | None = None
    at: datetime = field(default_factory=clock.now)

    @property
    def kind(self) -> str:
        """The kind of its ledger row."""
        if self.running:
            return open_kind(self.origin)
        return estimated_kind(self.origin) if self.usage.estimated else self.origin

    def settle(self) -> None:
        """Replaces the reservation by the spend, with the cost as it is known now."""
        if self.reservation is not None:
            known = None if self.known_price is None else self.known_price(self.usage)
            self.reservation.settle(self.usage, bounded_usd(known))

    def confirm(self, cost: Decimal | None) -> None:
        """Notes that the ledger has the spend, or never will."""
        if self.reservation is not None:
            self.reservation.confirm(cost)

    def to_row(self, cost: Decimal | None, session_ref: str, end_user: str | None) -> LedgerRow:
        """Returns the ledger row."""
        return LedgerRow(
            tenant_id=self.tenant_id,
            api_key_id=self.key_id,
            session_ref=session_ref,
            run_id=self.run_id,
            response_no=self.number,
            model=self.candidate.name,
            input_tokens=self.usage.input,
            output_tokens=self.usage.output,
            cached_tokens=self.usage.cached,
            reasoning_tokens=self.usage.reasoning,
            cost_usd=cost,
            end_user=end_user,
            kind=self.kind,
            created_at=self.at,
        )


def batch_write(batch: Sequence[RequestSpend], counts: Counts) -> list[Decimal | None]:
    """Writes requests and daily counts, and returns the cost of each request."""
    costs = [bounded_usd(spend.price(spend.usage)) for spend in batch]
    # A copy: if the transaction fails, the counts are merged back without costs, which are added again on retry.
    costly = Counts()
    costly.add(counts)
    for cell, cost in _relayed_costs(batch, costs).items():
        costly.add_cost(*cell, cost)
    names = _names(batch)
    rows = [spend.to_row(cost, *names.get(spend.run_id, ("", None))) for spend, cost in zip(batch, costs, strict=True)]
    try:
        with database.write_transaction():
            ledger_record_many(rows)
            counts_write(costly)
    except (DataError, IntegrityError) as error:
        logger.warning("batch_refused", calls=len(rows), error=error_summary(error))
        _write_halves(rows, ledger_record_many, _log_row)
        _write_halves(list(costly.cells.items()), _cells_write, _log_cell)
    return costs


def _names(batch: Sequence[RequestSpend]) -> Mapping[str, tuple[str, str | None]]:
    """Looks up the sessions and end users of runs, as late as possible: an erasure may have begun meanwhile."""
    runs: dict[Names, list[str]] = {}
    for spend in batch:
        if spend.names is not None:
            runs.setdefault(spend.names, []).append(spend.run_id)
    found: dict[str, tuple[str, str | None]] = {}
    for look_up, run_ids in runs.items():
        found |= look_up(run_ids)
    return found


def _relayed_costs(
    batch: Sequence[RequestSpend], costs: Sequence[Decimal | None]
) -> Mapping[tuple[int, date, Candidate], Decimal]:
    """Sums the costs of relayed calls by tenant, day and candidate."""
    sums: dict[tuple[int, date, Candidate], Decimal] = {}
    for spend, cost in zip(batch, costs, strict=True):
        if cost and spend.origin == "inference" and not spend.running:
            cell = (spend.tenant_id, spend.at.date(), spend.candidate)
            sums[cell] = sums.get(cell, Decimal(0)) + cost
    return sums


def _write_halves(
    parts: Sequence[Part], write: Callable[[Sequence[Part]], None], drop: Callable[[Part, Exception], None]
) -> None:
    """Writes the parts in as few transactions as possible, and drops those that the database refuses."""
    if not parts:
        return
    try:
        with database.write_transaction():
            write(parts)
    except (DataError, IntegrityError) as error:
        if len(parts) == 1:
            drop(parts[0], error)
            return
        half = len(parts) // 2
        _write_halves(parts[:half], write, drop)
        _write_halves(parts[half:], write, drop)


def _cells_write(cells: Sequence[tuple[Cell, dict[str, int]]]) -> None:
    counts = Counts()
    counts.cells.update(cells)
    counts_write(counts)


def _log_row(row: LedgerRow, error: Exception) -> None:
    CALLS_LOST.labels("refused").inc()
    logger.error(
        "call_not_recorded",
        tenant=row.tenant_id,
        run_id=row.run_id,
        model=row.model,
        input_tokens=row.input_tokens,
        output_tokens=row.output_tokens,
        error=error_summary(error),
    )


def _log_cell(part: tuple[Cell, dict[str, int]], error: Exception) -> None:
    cell, amounts = part
    logger.error("day_not_counted", **cell._asdict(), requests=amounts["requests"], error=error_summary(error))
