"""SQL source of usage reports: a union of folded days and of ledger rows that no folded day covers.

One statement reads both, so it sees each row exactly once, in its day or by itself, whatever is folded meanwhile.
Ledger rows are read for partial days, for rows that are not folded yet, and for reports on one end user, because
folded days do not record end users.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

from core_app import clock
from tenants_app.ledger_kinds import ABANDONED_AFTER, ESTIMATED_KINDS, OPEN_KINDS

AMOUNTS = (
    "responses", "unpriced", "estimated", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost",
)  # fmt: skip
COST_DIGITS = 10
"""Decimal digits of `cost`, which is in 10⁻¹⁰ US dollars."""

_TOKENS = AMOUNTS[3:7]
_OPEN = ", ".join(f"'{kind}'" for kind in OPEN_KINDS)
_ESTIMATED = ", ".join(f"'{kind}'" for kind in ESTIMATED_KINDS)
_FOLDED = ", ".join(f"c.{name}" for name in AMOUNTS)
_NOTHING = ", ".join("0" for _ in AMOUNTS)
_NO_RUN = "CAST(NULL AS text)"
_DAY = {"sqlite": "substr(l.created_at, 1, 10)", "postgresql": "(l.created_at AT TIME ZONE 'UTC')::date"}
_UNITS = {
    # Integers, because sums of floating-point numbers depend on their order.
    "sqlite": "CAST(ROUND(l.cost_usd * 10000000000) AS integer)",
    "postgresql": "(l.cost_usd * 10000000000)::bigint",
}


@dataclass(frozen=True, slots=True)
class UsageFilter:
    """Filter of a usage report: spend in [since, until), where `None` is unbounded. `tenant_id` None: all tenants.
    `settled_only` leaves out requests that are running."""

    tenant_id: int | None
    since: datetime | None = None
    until: datetime | None = None
    key_id: int | None = None
    end_user: str | None = None
    settled_only: bool = False


SqlPart = tuple[str, list[Any]]
"""SQL and its parameters."""


def usage_union(usage_filter: UsageFilter, *, runs: bool) -> SqlPart:
    """Returns a WITH clause for `p`, with columns tenant_id, day, key, model, the AMOUNTS, runs and run_id.

    Reports sum its rows. The number of runs is the sum of `runs` plus the number of distinct `run_id`; without the
    argument `runs` it is not computed.
    """
    chosen = list(_unfolded_ranges(usage_filter))
    if (days := _whole_days(usage_filter)) is not None:
        chosen += _days(usage_filter, *days, runs=runs)
    columns = ", ".join(("tenant_id", "day", "key", "model", *AMOUNTS, "runs", "run_id"))
    table = " UNION ALL ".join(sql for sql, _ in chosen)
    return f"WITH p({columns}) AS ({table})", [value for _, values in chosen for value in values]


def fetch_rows(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Executes a statement over `usage_union` and returns its rows."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def sum_columns() -> str:
    """Columns of a SELECT from `p`: the sums of the AMOUNTS and the number of runs."""
    columns = [f"COALESCE(SUM(p.{name}), 0)" for name in AMOUNTS]
    return ", ".join([*columns, "COALESCE(SUM(p.runs), 0) + COUNT(DISTINCT p.run_id)"])


def cost_usd(units: int) -> Decimal:
    """Converts a sum of `cost` to US dollars."""
    return Decimal(units).scaleb(-COST_DIGITS)


def _whole_days(usage_filter: UsageFilter) -> tuple[datetime | None, datetime | None] | None:
    """The midnights that enclose the filter's complete days; `None` when there are none."""
    if usage_filter.end_user is not None:
        return None
    first = _midnight(usage_filter.since)
    if first is not None and usage_filter.since is not None and first < usage_filter.since:
        if first.date() == date.max:
            return None
        first += timedelta(days=1)
    end = _midnight(usage_filter.until)
    return None if first is not None and end is not None and first >= end else (first, end)


def _midnight(moment: datetime | None) -> datetime | None:
    return None if moment is None else datetime.combine(moment.astimezone(UTC).date(), time(), UTC)


def _unfolded_ranges(usage_filter: UsageFilter) -> Iterator[SqlPart]:
    """Ledger rows outside complete days: those before the first and after the last, or all of them."""
    days = _whole_days(usage_filter)
    if days is None:
        yield _ledger_rows(usage_filter, usage_filter.since, usage_filter.until)
        return
    first, end = days
    if usage_filter.since is not None and first != usage_filter.since:
        yield _ledger_rows(usage_filter, usage_filter.since, first)
    if usage_filter.until is not None and end != usage_filter.until:
        yield _ledger_rows(usage_filter, end, usage_filter.until)


