"""Sessions over REST: creation, lists, changes, closing, statistics and status."""

from __future__ import annotations

from typing import Any

import pytest

from sessions_app import selectors
from tests.gateway_harness import Client, GatewayHarness
from tests.scripted_engine import Gate, ScriptedEngine, gated_leg

pytestmark = pytest.mark.django_db(transaction=True)

SESSION_FIELDS = {
    *("sessionId", "state", "model", "agent", "title", "turns", "toolCalls", "totalTokens", "uptimeMs", "createdAt"),
    *("updatedAt", "lastEventIndex", "userData", "groupId", "costUsd", "costKnown"),
}


async def test_a_new_session_is_idle_and_has_what_was_asked_for(api: Client) -> None:
    answer = await api.post(
        "/v1/sessions",
        {"model": "demo:echo", "sessionId": "mine-1", "title": "A title", "userData": {"a": 1}, "groupId": "team"},
    )
    assert answer.status == 201
    assert answer.headers["location"] == "/v1/sessions/mine-1"
    session = answer.json
    assert set(session) == SESSION_FIELDS
    assert (session["sessionId"], session["state"], session["title"]) == ("mine-1", "idle", "A title")
    assert (session["userData"], session["groupId"], session["lastEventIndex"]) == ({"a": 1}, "team", 0)
    again = (await api.get("/v1/sessions/mine-1")).json
    assert {**again, "uptimeMs": 0} == {**session, "uptimeMs": 0}


async def test_a_session_needs_a_model_or_an_agent(api: Client) -> None:
    answer = await api.post("/v1/sessions", {})
    assert (answer.status, answer.field) == (400, "model")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"model": "demo:none"}, "model"),
        ({"model": "openai:gpt-x"}, "model"),
        ({"agent": "nobody"}, "agent"),
        ({"model": "demo:echo", "plugins": ["x"]}, "plugins"),
        ({"model": "demo:echo", "workingDir": "/"}, "workingDir"),
    ],
)
async def test_what_cannot_be_served_is_unprocessable(api: Client, body: Any, field: str) -> None:
    answer = await api.post("/v1/sessions", body)
    assert answer.error == (422, "unprocessable")
    assert answer.field == field


async def test_empty_server_side_names_are_ignored(api: Client) -> None:
    await api.session(plugins=[], blueprint=None, workingDir="", skillsDirs=[])


async def test_an_id_is_taken_once_even_after_its_session_closed(api: Client) -> None:
    await api.session(sessionId="mine")
    answer = await api.post("/v1/sessions", {"model": "demo:echo", "sessionId": "mine"})
    assert answer.error == (409, "conflict")
    assert answer.field == "sessionId"
    await api.delete("/v1/sessions/mine")
    assert (await api.post("/v1/sessions", {"model": "demo:echo", "sessionId": "mine"})).status == 409


async def test_sessions_are_listed_newest_first_in_pages(api: Client) -> None:
    made = [await api.session() for _ in range(5)]
    seen: list[str] = []
    cursor = ""
    while cursor is not None:
        page = (await api.get(f"/v1/sessions?limit=2&cursor={cursor}")).json
        seen += [session["sessionId"] for session in page["sessions"]]
        cursor = page["nextCursor"]
    assert seen == made[::-1]


async def test_a_list_is_filtered(api: Client) -> None:
    closed, grouped, agent = await api.session(), await api.session(groupId="team"), None
    agent = (await api.post("/v1/sessions", {"agent": "demo"})).json["sessionId"]
    await api.delete(f"/v1/sessions/{closed}")

    async def list_ids(query: str) -> list[str]:
        return [session["sessionId"] for session in (await api.get(f"/v1/sessions?{query}")).json["sessions"]]

    assert await list_ids("state=closed") == [closed]
    assert await list_ids("groupId=team") == [grouped]
    assert await list_ids("agent=demo") == [agent]
    assert await list_ids("since=2999-01-01T00:00:00Z") == []
    assert len(await list_ids("since=2000-01-01T00:00:00Z")) == 3


