"""The budgets of a tenant and what is left of them now, as the ledger has it, for pages.

Reservations of running requests are not in it: they are in the memory of the processes that made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from core_app import clock
from inference_app.models import Budget
from inference_app.spend.budgets import period_bounds
from inference_app.spend.ledger_sums import Spend, spend_between

MAX_BUDGETS = 50
"""Budgets that one page shows; each costs a sum over the ledger's days."""


@dataclass(frozen=True, slots=True)
class BudgetState:
    """A budget and its spend since `since`. `key` is the key's name, empty for all keys; `model` empty: all models."""

    key: str
    model: str
    period: str
    tokens: int | None
    usd: Decimal | None
    spent: Spend
    since: datetime
    until: datetime

    @property
    def tokens_left(self) -> int | None:
        return None if self.tokens is None else max(0, self.tokens - self.spent.tokens)

    @property
    def usd_left(self) -> Decimal | None:
        return None if self.usd is None else max(Decimal(0), self.usd - self.spent.usd)

    @property
    def percent_used(self) -> int:
        """The used part of the narrower limit, in whole percent, 100 at most."""
        used = [self.spent.tokens / self.tokens] if self.tokens else []
        used += [float(self.spent.usd / self.usd)] if self.usd else []
        return min(100, round(100 * max(used, default=1.0)))


def budget_states(tenant_id: int) -> Sequence[BudgetState]:
    """Returns the tenant's first MAX_BUDGETS budgets with their spend."""
    now = clock.now()
    rows = Budget.objects.filter(tenant_id=tenant_id).select_related("api_key").order_by("period", "pk")
    return [_state(row, now) for row in rows[:MAX_BUDGETS]]


def _state(row: Budget, now: datetime) -> BudgetState:
    since, until = period_bounds(row.period, now)  # type: ignore[arg-type]  # one of PERIODS
    return BudgetState(
        key=row.api_key.name if row.api_key is not None else "",
        model=row.model,
        period=row.period,
        tokens=row.tokens,
        usd=row.usd,
        spent=spend_between(row.tenant_id, row.api_key_id, row.model, since, until),
        since=since,
        until=until,
    )