def _days(usage_filter: UsageFilter, first: datetime | None, end: datetime | None, *, runs: bool) -> Iterator[SqlPart]:
    """Complete days: folded amounts, rows not folded yet, and the runs that are in more than one cell."""
    of_days, values = _conditions(usage_filter, "c", "key", "day", _date(first), _date(end))
    of_cell = "c.tenant_id, c.day, c.key, c.model"
    yield f"SELECT {of_cell}, {_FOLDED}, c.runs, {_NO_RUN} FROM tenants_app_usageday c WHERE {of_days}", values
    yield _ledger_rows(usage_filter, first, end, "NOT l.folded")
    if not runs:
        return
    named = "tenants_app_usagerun r JOIN tenants_app_usageday c ON c.id = r.cell_id"
    yield f"SELECT {of_cell}, {_NOTHING}, 0, r.run_id FROM {named} WHERE {of_days}", values
    # A run with unfolded rows that is folded in one cell only: listed by run_id here, and subtracted from its cell.
    mine, tenant = _conditions(usage_filter, "o")
    going_on = f"(SELECT DISTINCT o.run_id FROM tenants_app_ledgerentry o WHERE {mine} AND NOT o.folded) g"
    in_days, values = _conditions(
        usage_filter, "l", "api_key_id", "created_at", _adapt_moment(first), _adapt_moment(end)
    )
    yield (
        f"SELECT DISTINCT {cell_columns()}, {_NOTHING}, -1, l.run_id"
        f" FROM {going_on} CROSS JOIN tenants_app_ledgerentry l WHERE l.run_id = g.run_id AND l.folded AND {in_days}"
        " AND NOT EXISTS (SELECT 1 FROM tenants_app_usagerun r WHERE r.run_id = l.run_id)",
        [*tenant, *values],
    )


def _ledger_rows(usage_filter: UsageFilter, since: datetime | None, until: datetime | None, more: str = "") -> SqlPart:
    """Selects ledger rows, one row of `p` each."""
    where, values = _conditions(
        usage_filter, "l", "api_key_id", "created_at", _adapt_moment(since), _adapt_moment(until)
    )
    if usage_filter.end_user is not None:
        where, values = f"{where} AND l.end_user = %s", [*values, usage_filter.end_user]
    where = f"{where} AND {more}" if more else where
    if usage_filter.settled_only:
        where = f"{where} AND NOT (l.kind IN ({_OPEN}) AND l.created_at >= %s)"
        values = [*values, _adapt_moment(clock.now() - ABANDONED_AFTER)]
    columns = f"{cell_columns()}, {', '.join(amount_columns())}, 0, l.run_id"
    return f"SELECT {columns} FROM tenants_app_ledgerentry l WHERE {where}", values


def _conditions(
    usage_filter: UsageFilter, table: str, key: str = "", moment: str = "", since: Any = None, until: Any = None
) -> SqlPart:
    """Builds a WHERE clause. For all tenants it lists their ids, because the indexes begin with the tenant."""
    of_all = f"{table}.tenant_id IN (SELECT id FROM tenants_app_tenant)"
    where, values = (
        (of_all, []) if usage_filter.tenant_id is None else (f"{table}.tenant_id = %s", [usage_filter.tenant_id])
    )
    limits = [(f"{table}.{moment} >= %s", since), (f"{table}.{moment} < %s", until)]
    if key:
        limits.append((f"{table}.{key} = %s", usage_filter.key_id))
    given = [(sql, value) for sql, value in limits if value is not None]
    return " AND ".join([where, *(sql for sql, _ in given)]), [*values, *(value for _, value in given)]


def cell_columns() -> str:
    """Columns for the cell of a ledger row `l`: tenant_id, day, key and model."""
    return f"l.tenant_id, {_DAY[connection.vendor]}, COALESCE(l.api_key_id, 0), l.model"


def amount_columns() -> Sequence[str]:
    """Columns for the AMOUNTS of a ledger row `l`."""
    unpriced = "CASE WHEN l.cost_usd IS NULL THEN 1 ELSE 0 END"
    estimated = f"CASE WHEN l.kind IN ({_ESTIMATED}, {_OPEN}) THEN 1 ELSE 0 END"
    return ("1", unpriced, estimated, *(f"l.{name}" for name in _TOKENS), f"COALESCE({_UNITS[connection.vendor]}, 0)")


def _adapt_moment(moment: datetime | None) -> Any:
    """Converts a moment to the database's representation."""
    return None if moment is None else connection.ops.adapt_datetimefield_value(moment)


def _date(moment: datetime | None) -> Any:
    return None if moment is None else connection.ops.adapt_datefield_value(moment.date())
