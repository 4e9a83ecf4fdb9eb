"""Sums over the ledger: per session, per run, or per day, key and model of a tenant.

Costs are sums of known costs; `cost_known` is false when a response without a price is among them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Count, Q, QuerySet, Sum

from core_app.errors import BadRequest
from tenants_app.ledger_kinds import ESTIMATED_KINDS, OPEN_KINDS
from tenants_app.models import LedgerEntry
from tenants_app.selectors.usage_union import UsageFilter, cost_usd, fetch_rows, sum_columns, usage_union

GROUPS = {"day": "p.day", "key": "k.name", "model": "p.model"}

RUN_RESPONSES = 2_000
"""The model responses of one run that a list of them has at most."""

_TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens")

_SUMS = {
    "responses": Count("id"),
    "runs": Count("run_id", distinct=True),
    "unpriced": Count("id", filter=Q(cost_usd=None)),
    "estimated": Count("id", filter=Q(kind__in=(*ESTIMATED_KINDS, *OPEN_KINDS))),
    # A sum with the name of its column would hide the column from later sums.
    "sum_cost_usd": Sum("cost_usd", default=Decimal(0)),
    **{f"sum_{name}": Sum(name, default=0) for name in _TOKENS},
}


@dataclass(frozen=True, slots=True)
class LedgerTotals:
    """Summed usage of several model requests; `estimated` counts those whose usage no provider reported."""

    responses: int
    runs: int
    input_tokens: int
    output_tokens: int
    cached_tokens: int
    reasoning_tokens: int
    cost_usd: Decimal
    cost_known: bool
    estimated: int = 0


@dataclass(frozen=True, slots=True)
class UsageRow:
    """One line of a usage report; fields that it is not grouped by are `None`."""

    day: str | None
    key: str | None
    model: str | None
    totals: LedgerTotals


def ledger_totals(*, tenant_id: int, session_ref: str | None = None, run_id: str | None = None) -> LedgerTotals:
    """Returns the spend of a session, of a run, or of the whole tenant."""
    return _totals(_entries(tenant_id, session_ref, run_id).aggregate(**_SUMS))


def ledger_by_model(*, tenant_id: int, session_ref: str | None = None) -> dict[str, LedgerTotals]:
    """Returns the spend of a session, or of the whole tenant, per model name."""
    rows = _entries(tenant_id, session_ref, None).values("model").annotate(**_SUMS).order_by("model")
    return {row["model"]: _totals(row) for row in rows}


def ledger_of_run(*, tenant_id: int, run_id: str) -> list[LedgerEntry]:
    """Returns the model responses of a run, the oldest first; at most RUN_RESPONSES."""
    rows = LedgerEntry.objects.filter(tenant_id=tenant_id, run_id=run_id)
    return list(rows.order_by("response_no")[:RUN_RESPONSES])


def usage_rows(
    *,
    tenant_id: int,
    since: datetime | None = None,
    until: datetime | None = None,
    group_by: Sequence[str] = ("day", "key", "model"),
    end_user: str | None = None,
) -> list[UsageRow]:
    """Returns the tenant's spend in [since, until), newest UTC day first; raises BadRequest for an unknown group."""
    if unknown := [name for name in group_by if name not in GROUPS]:
        raise BadRequest(f"Usage is grouped by day, key and model, not by '{unknown[0]}'.", field="groupBy")
    columns = [GROUPS[name] for name in GROUPS if name in group_by]
    named, parameters = usage_union(UsageFilter(tenant_id, since, until, end_user=end_user), runs=True)
    # Keys are grouped by name: keys that share a name are one line.
    keyed = "p LEFT JOIN tenants_app_apikey k ON k.id = p.key" if "key" in group_by else "p"
    grouped = ", ".join(columns)
    order = ", ".join(f"{column} DESC" if column == GROUPS["day"] else f"{column} ASC" for column in columns)
    groups = f" GROUP BY {grouped} ORDER BY {order}" if columns else ""
    rows = fetch_rows(f"{named} SELECT {', '.join([*columns, sum_columns()])} FROM {keyed}{groups}", parameters)
    return [_usage_row([name for name in GROUPS if name in group_by], row) for row in rows]


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
        estimated=row["estimated"],
    )


def _usage_row(groups: Sequence[str], row: Sequence[Any]) -> UsageRow:
    by = {name: None if value is None else str(value) for name, value in zip(groups, row, strict=False)}
    responses, unpriced, estimated, *tokens, cost, runs = (int(value) for value in row[len(groups) :])
    totals = LedgerTotals(
        responses=responses,
        runs=runs,
        **dict(zip(_TOKENS, tokens, strict=True)),
        cost_usd=cost_usd(cost),
        cost_known=unpriced == 0,
        estimated=max(0, estimated),
    )
    return UsageRow(by.get("day"), by.get("key"), by.get("model"), totals)
