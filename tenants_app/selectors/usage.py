"""Spend per UTC day and model, key or tenant, for the admin's charts; read from the ledger's folded days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any, Literal

from tenants_app.models import ApiKey, Tenant
from tenants_app.selectors.usage_union import UsageFilter, cost_usd, fetch_rows, sum_columns, usage_union

By = Literal["model", "key", "tenant"]
_COLUMNS = {"model": "model", "key": "key", "tenant": "tenant_id"}

NO_KEY = "without a key"


@dataclass(frozen=True, slots=True)
class DailyUsage:
    """Usage of one model, key or tenant (`name`) on one day. `cost_known` is false when a response had no price;
    `estimated` counts the responses whose usage no provider reported."""

    day: date
    name: str
    responses: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    cost_usd: Decimal
    cost_known: bool
    estimated: int


def usage_daily(
    *, tenant_id: int | None, since: date, until: date, by: By, key_id: int | None = None
) -> list[DailyUsage]:
    """Returns the spend from `since` to `until`, both included. `tenant_id` None: all tenants, for operators only."""
    usage_filter = UsageFilter(tenant_id, _midnight(since), _midnight(until, next_day=True), key_id=key_id)
    named, parameters = usage_union(usage_filter, runs=False)
    column = f"p.{_COLUMNS[by]}"
    grouped = f"GROUP BY {column}, p.day ORDER BY p.day, {column}"
    rows = fetch_rows(f"{named} SELECT {column}, p.day, {sum_columns()} FROM p {grouped}", parameters)
    names = _names(by, {row[0] for row in rows})
    return [_daily(names[name], str(day), *map(int, amounts)) for name, day, *amounts in rows]


def _names(by: By, found: set[Any]) -> dict[Any, str]:
    if by == "tenant":
        return dict(Tenant.objects.filter(pk__in=found).values_list("pk", "slug"))
    if by == "key":
        keys = ApiKey.objects.filter(pk__in=found - {0}).values_list("pk", "name", "prefix")
        return dict.fromkeys(found, NO_KEY) | {pk: f"{name} ({prefix}…)" for pk, name, prefix in keys}
    return {name: name for name in found}


def _daily(
    name: str,
    day: str,
    responses: int,
    unpriced: int,
    estimated: int,
    input_tokens: int,
    output_tokens: int,
    cached_tokens: int,
    reasoning_tokens: int,
    cost: int,
    runs: int,
) -> DailyUsage:
    return DailyUsage(
        day=date.fromisoformat(day),
        name=name,
        responses=responses,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
        cost_usd=cost_usd(cost),
        cost_known=unpriced == 0,
        estimated=max(0, estimated),
    )


def _midnight(day: date, *, next_day: bool = False) -> datetime:
    ordinal = date.fromordinal(day.toordinal() + 1) if next_day else day
    return datetime.combine(ordinal, time(), UTC)
