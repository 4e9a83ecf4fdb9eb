"""What the sweep reads: only runs with work, by the index that is made for it."""

from __future__ import annotations

import pytest
from django.db import connection

from sessions_app.legs.sweep import WITH_WORK
from sessions_app.models import WORKABLE

pytestmark = pytest.mark.django_db


def test_the_sweeps_query_names_the_states_of_its_index() -> None:
    listed = ", ".join(f"'{state}'" for state in WORKABLE)
    assert f"r.state IN ({listed})" in WITH_WORK


@pytest.mark.skipif(connection.vendor != "sqlite", reason="PostgreSQL plans by the tables' sizes")
def test_a_sweep_reads_only_runs_with_work() -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN QUERY PLAN {WITH_WORK}", [0, 500])
        plan = " ".join(str(row[-1]) for row in cursor.fetchall())
    assert "USING INDEX run_workable" in plan
    assert "SCAN s" not in plan
    assert "SCAN e" not in plan
