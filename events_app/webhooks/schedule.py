"""The pauses between attempts of a delivery: those of Standard Webhooks, or longer where the receiver asks for it."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime

from core_app import clock

_MINUTE, _HOUR = 60.0, 3600.0

PAUSES = (
    *(5.0, 5 * _MINUTE, 30 * _MINUTE),
    *(2 * _HOUR, 5 * _HOUR, 10 * _HOUR, 14 * _HOUR, 20 * _HOUR, 24 * _HOUR),
)
"""Seconds after each failed attempt. There are ten attempts within three days, then the delivery is dead."""

LONGEST_PAUSE = 24 * _HOUR
"""The upper limit of a receiver's `Retry-After`."""


def pause_after(attempts: int, retry_after: str | None) -> float | None:
    """Returns the seconds until the next attempt after `attempts` failed ones; None after the last one."""
    if attempts > len(PAUSES):
        return None
    return max(PAUSES[attempts - 1], min(_retry_after_seconds(retry_after), LONGEST_PAUSE))


def _retry_after_seconds(retry_after: str | None) -> float:
    """Returns the seconds of a `Retry-After` header, a number or an HTTP date; 0 for any other text."""
    text = (retry_after or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return 0.0
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - clock.now()).total_seconds())
