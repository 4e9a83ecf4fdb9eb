"""Folding the ledger into sums per day (`UsageDay`), in batches that lock nothing for long.

Each batch is one transaction: the mark on a row and its share of the sums come and go together, so an end at any
moment counts nothing twice and loses nothing, and a row that commits late is found by its missing mark. What
removes ledger rows takes them out of the sums again: these are never anything but the ledger's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.db import connection
from django.db.models import QuerySet

from core_app.database import write_transaction
from tenants_app.models import LedgerEntry, UsageDay, UsageRun
from tenants_app.selectors.days import UtcDay
from tenants_app.selectors.usage_parts import AMOUNTS, COST_DIGITS

BATCH = 200
"""SQLite's other writers wait for one of these."""

FOLD_LOCK = 0x666F6C64
"""`fold` in ASCII: two transactions that fold or remove rows of the same run would each miss the other's."""

_TOKENS = AMOUNTS[2:6]
_COLUMNS = (*AMOUNTS, "runs")


class Cell(NamedTuple):
    """Which row of `UsageDay`; `key` is 0 for none."""

    tenant_id: int
    day: date
    key: int
    model: str


@dataclass(slots=True)
class _Counted:
    """What folded rows come to: their amounts in the order of AMOUNTS, and the cells of each run."""

    amounts: dict[Cell, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * len(AMOUNTS)))
    cells: dict[str, set[Cell]] = field(default_factory=lambda: defaultdict(set))


def usage_fold(*, limit: int = BATCH) -> int:
    """Counts up to `limit` ledger rows into their days; how many were."""
    found = LedgerEntry.objects.filter(folded=False).values_list("pk", "run_id")
    return _changed(list(found[:limit]), lambda rows: rows.filter(folded=False).update(folded=True))


def ledger_remove(*, tenant_id: int, before: datetime, go_on: Callable[[], bool] = lambda: True) -> int:
    """Removes a tenant's ledger rows from before a moment, with their part of the days; how many went.

    It asks `go_on` before each batch; what is left is for the next call.
    """
    old = LedgerEntry.objects.filter(tenant_id=tenant_id, created_at__lt=before).values_list("pk", "run_id")
    removed = 0
    while go_on() and (done := _changed(list(old[:BATCH]), lambda rows: rows.delete()[0])):
        removed += done
    return removed


def usage_unfold(*, tenant_id: int) -> None:
    """Forgets a tenant's sums, a day at a time, so that folding makes them anew from the ledger."""
    days = set(UsageDay.objects.filter(tenant_id=tenant_id).values_list("day", flat=True).distinct())
    marked = LedgerEntry.objects.filter(tenant_id=tenant_id, folded=True).annotate(day=UtcDay("created_at"))
    days |= {date.fromisoformat(day) for day in marked.values_list("day", flat=True).distinct()}
    for day in sorted(days):
        _day_unfold(tenant_id, day)


def _changed(found: Collection[tuple[int, str]], act: Callable[[QuerySet[LedgerEntry]], int]) -> int:
    """Does `act` to those of the rows that nobody else holds, and makes the days say what is folded afterwards."""
    if not found:
        return 0
    runs = {run_id for _, run_id in found}
    with write_transaction():
        _alone()
        # Waiting for a row, while others wait for this one's, would be a deadlock: an erasure updates many at once.
        free = LedgerEntry.objects.filter(pk__in=[key for key, _ in found]).select_for_update(skip_locked=True)
        rows = LedgerEntry.objects.filter(pk__in=list(free.values_list("pk", flat=True)))
        before = _counted(rows, runs)
        done = act(rows.all())
        _move(before, _counted(rows.all(), runs))
    return done


def _day_unfold(tenant_id: int, day: date) -> None:
    midnight = datetime.combine(day, time(), UTC)
    of_day = LedgerEntry.objects.filter(tenant_id=tenant_id, created_at__gte=midnight, folded=True)
    cells = UsageDay.objects.filter(tenant_id=tenant_id, day=day)
    with write_transaction():
        _alone()
        # Runs of this day alone go with its rows; those of other days too are counted there from now on.
        runs = set(UsageRun.objects.filter(cell__in=cells).values_list("run_id", flat=True))
        before = _counted(LedgerEntry.objects.none(), runs)
        cells.delete()
        of_day.filter(created_at__lt=midnight + timedelta(days=1)).update(folded=False)
        _move(before, _counted(LedgerEntry.objects.none(), runs))


def _alone() -> None:
    """Waits for its turn until the transaction ends; on SQLite the transaction itself is it."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [FOLD_LOCK])


def _counted(rows: QuerySet[LedgerEntry], runs: Collection[str]) -> _Counted:
    """The amounts of the folded among `rows`, and the cells of all folded rows of the runs."""
    counted = _Counted()
    for *where, cost, input_, output, cached, reasoning in _folded(rows).values_list(*_CELL, "cost_usd", *_TOKENS):
        units = int((cost or Decimal(0)).scaleb(COST_DIGITS))
        taken = (1, int(cost is None), input_, output, cached, reasoning, units)
        amounts = counted.amounts[_cell(*where)]
        amounts[:] = [sum(pair) for pair in zip(amounts, taken, strict=True)]
    of_runs = _folded(LedgerEntry.objects.filter(run_id__in=runs))
    for run_id, *where in of_runs.values_list("run_id", *_CELL).distinct():
        counted.cells[run_id].add(_cell(*where))
    return counted


_CELL = ("tenant_id", "day", "api_key_id", "model")


def _folded(rows: QuerySet[LedgerEntry]) -> QuerySet[LedgerEntry]:
    return rows.filter(folded=True).annotate(day=UtcDay("created_at"))


def _cell(tenant_id: int, day: str, key_id: int | None, model: str) -> Cell:
    return Cell(tenant_id, date.fromisoformat(day), key_id or 0, model)


def _move(before: _Counted, after: _Counted) -> None:
    """Brings the days from what was folded to what is."""
    change: dict[Cell, list[int]] = defaultdict(lambda: [0] * len(_COLUMNS))
    for sign, counted in ((-1, before), (1, after)):
        for cell, amounts in counted.amounts.items():
            for place, amount in enumerate(amounts):
                change[cell][place] += sign * amount
        for run_cells in counted.cells.values():
            if len(run_cells) == 1:
                change[next(iter(run_cells))][-1] += sign
    were, are = _named(before.cells), _named(after.cells)
    cells = {cell for cell, amounts in change.items() if any(amounts)} | {cell for _, cell in were ^ are}
    ids = _rows_of(cells, needed={cell for cell in cells if max(change[cell]) > 0} | {cell for _, cell in are - were})
    _amounts_add({ids[cell]: change[cell] for cell in cells if cell in ids})
    _runs_name({(run_id, ids[cell]) for run_id, cell in are - were})
    _runs_forget({(run_id, ids[cell]) for run_id, cell in were - are if cell in ids})
    UsageDay.objects.filter(pk__in=ids.values(), responses=0).delete()


def _named(cells: Mapping[str, set[Cell]]) -> set[tuple[str, Cell]]:
    """The runs that are in several cells, with each."""
    return {(run_id, cell) for run_id, of_run in cells.items() if len(of_run) > 1 for cell in of_run}


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
