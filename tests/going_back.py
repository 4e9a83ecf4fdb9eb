"""A database that goes back in time, as far as one stream is concerned: the events after `head` are lost."""

from __future__ import annotations

import pytest

from core_app.database import write_transaction
from events_app import incarnation_postgresql, incarnation_sqlite
from events_app.incarnation import incarnation_restored
from events_app.models import Event, Stream


def number_generations(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets generations be 1, 2, 3 … for tests that compare what is sent."""
    for module in (incarnation_postgresql, incarnation_sqlite):
        monkeypatch.setattr(module, "generation_next", lambda newest: newest + 1)


def go_back(stream_id: int, head: int) -> int:
    """Loses the events after `head` and begins a generation; returns its number."""
    with write_transaction():
        Event.objects.filter(stream_id=stream_id, offset__gt=head).delete()
        Stream.objects.filter(pk=stream_id).update(head=head)
    return incarnation_restored()
