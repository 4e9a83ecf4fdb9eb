"""A fixed `core_app.clock`, for tests that must not run across midnight."""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo

import pytest

from core_app import clock

NOON = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
"""A moment of the day on which the tests began, so that the database's clock is not far from it."""


class _Standing(datetime):
    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        return NOON.astimezone(tz)


def clock_fixed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fixes the clock, also for holders of `clock.now` itself, like the defaults of models."""
    monkeypatch.setattr(clock, "datetime", _Standing)
