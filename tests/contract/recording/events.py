"""The traces of runs: the stored rows of sessions on the tour, and of some on a scripted provider."""

from __future__ import annotations

from tests.contract.recording.client import SHAPE, Client
from tests.contract.recording.deltas import Event, joined

ROWS = """
    SELECT event."offset", event.type, event.run_id, event.data, event.source_offset FROM events_app_event event
    JOIN sessions_app_{owner} owner ON owner.stream_id = event.stream_id WHERE owner.public_id = ?
    ORDER BY event."offset"
"""


def rows(client: Client, name: str, owner: str = "agentsession") -> None:
    """Writes down every stored event of a session, or of a group."""
    client.transcript.title(f"stored events of {name}")
    found = [
        Event(offset, kind, data, f"{run or '-'} {'-' if source is None else source}")
        for offset, kind, run, data, source in client.place.rows(ROWS.format(owner=owner), name)
    ]
    for event in joined(found):
        client.transcript.line(f"{event.offset} {event.type} {event.rest}")
        if event.data is not None:
            client.transcript.body(event.data.encode())


def record(client: Client) -> None:
    """The section."""
    answers(client)
    approvals(client)
    questions(client)
    tools(client)
    aborted(client)
    steered(client)
    queued(client)
    changed(client)
    closed(client)
    limits(client)
    provided(client)
    grouped(client)


def answers(client: Client) -> None:
    session = client.session("plain")
    client.run(session, "hello “there”, 漢字 and \x00")
    client.run(session, "think of it", metadata={"a": 1}, endUser="ann")
    rows(client, session)
    session = client.session("echoing", model="demo:echo", systemPrompt="Say it again.")
    client.run(session, "words\nand <b>lines</b>\u2028")
    rows(client, session)
    session = client.session("shaped", responseFormat=SHAPE)
    client.run(session, "a city")
    rows(client, session)


def approvals(client: Client) -> None:
    for name, decision, fields in (
        ("approved", "approve", {"comment": "go on"}),
        ("approved-changed", "approve", {"args": {"action": "other"}}),
        ("rejected", "reject", {"reason": "not today"}),
        ("rejected-plainly", "reject", {}),
    ):
        session = client.session(name)
        request = client.prompt(session, "please approve")
        asked = client.asked(session, request, "approval_required")
        body = {"approvalId": asked["approvalId"], **fields}
        client.do("POST", f"/v1/sessions/{session}/{decision}", body)
        client.ended(session, request)
        rows(client, session)


def questions(client: Client) -> None:
    session = client.session("asked")
    for response in ("Yes", "something of my own"):
        request = client.prompt(session, "ask me")
        asked = client.asked(session, request, "ask_user")
        body = {"ref": asked["ref"], "response": response}
        client.do("POST", f"/v1/sessions/{session}/respond", body)
        client.ended(session, request)
    rows(client, session)


def tools(client: Client) -> None:
    session = client.session("tools", tools=["current_time", {"name": "mine", "description": "Mine."}])
    client.run(session, "use current_time")
    for result in ({"result": {"found": [1]}}, {"error": "It is not there."}, {"result": None}):
        request = client.prompt(session, 'think and use mine {"x": [1, "ü"]}')
        asked = client.asked(session, request, "tool_call_requested")
        body = {"callId": asked["callId"], **result}
        client.do("POST", f"/v1/sessions/{session}/tool-results", body)
        client.ended(session, request)
    rows(client, session)
    called(client)


def called(client: Client) -> None:
    session = client.session("called")
    for name in ("prompt-one", "later", "broken", "approved"):
        registration = {
            "name": name,
            "parameters": {"type": "object", "properties": {"x": {"type": "integer"}}},
            "callbackUrl": f"{client.place.receiver.url}/{name}",
            "requiresApproval": name == "approved",
        }
        client.do("POST", f"/v1/sessions/{session}/tools", registration)
    client.run(session, 'use prompt-one {"x": 1}')
    received(client, "a callback")
    client.run(session, 'use prompt-one {"x": "no number"}')
    client.run(session, "use broken")
    received(client, "a callback that is refused")
    request = client.prompt(session, "use later")
    address = received(client, "a callback that answers later")
    path = "/v1/callbacks/" + address.rpartition("/")[2]
    client.transcript.title("late results")
    client.post(path, {"neither": 1}, who=None)
    client.post(path, {"result": "late"}, who=None)
    client.post(path, {"result": "late"}, who=None)
    client.post(path, {"result": "otherwise"}, who=None)
    client.post("/v1/callbacks/no-such-token-anywhere", {"result": "late"}, who=None)
    client.ended(session, request)
    client.do("DELETE", f"/v1/sessions/{session}/tools/broken")
    rows(client, session)


def received(client: Client, what: str) -> str:
    """Writes down a request that the gateway made; its `resultUrl`, if it has one."""
    came = client.place.receiver.next()
    client.transcript.title(what)
    client.transcript.head(f"POST {came.path}", came.headers, came.body)
    client.transcript.body(came.body)
    _, found, rest = came.body.decode().partition('"resultUrl":"')
    return rest.split('"')[0] if found else ""


