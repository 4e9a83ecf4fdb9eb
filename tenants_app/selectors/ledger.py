"""Sums over the ledger: of a session, a run, or a tenant's days, keys and models.

Costs are sums of what is known; `cost_known` is false when a response without a price is among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Q, QuerySet, Sum

from core_app.errors import BadRequest
from tenants_app.models import LedgerEntry
from tenants_app.selectors.days import UtcDay

GROUPS = {"day": "day", "key": "api_key__name", "model": "model"}

_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")

_SUMS = {
    "responses": Count("id"),
    "runs": Count("run_id", distinct=True),
    "unpriced": Count("id", filter=Q(cost_usd=None)),
    # A sum under the name of its column would hide the column from the sums after it.
    "sum_cost_usd": Sum("cost_usd", default=Decimal(0)),
    **{f"sum_{name}": Sum(name, default=0) for name in _TOKENS},
}


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """What a number of model responses used together."""

    responses: int
    runs: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_usd: Decimal
    cost_known: bool


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One line of the usage report; what was not grouped by is `None`."""

    day: str | None
    key: str | None
    model: str | None
    totals: LedgerTotals


def ledger_totals(*, tenant_id: int, session_ref: str | None = None, run_id: str | None = None) -> LedgerTotals:
    """The spend of a session, a run, or the whole tenant."""
    return _totals(_entries(tenant_id, session_ref, run_id).aggregate(**_SUMS))


def ledger_by_model(*, tenant_id: int, session_ref: str | None = None) -> dict[str, LedgerTotals]:
    """The same per model name."""
    rows = _entries(tenant_id, session_ref, None).values("model").annotate(**_SUMS).order_by("model")
    return {row["model"]: _totals(row) for row in rows}


def usage_rows(
    *,
    tenant_id: int,
    since: datetime | None = None,
    until: datetime | None = None,
    group_by: Sequence[str] = ("day", "key", "model"),
    end_user: str | None = None,
) -> list[UsageRow]:
    """The tenant's spend in [since, until), newest day first (UTC); raises BadRequest for an unknown group."""
    if unknown := [name for name in group_by if name not in GROUPS]:
        raise BadRequest(f"Usage is grouped by day, key and model, not by '{unknown[0]}'.", field="groupBy")
    entries = LedgerEntry.objects.filter(tenant_id=tenant_id)
    entries = entries.filter(created_at__gte=since) if since else entries
    entries = entries.filter(created_at__lt=until) if until else entries
    entries = entries.filter(end_user=end_user) if end_user is not None else entries
    if not group_by:
        return [_usage_row(entries.aggregate(**_SUMS))]
    columns = [GROUPS[name] for name in GROUPS if name in group_by]
    order = [F(column).desc() if column == "day" else F(column).asc() for column in columns]
    rows = entries.annotate(day=UtcDay("created_at")).values(*columns).annotate(**_SUMS).order_by(*order)
    return [_usage_row(row) for row in rows]


def _entries(tenant_id: int, session_ref: str | None, run_id: str | None) -> QuerySet[LedgerEntry]:
    entries = LedgerEntry.objects.filter(tenant_id=tenant_id)
    entries = entries if session_ref is None else entries.filter(session_ref=session_ref)
    return entries if run_id is None else entries.filter(run_id=run_id)


def _totals(row: Mapping[str, Any]) -> LedgerTotals:
    return LedgerTotals(
        responses=row["responses"],
        runs=row["runs"],
        **{name: row[f"sum_{name}"] for name in _TOKENS},
        cost_usd=row["sum_cost_usd"],
        cost_known=row["unpriced"] == 0,
    )


def _usage_row(row: Mapping[str, Any]) -> UsageRow:
    return UsageRow(row.get("day"), row.get("api_key__name"), row.get("model"), _totals(row))
