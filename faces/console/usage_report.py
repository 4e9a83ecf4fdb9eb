"""The usage of a tenant by day and by model, key, agent or end user: spend from the ledger, outcomes from the runs.

Models and keys: the ledger knows all spend, of sessions and of relayed calls. Agents and end users: the runs of
sessions, because relayed calls have no agent and the ledger's daily sums know neither.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from typing import Literal, cast

from sessions_app.run_figures import RunFigures, RunReport, run_report
from tenants_app.selectors.usage import By, DailyUsage, usage_daily

UsageBy = Literal["model", "key", "agent", "end_user"]

IN_LEDGER = ("model", "key")
EVERYTHING = ""
"""The name of the only series of a report that has no day per name."""


@dataclass(slots=True)
class Line:
    """The usage of a day, or of a name. `responses` is None where the ledger has no answer."""

    name: str
    responses: int | None = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    cost_known: bool = True
    runs: RunFigures = field(default_factory=RunFigures)

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    @property
    def first_output(self) -> tuple[float | None, float | None]:
        """The median and the 95th percentile, in milliseconds."""
        return self.runs.first_output.percentile(0.5), self.runs.first_output.percentile(0.95)

    @property
    def duration(self) -> tuple[float | None, float | None]:
        """The same of the whole run."""
        return self.runs.duration.percentile(0.5), self.runs.duration.percentile(0.95)

    def add_spend(self, usage: DailyUsage) -> None:
        """Adds spend of the ledger."""
        self.responses = (self.responses or 0) + usage.responses
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.cost_usd += usage.cost_usd
        self.cost_known = self.cost_known and usage.cost_known

    def add_runs(self, runs: RunFigures, *, spend: bool) -> None:
        """Adds figures of runs, with their spend where the ledger's is not taken."""
        self.runs.add(runs)
        if spend:
            self.input_tokens += runs.input_tokens
            self.output_tokens += runs.output_tokens
            self.cost_usd += runs.cost_usd
            self.cost_known = self.cost_known and not runs.unpriced


@dataclass(frozen=True, slots=True)
class UsageReport:
    """Lines by name (the most expensive first), by day (every day of the span), by both, and their total."""

    by: UsageBy
    lines: list[Line]
    days: dict[date, Line]
    cells: dict[tuple[date, str], Line]
    total: Line


def usage_report(tenant_id: int, since: date, until: date, by: UsageBy) -> UsageReport:
    """Reads the ledger and the runs, with a query each. Both days are included."""
    spend = usage_daily(tenant_id=tenant_id, since=since, until=until, by=cast(By, by if by in IN_LEDGER else "model"))
    runs = run_report(tenant_id=tenant_id, since=since, until=until, by=by)
    span = [since + timedelta(days=index) for index in range((until - since).days + 1)]
    report = UsageReport(by, [], {day: Line(day.isoformat()) for day in span}, {}, Line(""))
    lines: dict[str, Line] = {}
    _add_spend(report, lines, spend)
    _add_runs(report, lines, runs)
    report.lines.extend(sorted(lines.values(), key=lambda line: (-line.cost_usd, -line.tokens, line.name)))
    return report


def _add_spend(report: UsageReport, lines: dict[str, Line], spend: list[DailyUsage]) -> None:
    for part in spend:
        named = report.by in IN_LEDGER
        if part.day in report.days:
            report.days[part.day].add_spend(part)
        report.total.add_spend(part)
        if named:
            lines.setdefault(part.name, Line(part.name)).add_spend(part)
        if named or report.by == "end_user":
            name = part.name if named else EVERYTHING
            report.cells.setdefault((part.day, name), Line(name)).add_spend(part)


def _add_runs(report: UsageReport, lines: dict[str, Line], runs: RunReport) -> None:
    with_spend = report.by not in IN_LEDGER
    for name, figures in runs.by_name.items():
        lines.setdefault(name, Line(name)).add_runs(figures, spend=with_spend)
        report.total.add_runs(figures, spend=False)
    for day, figures in runs.by_day.items():
        if day in report.days:
            report.days[day].add_runs(figures, spend=False)
    for (day, name), figures in runs.cells.items():
        report.cells.setdefault((day, name), Line(name)).add_runs(figures, spend=with_spend)
