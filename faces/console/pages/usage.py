"""Usage: spend, prompts, errors and latencies per day, by model, key, agent or end user; budgets; CSV.

Latencies are those of ended runs: from the acceptance of the prompt, so time in a queue counts, to the first text or
thought and to the end. The page is rendered whole; its script only renews it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, cast

from django import forms
from django.core.validators import MaxValueValidator, MinValueValidator
from django.http import HttpResponse
from django.utils.translation import gettext_lazy as _

from admin_app.charts import MAX_SERIES, Chart, grouped_chart, stacked_chart
from core_app import clock
from core_app.errors import Forbidden
from core_app.visible_text import visible_text
from faces.console.csv_download import csv_response
from faces.console.page import Page, Visit
from faces.console.templatetags.console_numbers import milliseconds
from faces.console.usage_report import Line, UsageBy, UsageReport, usage_report
from inference_app.spend.budget_state import budget_states
from tenants_app.numbers import compact, dollars
from tenants_app.principal import USAGE_READ

DAYS = 14
MAX_DAYS = 366
MAX_LINES = 200
MAX_CSV_LINES = 50_000

_IN_RANGE = (MinValueValidator(date(2000, 1, 1)), MaxValueValidator(date(2999, 12, 31)))
BY = (
    ("model", _("Model")),
    ("key", _("Key")),
    ("agent", _("Agent")),
    ("end_user", _("End user")),
)
_HEADS = (
    "day", "name", "prompts", "failed", "stopped", "model_responses", "input_tokens", "output_tokens", "cost_usd",
    "cost_known", "first_output_median_ms", "first_output_p95_ms", "run_median_ms", "run_p95_ms",
)  # fmt: skip


class UsageForm(forms.Form):
    """The filter: days and grouping, both optional."""

    start = forms.DateField(required=False, validators=_IN_RANGE)
    end = forms.DateField(required=False, validators=_IN_RANGE)
    by = forms.ChoiceField(required=False, choices=BY)

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        if {"start", "end"} & self.errors.keys():
            return given
        given["end"] = given.get("end") or clock.now().date()
        given["start"] = given.get("start") or given["end"] - timedelta(days=DAYS - 1)
        if given["start"] > given["end"]:
            self.add_error("start", _("The first day comes after the last."))
        elif (given["end"] - given["start"]).days >= MAX_DAYS:
            self.add_error("start", _("At most %(days)s days can be shown.") % {"days": MAX_DAYS})
        return given


@dataclass(frozen=True, slots=True)
class ShownChart:
    """A chart, and its amounts as a table for people who do not see it."""

    chart: Chart
    rows: Sequence[tuple[str, Sequence[str]]]


def _context(visit: Visit) -> Mapping[str, Any]:
    form = UsageForm(visit.request.GET)
    context: dict[str, Any] = {"form": form, "choices": BY, "by": "model"}
    if form.is_valid():
        report = _report(visit, form)
        context |= {
            "by": report.by,
            "by_label": dict(BY)[report.by],
            "day_label": _("Day (UTC)"),
            "start": form.cleaned_data["start"],
            "end": form.cleaned_data["end"],
            "charts": _charts(report),
            "lines": report.lines[:MAX_LINES],
            "more_lines": max(0, len(report.lines) - MAX_LINES),
            "days": [line for line in reversed(report.days.values()) if line.runs.runs or line.responses],
            "total": report.total,
        }
    return context | {"budgets": budget_states(visit.principal.tenant_id)}


def usage_csv(visit: Visit) -> HttpResponse:
    """GET /console/usage.csv: the page's lines per day and name, or per name for end users."""
    if not visit.allows(PAGE.scopes):
        raise Forbidden(_("This page needs the right “%(scope)s”.") % {"scope": USAGE_READ})
    form = UsageForm(visit.request.GET)
    if not form.is_valid():
        # The page says what is wrong.
        form = UsageForm({})
        form.is_valid()
    report = _report(visit, form)
    cells = sorted(report.cells.items()) if report.by != "end_user" else [(("", x.name), x) for x in report.lines]
    rows = [[str(day), *_cells(line)] for (day, _name), line in cells[:MAX_CSV_LINES]]
    return csv_response(f"usage-{form.cleaned_data['start']}-{form.cleaned_data['end']}.csv", _HEADS, rows)


def _report(visit: Visit, form: UsageForm) -> UsageReport:
    given = form.cleaned_data
    by = cast(UsageBy, given["by"] or "model")
    report = usage_report(visit.principal.tenant_id, given["start"], given["end"], by)
    for line in [*report.lines, *report.cells.values()]:
        line.name = visible_text(line.name)
    return report


def _cells(line: Line) -> list[object]:
    return [
        line.name,
        line.runs.runs,
        line.runs.failed,
        line.runs.stopped,
        line.responses,
        line.input_tokens,
        line.output_tokens,
        str(line.cost_usd),
        "yes" if line.cost_known else "no",
        *(None if ms is None else round(ms) for ms in (*line.first_output, *line.duration)),
    ]


def _charts(report: UsageReport) -> list[ShownChart]:
    if not report.total.runs.runs and not report.total.responses:
        return []
    charts = [
        _stacked(report, str(_("Tokens")), lambda line: line.tokens, compact),
        _stacked(report, str(_("Cost")), lambda line: float(line.cost_usd), dollars),
    ]
    if report.by != "end_user":
        charts += [
            _stacked(report, str(_("Prompts")), lambda line: line.runs.runs, compact),
            _stacked(report, str(_("Errors")), lambda line: line.runs.failed, compact),
            _latency(report, str(_("Time to the first output")), lambda line: line.first_output),
            _latency(report, str(_("Time of the whole run")), lambda line: line.duration),
        ]
    return charts


def _stacked(
    report: UsageReport, title: str, measure: Callable[[Line], float], label: Callable[[float], str]
) -> ShownChart:
    values: dict[str, dict[date, float]] = defaultdict(dict)
    for (day, name), line in report.cells.items():
        shown = visible_text(name) or str(_("all"))
        values[shown][day] = values[shown].get(day, 0.0) + measure(line)
    order = sorted(values, key=lambda name: (-sum(values[name].values()), name))
    chart = stacked_chart(title, list(report.days), values, label, order, least_step=label is compact)
    return ShownChart(chart, _rows(report, values, order[:MAX_SERIES], label))


def _latency(
    report: UsageReport, title: str, measure: Callable[[Line], tuple[float | None, float | None]]
) -> ShownChart:
    names = (str(_("half of the runs")), str(_("95 of 100 runs")))
    values: dict[str, dict[date, float]] = {name: {} for name in names}
    for day, line in report.days.items():
        for name, ms in zip(names, measure(line), strict=True):
            if ms is not None:
                values[name][day] = ms
    median = milliseconds(measure(report.total)[0])
    chart = grouped_chart(title, list(report.days), values, milliseconds, names, total=median)
    return ShownChart(chart, _rows(report, values, names, milliseconds))


def _rows(
    report: UsageReport, values: Mapping[str, Mapping[date, float]], names: Sequence[str], label: Callable[[float], str]
) -> list[tuple[str, Sequence[str]]]:
    shown = [day for day in report.days if any(values[name].get(day) for name in names)]
    return [(day.isoformat(), [label(values[name].get(day, 0.0)) for name in names]) for day in shown]


PAGE = Page(
    name="usage",
    route="usage",
    title=_("Usage"),
    template="console/usage.html",
    script="usage.js",
    style="charts.css",
    context=_context,
    scopes=(USAGE_READ,),
)
