"""The delay taken from a provider's `Retry-After`, whatever its value."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from inference_app.providers.retry_policy import retry_after_seconds

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("2.5", 2.5),
        ("-1", 0.0),
        ("Sat, 31 Jan 2026 12:00:30 GMT", 30.0),
        ("Sat, 31 Jan 2026 11:00:00 GMT", 0.0),
        (None, None),
        ("soon", None),
        ("inf", None),
        ("Sat, 31 Jan 2026 99999999999999999999:00:00 GMT", None),
    ],
)
def test_a_retry_after_is_seconds_or_a_date_or_nothing(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, NOON) == seconds
