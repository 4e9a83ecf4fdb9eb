"""Folding the ledger into sums per day (`UsageDay`), in batches that lock nothing for long.

Each batch is one transaction: the mark on a row and its share of the sums come and go together, so an end at any
moment counts nothing twice and loses nothing, and a row that commits late is found by its missing mark. What
removes ledger rows takes them out of the sums again: these are never anything but the ledger's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

from django.db import connection

from core_app.database import write_transaction
from tenants_app.models import LedgerEntry, UsageDay, UsageRun
from tenants_app.selectors.days import UtcDay
from tenants_app.selectors.usage_union import AMOUNTS
from tenants_app.services.usage_cells import Cell, Counted, among, counted

BATCH = 200
"""SQLite's other writers wait for one of these."""

FOLD_LOCK = 0x666F6C64
"""`fold` in ASCII: two transactions that fold or remove rows of the same run would each miss the other's."""

_COLUMNS = (*AMOUNTS, "runs")


def usage_fold(*, limit: int = BATCH) -> int:
    """Counts up to `limit` ledger rows into their days; how many were."""
    found = LedgerEntry.objects.filter(folded=False).values_list("pk", "run_id")
    return _changed(list(found[:limit]), _marked)


def ledger_remove(*, tenant_id: int, before: datetime, go_on: Callable[[], bool] = lambda: True) -> int:
    """Removes a tenant's ledger rows from before a moment, with their part of the days; how many went.

    It asks `go_on` before each batch; what is left is for the next call.
    """
    old = LedgerEntry.objects.filter(tenant_id=tenant_id, created_at__lt=before).values_list("pk", "run_id")
    removed = 0
    while go_on() and (done := _changed(list(old[:BATCH]), _deleted)):
        removed += done
    return removed


def usage_unfold(*, tenant_id: int) -> None:
    """Forgets a tenant's sums, a day at a time, so that folding makes them anew from the ledger."""
    days = set(UsageDay.objects.filter(tenant_id=tenant_id).values_list("day", flat=True).distinct())
    marked = LedgerEntry.objects.filter(tenant_id=tenant_id, folded=True).annotate(day=UtcDay("created_at"))
    days |= {date.fromisoformat(day) for day in marked.values_list("day", flat=True).distinct()}
    for day in sorted(days):
        _day_unfold(tenant_id, day)


def _changed(found: Collection[tuple[int, str]], act: Callable[[Collection[int]], int]) -> int:
    """Does `act` to those of the rows that nobody else holds, and makes the days say what is folded afterwards."""
    if not found:
        return 0
    runs = {run_id for _, run_id in found}
    with write_transaction():
        _alone()
        rows = _free([key for key, _ in found])
        before = counted(rows, runs)
        done = act(rows)
        _move(before, counted(rows, runs))
    return done


def _free(rows: Collection[int]) -> Collection[int]:
    """Those that nobody holds. Waiting for a row, while others wait for this one's, would be a deadlock: an erasure
    updates many at once."""
    if connection.vendor == "sqlite":
        return rows
    free = LedgerEntry.objects.filter(pk__in=rows).select_for_update(skip_locked=True)
    return list(free.values_list("pk", flat=True))


def _marked(rows: Collection[int]) -> int:
    with connection.cursor() as cursor:
        of_rows, values = among("id", rows)
        cursor.execute(f"UPDATE tenants_app_ledgerentry SET folded = true WHERE NOT folded AND {of_rows}", values)
        return int(cursor.rowcount)


def _deleted(rows: Collection[int]) -> int:
    return LedgerEntry.objects.filter(pk__in=rows).delete()[0]


def _day_unfold(tenant_id: int, day: date) -> None:
    midnight = datetime.combine(day, time(), UTC)
    of_day = LedgerEntry.objects.filter(tenant_id=tenant_id, created_at__gte=midnight, folded=True)
    cells = UsageDay.objects.filter(tenant_id=tenant_id, day=day)
    with write_transaction():
        _alone()
        # Runs of this day alone go with its rows; those of other days too are counted there from now on.
        runs = set(UsageRun.objects.filter(cell__in=cells).values_list("run_id", flat=True))
        before = counted((), runs)
        cells.delete()
        of_day.filter(created_at__lt=midnight + timedelta(days=1)).update(folded=False)
        _move(before, counted((), runs))


def _alone() -> None:
    """Waits for its turn until the transaction ends; on SQLite the transaction itself is it."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [FOLD_LOCK])


def _move(before: Counted, after: Counted) -> None:
    """Brings the days from what was folded to what is."""
    change: dict[Cell, list[int]] = defaultdict(lambda: [0] * len(_COLUMNS))
    for sign, state in ((-1, before), (1, after)):
        for cell, amounts in state.amounts.items():
            for place, amount in enumerate(amounts):
                change[cell][place] += sign * amount
        for cell, runs in state.whole.items():
            change[cell][-1] += sign * runs
    were, are = before.named, after.named
    cells = {cell for cell, amounts in change.items() if any(amounts)} | {cell for _, cell in were ^ are}
    ids = _rows_of(cells, needed={cell for cell in cells if max(change[cell]) > 0} | {cell for _, cell in are - were})
    _amounts_add({ids[cell]: change[cell] for cell in cells if cell in ids})
    _runs_name({(run_id, ids[cell]) for run_id, cell in are - were})
    _runs_forget({(run_id, ids[cell]) for run_id, cell in were - are if cell in ids})
    UsageDay.objects.filter(pk__in=ids.values(), responses=0).delete()


def _rows_of(cells: Collection[Cell], *, needed: Collection[Cell]) -> dict[Cell, int]:
    """The rows of the cells, made where one is needed that is not there."""
    near = UsageDay.objects.filter(
        tenant_id__in={cell.tenant_id for cell in cells},
        day__in={cell.day for cell in cells},
        model__in={cell.model for cell in cells},
    )
    rows = {Cell(row.tenant_id, row.day, row.key, row.model): row.pk for row in near}
    missing = [UsageDay(**cell._asdict()) for cell in sorted(set(needed) - rows.keys())]
    UsageDay.objects.bulk_create(missing)
    rows |= {Cell(made.tenant_id, made.day, made.key, made.model): made.pk for made in missing}
    return {cell: rows[cell] for cell in cells if cell in rows}


def _amounts_add(change: Mapping[int, Sequence[int]]) -> None:
    sums = ", ".join(f'"{column}" = "{column}" + %s' for column in _COLUMNS)
    with connection.cursor() as cursor:
        cursor.executemany(
            f"UPDATE tenants_app_usageday SET {sums} WHERE id = %s", [(*amounts, pk) for pk, amounts in change.items()]
        )


def _runs_name(pairs: Collection[tuple[str, int]]) -> None:
    UsageRun.objects.bulk_create([UsageRun(run_id=run_id, cell_id=cell) for run_id, cell in pairs])


def _runs_forget(pairs: Collection[tuple[str, int]]) -> None:
    runs_of: dict[int, list[str]] = defaultdict(list)
    for run_id, cell in pairs:
        runs_of[cell].append(run_id)
    for cell, runs in runs_of.items():
        UsageRun.objects.filter(cell_id=cell, run_id__in=runs).delete()
