"""Outcomes and latencies of ended runs, by day and by model, key, agent or end user.

One scan of the index of ended runs, grouped by the database: 100,000 runs come back as a few hundred rows. Latencies
are counted in steps, between which percentiles are interpolated, because SQLite has no percentiles and sorting in
Python takes longer than the scan. Nothing is counted while runs are executed.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any, Literal

from django.db import connection

from sessions_app.models import RunState
from tenants_app.models import ApiKey
from tenants_app.selectors.usage import NO_KEY
from tenants_app.selectors.usage_union import COST_DIGITS

RunsBy = Literal["model", "key", "agent", "end_user"]
Ends = tuple[int, int]

NO_AGENT = "without an agent"
NO_END_USER = "without an end user"
MAX_DECADES = 9
"""Decimal digits of a latency in milliseconds: 11 days."""

_COLUMNS: dict[RunsBy, str] = {
    "model": "s.model",
    "key": "r.api_key_id",
    "agent": "s.agent",
    "end_user": "r.end_user",
}
_UNNAMED = {"model": "", "key": NO_KEY, "agent": NO_AGENT, "end_user": NO_END_USER}
_DAY = {"sqlite": "substr(r.ended_at, 1, 10)", "postgresql": "to_char(r.ended_at AT TIME ZONE 'UTC', 'YYYY-MM-DD')"}
_COST = {
    "sqlite": "CAST(ROUND(r.cost_usd * 10000000000) AS integer)",
    "postgresql": "(r.cost_usd * 10000000000)::bigint",
}


def _fine_step(column: str) -> str:
    """Returns SQL for the lower end of a latency's step: 100, 150, 200 … 950, 1000, 1500."""
    steps = "".join(
        f" WHEN {column} < {10**digits} THEN {column} / {_half(digits)} * {_half(digits)}"
        for digits in range(1, MAX_DECADES + 1)
    )
    return f"CASE{steps} ELSE {10**MAX_DECADES} END"


def _coarse_step(column: str) -> str:
    """The same in steps of 1, 2, 5, 10, 20 …: a tenant may have a thousand end users, each with groups of its own."""
    steps = "".join(f" WHEN {column} < {upper} THEN {lower}" for lower, upper in pairwise(_COARSE))
    return f"CASE{steps} ELSE {10**MAX_DECADES} END"


