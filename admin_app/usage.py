"""The admin's usage page: charts per day and totals by model, key or tenant.

A tenant's staff see their tenant's usage, a superuser that of all tenants or of one. The page reads the ledger once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, cast

from django import forms
from django.core.exceptions import PermissionDenied
from django.core.validators import MaxValueValidator, MinValueValidator
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from admin_app.access import may, tenant_of
from admin_app.charts import Chart, stacked_chart
from core_app import clock
from tenants_app.models import ApiKey, Tenant
from tenants_app.numbers import compact, dollars
from tenants_app.principal import OPERATOR
from tenants_app.selectors.usage import By, DailyUsage, usage_daily

DAYS = 14
MAX_DAYS = 366
MAX_LINES = 200

_IN_RANGE = (MinValueValidator(date(2000, 1, 1)), MaxValueValidator(date(2999, 12, 31)))
_BY = (("model", "Model"), ("key", "Key"), ("tenant", "Tenant"))


class UsageForm(forms.Form):
    """The page's filter: days, grouping, tenant and key, all optional."""

    start = forms.DateField(required=False, label="From", validators=_IN_RANGE)
    end = forms.DateField(required=False, label="To", validators=_IN_RANGE)
    by = forms.ChoiceField(required=False, choices=_BY)
    tenant = forms.ModelChoiceField(Tenant.objects.all(), required=False, empty_label="all tenants")
    key = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(self, data: Any, *, bound_to: Tenant | None) -> None:
        super().__init__(data)
        if bound_to is not None:
            del self.fields["tenant"]
            cast(forms.ChoiceField, self.fields["by"]).choices = _BY[:2]

    def clean(self) -> dict[str, Any]:
        given = self.cleaned_data
        if {"start", "end"} & self.errors.keys():
            return given
        given["end"] = given.get("end") or clock.now().date()
        given["start"] = given.get("start") or given["end"] - timedelta(days=DAYS - 1)
        if given["start"] > given["end"]:
            self.add_error("start", "The first day comes after the last.")
        elif (given["end"] - given["start"]).days >= MAX_DAYS:
            self.add_error("start", f"At most {MAX_DAYS} days can be shown.")
        return given


@dataclass(slots=True)
class UsageTotal:
    """The usage of a day, model, key or tenant: one line of a table."""

    name: str
    responses: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cached_tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    cost_known: bool = True
    estimated: int = 0

    def add(self, usage: DailyUsage) -> None:
        """Adds one day's usage."""
        self.responses += usage.responses
        self.input_tokens += usage.input_tokens
        self.output_tokens += usage.output_tokens
        self.cached_tokens += usage.cached_tokens
        self.cost_usd += usage.cost_usd
        self.cost_known = self.cost_known and usage.cost_known
        self.estimated += usage.estimated


def usage_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Renders the page, for people with the scope `operator`."""
    if not may(request, OPERATOR):
        raise PermissionDenied
    bound_to = tenant_of(request)
    form = UsageForm({"by": "model", **request.GET.dict()}, bound_to=bound_to)
    context = {**context, "title": "Usage", "form": form}
    if form.is_valid():
        tenant = bound_to or form.cleaned_data["tenant"]
        key = _key(form.cleaned_data["key"], tenant)
        context |= _report(form.cleaned_data, tenant, key) | {"key": key, "query": _query(request)}
    return TemplateResponse(request, "admin/admin_app/usage.html", context)


def _key(key_id: int | None, tenant: Tenant | None) -> ApiKey | None:
    if key_id is None:
        return None
    keys = ApiKey.objects.select_related("tenant")
    found = keys.filter(pk=key_id, **({} if tenant is None else {"tenant": tenant})).first()
    if found is None:
        raise Http404
    return found


def _query(request: HttpRequest) -> str:
    """The page's query string without `by`, to which the tabs add theirs."""
    given = request.GET.copy()
    given.pop("by", None)
    return given.urlencode()


def _report(given: dict[str, Any], tenant: Tenant | None, key: ApiKey | None) -> dict[str, Any]:
    by = cast(By, given["by"] or "model")
    usage = usage_daily(
        tenant_id=tenant.pk if tenant else None,
        since=given["start"],
        until=given["end"],
        by=by,
        key_id=key.pk if key else None,
    )
    days = [given["start"] + timedelta(days=index) for index in range((given["end"] - given["start"]).days + 1)]
    lines = sorted(_totals_by(usage, lambda part: part.name), key=_rank)
    total = UsageTotal("Total")
    for part in usage:
        total.add(part)
    return {
        "charts": _charts(usage, days, [line.name for line in lines]) if usage else [],
        "lines": lines[:MAX_LINES],
        "more_lines": max(0, len(lines) - MAX_LINES),
        "days": sorted(_totals_by(usage, lambda part: part.day.isoformat()), key=lambda line: line.name, reverse=True),
        "total": total,
        "by": by,
        "by_label": dict(_BY)[by],
        "since": given["start"],
        "until": given["end"],
    }


def _totals_by(usage: Iterable[DailyUsage], name: Callable[[DailyUsage], str]) -> list[UsageTotal]:
    lines: dict[str, UsageTotal] = {}
    for part in usage:
        lines.setdefault(name(part), UsageTotal(name(part))).add(part)
    return list(lines.values())


def _rank(line: UsageTotal) -> tuple[Decimal, int, str]:
    """Sort key: the most expensive first, then the most tokens."""
    return -line.cost_usd, -(line.input_tokens + line.output_tokens), line.name


def _charts(usage: Sequence[DailyUsage], days: Sequence[date], order: Sequence[str]) -> list[Chart]:
    wanted: tuple[tuple[str, Callable[[DailyUsage], float], Callable[[float], str]], ...] = (
        ("Tokens", lambda part: part.input_tokens + part.output_tokens, compact),
        ("Cost", lambda part: float(part.cost_usd), dollars),
        ("Model responses", lambda part: part.responses, compact),
    )
    return [
        stacked_chart(title, days, _values(usage, measure), label, order, least_step=label is compact)
        for title, measure, label in wanted
    ]


def _values(usage: Iterable[DailyUsage], measure: Callable[[DailyUsage], float]) -> dict[str, dict[date, float]]:
    values: dict[str, dict[date, float]] = defaultdict(lambda: defaultdict(float))
    for part in usage:
        values[part.name][part.day] += measure(part)
    return values
