"""Event streams: where they begin, what they leave out, how they end, and their pages."""

from __future__ import annotations

from typing import Any

from tests.contract.recording.client import SHAPE, Client

EMPTIED = """
    DELETE FROM events_app_event WHERE "offset" <= {floor} AND stream_id =
    (SELECT stream_id FROM sessions_app_agentsession WHERE public_id = '{session}')
"""
FLOOR = """
    UPDATE events_app_stream SET floor = {floor} WHERE id =
    (SELECT stream_id FROM sessions_app_agentsession WHERE public_id = '{session}')
"""


def record(client: Client) -> None:
    """The section."""
    whole(client)
    starts(client)
    live(client)
    dropped(client)
    pages(client)
    groups(client)
    refused(client)
    tokens(client)


def shown(client: Client, title: str, path: str, **more: Any) -> None:
    """A stream to its end."""
    client.transcript.title(title)
    with client.stream(path, **more) as stream:
        stream.rest()


def removed(client: Client, session: str, floor: int) -> None:
    """Events through `floor` are no longer kept, as when retention has removed them."""
    client.place.write(EMPTIED.format(session=session, floor=floor))
    client.place.write(FLOOR.format(session=session, floor=floor))


def whole(client: Client) -> None:
    """The words of the tour, from sessions whose rows are in the section of events."""
    for session in ("plain", "approved", "rejected", "asked", "tools", "steered", "aborted", "changed", "called"):
        client.do("DELETE", f"/v1/sessions/{session}")
        shown(client, f"all of {session}", f"/v1/sessions/{session}/events?since=0")


def starts(client: Client) -> None:
    session = client.session("streamed", responseFormat=SHAPE)
    path = f"/v1/sessions/{session}/events"
    first = client.run(session, "first")
    client.run(session, "second")
    shown(client, "the newest run", path)
    shown(client, "everything", f"{path}?since=0")
    shown(client, "from an offset", f"{path}?since=8")
    shown(client, "from the last id", path, headers={"Last-Event-ID": "9"})
    shown(client, "from the last id before since", f"{path}?since=0", headers={"Last-Event-ID": "10"})
    shown(client, "one run", f"{path}?requestId={first}")
    shown(client, "one run from the middle", f"{path}?requestId={first}&since=3")
    shown(client, "some types", f"{path}?since=0&types=prompt_received,agent_end,no_such_type")
    shown(client, "types without the end", f"{path}?since=0&types=message_delta")
    client.transcript.title("past the head, and then the next run")
    with client.stream(f"{path}?since=99") as stream:
        stream.until("events_dropped")
        client.prompt(session, "third")
        stream.rest()
    client.transcript.title("at the head, and then the next run")
    with client.stream(f"{path}?since=18") as stream:
        client.prompt(session, "fourth")
        stream.rest()


def live(client: Client) -> None:
    session = client.session("followed", responseFormat=SHAPE)
    path = f"/v1/sessions/{session}/events"
    client.transcript.title("a session that is followed until it closes")
    with client.stream(f"{path}?follow=session") as stream:
        client.prompt(session, "hello")
        stream.until("agent_end")
        request = client.prompt(session, "please approve")
        asked = stream.until("approval_required")
        client.waiting(session)
        client.do("POST", f"/v1/sessions/{session}/approve", {"approvalId": asked["approvalId"]})
        stream.until("agent_end")
        client.ended(session, request)
        client.do("PATCH", f"/v1/sessions/{session}", {"title": "Another"})
        stream.until("session_updated")
        client.do("DELETE", f"/v1/sessions/{session}")
        stream.rest()
    path = "/v1/sessions/followed/events"
    shown(client, "a session that is closed, without a position", path)
    shown(client, "a session that is closed, from a position", f"{path}?follow=session&since=10")
    shown(client, "a session that is closed, at its end", f"{path}?since=99")
    session = client.session("purged", responseFormat=SHAPE)
    client.run(session, "hello")
    client.transcript.title("a session that is removed while it is followed")
    with client.stream(f"/v1/sessions/{session}/events?follow=session&since=0") as stream:
        stream.until("agent_end")
        client.do("DELETE", f"/v1/sessions/{session}?purge=true")
        stream.rest()
    session = client.session("quiet", responseFormat=SHAPE)
    client.transcript.title("heartbeats of a stream without events")
    with client.stream(f"/v1/sessions/{session}/events?follow=session") as stream:
        stream.heartbeat()
        stream.heartbeat()
    client.run(session, "hello")
    client.transcript.title("a heartbeat behind events that are left out")
    with client.stream(f"/v1/sessions/{session}/events?follow=session&since=0&types=agent_start") as stream:
        stream.until("agent_start")
        stream.heartbeat(behind=True)


