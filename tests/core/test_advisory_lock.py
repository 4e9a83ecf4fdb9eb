"""One process at a time: whoever freezes in its turn must not keep everybody from theirs."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from django.db import DatabaseError, connection, connections

from core_app.database import advisory_lock

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite serves one process, whose turn it always is."),
]

KEY = 0x7475726E
PATIENCE = 60.0


def test_a_turn_is_one_processs_at_a_time() -> None:
    answers: list[bool] = []

    def take_elsewhere() -> None:
        with advisory_lock(KEY) as locked:
            answers.append(locked)
        connections.close_all()

    with advisory_lock(KEY) as locked:
        assert locked
        _in_a_thread(take_elsewhere).join(PATIENCE)
    _in_a_thread(take_elsewhere).join(PATIENCE)
    assert answers == [False, True]


def test_what_a_turn_sets_ends_with_it() -> None:
    before = _idle_timeout()
    with advisory_lock(KEY):
        assert _idle_timeout() != before
    assert _idle_timeout() == before


def test_a_turn_in_which_a_process_freezes_passes_to_another(settings: Any) -> None:
    settings.GATEWAY_LEASE_SECONDS = 0.2
    taken, thaw = threading.Event(), threading.Event()
    refused: list[DatabaseError] = []

    def frozen() -> None:
        try:
            with advisory_lock(KEY) as locked:
                assert locked
                taken.set()
                assert thaw.wait(PATIENCE)
        except DatabaseError as error:
            refused.append(error)
        connections.close_all()

    thread = _in_a_thread(frozen)
    assert taken.wait(PATIENCE)
    assert _turn_comes()
    thaw.set()
    thread.join(PATIENCE)
    assert refused


def _turn_comes() -> bool:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        with advisory_lock(KEY) as locked:
            if locked:
                return True
    return False


def _idle_timeout() -> str:
    with connection.cursor() as cursor:
        cursor.execute("SHOW idle_session_timeout")
        return str(cursor.fetchone()[0])


def _in_a_thread(work: Any) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread
