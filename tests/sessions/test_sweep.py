"""The sweep reads only runs with work, by their index, and lasts until no call is expired."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection

from events_app.removal import GoOn
from sessions_app.legs import sweep as sweeping
from sessions_app.legs.sweep import SESSIONS_WITH_WORK
from sessions_app.models import WORKABLE
from sessions_app.wakeup import SessionKey

pytestmark = pytest.mark.django_db


def test_the_sweeps_query_names_the_states_of_its_index() -> None:
    listed = ", ".join(f"'{state}'" for state in WORKABLE)
    assert f"r.state IN ({listed})" in SESSIONS_WITH_WORK


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by the tables' sizes")
def test_a_sweep_reads_only_runs_with_work() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {SESSIONS_WITH_WORK}", [0, 20, 500])
        plan = " ".join(str(row[-1]) for row in cursor.fetchall())
    assert "USING INDEX run_workable" in plan
    assert "SCAN s" not in plan
    assert "SCAN e" not in plan


def test_a_round_goes_on_until_no_call_is_late_and_looks_for_work_as_often_as_ever(
    monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    done: list[str] = []
    left = [3]

    def expire_calls(*, go_on: GoOn, failed: set[int]) -> None:
        while left[0] and go_on():
            left[0] -= 1
            done.append("call")

    def find_sessions() -> list[SessionKey]:
        done.append("look")
        return []

    monkeypatch.setattr(sweeping, "calls_expire", expire_calls)
    monkeypatch.setattr(sweeping, "sessions_with_work", find_sessions)
    # Every interval of the round is over after its first session.
    settings.GATEWAY_SWEEP_SECONDS = 0.0
    assert sweeping.sweep() == 0
    assert done == ["look", "call", "look", "call", "look", "call"]


def test_a_round_ends_with_its_process(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []
    monkeypatch.setattr(sweeping, "calls_expire", lambda *, go_on, failed: asked.append(go_on()))
    answers = iter([True, False])
    sweeping.sweep(lambda: next(answers))
    assert asked == [False]