def dropped(client: Client) -> None:
    session = client.session("emptied", groupId="emptied", responseFormat=SHAPE)
    client.run(session, "first")
    client.run(session, "second")
    removed(client, session, 4)
    path = f"/v1/sessions/{session}/events"
    shown(client, "events that are no longer kept", f"{path}?since=0")
    shown(client, "some of them read before", path, headers={"Last-Event-ID": "2"})
    shown(client, "all of them read before", f"{path}?since=4")
    shown(client, "no longer kept, in a filtered stream", f"{path}?since=1&types=agent_end")
    client.transcript.title("no longer kept, in a group")
    with client.stream("/v1/groups/emptied/events?since=0") as stream:
        stream.until("agent_end")
        stream.until("agent_end")
    client.transcript.title("no longer kept, in pages")
    client.get(f"{path}?format=json&since=0&limit=2")
    client.get(f"{path}?format=json&since=3&limit=1")


def pages(client: Client) -> None:
    client.transcript.title("pages")
    path = "/v1/sessions/streamed/events?format=json"
    for query in ("", "&limit=2", "&since=2&limit=2", "&since=17", "&since=99", "&types=agent_end", "&limit=0"):
        client.get(path + query)
    client.get(f"{path}&types=agent_start,agent_end&limit=1")
    client.get("/v1/sessions/closed/events?format=json&limit=1000")


def groups(client: Client) -> None:
    path = "/v1/groups/together/events"
    client.transcript.title("all of a group")
    with client.stream(f"{path}?since=0") as stream:
        for _ in range(2):
            stream.until("agent_end")
    client.transcript.title("a group from the middle, by types, and live")
    with client.stream(f"{path}?types=prompt_received,agent_end", headers={"Last-Event-ID": "5"}) as stream:
        for _ in range(2):
            stream.until("agent_end")
        client.prompt("together-1", "once more")
        stream.until("agent_end")
    client.transcript.title("a group past its head")
    with client.stream(f"{path}?since=999") as stream:
        stream.until("events_dropped")
    client.transcript.title("a group without a position, when a session joins it")
    client.session("joining")
    with client.stream(path) as stream:
        client.do("PATCH", "/v1/sessions/joining", {"groupId": "together"})
        stream.until("session_updated")
    for who in ("stranger", "colleague", None):
        client.get(path, who=who)
    client.get("/v1/groups/nowhere/events")
    client.get(f"{path}?since=x")
    client.post(path)


def refused(client: Client) -> None:
    client.transcript.title("refusals")
    path = "/v1/sessions/streamed/events"
    for query in ("since=x", "since=-1", "since=", "follow=run", "requestId=run_nobody", "format=json&limit=x"):
        client.get(f"{path}?{query}")
    client.get(path, headers={"Last-Event-ID": "x"})
    client.post(path, {})
    client.ask("HEAD", path)
    for who in ("stranger", "colleague", None):
        client.get(path, who=who)
    client.get("/v1/sessions/nobody/events")
    client.get(f"{path}?since=%00")


def tokens(client: Client) -> None:
    client.transcript.title("stream tokens")
    session = "streamed"
    answer = client.post(f"/v1/sessions/{session}/stream-token")
    token = answer.json["token"]
    shown(client, "with a token", f"/v1/sessions/{session}/events?since=17&types=agent_end&token={token}", who=None)
    client.transcript.title("what a token does not open")
    client.get(f"/v1/sessions/quiet/events?token={token}", who=None)
    client.get(f"/v1/sessions/{session}?token={token}", who=None)
    client.get(f"/v1/groups/together/events?token={token}", who=None)
    client.get(f"/v1/sessions/{session}/events?token=agt_nobody", who=None)
    for who in ("stranger", "colleague", None):
        client.post(f"/v1/sessions/{session}/stream-token", who=who)
    client.post("/v1/sessions/closed/stream-token")