async def test_a_change_is_kept_and_announced(api: Client) -> None:
    session = await api.session(title="before")
    answer = await api.patch(f"/v1/sessions/{session}", {"title": "after", "userData": {"b": 2}, "groupId": "team"})
    assert answer.status == 200
    assert (answer.json["title"], answer.json["userData"], answer.json["groupId"]) == ("after", {"b": 2}, "team")
    (event,) = await api.log(session)
    assert event.event == "session_updated"
    assert event.data["changed"] == {"title": "after", "userData": {"b": 2}, "groupId": "team"}
    assert event.data["requestId"] is None
    cleared = (await api.patch(f"/v1/sessions/{session}", {"title": None, "groupId": None})).json
    assert (cleared["title"], cleared["groupId"]) == (None, None)


async def test_a_change_of_nothing_announces_nothing(api: Client) -> None:
    session = await api.session()
    assert (await api.patch(f"/v1/sessions/{session}", {})).status == 200
    assert await api.log(session) == []


async def test_closing_aborts_everything_and_writing_is_refused_while_reading_goes_on(
    api: Client, script: ScriptedEngine
) -> None:
    gate = Gate()
    script.behaviour = gated_leg(gate)
    session = await api.session()
    first, second = await api.prompt(session, "first"), await api.prompt(session, "second")
    await gate.arrival()
    assert (await api.delete(f"/v1/sessions/{session}")).status == 204
    assert (await api.delete(f"/v1/sessions/{session}")).status == 204
    for run in (first, second):
        shown = (await api.get(f"/v1/sessions/{session}/runs/{run}")).json
        assert (shown["status"], shown["endReason"]) == ("aborted", "deleted")
    log = await api.log(session)
    assert [frame.event for frame in log][-3:] == ["agent_abort", "agent_abort", "session_closed"]
    base = f"/v1/sessions/{session}"
    assert (await api.get(base)).json["state"] == "closed"
    for path in ("/runs", "/messages", "/stats", "/status", "/tools"):
        assert (await api.get(base + path)).status == 200, path
    for path, body in (
        ("/prompt", {"text": "more"}),
        ("/steer", {"text": "more"}),
        ("/abort", {}),
        ("/switch_model", {"model": "demo:tour"}),
        ("/tools", {"name": "mine"}),
        (f"/runs/{first}/abort", {}),
    ):
        assert (await api.post(base + path, body)).error == (409, "conflict"), path
    assert (await api.patch(base, {"title": "x"})).error == (409, "conflict")
    gate.open()


async def test_messages_are_the_conversation_in_pages(api: Client) -> None:
    session = await api.session()
    runs = [await api.run(session, text) for text in ("one", "two")]
    first = (await api.get(f"/v1/sessions/{session}/messages?limit=3")).json
    rest = (await api.get(f"/v1/sessions/{session}/messages?limit=3&cursor={first['nextCursor']}")).json
    messages = first["messages"] + rest["messages"]
    assert rest["nextCursor"] is None
    assert [(message["role"], message["content"]) for message in messages] == [
        ("user", "one"),
        ("assistant", "one"),
        ("user", "two"),
        ("assistant", "two"),
    ]
    assert [message["requestId"] for message in messages] == [run["requestId"] for run in runs for _ in range(2)]


