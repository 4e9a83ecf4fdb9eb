"""Daily sums of relayed calls, by tenant, provider and model: counted in memory, added to the database in batches.

They are for display; charges come from the ledger. Models that the operator did not configure are one row. A batch
whose commit was not confirmed may be counted twice, and the last moment of a killed process is not counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from django.db import connection
from django.db.models import Sum

from core_app.jsontext import clean_text
from inference_app.catalogue.config import models_config
from inference_app.catalogue.reported import REPORTED
from inference_app.catalogue.resolution import Candidate
from inference_app.models import RelayedDay
from tenants_app.numbers import dollars

AMOUNTS = (
    "requests", "answered", "errors", "refused", "abandoned", "failed_attempts", "answer_ms", "begun",
    "first_byte_ms", "cost_nanos",
)  # fmt: skip
_OUTCOMES = {"ok": "answered", "broken": "errors", "failed": "errors", "refused": "refused", "left": "abandoned"}
_NANOS = 1_000_000_000


class Cell(NamedTuple):
    """The key of a row."""

    tenant_id: int
    day: date
    provider: str
    model: str


class Counts:
    """Amounts by row, not yet written."""

    def __init__(self) -> None:
        self.cells: dict[Cell, dict[str, int]] = {}

    def __bool__(self) -> bool:
        return bool(self.cells)

    def record_call(
        self,
        tenant_id: int,
        day: date,
        candidate: Candidate,
        outcome: str,
        total_ms: float,
        first_byte_ms: float | None,
    ) -> None:
        """Counts a call that has ended."""
        amounts = self._of(tenant_id, day, candidate)
        amounts["requests"] += 1
        amounts[_OUTCOMES[outcome]] += 1
        if outcome == "ok":
            amounts["answer_ms"] += round(total_ms)
        if first_byte_ms is not None:
            amounts["begun"] += 1
            amounts["first_byte_ms"] += round(first_byte_ms)

    def record_failed_attempt(self, tenant_id: int, day: date, candidate: Candidate) -> None:
        """Counts a failed attempt; the call goes on."""
        self._of(tenant_id, day, candidate)["failed_attempts"] += 1

    def add_cost(self, tenant_id: int, day: date, candidate: Candidate, usd: Decimal | None) -> None:
        """Adds the cost of a call, if it is known."""
        if usd:
            self._of(tenant_id, day, candidate)["cost_nanos"] += int(usd * _NANOS)

    def add(self, other: Counts) -> None:
        """Adds the other's amounts."""
        for cell, amounts in other.cells.items():
            mine = self.cells.setdefault(cell, dict.fromkeys(AMOUNTS, 0))
            for name, amount in amounts.items():
                mine[name] += amount

    def _of(self, tenant_id: int, day: date, candidate: Candidate) -> dict[str, int]:
        cell = Cell(tenant_id, day, candidate.provider, REPORTED.model(models_config(), candidate))
        amounts = self.cells.get(cell)
        if amounts is None:
            amounts = self.cells[cell] = dict.fromkeys(AMOUNTS, 0)
        return amounts


_COLUMNS = ("tenant_id", "day", "provider", "model", *AMOUNTS)
_SUMS = ", ".join(f"{name} = inference_app_relayedday.{name} + excluded.{name}" for name in AMOUNTS)
_INSERT = f"INSERT INTO inference_app_relayedday ({', '.join(_COLUMNS)})"
_MARKS = ", ".join("%s" for _ in _COLUMNS)
_ADD = f"{_INSERT} VALUES ({_MARKS}) ON CONFLICT (tenant_id, day, provider, model) DO UPDATE SET {_SUMS}"


def counts_write(counts: Counts) -> None:
    """Adds amounts to their rows, in the caller's transaction; sorted, so that two processes cannot deadlock."""
    rows: list[list[int | date | str]] = []
    for cell, amounts in sorted(counts.cells.items()):
        names = (clean_text(cell.provider)[:64], clean_text(cell.model)[:200])
        rows.append([cell.tenant_id, cell.day, *names, *(amounts[name] for name in AMOUNTS)])
    with connection.cursor() as cursor:
        cursor.executemany(_ADD, rows)


def relayed_daily(*, by: str, since: date, until: date, tenant_id: int | None) -> Mapping[str, Mapping[date, Relayed]]:
    """Returns the sums from the first day to the last, by the names of `provider`, `model` or `tenant`."""
    name = {"provider": "provider", "model": "model", "tenant": "tenant__slug"}[by]
    rows = RelayedDay.objects.filter(day__gte=since, day__lt=until + timedelta(days=1))
    if tenant_id is not None:
        rows = rows.filter(tenant_id=tenant_id)
    found: dict[str, dict[date, Relayed]] = {}
    for row in (
        rows.values(name, "day").annotate(**{f"sum_{amount}": Sum(amount) for amount in AMOUNTS}).order_by("day")
    ):
        amounts = {amount: int(row[f"sum_{amount}"]) for amount in AMOUNTS}
        found.setdefault(row[name], {})[row["day"]] = Relayed(**amounts)
    return found


class Relayed(NamedTuple):
    """Sums of some rows."""

    requests: int = 0
    answered: int = 0
    errors: int = 0
    refused: int = 0
    abandoned: int = 0
    failed_attempts: int = 0
    answer_ms: int = 0
    begun: int = 0
    first_byte_ms: int = 0
    cost_nanos: int = 0

    def plus(self, other: Relayed) -> Relayed:
        """Returns the sum of both."""
        return Relayed(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    @property
    def latency_ms(self) -> float | None:
        """The average duration of an answered call, in milliseconds."""
        return self.answer_ms / self.answered if self.answered else None

    @property
    def first_byte(self) -> float | None:
        """The average time to the first byte, in milliseconds."""
        return self.first_byte_ms / self.begun if self.begun else None

    @property
    def error_percent(self) -> str:
        """The share of calls without a good response."""
        return f"{100 * self.errors / self.requests:.1f} %" if self.requests else "–"

    @property
    def cost_usd(self) -> float:
        return self.cost_nanos / _NANOS

    @property
    def cost_shown(self) -> str:
        return dollars(self.cost_usd)
