"""Wall-clock time: the current instant, and its form on the wire."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """Returns the current instant, aware, in UTC."""
    return datetime.now(UTC)


def elapsed_ms(since: datetime, until: datetime) -> int:
    """Returns whole milliseconds between two instants, never fewer than 0: they may come from two processes, and the
    clock of one may be behind the other's."""
    return max(0, int((until - since).total_seconds() * 1000))


def iso_ms(moment: datetime) -> str:
    """Formats as ISO 8601 with milliseconds and `Z`, the form that docs/protocol-native.md promises for `at`:
    `2026-01-31T12:00:00.123Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
