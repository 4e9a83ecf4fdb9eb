"""Times between instants of processes whose clocks differ."""

from __future__ import annotations

from datetime import timedelta

from core_app.clock import elapsed_ms, now


def test_a_time_that_has_passed_is_never_negative() -> None:
    moment = now()
    assert elapsed_ms(moment, moment + timedelta(seconds=1.5)) == 1500
    assert elapsed_ms(moment, moment - timedelta(seconds=30)) == 0
