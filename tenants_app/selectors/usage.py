"""Spending per day and one other thing: what the charts of the admin are drawn from, in one pass over the ledger.

Days are UTC's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Literal

from django.db.models import Count, F, Q, QuerySet, Sum

from tenants_app.models import ApiKey, LedgerEntry, Tenant
from tenants_app.selectors.days import UtcDay

By = Literal["model", "key", "tenant"]
_COLUMNS = {"model": "model", "key": "api_key_id", "tenant": "tenant_id"}

NO_KEY = "without a key"


@dataclass(frozen=True, slots=True)
class DailyUsage:
    """What one model, key or tenant (`name`) used on one day. `cost_known`: no response was without a price."""

    day: date
    name: str
    responses: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_usd: Decimal
    cost_known: bool


def usage_daily(
    *, tenant_id: int | None, since: date, until: date, by: By, key_id: int | None = None
) -> list[DailyUsage]:
    """The spend from `since` to `until`, both included. `tenant_id` None is all tenants: for the gateway's operator."""
    column = _COLUMNS[by]
    rows = (
        _entries(tenant_id, key_id)
        .filter(created_at__gte=_midnight(since), created_at__lt=_midnight(until, next_day=True))
        .values(name=F(column), day=UtcDay("created_at"))
        .annotate(
            responses=Count("id"),
            unpriced=Count("id", filter=Q(cost_usd=None)),
            tokens_in=Sum("input_tokens"),
            tokens_out=Sum("output_tokens"),
            tokens_cached=Sum("cached_tokens"),
            cost=Sum("cost_usd", default=Decimal(0)),
        )
        .order_by("day", "name")
    )
    found: list[Any] = list(rows)
    names = _names(by, {row["name"] for row in found})
    return [_daily(row, names) for row in found]


def _entries(tenant_id: int | None, key_id: int | None) -> QuerySet[LedgerEntry]:
    # All tenants by name: the ledger's index begins with the tenant.
    of_all = Q(tenant_id__in=Tenant.objects.values("pk"))
    entries = LedgerEntry.objects.filter(of_all if tenant_id is None else Q(tenant_id=tenant_id))
    return entries if key_id is None else entries.filter(api_key_id=key_id)


def _names(by: By, found: set[Any]) -> dict[Any, str]:
    if by == "tenant":
        return dict(Tenant.objects.filter(pk__in=found).values_list("pk", "slug"))
    if by == "key":
        keys = ApiKey.objects.filter(pk__in=found - {None}).values_list("pk", "name", "prefix")
        return {None: NO_KEY} | {pk: f"{name} ({prefix}…)" for pk, name, prefix in keys}
    return {name: name for name in found}


def _daily(row: dict[str, Any], names: dict[Any, str]) -> DailyUsage:
    return DailyUsage(
        day=date.fromisoformat(row["day"]),
        name=names[row["name"]],
        responses=row["responses"],
        input_tokens=row["tokens_in"],
        output_tokens=row["tokens_out"],
        cached_tokens=row["tokens_cached"],
        cost_usd=row["cost"],
        cost_known=row["unpriced"] == 0,
    )


def _midnight(day: date, *, next_day: bool = False) -> datetime:
    ordinal = date.fromordinal(day.toordinal() + 1) if next_day else day
    return datetime.combine(ordinal, time(), UTC)
