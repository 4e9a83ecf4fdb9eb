"""A day that does not end while a test runs: `core_app.clock` stands still where midnight would tell halves apart."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

import pytest

from core_app import clock

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
"""Of the day on which the tests began: what asks the database for the time is not far from it."""


class _Standing(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return NOON.astimezone(tz)


def clock_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """For whoever holds `clock.now` itself too: defaults of models do."""
    monkeypatch.setattr(clock, "datetime", _Standing)
