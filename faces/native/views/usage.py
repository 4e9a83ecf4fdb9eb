"""The tenant's usage per day, key and model, from the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils.dateparse import parse_date
from rest_framework.request import Request
from rest_framework.response import Response

from core_app.errors import BadRequest
from edge_app.rest.query import parse_instant
from edge_app.rest.viewsets import GatewayViewSet
from tenants_app.principal import USAGE_READ
from tenants_app.selectors.ledger import GROUPS, UsageRow, usage_rows


class UsageViewSet(GatewayViewSet):
    """GET /v1/usage. `from` and `to` are dates (UTC, both included) or instants; `groupBy` is a comma list of day, key,
    model."""

    scope = USAGE_READ

    def list(self, request: Request) -> Response:
        query = request.query_params
        groups = tuple(filter(None, query.get("groupBy", ",".join(GROUPS)).split(",")))
        rows = usage_rows(
            tenant_id=self.principal.tenant_id,
            since=_instant(query.get("from"), "from", timedelta(0)),
            until=_instant(query.get("to"), "to", timedelta(days=1)),
            group_by=groups,
            end_user=query.get("endUser"),
        )
        return Response({"usage": [_row_to_wire(row, groups) for row in rows]})


def _row_to_wire(row: UsageRow, groups: tuple[str, ...]) -> dict[str, Any]:
    totals = row.totals
    return {name: getattr(row, name) for name in GROUPS if name in groups} | {
        "prompts": totals.runs,
        "turns": totals.responses,
        "promptTokens": totals.input_tokens,
        "completionTokens": totals.output_tokens,
        "cachedTokens": totals.cached_tokens,
        "reasoningTokens": totals.reasoning_tokens,
        "costUsd": float(totals.cost_usd),
        "costKnown": totals.cost_known,
        "estimatedTurns": totals.estimated,
    }


def _instant(text: str | None, field: str, date_offset: timedelta) -> datetime | None:
    """Returns the instant of a parameter. A date is its midnight plus `date_offset`: a day for the end of a span."""
    if not text:
        return None
    try:
        if (day := parse_date(text)) is not None:
            return datetime(day.year, day.month, day.day, tzinfo=UTC) + date_offset
        instant = parse_instant(text)
    except (ValueError, OverflowError):  # no day of the calendar, or the last one
        instant = None
    if instant is None:
        raise BadRequest(f"'{field}' must be a date or an ISO 8601 instant.", field=field)
    return instant
