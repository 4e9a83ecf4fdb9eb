"""Streams with leases, and a flusher whose rounds the test runs itself."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import pytest

from core_app.database import database_now, write_transaction
from core_app.jsontext import decode
from events_app import lease, log
from events_app.flusher import Flusher
from events_app.lease import Fence
from events_app.leg_writer import LegWriter
from events_app.models import Stream


@dataclass
class Leased:
    """A stream and the right to write into it."""

    stream: Stream
    fence: Fence

    @property
    def pk(self) -> int:
        return int(self.stream.pk)

    def events(self) -> list[tuple[int, str, dict[str, Any]]]:
        return [(event.offset, event.type, decode(event.data)) for event in log.read(self.pk, after=0, limit=10_000)]

    def types(self) -> list[str]:
        return [type_ for _, type_, _ in self.events()]

    def head(self) -> int:
        return int(Stream.objects.values_list("head", flat=True).get(pk=self.pk))


def leased_stream(*, parent: Stream | None = None, owner: str = "here", seconds: float = 60) -> Leased:
    """Creates a stream and claims its lease for `owner`."""
    with write_transaction():
        stream = log.stream_create(kind="session", parent_id=parent.pk if parent else None)
    fence = lease.lease_claim(stream_id=stream.pk, owner=owner, seconds=seconds)
    assert fence is not None
    return Leased(stream, fence)


def lease_expire(stream: Leased) -> None:
    """Lets the lease run out; no other process has claimed it yet."""
    with write_transaction():
        Stream.objects.filter(pk=stream.pk).update(lease_expires=1.0)


class Rounds(Flusher):
    """A flusher without its thread: `commit_round` commits everything that waits once."""

    def commit_round(self) -> None:
        writers, self._dirty = list(self._dirty), {}
        self._commit_round(writers)

    @property
    def waiting(self) -> list[LegWriter]:
        return list(self._dirty)


class Holder:
    """Another process that holds the lock of a row until it is told to release it; PostgreSQL only."""

    def __init__(self, stream_id: int) -> None:
        self._stream_id = stream_id
        self._held, self._let_go = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Holder:
        self._thread.start()
        assert self._held.wait(60)
        return self

    def __exit__(self, *error: object) -> None:
        self.let_go()

    def let_go(self) -> None:
        self._let_go.set()
        self._thread.join(60)

    def begin(self) -> None:
        """Prepares the transaction."""

    def _run(self) -> None:
        from django.db import connections

        with write_transaction():
            self.begin()
            log.lock(self._stream_id)
            self._held.set()
            for _ in range(600):
                if self._let_go.wait(0.1):
                    break
                # A transaction that is idle for a quarter of a lease is ended by the server.
                database_now()
        connections.close_all()


@pytest.fixture
def rounds(transactional_db: None) -> Rounds:
    return Rounds()
