"""Folds the ledger into sums per day (`UsageDay`), in short batches.

Each batch is one transaction that changes the mark on a row and the sums together, so a crash neither loses a row nor
counts it twice. A row that commits late is found by its missing mark. Removing ledger rows subtracts them from the
sums, which always equal the ledger's folded rows.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta

from django.db import connection
from django.db.models import Q

from core_app import clock
from core_app.database import write_transaction
from tenants_app.ledger_kinds import FOLDED_AFTER, OPEN_KINDS
from tenants_app.models import LedgerEntry, UsageDay, UsageRun
from tenants_app.selectors.days import UtcDay
from tenants_app.selectors.usage_union import AMOUNTS
from tenants_app.services.usage_cells import Cell, FoldedUsage, count_folded, in_condition

BATCH = 200
"""Rows per batch. On SQLite other writers wait for the whole batch."""

FOLD_LOCK = 0x666F6C64
"""Advisory lock (`fold` in ASCII): concurrent folds or removals of one run's rows would miss each other's changes."""

_COLUMNS = (*AMOUNTS, "runs")


def usage_fold(*, limit: int = BATCH) -> int:
    """Folds up to `limit` ledger rows into their days and returns their number. Rows of running requests wait, because
    folded rows are not changed any more."""
    running = Q(kind__in=OPEN_KINDS, created_at__gte=clock.now() - FOLDED_AFTER)
    found = LedgerEntry.objects.filter(~running, folded=False).values_list("pk", "run_id")
    return _change_rows(list(found[:limit]), _mark_folded)


def ledger_remove(*, tenant_id: int, before: datetime, go_on: Callable[[], bool] = lambda: True) -> int:
    """Removes a tenant's ledger rows from before a moment, subtracts them from the days, and returns their number.

    It stops before a batch when `go_on` returns false; the next call continues.
    """
    old = LedgerEntry.objects.filter(tenant_id=tenant_id, created_at__lt=before).values_list("pk", "run_id")
    removed = 0
    while go_on() and (done := _change_rows(list(old[:BATCH]), _delete_rows)):
        removed += done
    return removed


def usage_unfold(*, tenant_id: int) -> None:
    """Deletes a tenant's sums, one day per transaction, so that folding computes them again from the ledger."""
    days = set(UsageDay.objects.filter(tenant_id=tenant_id).values_list("day", flat=True).distinct())
    marked = LedgerEntry.objects.filter(tenant_id=tenant_id, folded=True).annotate(day=UtcDay("created_at"))
    days |= {date.fromisoformat(day) for day in marked.values_list("day", flat=True).distinct()}
    for day in sorted(days):
        _day_unfold(tenant_id, day)


def _change_rows(found: Collection[tuple[int, str]], act: Callable[[Collection[int]], int]) -> int:
    """Calls `act` with the rows that no other transaction has locked, then updates the days; returns `act`'s count."""
    if not found:
        return 0
    runs = {run_id for _, run_id in found}
    with write_transaction():
        _lock_folding()
        rows = _lock_free_rows([key for key, _ in found])
        before = count_folded(rows, runs)
        done = act(rows)
        _update_days(before, count_folded(rows, runs))
    return done


def _lock_free_rows(rows: Collection[int]) -> Collection[int]:
    """Locks the rows that no other transaction has locked and returns them.

    It does not wait for the others: an erasure updates many rows at once, so waiting could end in a deadlock.
    """
    if connection.vendor == "sqlite":
        return rows
    free = LedgerEntry.objects.filter(pk__in=rows).select_for_update(skip_locked=True)
    return list(free.values_list("pk", flat=True))


def _mark_folded(rows: Collection[int]) -> int:
    with connection.cursor() as cursor:
        of_rows, values = in_condition("id", rows)
        cursor.execute(f"UPDATE tenants_app_ledgerentry SET folded = true WHERE NOT folded AND {of_rows}", values)
        return int(cursor.rowcount)


def _delete_rows(rows: Collection[int]) -> int:
    return LedgerEntry.objects.filter(pk__in=rows).delete()[0]


def _day_unfold(tenant_id: int, day: date) -> None:
    midnight = datetime.combine(day, time(), UTC)
    of_day = LedgerEntry.objects.filter(tenant_id=tenant_id, created_at__gte=midnight, folded=True)
    cells = UsageDay.objects.filter(tenant_id=tenant_id, day=day)
    with write_transaction():
        _lock_folding()
        # Runs that are also in other days are counted there from now on.
        runs = set(UsageRun.objects.filter(cell__in=cells).values_list("run_id", flat=True))
        before = count_folded((), runs)
        cells.delete()
        of_day.filter(created_at__lt=midnight + timedelta(days=1)).update(folded=False)
        _update_days(before, count_folded((), runs))


def _lock_folding() -> None:
    """Takes FOLD_LOCK until the transaction ends. On SQLite the write transaction itself is exclusive."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [FOLD_LOCK])


def _update_days(before: FoldedUsage, after: FoldedUsage) -> None:
    """Updates the days by the difference between two states of the folded rows."""
    change: dict[Cell, list[int]] = defaultdict(lambda: [0] * len(_COLUMNS))
    for sign, state in ((-1, before), (1, after)):
        for cell, amounts in state.amounts.items():
            for column, amount in enumerate(amounts):
                change[cell][column] += sign * amount
        for cell, runs in state.runs.items():
            change[cell][-1] += sign * runs
    were, are = before.shared_runs, after.shared_runs
    cells = {cell for cell, amounts in change.items() if any(amounts)} | {cell for _, cell in were ^ are}
    ids = _ensure_cells(
        cells, needed={cell for cell in cells if max(change[cell]) > 0} | {cell for _, cell in are - were}
    )
    _amounts_add({ids[cell]: change[cell] for cell in cells if cell in ids})
    _runs_name({(run_id, ids[cell]) for run_id, cell in are - were})
    _runs_forget({(run_id, ids[cell]) for run_id, cell in were - are if cell in ids})
    UsageDay.objects.filter(pk__in=ids.values(), responses=0).delete()


def _ensure_cells(cells: Collection[Cell], *, needed: Collection[Cell]) -> dict[Cell, int]:
    """Returns the primary keys of the cells' rows, and creates missing rows for the cells in `needed`."""
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
