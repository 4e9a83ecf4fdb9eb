"""Each kind of stream takes the events of its own vocabulary, and refuses all others before anything is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import pytest

from core_app import database
from core_app.database import write_transaction
from events_app import log
from events_app.types import (
    VOCABULARIES,
    Event,
    UnknownEvent,
    UnknownStreamKind,
    Vocabulary,
    vocabulary_register,
    webhook_types,
)
from sessions_app.events import SESSION_EVENTS, WEBHOOK_EVENTS, SessionClosed, SessionUpdated
from tests.events.conftest import Leased, Rounds, leased

pytestmark = pytest.mark.django_db(transaction=True)


@dataclass(frozen=True, kw_only=True, slots=True)
class TaskMoved(Event):
    type: ClassVar[str] = "task_moved"
    column: str


@dataclass(frozen=True, kw_only=True, slots=True)
class OtherSessionClosed(Event):
    """Has the type of a session's event, and is none."""

    type: ClassVar[str] = "session_closed"


class TaskVocabulary(Vocabulary):
    def write(self, event: Event, run_id: str | None, at: str) -> bytes:
        assert isinstance(event, TaskMoved)
        return json.dumps({"column": event.column, "when": at}).encode()


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Iterator[Vocabulary]:
    """A kind of stream that only this test has."""
    vocabulary = TaskVocabulary("tasks", [TaskMoved], webhooks=[TaskMoved])
    vocabulary_register(vocabulary)
    yield vocabulary
    del VOCABULARIES[vocabulary.kind]


def append(kind: str, events: Sequence[Event]) -> list[tuple[str, bytes]]:
    """Appends to a new stream of that kind; the types and data that the log then has."""
    with write_transaction():
        stream = log.stream_create(kind=kind)
        log.append(stream.pk, events)
    return [(event.type, event.data) for event in log.read(stream.pk, after=0, limit=10)]


def test_a_kind_of_stream_brings_its_events_and_their_form(tasks: Vocabulary) -> None:
    ((type_, data),) = append("tasks", [TaskMoved(column="done")])
    assert type_ == "task_moved"
    assert set(json.loads(data)) == {"column", "when"}
    assert webhook_types() == (*WEBHOOK_EVENTS, "task_moved")


@pytest.mark.parametrize(
    ("kind", "event"),
    [
        ("session", TaskMoved(column="done")),
        ("session", OtherSessionClosed()),
        ("tasks", SessionClosed()),
        ("group", SessionClosed()),
    ],
)
def test_an_event_of_another_kind_is_refused_and_nothing_is_written(tasks: Vocabulary, kind: str, event: Event) -> None:
    with write_transaction():
        stream = log.stream_create(kind=kind)
    with pytest.raises(UnknownEvent, match=type(event).__name__), write_transaction():
        log.append(stream.pk, [event])
    with pytest.raises(UnknownEvent), write_transaction():
        log.append_each([stream.pk], event)
    assert log.read(stream.pk, after=0, limit=10) == []


async def test_a_leg_that_emits_an_event_of_another_kind_fails_alone(rounds: Rounds) -> None:
    wrong: Leased = await database.run(leased)
    right: Leased = await database.run(leased)
    writers = [rounds.writer(stream.fence, "run_1") for stream in (wrong, right)]
    await writers[0].emit(TaskMoved(column="done"))
    await writers[1].emit(SessionUpdated(changed={}))
    await database.run(rounds.turn)
    await writers[1].drain()
    with pytest.raises(UnknownEvent):
        await writers[0].drain()
    assert await database.run(right.types) == ["session_updated"]
    assert await database.run(wrong.types) == []


def test_a_stream_of_an_unknown_kind_is_not_created() -> None:
    with pytest.raises(UnknownStreamKind, match="'tasks'"):
        append("tasks", [])


def test_a_kind_has_one_vocabulary() -> None:
    vocabulary_register(SESSION_EVENTS)
    with pytest.raises(ValueError, match="'session'"):
        vocabulary_register(TaskVocabulary("session", []))
