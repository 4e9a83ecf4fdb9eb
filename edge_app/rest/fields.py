"""Serializer fields that accept only the right JSON type: DRF's own turn 1 into "1" and "true" into True.

A client that sends the wrong type has a bug, so it gets an error that names the field.
"""

from __future__ import annotations

import re
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.core.validators import RegexValidator
from rest_framework import serializers

from core_app import jsontext
from core_app.clock import iso_ms
from edge_app.rest.query import parse_instant


class StrictString(serializers.CharField):
    """A JSON string, not trimmed."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("trim_whitespace", False)
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictPattern(StrictString):
    """A JSON string that `pattern` matches as a whole."""

    def __init__(self, pattern: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.validators.append(RegexValidator(re.compile(rf"\A(?:{pattern})\Z"), f"This must match {pattern}."))


class StrictChoice(serializers.ChoiceField):
    """One of a few JSON strings; a refusal names them."""

    default_error_messages = {"invalid_choice": "This must be one of {choices}."}

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str) or data not in self.choices:
            self.fail("invalid_choice", choices=", ".join(self.choices))
        return data


class StrictInteger(serializers.IntegerField):
    """A JSON number without a fraction."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            self.fail("invalid")
        return super().to_internal_value(data)


class StrictDecimal(serializers.DecimalField):
    """A JSON number with at most `decimal_places`, exact as it is written."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(coerce_to_string=False, **kwargs)

    def to_internal_value(self, data: Any) -> Decimal:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        return super().to_internal_value(str(data))


class StrictInstant(serializers.Field[datetime, Any, str, Any]):
    """An ISO 8601 date and time; without an offset it is UTC."""

    default_error_messages = {"invalid": "This must be an ISO 8601 date and time, such as 2030-01-31T00:00:00Z."}

    def to_internal_value(self, data: Any) -> datetime:
        instant = parse_instant(data) if isinstance(data, str) else None
        if instant is None:
            self.fail("invalid")
        return instant

    def to_representation(self, value: datetime) -> str:
        return iso_ms(value)


class StrictBoolean(serializers.BooleanField):
    """A JSON boolean."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=type(data).__name__)
        return data


class JSONObject(serializers.Field[dict[str, Any], Any, dict[str, Any], Any]):
    """A JSON object of at most `max_bytes` when encoded."""

    default_error_messages = {
        "invalid": "This must be a JSON object.",
        "too_large": "This must be at most {limit} bytes of JSON.",
    }

    def __init__(self, *, max_bytes: int = 16 * 1024, **kwargs: Any) -> None:
        self.max_bytes = max_bytes
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            self.fail("invalid")
        if len(jsontext.encode(data)) > self.max_bytes:
            self.fail("too_large", limit=self.max_bytes)
        return data

    def to_representation(self, value: dict[str, Any]) -> dict[str, Any]:
        return value
