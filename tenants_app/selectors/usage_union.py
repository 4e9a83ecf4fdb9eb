"""What usage reports add up: the days that are folded, and ledger rows where no folded day can be taken.

One statement reads both, and so sees a row either in its day or by itself, whatever is folded meanwhile. Rows are
read where a day is only partly asked for, where they are not folded yet, and where they are of one end user, whom
the days do not know.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection

AMOUNTS = ("responses", "unpriced", "input_tokens", "output_tokens", "cached_tokens", "reasoning_tokens", "cost")
COST_DIGITS = 10
"""`cost` is in 10⁻¹⁰ US dollars."""

_TOKENS = AMOUNTS[2:6]
_FOLDED = ", ".join(f"c.{name}" for name in AMOUNTS)
_NOTHING = ", ".join("0" for _ in AMOUNTS)
_NO_RUN = "CAST(NULL AS text)"
_DAY = {"sqlite": "substr(l.created_at, 1, 10)", "postgresql": "(l.created_at AT TIME ZONE 'UTC')::date"}
_UNITS = {
    # Whole numbers in the end: its floating point would add up otherwise in another order.
    "sqlite": "CAST(ROUND(l.cost_usd * 10000000000) AS integer)",
    "postgresql": "(l.cost_usd * 10000000000)::bigint",
}


@dataclass(frozen=True, slots=True)
class Asked:
    """Whose spend, and when: in [since, until), None being without an end. `tenant_id` None: of all tenants."""

    tenant_id: int | None
    since: datetime | None = None
    until: datetime | None = None
    key_id: int | None = None
    end_user: str | None = None


Part = tuple[str, list[Any]]
"""SQL and its parameters."""


def parts(asked: Asked, *, runs: bool) -> Part:
    """A WITH that names `p`: tenant_id, day, key, model, the AMOUNTS, whole and run_id, whose sums are the answer.

    The number of runs is the sum of `whole` and the number of different `run_id`; without `runs` that is left out.
    """
    chosen = list(_rows_alone(asked))
    if (days := _whole_days(asked)) is not None:
        chosen += _days(asked, *days, runs=runs)
    columns = ", ".join(("tenant_id", "day", "key", "model", *AMOUNTS, "whole", "run_id"))
    table = " UNION ALL ".join(sql for sql, _ in chosen)
    return f"WITH p({columns}) AS ({table})", [value for _, values in chosen for value in values]


def added(sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    """The rows of a statement over `parts`."""
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return list(cursor.fetchall())


def sums() -> str:
    """The AMOUNTS added up, and the runs, as columns of a SELECT from `p`."""
    added_up = [f"COALESCE(SUM(p.{name}), 0)" for name in AMOUNTS]
    return ", ".join([*added_up, "COALESCE(SUM(p.whole), 0) + COUNT(DISTINCT p.run_id)"])


def cost_usd(units: int) -> Decimal:
    """An added-up `cost` in US dollars."""
    return Decimal(units).scaleb(-COST_DIGITS)


def _whole_days(asked: Asked) -> tuple[datetime | None, datetime | None] | None:
    """The midnights between which the days are whole; None where none is."""
    if asked.end_user is not None:
        return None
    first = _midnight(asked.since)
    if first is not None and asked.since is not None and first < asked.since:
        if first.date() == date.max:
            return None
        first += timedelta(days=1)
    end = _midnight(asked.until)
    return None if first is not None and end is not None and first >= end else (first, end)


def _midnight(moment: datetime | None) -> datetime | None:
    return None if moment is None else datetime.combine(moment.astimezone(UTC).date(), time(), UTC)


def _rows_alone(asked: Asked) -> Iterator[Part]:
    """What no folded day can tell: all of it, or what is before the first whole day and after the last."""
    days = _whole_days(asked)
    if days is None:
        yield _rows(asked, asked.since, asked.until)
        return
    first, end = days
    if asked.since is not None and first != asked.since:
        yield _rows(asked, asked.since, first)
    if asked.until is not None and end != asked.until:
        yield _rows(asked, end, asked.until)


def _days(asked: Asked, first: datetime | None, end: datetime | None, *, runs: bool) -> Iterator[Part]:
    """Whole days: what is folded, what is not yet, and which runs are in more than one place of these."""
    of_days, values = _conditions(asked, "c", "key", "day", _date(first), _date(end))
    of_cell = "c.tenant_id, c.day, c.key, c.model"
    yield f"SELECT {of_cell}, {_FOLDED}, c.runs, {_NO_RUN} FROM tenants_app_usageday c WHERE {of_days}", values
    yield _rows(asked, first, end, "NOT l.folded")
    if not runs:
        return
    named = "tenants_app_usagerun r JOIN tenants_app_usageday c ON c.id = r.cell_id"
    yield f"SELECT {of_cell}, {_NOTHING}, 0, r.run_id FROM {named} WHERE {of_days}", values
    # A run that goes on, and is folded in one place only: named here, and not counted as whole there.
    mine, tenant = _conditions(asked, "o")
    going_on = f"(SELECT DISTINCT o.run_id FROM tenants_app_ledgerentry o WHERE {mine} AND NOT o.folded) g"
    in_days, values = _conditions(asked, "l", "api_key_id", "created_at", _stored(first), _stored(end))
    yield (
        f"SELECT DISTINCT {place()}, {_NOTHING}, -1, l.run_id"
        f" FROM {going_on} CROSS JOIN tenants_app_ledgerentry l WHERE l.run_id = g.run_id AND l.folded AND {in_days}"
        " AND NOT EXISTS (SELECT 1 FROM tenants_app_usagerun r WHERE r.run_id = l.run_id)",
        [*tenant, *values],
    )


def _rows(asked: Asked, since: datetime | None, until: datetime | None, more: str = "") -> Part:
    """Ledger rows, each by itself."""
    where, values = _conditions(asked, "l", "api_key_id", "created_at", _stored(since), _stored(until))
    if asked.end_user is not None:
        where, values = f"{where} AND l.end_user = %s", [*values, asked.end_user]
    where = f"{where} AND {more}" if more else where
    return f"SELECT {place()}, {', '.join(amounts())}, 0, l.run_id FROM tenants_app_ledgerentry l WHERE {where}", values


def _conditions(
    asked: Asked, table: str, key: str = "", moment: str = "", since: Any = None, until: Any = None
) -> Part:
    """All tenants are asked for by their ids, with which the indexes begin."""
    of_all = f"{table}.tenant_id IN (SELECT id FROM tenants_app_tenant)"
    where, values = (of_all, []) if asked.tenant_id is None else (f"{table}.tenant_id = %s", [asked.tenant_id])
    limits = [(f"{table}.{moment} >= %s", since), (f"{table}.{moment} < %s", until)]
    if key:
        limits.append((f"{table}.{key} = %s", asked.key_id))
    given = [(sql, value) for sql, value in limits if value is not None]
    return " AND ".join([where, *(sql for sql, _ in given)]), [*values, *(value for _, value in given)]


def place() -> str:
    """The cell of a ledger row `l` as columns: tenant_id, day, key and model."""
    return f"l.tenant_id, {_DAY[connection.vendor]}, COALESCE(l.api_key_id, 0), l.model"


def amounts() -> Sequence[str]:
    """What a ledger row `l` adds to each of the AMOUNTS, as columns."""
    unpriced = "CASE WHEN l.cost_usd IS NULL THEN 1 ELSE 0 END"
    return ("1", unpriced, *(f"l.{name}" for name in _TOKENS), f"COALESCE({_UNITS[connection.vendor]}, 0)")


def _stored(moment: datetime | None) -> Any:
    """As the database keeps and compares it."""
    return None if moment is None else connection.ops.adapt_datetimefield_value(moment)


def _date(moment: datetime | None) -> Any:
    return None if moment is None else connection.ops.adapt_datefield_value(moment.date())