def _half(digits: int) -> int:
    return max(1, int(10 ** (digits - 1)) // 2)


_COARSE = (0, *(unit * 10**digits for digits in range(MAX_DECADES) for unit in (1, 2, 5)), 10**MAX_DECADES)


@dataclass(slots=True)
class Latency:
    """Counted latencies: the number of runs by the two ends of their step, in milliseconds."""

    steps: Counter[Ends] = field(default_factory=Counter)

    @property
    def count(self) -> int:
        return sum(self.steps.values())

    def percentile(self, share: float) -> float | None:
        """Returns the latency that a share of the runs did not exceed, in milliseconds; None without runs."""
        wanted = share * self.count
        passed = 0
        for step in sorted(self.steps):
            passed += self.steps[step]
            if passed >= wanted:
                inside = 1 - (passed - wanted) / self.steps[step]
                return step[0] + (step[1] - step[0]) * inside
        return None


@dataclass(slots=True)
class RunFigures:
    """Sums of some runs. `failed` ended with an error; `stopped` ended before their answer for another reason."""

    runs: int = 0
    failed: int = 0
    stopped: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: int = 0
    """In 10⁻¹⁰ US dollars, as the ledger's daily sums have it."""
    unpriced: int = 0
    """Runs with a response of unknown price."""
    first_output: Latency = field(default_factory=Latency)
    duration: Latency = field(default_factory=Latency)

    @property
    def cost_usd(self) -> Decimal:
        return Decimal(self.cost).scaleb(-COST_DIGITS)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def add(self, other: RunFigures) -> None:
        """Adds the sums of other runs."""
        for name in ("runs", "failed", "stopped", "input_tokens", "output_tokens", "cost", "unpriced"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.first_output.steps.update(other.first_output.steps)
        self.duration.steps.update(other.duration.steps)


@dataclass(frozen=True, slots=True)
class RunReport:
    """The runs of some days: by day, by name, and by both."""

    by_day: dict[date, RunFigures]
    by_name: dict[str, RunFigures]
    cells: dict[tuple[date, str], RunFigures]


def run_report(
    *,
    tenant_id: int | None,
    since: date,
    until: date,
    by: RunsBy,
    key_id: int | None = None,
) -> RunReport:
    """Returns figures of the runs that ended from `since` to `until`, both included, in UTC. `tenant_id` None: of all
    tenants, for the operator of the gateway only."""
    where = ["r.ended_at IS NOT NULL", "r.ended_at >= %s", "r.ended_at < %s"]
    values: list[Any] = [_midnight(since), _midnight(until + timedelta(days=1))]
    # The index of ended runs begins with the tenant.
    where.append("r.tenant_id IN (SELECT id FROM tenants_app_tenant)" if tenant_id is None else "r.tenant_id = %s")
    values += [] if tenant_id is None else [tenant_id]
    if key_id is not None:
        where.append("r.api_key_id = %s")
        values.append(key_id)
    name = _COLUMNS[by]
    session = " JOIN sessions_app_agentsession s ON s.id = r.session_id" if name.startswith("s.") else ""
    # End users are too many for a group per day and user.
    day = "''" if by == "end_user" else _DAY[connection.vendor]
    unpriced = "SUM(CASE WHEN r.cost_known THEN 0 ELSE 1 END)"
    sums = f"COUNT(*), SUM(r.input_tokens), SUM(r.output_tokens), SUM({_COST[connection.vendor]}), {unpriced}"
    step = _coarse_step if by == "end_user" else _fine_step
    sql = (
        f"SELECT {day}, {name}, r.state, {step('r.first_output_ms')}, {step('r.duration_ms')}, {sums}"  # noqa: S608
        f" FROM sessions_app_run r{session} WHERE {' AND '.join(where)} GROUP BY 1, 2, 3, 4, 5"
    )
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        return _report(by, cursor.fetchall())


def _report(by: RunsBy, rows: list[tuple[Any, ...]]) -> RunReport:
    report = RunReport({}, {}, {})
    names = _names(by, {row[1] for row in rows})
    for day, name, state, first, duration, *sums in rows:
        figures = _figures(state, _ends(by, first), _ends(by, duration), sums)
        shown = names[name]
        report.by_name.setdefault(shown, RunFigures()).add(figures)
        if day:
            moment = date.fromisoformat(str(day))
            report.by_day.setdefault(moment, RunFigures()).add(figures)
            report.cells.setdefault((moment, shown), RunFigures()).add(figures)
    return report


def _figures(state: str, first: Ends | None, duration: Ends | None, sums: list[Any]) -> RunFigures:
    runs, input_tokens, output_tokens, cost, unpriced = (int(value or 0) for value in sums)
    figures = RunFigures(
        runs=runs,
        failed=runs if state == RunState.FAILED else 0,
        stopped=runs if state == RunState.ABORTED else 0,
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cost=cost,
        unpriced=unpriced,
    )
    if first is not None:
        figures.first_output.steps[first] = runs
    if duration is not None:
        figures.duration.steps[duration] = runs
    return figures


def _ends(by: RunsBy, lower: int) -> Ends | None:
    """Returns both ends of a step; None for a run without the latency, for which the SQL has the last step."""
    if lower >= 10**MAX_DECADES:
        return None
    if by == "end_user":
        return lower, _COARSE[_COARSE.index(lower) + 1]
    return lower, lower + _half(len(str(lower)))


def _names(by: RunsBy, found: set[Any]) -> dict[Any, str]:
    if by == "key":
        keys = ApiKey.objects.filter(pk__in=found - {None}).values_list("pk", "name", "prefix")
        return dict.fromkeys(found, NO_KEY) | {pk: f"{name} ({prefix}…)" for pk, name, prefix in keys}
    return {name: name or _UNNAMED[by] for name in found}


def _midnight(day: date) -> Any:
    return connection.ops.adapt_datetimefield_value(datetime.combine(day, time(), UTC))
