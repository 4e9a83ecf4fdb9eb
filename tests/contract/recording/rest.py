"""The native REST routes when they grant what they are asked for."""

from __future__ import annotations

from tests.contract.recording.client import SHAPE, Client
from tests.contract.recording.events import received

HISTORY = [
    {"role": "user", "content": "hello"},
    {"role": "assistant", "content": "hi", "toolCalls": [{"callId": "c1", "name": "look", "arguments": {"x": 1}}]},
    {"role": "tool_result", "content": "seen", "callId": "c1"},
    {"role": "assistant", "content": "done"},
]
LOOK = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}, "requiresApproval": True}


def record(client: Client) -> None:
    """The section."""
    sessions(client)
    prompts(client)
    decisions(client)
    tools(client)
    reading(client)
    repeated(client)
    lists(client)
    webhooks(client)
    endings(client)


def sessions(client: Client) -> None:
    client.transcript.title("sessions are made")
    client.post("/v1/sessions", {"model": "demo:echo"})
    client.post("/v1/sessions", {"agent": "demo"})
    client.post("/v1/sessions", {})
    everything = {
        "sessionId": "rest",
        "model": "demo:tour",
        "title": "Rest",
        "groupId": "rest",
        "systemPrompt": "Be short.",
        "maxTurns": 5,
        "maxTokens": 1000,
        "userData": {"z": 1, "a": [1.5, None, {"deep": "ü"}], "big": 2**53 + 1},
        "metadata": {"by": "test"},
        "messages": HISTORY,
        "tools": ["current_time", LOOK],
        "responseFormat": SHAPE,
        "historyPolicy": "truncate",
        "approvals": {"current_time": "always"},
        "providerOpts": {"delayMs": 0},
    }
    client.post("/v1/sessions", everything)
    client.transcript.title("a session is read and changed")
    client.get("/v1/sessions/rest")
    client.ask("PATCH", "/v1/sessions/rest", {"title": None, "userData": {}, "groupId": None, "systemPrompt": ""})
    client.ask("PATCH", "/v1/sessions/rest", {"title": "Rest", "groupId": "rest", "tools": []})
    client.ask("PATCH", "/v1/sessions/rest", {})


def prompts(client: Client) -> None:
    path = "/v1/sessions/rest"
    client.transcript.title("prompts")
    request = client.post(f"{path}/prompt", {"text": "hello"}).json["requestId"]
    client.ended("rest", request)
    client.post(f"{path}/prompt?wait=60", {"text": "hello again", "endUser": "ann", "metadata": {"a": 1}})
    attachment = {"type": "file", "mediaType": "text/plain", "name": "a.txt", "data": "aGVsbG8="}
    client.post(f"{path}/prompt?wait=60", {"text": "read it", "attachments": [attachment]})
    request = client.post(f"{path}/prompt?wait=0", {"text": "please approve"}).json["requestId"]
    client.asked("rest", request, "approval_required")
    client.transcript.title("a session that waits")
    client.post(f"{path}/prompt", {"text": "no", "whenBusy": "reject"})
    client.post(f"{path}/prompt", {"text": "and this", "whenBusy": "steer"})
    client.post(f"{path}/steer", {"text": "shorter"})
    queued = client.post(f"{path}/prompt", {"text": "next"}).json["requestId"]
    client.post(f"{path}/prompt", {"text": "next"})
    client.post(f"{path}/prompt", {"text": "one too many"})
    client.get(f"{path}/status")
    client.get(f"{path}/runs/{queued}")
    client.post(f"{path}/runs/{queued}/abort", {"reason": "not needed"})
    client.get(f"{path}/runs/{queued}")
    client.post(f"{path}/runs/{queued}/abort")
    client.get(f"{path}/runs/{request}")
    client.get(path)
    client.post(f"{path}/abort", {"reason": "enough"})
    client.get(f"{path}/runs/{request}")
    last = client.quietly("GET", f"{path}/runs").json["runs"][0]["requestId"]
    client.ended("rest", last)
    client.post(f"{path}/abort")
    client.post(f"{path}/steer", {"text": "nobody hears it"})
    client.post(f"{path}/switch_model", {"model": "demo:echo"})
    client.post(f"{path}/switch_model", {"model": "demo:tour"})
    client.post(f"{path}/prompt?wait=60", {"text": "fail please"})


