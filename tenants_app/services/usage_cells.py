"""Sums of ledger rows per `UsageDay` cell, in SQL.

Each ledger row is summed a few times in its life, and every relayed call adds one. Read row by row in Python that took
90 µs each, a third of the call's own cost.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any, NamedTuple

from django.db import connection

from core_app.jsontext import encode_text
from tenants_app.selectors.usage_union import amount_columns, cell_columns


class Cell(NamedTuple):
    """Identity of a row of `UsageDay`; `key` is 0 for responses without an API key."""

    tenant_id: int
    day: date
    key: int
    model: str


@dataclass(slots=True)
class FoldedUsage:
    """Sums of folded ledger rows per cell, in the order of AMOUNTS.

    `runs` counts the runs that are in one cell only; `shared_runs` names the others with each of their cells.
    """

    amounts: dict[Cell, Sequence[int]] = field(default_factory=dict)
    runs: dict[Cell, int] = field(default_factory=dict)
    shared_runs: set[tuple[str, Cell]] = field(default_factory=set)


def count_folded(rows: Collection[int], runs: Collection[str]) -> FoldedUsage:
    """Sums the folded rows among `rows`, and finds the cells of all folded rows of the runs."""
    found = FoldedUsage()
    sums = ", ".join(f"SUM({amount})" for amount in amount_columns())
    of_rows, values = in_condition("l.id", rows)
    for *where, sums_of_cell in _fetch(_AMOUNTS.format(cell=cell_columns(), sums=sums, rows=of_rows), values, 4):
        found.amounts[_cell(*where)] = [int(amount) for amount in sums_of_cell]
    of_runs, values = in_condition("l.run_id", runs)
    for *where, (run_id, count) in _fetch(_RUNS.format(cell=cell_columns(), runs=of_runs), values, 4):
        if run_id is None:
            found.runs[_cell(*where)] = count
        else:
            found.shared_runs.add((run_id, _cell(*where)))
    return found


def in_condition(column: str, wanted: Collection[int] | Collection[str]) -> tuple[str, list[Any]]:
    """Returns a condition with one parameter for any number of values: Django scans the SQL for every placeholder."""
    if connection.vendor == "sqlite":
        return column + _IN_JSON, [encode_text(list(wanted))]
    kind = "text" if column.endswith("run_id") else "bigint"
    return f"{column} = ANY(%s::{kind}[])", [list(wanted)]


_IN_JSON = " IN (SELECT value FROM json_each(%s))"
_AMOUNTS = """
    SELECT {cell}, {sums} FROM tenants_app_ledgerentry l WHERE {rows} AND l.folded GROUP BY 1, 2, 3, 4
"""
_RUNS = """
    WITH cells(run_id, tenant_id, day, key, model) AS (
        SELECT DISTINCT l.run_id, {cell} FROM tenants_app_ledgerentry l WHERE {runs} AND l.folded),
    several(run_id) AS (SELECT run_id FROM cells GROUP BY run_id HAVING COUNT(*) > 1)
    SELECT c.tenant_id, c.day, c.key, c.model, s.run_id, COUNT(*)
    FROM cells c LEFT JOIN several s ON s.run_id = c.run_id GROUP BY 1, 2, 3, 4, 5
"""


def _fetch(sql: str, values: list[Any], columns: int) -> list[tuple[Any, ...]]:
    """Returns rows as the first `columns` values followed by a tuple of the others."""
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return [(*row[:columns], row[columns:]) for row in cursor.fetchall()]


def _cell(tenant_id: int, day: str | date, key: int, model: str) -> Cell:
    return Cell(tenant_id, day if isinstance(day, date) else date.fromisoformat(day), key, model)
