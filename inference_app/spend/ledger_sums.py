"""Sums of the ledger over a time: the spend that a budget counts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.db.models import F, Q, Sum

from tenants_app.models import LedgerEntry


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


def spent_between(tenant_id: int, key_id: int | None, model: str, since: datetime, until: datetime) -> Spent:
    """Returns the spend of a tenant in [since, until), of sessions and of relayed calls. `key_id` None: of all keys;
    `model` empty: of all models, else `provider:model` or the model."""
    entries = LedgerEntry.objects.filter(tenant_id=tenant_id, created_at__gte=since, created_at__lt=until)
    if key_id is not None:
        entries = entries.filter(api_key_id=key_id)
    if model:
        entries = entries.filter(Q(model=model) | Q(model__endswith=f":{model}"))
    sums = entries.aggregate(
        tokens=Sum(F("input_tokens") + F("output_tokens"), default=0), usd=Sum("cost_usd", default=Decimal(0))
    )
    return Spent(int(sums["tokens"]), Decimal(sums["usd"]))
