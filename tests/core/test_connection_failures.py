"""The reason of a failed connection: for the log as the driver has it, for clients without the operator's addresses."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.db import connection

from core_app import connection_failures
from core_app.connection_failures import AWAY_SECONDS, KEPT_SECONDS, ConnectionFailures, public_cause
from gateway_project.configuration.databases import POOL_SECONDS, postgresql

REFUSED = (
    'connection failed: connection to server at "10.0.0.7", port 5432 failed: Connection refused\n\tIs it running?'
)


def test_a_failure_is_kept_for_a_while_and_makes_the_server_away_for_less(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("core_app.connection_failures.time.monotonic", lambda: now[0])
    failures = ConnectionFailures()
    assert (failures.away(), failures.reason()) == ("", "")
    failures.note(OSError(REFUSED))
    assert failures.away() == failures.reason() == REFUSED.splitlines()[0]
    now[0] += AWAY_SECONDS
    assert (failures.away(), failures.reason()) == ("", REFUSED.splitlines()[0])
    now[0] += KEPT_SECONDS
    assert failures.reason() == ""
    failures.note(OSError(REFUSED))
    failures.clear()
    assert (failures.away(), failures.reason()) == ("", "")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (REFUSED, " (connection refused)"),
        ("connection timeout expired", " (no answer in time)"),
        ('FATAL:  password authentication failed for user "gateway"', " (it refuses the gateway's role)"),
        ("database or disk is full", " (its disk is full)"),
        ("something with 10.0.0.7 in it", ""),
    ],
)
def test_a_client_gets_the_cause_and_no_address(text: str, cause: str) -> None:
    assert public_cause(text) == cause


def test_nobody_waits_long_for_a_connection() -> None:
    options = postgresql("postgresql://a@b/c", threads=10, lease_seconds=10, lock_seconds=3)
    assert options["OPTIONS"]["pool"]["timeout"] == POOL_SECONDS <= 3
    assert options["OPTIONS"]["pool"]["reconnect_timeout"] <= 3
    assert options["ENGINE"] == "core_app.postgresql_backend"


@pytest.mark.skipif(not settings.GATEWAY_DATABASE_URL, reason="SQLite has no server that can be away")
@pytest.mark.django_db(transaction=True)
def test_while_the_server_is_away_a_connection_is_refused_at_once() -> None:
    from django.db import OperationalError

    connection.close()
    connection_failures.FAILURES.note(OSError(REFUSED))
    try:
        with pytest.raises(OperationalError, match="Connection refused"):
            connection.ensure_connection()
    finally:
        connection_failures.FAILURES.clear()
    connection.ensure_connection()
