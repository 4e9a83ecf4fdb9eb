"""The WebSocket: its frames, what a bad one is answered with, refused upgrades, and how it is closed."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import Any

from websockets.exceptions import InvalidStatus

from tests.contract.recording.client import SHAPE, Client, Socket
from tests.contract.recording.place import KEYS, REVOKE
from tests.contract.recording.transcript import Transcript

FOLLOWERS = 16
"""As many as GATEWAY_MAX_FOLLOWERS_PER_TENANT allows."""

BAD: tuple[str | bytes, ...] = (
    "{",
    "",
    "[1]",
    '"prompt"',
    "{}",
    '{"action":7,"requestRef":"r"}',
    '{"action":null}',
    '{"action":"dance"}',
    '{"action":"dance","requestRef":"a ref"}',
    '{"action":"ping","requestRef":{}}',
    '{"action":"ping","requestRef":true}',
    '{"action":"ping","requestRef":1.5}',
    '{"action":"ping","requestRef":["x"]}',
    '{"action":"ping","requestRef":"' + "x" * 257 + '"}',
    '{"action":"ping","requestRef":NaN}',
    '{"action":"ping","action":"ping"}',
    '{"action":"prompt"}',
    '{"action":"prompt","text":7,"requestRef":"r"}',
    '{"action":"prompt","text":""}',
    '{"action":"prompt","text":"x","whenBusy":"never"}',
    '{"action":"prompt","text":"x","metadata":[]}',
    '{"action":"approve"}',
    '{"action":"approve","approvalId":"apr_nobody"}',
    '{"action":"approve","approvalId":"apr_nobody","args":7}',
    '{"action":"reject"}',
    '{"action":"reject","approvalId":"apr_nobody","reason":7}',
    '{"action":"respond","ref":"x"}',
    '{"action":"respond","ref":"ask_nobody","response":"y"}',
    '{"action":"tool_result","callId":"x"}',
    '{"action":"tool_result","callId":"call_nobody","result":1}',
    '{"action":"tool_result","result":1}',
    '{"action":"abort"}',
    '{"action":"abort","requestId":"run_nobody"}',
    '{"action":"abort","requestId":7}',
    '{"action":"abort","reason":7}',
    '{"action":"steer"}',
    '{"action":"steer","text":"x"}',
    b"\xff\xfe",
)


def record(client: Client) -> None:
    """The section."""
    actions(client)
    frames(client)
    positions(client)
    upgrades(client)
    readers(client)
    closes(client)


def actions(client: Client) -> None:
    session = client.session("socket", responseFormat=SHAPE, tools=[{"name": "mine"}])
    client.transcript.title("every action")
    with client.socket(session) as socket:
        socket.ask("ping")
        socket.ask("ping", requestRef="a ref")
        socket.ask("ping", requestRef=7, pad={"more": [1]})
        socket.ask("ping", requestRef=None)
        socket.ask("prompt", text="hello", requestRef="p-1")
        socket.until("agent_end")
        socket.ask("prompt", text="please approve", metadata={"a": 1}, endUser="ann")
        approval = {"approvalId": pending(client, socket, "approval_required")["approvalId"]}
        socket.ask("prompt", text="now", whenBusy="reject", requestRef="busy")
        socket.ask("approve", **approval, argsHash="another", requestRef="hash")
        socket.ask("approve", **approval, comment="go on", requestRef="a-1")
        socket.until("agent_end")
        socket.ask("approve", **approval, requestRef="again")
        socket.ask("reject", **approval, requestRef="otherwise")
        socket.ask("prompt", text="please approve")
        socket.ask(
            "reject",
            approvalId=pending(client, socket, "approval_required")["approvalId"],
            reason="no",
            requestRef="r-1",
        )
        socket.until("agent_end")
        socket.ask("prompt", text="ask me")
        question = {"ref": pending(client, socket, "ask_user")["ref"]}
        socket.ask("respond", **question, response="Yes", requestRef="q-1")
        socket.until("agent_end")
        socket.ask("respond", **question, response="No", requestRef="otherwise")
        socket.ask("prompt", text='use mine {"x": 1}')
        call = {"callId": pending(client, socket, "tool_call_requested")["callId"]}
        socket.ask("steer", text="shorter", requestRef="s-1")
        socket.ask("tool_result", **call, result={"found": [1]}, requestRef="t-1")
        socket.until("agent_end")
        socket.ask("tool_result", **call, error="otherwise", requestRef="otherwise")
        request = socket.ask("prompt", text="ask me")["requestId"]
        pending(client, socket, "ask_user")
        socket.ask("abort", requestId=request, reason="enough", requestRef="b-1")
        socket.until("agent_abort")


def pending(client: Client, socket: Socket, event: str) -> dict[str, Any]:
    """The data of an event that asks somebody, once its run waits."""
    data = socket.until(event)
    client.waiting("socket")
    return data


def frames(client: Client) -> None:
    session = client.session("bad-frames")
    client.transcript.title("bad frames")
    with client.socket(session) as socket:
        for frame in BAD:
            socket.send(frame)
            socket.answer()
        socket.send("[" * 100_000, shown="> '[' 100000 times")
        socket.answer()
        socket.send(json.dumps({"action": "ping", "requestRef": 7}).encode())
        socket.answer()
        socket.send(json.dumps({"action": "ping", "pad": "x" * 1_000_000}), shown="> a ping of a million bytes")
        socket.answer()
        socket.send("x" * (1024 * 1024 + 1), shown="> a frame of more than a mebibyte")
        socket.closed()


def positions(client: Client) -> None:
    for since in ("0", "9", "999"):
        client.transcript.title(f"from {since}")
        with client.socket("socket", since=since) as socket:
            if since == "999":
                socket.until("events_dropped")
            else:
                socket.until("agent_abort")
            socket.ask("ping")
    client.transcript.title("events that are no longer kept")
    with client.socket("emptied", since="1") as socket:
        socket.until("agent_end")


def upgrades(client: Client) -> None:
    for title, session, who, query in (
        ("no key", "socket", None, {}),
        ("a bad key", "socket", None, {"api_key": "nobody"}),
        ("no scope", "socket", "colleague", {}),
        ("another tenant", "socket", "stranger", {}),
        ("an unknown session", "nobody", "owner", {}),
        ("a position that is no number", "socket", "owner", {"since": "x"}),
        ("a bad token", "socket", None, {"token": "agt_nobody"}),
    ):
        refused(client, title, session, who, **query)
    client.transcript.title("a key in the address")
    with client.socket("socket", who=None, api_key=KEYS["owner"]) as socket:
        socket.ask("ping")
    client.transcript.title("a request that is no upgrade")
    client.get("/v1/sessions/socket/ws")


def refused(client: Client, title: str, session: str, who: str | None, **query: str) -> None:
    """An upgrade that is answered with an error."""
    client.transcript.title(f"an upgrade with {title}")
    try:
        with client.socket(session, who=who, **query) as socket:
            socket.closed()
    except InvalidStatus:
        return


def readers(client: Client) -> None:
    session = client.session("read", responseFormat=SHAPE)
    token = client.do("POST", f"/v1/sessions/{session}/stream-token").json["token"]
    client.transcript.title("a socket with a stream token")
    with client.socket(session, who=None, token=token) as socket:
        socket.ask("ping")
        for action, fields in (
            ("prompt", {"text": "hello"}),
            ("abort", {}),
            ("approve", {"approvalId": "apr_nobody"}),
            ("respond", {"ref": "x", "response": "y"}),
            ("dance", {}),
        ):
            socket.ask(action, requestRef=action, **fields)
        client.run(session, "hello")
        socket.until("agent_end")
    refused(client, "the token of another session", "socket", None, token=token)


def closes(client: Client) -> None:
    session = client.session("closing", responseFormat=SHAPE)
    client.transcript.title("the session is closed")
    with client.socket(session) as socket:
        socket.ask("ping")
        client.do("DELETE", f"/v1/sessions/{session}")
        socket.closed()
    client.transcript.title("a socket of a closed session")
    with client.socket(session, since="0") as socket:
        socket.closed()
    session = client.session("removing", responseFormat=SHAPE)
    client.transcript.title("the session is removed")
    with client.socket(session) as socket:
        socket.ask("ping")
        client.do("DELETE", f"/v1/sessions/{session}?purge=true")
        socket.closed()
    client.transcript.title("the key is revoked")
    with client.socket("socket", who="revoked") as socket:
        socket.ask("ping")
        client.place.write(REVOKE)
        socket.closed()
    crowded(client)


def crowded(client: Client) -> None:
    """One follower more than a tenant may have."""
    client.quietly("POST", "/v1/sessions", {"sessionId": "crowded", "model": "demo:tour"}, who="crowd")
    client.transcript.title("too many followers")
    with ExitStack() as stack:
        unheard = Client(client.place, Transcript())
        for _ in range(FOLLOWERS):
            stack.enter_context(unheard.socket("crowded", who="crowd")).ask("ping")
        with client.socket("crowded", who="crowd") as socket:
            socket.closed()
        client.get("/v1/sessions/crowded/events", who="crowd")
