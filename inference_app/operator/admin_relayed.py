"""The admin page about relayed calls: requests, errors, latency and cost per day, by provider, model or tenant.

Staff of a tenant see that tenant's calls; superusers see those of all tenants or of one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from functools import reduce
from typing import Any, cast

from django import forms
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from admin_app.access import may, tenant_of
from admin_app.charts import Chart, grouped_chart, stacked_chart
from admin_app.usage import MAX_LINES, UsageForm
from inference_app.spend.daily_stats import Relayed, relayed_daily
from tenants_app.models import Tenant
from tenants_app.numbers import compact, dollars
from tenants_app.principal import OPERATOR

_BY = (("provider", "Provider"), ("model", "Model"), ("tenant", "Tenant"))

Days = Mapping[date, Relayed]


class RelayedForm(UsageForm):
    """The page's filter: days, grouping and tenant, all optional."""

    by = forms.ChoiceField(required=False, choices=_BY)

    def __init__(self, data: Any, *, bound_to: Tenant | None) -> None:
        super().__init__(data, bound_to=bound_to)
        del self.fields["key"]
        cast(forms.ChoiceField, self.fields["by"]).choices = _BY if bound_to is None else _BY[:2]


def relayed_page(request: HttpRequest, context: dict[str, Any]) -> HttpResponse:
    """Renders the page; PermissionDenied without the scope `operator`."""
    if not may(request, OPERATOR):
        raise PermissionDenied
    bound_to = tenant_of(request)
    form = RelayedForm({"by": "provider", **request.GET.dict()}, bound_to=bound_to)
    context = {**context, "title": "Relayed", "form": form}
    if form.is_valid():
        context |= _report(form.cleaned_data, bound_to or form.cleaned_data["tenant"])
        given = request.GET.copy()
        given.pop("by", None)
        context["query"] = given.urlencode()
    return TemplateResponse(request, "admin/inference_app/relayed.html", context)


def _report(given: dict[str, Any], tenant: Tenant | None) -> dict[str, Any]:
    by = given["by"] or "provider"
    since, until = given["start"], given["end"]
    found = relayed_daily(by=by, since=since, until=until, tenant_id=tenant.pk if tenant else None)
    days = [since + timedelta(days=index) for index in range((until - since).days + 1)]
    sums = {name: _sum(parts) for name, parts in found.items()}
    lines = sorted(sums.items(), key=lambda line: (-line[1].requests, line[0]))
    total = reduce(Relayed.plus, sums.values(), Relayed())
    return {
        "charts": _charts(found, days, [name for name, _ in lines], total) if found else [],
        "lines": lines[:MAX_LINES],
        "more_lines": max(0, len(lines) - MAX_LINES),
        "total": total,
        "by": by,
        "by_label": dict(_BY)[by],
        "since": since,
        "until": until,
    }


def _sum(parts: Days) -> Relayed:
    return reduce(Relayed.plus, parts.values(), Relayed())


def _charts(found: Mapping[str, Days], days: Sequence[date], order: Sequence[str], total: Relayed) -> list[Chart]:
    def values(measure: Callable[[Relayed], float | None]) -> dict[str, dict[date, float]]:
        return {name: {day: measure(part) or 0.0 for day, part in parts.items()} for name, parts in found.items()}

    latency = "–" if total.latency_ms is None else _milliseconds(total.latency_ms)
    return [
        stacked_chart("Requests", days, values(lambda part: part.requests), compact, order, least_step=1),
        stacked_chart("Errors", days, values(lambda part: part.errors), compact, order, least_step=1),
        grouped_chart("Latency", days, values(lambda part: part.latency_ms), _milliseconds, order, total=latency),
        stacked_chart("Cost", days, values(lambda part: part.cost_usd), dollars, order),
    ]


def _milliseconds(amount: float) -> str:
    return f"{amount / 1000:.1f} s" if amount >= 1000 else f"{amount:.0f} ms"
