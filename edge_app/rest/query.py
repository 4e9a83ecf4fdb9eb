"""Query parameters of REST views: whole numbers and instants, refused by name where they are malformed."""

from __future__ import annotations

from datetime import UTC, datetime

from django.utils.dateparse import parse_datetime
from rest_framework.request import Request

from core_app.errors import BadRequest


def number_parameter(request: Request, name: str, default: int | None) -> int | None:
    """Returns a whole number of at least 0; `default` where the parameter is missing or empty."""
    text = request.query_params.get(name)
    if text is None or text == "":
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise BadRequest(f"'{name}' must be a whole number of at least 0.", field=name)
    return int(text)


def parse_instant(text: str) -> datetime | None:
    """Returns an ISO 8601 date and time in UTC, None for anything else. Without an offset it is UTC already.

    A space counts as the `+` that clients forgot to encode.
    """
    try:
        instant = parse_datetime(text.replace(" ", "+"))
        if instant is None or instant.tzinfo is None:
            return instant and instant.replace(tzinfo=UTC)
        return instant.astimezone(UTC)
    except (ValueError, OverflowError):  # 0001-01-01T00:00+23:00 is before the first datetime in UTC
        return None
