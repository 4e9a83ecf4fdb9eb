"""GET /v1/usage: what the tenant spent, per day, key and model, from the ledger."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils.dateparse import parse_date, parse_datetime
from rest_framework.request import Request
from rest_framework.response import Response

from core_app.errors import BadRequest
from edge_app.rest.viewsets import GatewayAPIView
from tenants_app.principal import OPERATOR
from tenants_app.selectors.ledger import GROUPS, UsageRow, usage_rows


class UsageView(GatewayAPIView):
    """`from` and `to` are dates (UTC, both included) or instants; `groupBy` is a comma list of day, key, model."""

    scope = OPERATOR

    def get(self, request: Request) -> Response:
        query = request.query_params
        groups = tuple(filter(None, query.get("groupBy", ",".join(GROUPS)).split(",")))
        rows = usage_rows(
            tenant_id=self.principal.tenant_id,
            since=_moment(query.get("from"), "from", timedelta(0)),
            until=_moment(query.get("to"), "to", timedelta(days=1)),
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
    }


def _moment(text: str | None, field: str, whole_day: timedelta) -> datetime | None:
    """The instant a parameter names; a date at the end of the span means its whole day."""
    if not text:
        return None
    try:
        if (day := parse_date(text)) is not None:
            return datetime(day.year, day.month, day.day, tzinfo=UTC) + whole_day
        moment = parse_datetime(text.replace(" ", "+"))
        moment = moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else moment
    except (ValueError, OverflowError):
        moment = None
    if moment is None:
        raise BadRequest(f"'{field}' must be a date or an ISO 8601 instant.", field=field)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