@pytest.mark.parametrize("what", ["messages", "runs"])
async def test_a_page_of_large_texts_ends_before_it_is_too_large(
    api: Client, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    session = await api.session()
    for number in range(4):
        await api.run(session, f"{number}" * (30 + 100 * (number == 1)))
    path = f"/v1/sessions/{session}/{what}"
    whole = (await api.get(path)).json[what]
    monkeypatch.setattr(selectors, "PAGE_CHARACTERS", 99)
    pages = [(await api.get(path)).json]
    while pages[-1]["nextCursor"] is not None:
        pages.append((await api.get(f"{path}?cursor={pages[-1]['nextCursor']}")).json)
    assert [row for page in pages for row in page[what]] == whole
    assert len(pages) == {"messages": 5, "runs": 3}[what]


@pytest.mark.parametrize("identity", ["v1", "ses_v1", "model-gateway"])
async def test_a_session_is_served_whatever_its_id_looks_like(api: Client, identity: str) -> None:
    session = await api.session(sessionId=identity)
    await api.run(session, "hello")
    answer = await api.get(f"/v1/sessions/{identity}/messages")
    assert (answer.status, len(answer.json["messages"])) == (200, 2)
    assert (await api.get(f"/v1/sessions/{identity}/runs")).status == 200


async def test_stats_add_up(api: Client, script: ScriptedEngine) -> None:
    session = await api.session()
    for _ in range(2):
        await api.run(session, "hello")
    stats = (await api.get(f"/v1/sessions/{session}/stats")).json
    assert (stats["turns"], stats["promptCount"], stats["toolCalls"]) == (2, 2, 0)
    assert (stats["totalTokens"], stats["costUsd"], stats["costKnown"]) == (16, 0.5, True)
    assert stats["tokenUsage"] == {
        "promptTokens": 6,
        "completionTokens": 10,
        "totalTokens": 16,
        "cachedTokens": 0,
        "reasoningTokens": 0,
    }
    assert stats["byModel"]["scripted"]["totalTokens"] == 16
    assert stats["lastEventIndex"] == stats["eventBufferCount"] == len(await api.log(session))
    shown = (await api.get(f"/v1/sessions/{session}")).json
    assert (shown["turns"], shown["totalTokens"]) == (2, 16)


async def test_a_status_says_what_runs_and_what_waits_in_line(api: Client, script: ScriptedEngine) -> None:
    gate = Gate()
    script.behaviour = gated_leg(gate)
    session = await api.session()
    first = await api.prompt(session, "first")
    second = await api.prompt(session, "second")
    await gate.arrival()
    status = (await api.get(f"/v1/sessions/{session}/status")).json
    assert (status["state"], status["queue"], status["run"]["requestId"]) == ("working", 1, first)
    assert status["run"]["status"] == "running"
    gate.open()
    await api.follow_run(session, second)
    status = (await api.get(f"/v1/sessions/{session}/status")).json
    assert (status["state"], status["queue"], status["run"]) == ("idle", 0, None)


async def test_a_waiting_run_shows_what_it_waits_for(api: Client, gateway: GatewayHarness) -> None:
    session = await api.session(model="demo:tour")
    async with api.events(session) as reader:
        await api.prompt(session, "please approve and ask")
        asked = [(await reader.next_of("approval_required", "ask_user")) for _ in range(2)]
        (approval,) = [frame.data for frame in asked if frame.event == "approval_required"]
        (question,) = [frame.data for frame in asked if frame.event == "ask_user"]
    path = f"/v1/sessions/{session}"
    status = (await api.get(f"{path}/status")).json
    while status["state"] == "working":
        status = (await api.get(f"{path}/status")).json
    assert status["state"] == "waiting_approval"
    assert [waiting["approvalId"] for waiting in status["pendingApprovals"]] == [approval["approvalId"]]
    assert [waiting["ref"] for waiting in status["pendingQuestions"]] == [question["ref"]]
    assert (await api.post(f"{path}/approve", {"approvalId": approval["approvalId"]})).status == 200
    # The approved call is executed meanwhile.
    await gateway.wait_idle()
    assert (await api.get(path)).json["state"] == "waiting_input"
    assert (await api.post(f"{path}/respond", {"ref": question["ref"], "response": "Yes"})).status == 200
    run = await api.follow_run(session, status["run"]["requestId"])
    assert run["status"] == "completed"


async def test_the_same_key_with_the_same_body_gives_the_first_answer_again(api: Client) -> None:
    headers = {"idempotency-key": "k1"}
    first = await api.post("/v1/sessions", {"model": "demo:echo"}, headers=headers)
    again = await api.post("/v1/sessions", {"model": "demo:echo"}, headers=headers)
    assert (first.status, again.status) == (201, 201)
    assert again.body == first.body
    assert again.headers["idempotent-replayed"] == "true"
    assert (await api.post("/v1/sessions", {"model": "demo:tour"}, headers=headers)).status == 422
    session = first.json["sessionId"]
    prompts = [await api.post(f"/v1/sessions/{session}/prompt", {"text": "x"}, headers=headers) for _ in range(2)]
    assert prompts[0].json["requestId"] == prompts[1].json["requestId"]
    await api.follow_run(session, prompts[0].json["requestId"])
    assert len((await api.get(f"/v1/sessions/{session}/runs")).json["runs"]) == 1
