"""Readers of a session whose last events were lost: each is told from where, in every form in which it reads events."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from core_app import database
from core_app.database import write_transaction
from events_app import lease, log
from events_app.commit import Commit, Submission
from events_app.incarnation import incarnation_begin
from events_app.models import Event, Stream
from events_app.removal import run_events_replace
from sessions_app.events import SessionUpdated
from sessions_app.export import session_export
from sessions_app.models import AgentSession, SessionGroup
from tests.gateway_harness import Client
from tests.going_back import go_back, number_generations

pytestmark = pytest.mark.django_db(transaction=True)

LOST = 4


@pytest.fixture(autouse=True)
def _numbered(monkeypatch: pytest.MonkeyPatch) -> None:
    number_generations(monkeypatch)


def stream_of(session: str) -> int:
    return AgentSession.objects.get(public_id=session).stream_id


def append_some(stream_id: int, count: int) -> None:
    with write_transaction():
        log.append(stream_id, [SessionUpdated(changed={"title": f"{number}"}) for number in range(count)])


async def session_that_went_back(api: Client, **fields: Any) -> tuple[str, int]:
    """Returns a session that lost LOST events and has written as many others, and the offset where these begin."""
    session = await api.session(**fields)
    await api.run(session, "a few words")
    stream_id = await database.run(stream_of, session)
    base = len(await api.log(session))
    await database.run(append_some, stream_id, LOST)
    assert await database.run(go_back, stream_id, base) == 1
    await database.run(append_some, stream_id, LOST)
    return session, base


async def test_pages_go_on_from_the_base(api: Client) -> None:
    session, base = await session_that_went_back(api)
    path = f"/v1/sessions/{session}/events?format=json"
    page = (await api.get(f"{path}&since={base + 2}&limit=2")).json
    assert page["dropped"] == {"from": base + 2, "to": base, "reason": "reset"}
    assert [event["id"] for event in page["events"]] == [f"{base + 1}.1", f"{base + 2}.1"]
    assert page["nextCursor"] == f"{base + 2}.1"
    assert page["lastEventIndex"] == f"{base + LOST}.1"
    rest = (await api.get(f"{path}&since={page['nextCursor']}")).json
    assert "dropped" not in rest
    assert [event["id"] for event in rest["events"]] == [f"{base + 3}.1", f"{base + 4}.1"]
    for since in range(base + 1):
        page = (await api.get(f"{path}&since={since}")).json
        assert "dropped" not in page
        assert [event["id"] for event in page["events"][: base - since]] == list(range(since + 1, base + 1))


async def test_a_stream_that_resumes_is_told_and_goes_on_from_the_base(api: Client) -> None:
    session, base = await session_that_went_back(api)
    async with api.events(session, last_id=base + LOST, follow="session") as reader:
        frames = [await reader.next() for _ in range(1 + LOST)]
        assert (frames[0].id, frames[0].event) == (base, "events_dropped")
        assert frames[0].data == {"from": base + LOST, "to": base, "reason": "reset"}
        assert [frame.id for frame in frames[1:]] == [f"{base + number}.1" for number in range(1, LOST + 1)]
    async with api.events(session, last_id=reader.last_id, follow="session") as reader:
        await database.run(append_some, await database.run(stream_of, session), 1)
        assert (await reader.next()).id == f"{base + LOST + 1}.1"


async def test_a_stream_that_is_open_is_told_and_ended(api: Client) -> None:
    session = await api.session()
    await api.run(session, "a few words")
    stream_id = await database.run(stream_of, session)
    base = len(await api.log(session))
    async with api.events(session, follow="session", last_id=base) as reader:
        await database.run(append_some, stream_id, LOST)
        shown = [(await reader.next()).id for _ in range(LOST)]
        assert shown == list(range(base + 1, base + LOST + 1))
        await database.run(go_back, stream_id, base)
        await database.run(append_some, stream_id, LOST + 1)
        frame = await reader.next()
        assert frame.data == {"from": base + LOST, "to": base, "reason": "reset"}
        assert await reader.read_to_end() == []
    async with api.events(session, follow="session", last_id=reader.last_id) as reader:
        assert [(await reader.next()).id for _ in range(2)] == [f"{base + 1}.1", f"{base + 2}.1"]


async def test_the_session_and_its_export_show_the_same_positions(api: Client) -> None:
    session, base = await session_that_went_back(api)
    for shown in (f"/v1/sessions/{session}", f"/v1/sessions/{session}/status", f"/v1/sessions/{session}/stats"):
        assert (await api.get(shown)).json["lastEventIndex"] == f"{base + LOST}.1"
    (listed,) = (await api.get("/v1/sessions")).json["sessions"]
    assert listed["lastEventIndex"] == f"{base + LOST}.1"
    lines = await database.run(lambda: list(session_export(AgentSession.objects.get(public_id=session))))
    assert f'"id":"{base + 1}.1"'.encode() in b"".join(lines)
    assert f'"id":{base},'.encode() in b"".join(lines)


async def test_a_group_has_generations_of_its_own(api: Client) -> None:
    _, base = await session_that_went_back(api, groupId="together")

    def group_head() -> int:
        return Stream.objects.get(pk=SessionGroup.objects.get(public_id="together").stream_id).head

    # The group was not rewound here: it has both, the events of before and those of after.
    assert await database.run(group_head) == base + 2 * LOST
    path = "/v1/groups/together/events"
    async with api.events("", path=path, last_id=base + LOST) as reader:
        assert (await reader.next()).id == f"{base + LOST + 1}.1"
    async with api.events("", path=path, last_id=base + LOST + 1) as reader:
        assert (await reader.next()).data == {"from": base + LOST + 1, "to": base + LOST, "reason": "reset"}


async def test_a_gap_in_the_middle_of_a_group_is_told(api: Client) -> None:
    first, second = await api.session(groupId="together"), await api.session(groupId="together")
    await api.run(first, "one")
    begins = len(await api.log(first))
    await api.run(second, "two")
    gone = len(await api.log(second))
    await api.run(first, "three")
    assert (await api.delete(f"/v1/sessions/{second}?purge=true")).status == 204
    total = len(await api.log(first))
    async with api.events("", path="/v1/groups/together/events", since=0) as reader:
        frames = [await reader.next() for _ in range(total + 1)]
    dropped = frames[begins]
    # The event that says that the session is closed went with it.
    assert (dropped.event, dropped.data["from"]) == ("events_dropped", begins + 1)
    assert dropped.data["to"] >= begins + gone
    assert dropped.id == dropped.data["to"]
    ids = [frame.id for frame in frames if frame.event != "events_dropped"]
    assert ids == [*range(1, begins + 1), *range(begins + gone + 1, begins + gone + 1 + total - begins)]


async def test_a_closed_session_tells_what_is_lost_and_then_that_nothing_follows(api: Client) -> None:
    session, base = await session_that_went_back(api)
    await api.delete(f"/v1/sessions/{session}")
    head = (await api.get(f"/v1/sessions/{session}")).json["lastEventIndex"]
    offset = int(head.split(".")[0])
    async with api.events(session, follow="session", last_id=offset + 7) as reader:
        frames = await reader.read_to_end()
    assert [frame.id for frame in frames] == [base, *(f"{base + number}.1" for number in range(1, offset - base + 1))]
    async with api.events(session, follow="session", last_id=f"{offset + 7}.1") as reader:
        (told,) = await reader.read_to_end()
    assert told.data == {"from": f"{offset + 7}.1", "to": head, "reason": "reset"}
    async with api.events(session, follow="session", last_id=told.id) as reader:
        assert reader.status == 204


@pytest.fixture
def served(transactional_db: None) -> None:
    """The database belongs to an incarnation, as after the start of any process."""
    incarnation_begin()


def test_the_first_event_of_a_generation_takes_no_more_statements(served: None) -> None:
    with write_transaction():
        parent = log.stream_create(kind="group")
        stream = log.stream_create(kind="session", parent_id=parent.pk)

    def count() -> int:
        with CaptureQueriesContext(connection) as asked:
            append_some(stream.pk, 2)
        return len(asked)

    before = count()
    go_back(stream.pk, 1)
    assert count() == before
    stream.refresh_from_db()
    assert (stream.generation, stream.bases, str(stream.newest)) == (1, " 1:1", "3.1")
    parent.refresh_from_db()
    assert (parent.generation, parent.bases) == (1, " 1:2")


def test_a_group_commit_begins_generations_too(served: None) -> None:
    with write_transaction():
        parent = log.stream_create(kind="group")
        stream = log.stream_create(kind="session", parent_id=parent.pk)
    fence = lease.lease_claim(stream_id=stream.pk, owner="here", seconds=60)
    assert fence is not None
    submission = Submission(fence, "run_1", [SessionUpdated(changed={}), SessionUpdated(changed={})])

    def commit() -> tuple[int, Commit]:
        work = Commit([submission])
        with CaptureQueriesContext(connection) as asked, write_transaction():
            work.execute()
        return len(asked), work

    before, _ = commit()
    go_back(stream.pk, 1)
    first, work = commit()
    assert [str(event.position) for batch in work.batches for event in batch.events] == ["2.1", "3.1", "3.1", "4.1"]
    again, work = commit()
    assert again == before
    # Of PostgreSQL a statement, of SQLite one for each stream.
    assert first <= before + 2
    assert [str(event.position) for event in log.read(stream.pk, after=0, limit=9)] == [
        *("1", "2.1", "3.1", "4.1", "5.1"),
    ]


def test_a_new_stream_belongs_to_the_generation_in_which_it_was_made(served: None) -> None:
    with write_transaction():
        old = log.stream_create(kind="session")
    assert (old.generation, old.bases) == (0, "")
    go_back(old.pk, 0)
    with write_transaction():
        new = log.stream_create(kind="session")
    assert (new.generation, new.bases) == (1, " 1:0")
    append_some(new.pk, 1)
    assert Event.objects.filter(stream_id=new.pk).count() == 1
    assert str(log.read(new.pk, after=0, limit=1)[0].position) == "1.1"


def test_a_replaced_event_keeps_its_position(served: None) -> None:
    with write_transaction():
        stream = log.stream_create(kind="session")
    go_back(stream.pk, 0)
    append_some(stream.pk, 2)
    run_events_replace(stream_id=stream.pk, run_id="run_1", first=1, last=2, data="{}")
    assert [event.position.wire for event in log.read(stream.pk, after=0, limit=9)] == ["1.1", "2.1"]