def decisions(client: Client) -> None:
    path = "/v1/sessions/rest"
    client.transcript.title("decisions")
    request = client.prompt("rest", "please approve")
    asked = client.asked("rest", request, "approval_required")
    approval = {"approvalId": asked["approvalId"]}
    client.post(f"{path}/approve", {**approval, "argsHash": "another"})
    client.post(f"{path}/approve", {**approval, "argsHash": asked["argsHash"], "comment": "go on"})
    client.ended("rest", request)
    client.post(f"{path}/approve", approval)
    client.post(f"{path}/approve", {**approval, "args": {"action": "other"}})
    client.post(f"{path}/reject", approval)
    request = client.prompt("rest", "please approve")
    approval = {"approvalId": client.asked("rest", request, "approval_required")["approvalId"]}
    client.post(f"{path}/reject", {**approval, "reason": "not today"})
    client.ended("rest", request)
    request = client.prompt("rest", "ask me")
    question = {"ref": client.asked("rest", request, "ask_user")["ref"]}
    client.get(f"{path}/status")
    client.post(f"{path}/respond", {**question, "response": "1"})
    client.ended("rest", request)
    client.post(f"{path}/respond", {**question, "response": "1"})
    client.post(f"{path}/respond", {**question, "response": "2"})


def tools(client: Client) -> None:
    path = "/v1/sessions/rest"
    client.transcript.title("tools")
    callback = f"{client.place.receiver.url}/tried"
    client.post(f"{path}/tools", {"name": "mine", "parameters": {"type": "object"}, "hint": "Mine."})
    client.post(f"{path}/tools", {"name": "tried", "callbackUrl": callback, "timeoutMs": 5000, "idempotent": True})
    client.get(f"{path}/tools")
    client.post(f"{path}/tools/tried/test", {"args": {"x": 1}})
    received(client, "a callback that is tried")
    client.transcript.title("tools, tried and removed")
    client.post(f"{path}/tools/mine/test", {"args": {}})
    client.post(f"{path}/tools/nobody/test", {"args": {}})
    client.ask("DELETE", f"{path}/tools/tried")
    client.ask("DELETE", f"{path}/tools/tried")
    request = client.prompt("rest", "use mine")
    call = {"callId": client.asked("rest", request, "tool_call_requested")["callId"]}
    client.get(f"{path}/status")
    client.post(f"{path}/tool-results", {**call, "result": {"found": [1]}})
    client.ended("rest", request)
    client.post(f"{path}/tool-results", {**call, "result": {"found": [1]}})
    client.post(f"{path}/tool-results", {**call, "error": "otherwise"})


def reading(client: Client) -> None:
    path = "/v1/sessions/rest"
    client.transcript.title("what a session has said and done")
    for part in ("", "/stats", "/status", "/messages", "/runs", "/tools"):
        client.get(path + part)
    first = client.get(f"{path}/messages?limit=2").json
    client.get(f"{path}/messages?limit=2&cursor={first['nextCursor']}")
    runs = client.get(f"{path}/runs?limit=2").json
    client.get(f"{path}/runs?limit=1&cursor={runs['nextCursor']}")
    client.transcript.title("forks")
    messages = client.quietly("GET", f"{path}/messages").json["messages"]
    client.post(f"{path}/fork", {"messageId": messages[3]["id"], "sessionId": "fork", "title": "A fork"})
    client.get("/v1/sessions/fork/messages")
    client.post(f"{path}/fork", {"messageId": messages[1]["id"]})
    client.post(f"{path}/fork", {"messageId": "msg_nobody"})
    client.post(f"{path}/fork", {"messageId": messages[3]["id"], "sessionId": "fork"})


def repeated(client: Client) -> None:
    client.transcript.title("the same request twice")
    for path, body in (
        ("/v1/sessions", {"model": "demo:echo", "sessionId": "once"}),
        ("/v1/sessions/rest/prompt?wait=60", {"text": "once"}),
        ("/v1/sessions/rest/tools", {"name": "once"}),
    ):
        for _ in range(2):
            client.post(path, body, headers={"Idempotency-Key": "a-key"})
    client.post("/v1/sessions", {"model": "demo:tour"}, headers={"Idempotency-Key": "a-key"})
    client.post("/v1/sessions", {"model": "demo:tour"}, headers={"Idempotency-Key": "x" * 300})
    client.transcript.title("who asks, and by which id")
    bearer = {"X-API-Key": None, "Authorization": "Bearer owner-key"}
    client.get("/v1/sessions/once", headers={**bearer, "X-Request-Id": "my-own-id"})
    client.get("/v1/sessions/once", headers={"X-Request-Id": "not an id"})
    browser = {"Origin": "https://app.example.com"}
    asking = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
    client.get("/v1/sessions/once", headers=browser)
    client.get("/v1/sessions/once", headers={"Origin": "https://elsewhere.example.com"})
    client.ask("OPTIONS", "/v1/sessions", who=None, headers={**browser, **asking})
    client.ask("OPTIONS", "/v1/sessions", who=None, headers={**asking, "Origin": "https://elsewhere.example.com"})
    client.ask("HEAD", "/v1/sessions/rest/tools")