def aborted(client: Client) -> None:
    session = client.session("aborted", model="scripted:hang:1")
    path = f"/v1/sessions/{session}"
    for body in ({}, {"reason": "enough"}):
        request = client.prompt(session, "hello there")
        client.event(session, request, "message_delta")
        client.do("POST", f"{path}/abort", body)
        client.ended(session, request)
    rows(client, session)
    session = client.session("aborted-waiting")
    request = client.prompt(session, "ask me")
    client.asked(session, request, "ask_user")
    client.do("POST", f"/v1/sessions/{session}/runs/{request}/abort")
    client.ended(session, request)
    client.run(session, "fail please")
    rows(client, session)


def steered(client: Client) -> None:
    session = client.session("steered")
    path = f"/v1/sessions/{session}"
    request = client.prompt(session, "please approve")
    asked = client.asked(session, request, "approval_required")
    client.do("POST", f"{path}/steer", {"text": "shorter"})
    assert client.prompt(session, "and kinder", whenBusy="steer") == request
    client.do("POST", f"{path}/approve", {"approvalId": asked["approvalId"]})
    client.ended(session, request)
    rows(client, session)


def queued(client: Client) -> None:
    session = client.session("queued")
    request = client.prompt(session, "please approve")
    client.asked(session, request, "approval_required")
    second = client.prompt(session, "second")
    third = client.prompt(session, "third", whenBusy="interrupt")
    for each in (request, third, second):
        client.ended(session, each)
    rows(client, session)


def changed(client: Client) -> None:
    session = client.session("changed", title="One", groupId="first", tools=[{"name": "mine"}])
    path = f"/v1/sessions/{session}"
    for change in (
        {"title": None},
        {"title": "Two", "userData": {"z": 1, "a": [None, True]}},
        {"systemPrompt": "Be short."},
        {"tools": ["current_time"]},
        {"groupId": "second"},
        {"groupId": None},
    ):
        client.do("PATCH", path, change)
    client.do("POST", f"{path}/tools", {"name": "other", "description": "Other."})
    client.do("POST", f"{path}/tools", {"name": "other", "description": "Replaced."})
    client.do("DELETE", f"{path}/tools/other")
    client.do("POST", f"{path}/switch_model", {"model": "demo:echo"})
    client.run(session, "which model?")
    client.do("POST", f"{path}/switch_model", {"model": "demo:tour"})
    request = client.prompt(session, "please approve")
    asked = client.asked(session, request, "approval_required")
    client.do("POST", f"{path}/switch_model", {"model": "demo:echo"})
    client.do("POST", f"{path}/approve", {"approvalId": asked["approvalId"]})
    client.ended(session, request)
    rows(client, session)
    for group in ("first", "second"):
        rows(client, group, "sessiongroup")


def closed(client: Client) -> None:
    session = client.session("closed")
    request = client.prompt(session, "please approve")
    client.asked(session, request, "approval_required")
    client.prompt(session, "never begun")
    client.do("DELETE", f"/v1/sessions/{session}")
    rows(client, session)


def limits(client: Client) -> None:
    session = client.session("turns", maxTurns=1, tools=["current_time"])
    client.run(session, "use current_time")
    rows(client, session)
    for word, event in (("approve", "approval_required"), ("ask", "ask_user"), ("use mine", "tool_call_requested")):
        session = client.session(f"expired-{event}", tools=[{"name": "mine"}])
        request = client.prompt(session, word)
        asked = client.asked(session, request, event)
        expired = f"SET expires_at = '2026-01-01 00:00:00' WHERE run_id = '{request}'"
        client.place.write(f"UPDATE tools_app_toolcall {expired}")
        client.transcript.title(f"deciding what has expired: {event}")
        path = f"/v1/sessions/{session}"
        if event == "approval_required":
            client.post(f"{path}/approve", {"approvalId": asked["approvalId"]})
        elif event == "ask_user":
            client.post(f"{path}/respond", {"ref": asked["ref"], "response": "Yes"})
        else:
            client.post(f"{path}/tool-results", {"callId": asked["callId"], "result": 1})
        client.do("POST", f"{path}/abort")


def provided(client: Client) -> None:
    for name, model, text, fields in (
        ("provided", "scripted:hello", "hello", {}),
        ("provided-reasoning", "scripted:reasoning", "think", {}),
        ("provided-tool", "scripted:tool", "call", {"tools": [{"name": "echo"}]}),
        ("provided-unknown-tool", "scripted:tool:no_such_tool", "call", {}),
        ("provided-truncated", "scripted:context-full:600", "x" * 200, {"historyPolicy": "truncate"}),
        ("provided-failing", "scripted:status:401", "hello", {}),
        ("provided-cut", "scripted:drop:2", "hello", {}),
        ("provided-instead", "resilient", "hello", {}),
    ):
        session = client.session(name, model=model, **fields)
        request = client.prompt(session, text)
        if fields.get("tools"):
            asked = client.asked(session, request, "tool_call_requested")
            body = {"callId": asked["callId"], "result": "done"}
            client.do("POST", f"/v1/sessions/{session}/tool-results", body)
        client.ended(session, request)
        for _ in range(3 if "historyPolicy" in fields else 0):
            client.run(session, text)
        rows(client, session)


def grouped(client: Client) -> None:
    for number in (1, 2):
        session = client.session(f"together-{number}", groupId="together", responseFormat=SHAPE)
        client.run(session, "hello")
    rows(client, "together", "sessiongroup")
