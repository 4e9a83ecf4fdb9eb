"""What the ledger says was spent in a time, for one budget."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import TYPE_CHECKING

from django.db.models import F, Q, Sum

from tenants_app.models import LedgerEntry

if TYPE_CHECKING:
    from inference_app.spend.budgets import BudgetRule


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens in and out together, and US dollars where the price is known."""

    tokens: int = 0
    usd: Decimal = Decimal(0)

    def __add__(self, other: Spent) -> Spent:
        return Spent(self.tokens + other.tokens, self.usd + other.usd)

    def __sub__(self, other: Spent) -> Spent:
        return Spent(self.tokens - other.tokens, self.usd - other.usd)

    def __bool__(self) -> bool:
        return bool(self.tokens or self.usd)


def spent_between(rule: BudgetRule, since: datetime, until: datetime) -> Spent:
    """The spend in [since, until) that the rule counts, of sessions and of relayed calls."""
    entries = LedgerEntry.objects.filter(tenant_id=rule.tenant_id, created_at__gte=since, created_at__lt=until)
    if rule.key_id is not None:
        entries = entries.filter(api_key_id=rule.key_id)
    if rule.model:
        entries = entries.filter(Q(model=rule.model) | Q(model__endswith=f":{rule.model}"))
    sums = entries.aggregate(
        tokens=Sum(F("input_tokens") + F("output_tokens"), default=0), usd=Sum("cost_usd", default=Decimal(0))
    )
    return Spent(int(sums["tokens"]), Decimal(sums["usd"]))