def lists(client: Client) -> None:
    client.transcript.title("lists")
    for number in range(3):
        body = {"sessionId": f"listed-{number}", "model": "demo:echo", "groupId": "listed", "title": f"No. {number}"}
        client.quietly("POST", "/v1/sessions", body, who="crowd")
    page = client.get("/v1/sessions?limit=2", who="crowd").json
    client.get(f"/v1/sessions?limit=2&cursor={page['nextCursor']}", who="crowd")
    for query in ("state=idle&groupId=listed", "state=closed", "since=2020-01-01T00:00:00Z", "groupId=nowhere"):
        client.get(f"/v1/sessions?{query}", who="crowd")
    client.transcript.title("usage")
    client.do("POST", "/v1/sessions", {"sessionId": "spending", "model": "scripted:hello"})
    client.run("spending", "hello", endUser="bob")
    for query in (
        "groupBy=key,model&endUser=bob",
        "groupBy=day,model&endUser=bob",
        "groupBy=&endUser=bob",
        "endUser=no",
    ):
        client.get(f"/v1/usage?{query}")
    client.get("/v1/usage?from=2020-01-01&to=2020-01-02")


def webhooks(client: Client) -> None:
    client.transcript.title("webhooks")
    url = f"{client.place.receiver.url}/hook"
    made = client.post("/v1/webhooks", {"url": url, "events": ["agent_end"], "description": "Mine"}, who="crowd").json
    path = f"/v1/webhooks/{made['id']}"
    client.get("/v1/webhooks", who="crowd")
    client.get(path, who="crowd")
    client.ask("PATCH", path, {"description": "Ours", "events": ["agent_end", "ask_user"]}, who="crowd")
    client.post(f"{path}/rotate", who="crowd")
    client.post(f"{path}/test", who="crowd")
    received(client, "a test of a webhook")
    client.quietly("POST", "/v1/sessions/listed-1/prompt?wait=60", {"text": "hello"}, who="crowd")
    received(client, "an event to a webhook")
    settled = "SELECT count(*) FROM events_app_webhookdelivery WHERE state = 'delivered'"
    client.place.until(lambda: client.place.rows(settled) == [(2,)])
    client.transcript.title("deliveries")
    found = client.get(f"{path}/deliveries", who="crowd").json["deliveries"]
    client.get(f"{path}/deliveries?limit=1", who="crowd")
    client.get(f"{path}/deliveries?status=dead", who="crowd")
    client.post(f"{path}/deliveries/{found[0]['id']}/redeliver", who="crowd")
    received(client, "an event once more")
    client.place.until(lambda: client.place.rows(settled) == [(2,)])
    client.transcript.title("deliveries that are dead")
    client.place.write("UPDATE events_app_webhookdelivery SET state = 'dead', last_error = 'unreachable'")
    client.get(f"{path}/deliveries?status=dead&limit=1", who="crowd")
    client.ask("PATCH", path, {"disabled": True}, who="crowd")
    client.post(f"{path}/redeliver", who="crowd")
    client.post(f"{path}/test", who="crowd")
    client.ask("DELETE", path, who="crowd")
    client.ask("DELETE", path, who="crowd")


def endings(client: Client) -> None:
    client.transcript.title("the end of a session")
    client.ask("DELETE", "/v1/sessions/fork")
    client.ask("DELETE", "/v1/sessions/fork")
    client.get("/v1/sessions/fork")
    client.post("/v1/sessions/fork/prompt", {"text": "too late"})
    client.post("/v1/sessions/fork/steer", {"text": "too late"})
    client.post("/v1/sessions/fork/switch_model", {"model": "demo:echo"})
    client.post("/v1/sessions/fork/tools", {"name": "late"})
    client.ask("PATCH", "/v1/sessions/fork", {"title": "late"})
    client.post("/v1/sessions", {"sessionId": "fork", "model": "demo:echo"})
    client.ask("DELETE", "/v1/sessions/fork?purge=true")
    client.get("/v1/sessions/fork")
    client.ask("DELETE", "/v1/sessions/fork?purge=true")
