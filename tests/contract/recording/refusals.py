"""The native REST routes when they refuse: who may not, what is not there, and what a body must not be."""

from __future__ import annotations

from typing import Any

from tests.contract.recording.client import Client

S = "/v1/sessions/rest"
HOOK = "/v1/webhooks/whk_nobody"

ROUTES: tuple[tuple[str, str], ...] = (
    ("POST", "/v1/sessions"),
    ("GET", "/v1/sessions"),
    ("GET", S),
    ("PATCH", S),
    ("DELETE", S),
    ("POST", f"{S}/prompt"),
    ("POST", f"{S}/abort"),
    ("POST", f"{S}/steer"),
    ("POST", f"{S}/switch_model"),
    ("POST", f"{S}/approve"),
    ("POST", f"{S}/reject"),
    ("POST", f"{S}/respond"),
    ("POST", f"{S}/tool-results"),
    ("POST", f"{S}/tools"),
    ("GET", f"{S}/tools"),
    ("DELETE", f"{S}/tools/mine"),
    ("POST", f"{S}/tools/mine/test"),
    ("POST", f"{S}/stream-token"),
    ("GET", f"{S}/messages"),
    ("POST", f"{S}/fork"),
    ("GET", f"{S}/stats"),
    ("GET", f"{S}/status"),
    ("GET", f"{S}/runs"),
    ("GET", f"{S}/runs/run_nobody"),
    ("POST", f"{S}/runs/run_nobody/abort"),
    ("GET", "/v1/usage"),
    ("POST", "/v1/webhooks"),
    ("GET", "/v1/webhooks"),
    ("GET", HOOK),
    ("PATCH", HOOK),
    ("DELETE", HOOK),
    ("POST", f"{HOOK}/rotate"),
    ("POST", f"{HOOK}/test"),
    ("POST", f"{HOOK}/redeliver"),
    ("GET", f"{HOOK}/deliveries"),
    ("POST", f"{HOOK}/deliveries/msg_nobody/redeliver"),
)

BODIES: tuple[tuple[str, str, Any], ...] = (
    ("POST", "/v1/sessions", {"sessionId": "a b"}),
    ("POST", "/v1/sessions", {"sessionId": 5}),
    ("POST", "/v1/sessions", {"sessionId": "rest", "model": "demo:echo"}),
    ("POST", "/v1/sessions", {"model": "nobody-has-this"}),
    ("POST", "/v1/sessions", {"model": "demo:nothing"}),
    ("POST", "/v1/sessions", {"model": "keyless:x"}),
    ("POST", "/v1/sessions", {"agent": "nobody"}),
    ("POST", "/v1/sessions", {"model": "demo:echo", "maxTurns": 0}),
    ("POST", "/v1/sessions", {"model": "demo:echo", "maxTurns": "5"}),
    ("POST", "/v1/sessions", {"model": "demo:echo", "tools": [7]}),
    ("POST", "/v1/sessions", {"model": "demo:echo", "tools": ["nothing"]}),
    ("POST", "/v1/sessions", {"model": "demo:echo", "tools": [{"name": "a b"}]}),
    ("POST", "/v1/sessions", {"model": "demo:echo", "userData": []}),
    ("POST", "/v1/sessions", {"model": "demo:echo", "historyPolicy": "forget"}),
    ("POST", "/v1/sessions", {"model": "demo:echo", "responseFormat": {"type": "string"}}),
    ("POST", "/v1/sessions", {"model": "demo:echo", "messages": [{"role": "system", "content": "x"}]}),
    ("POST", "/v1/sessions", {"model": "demo:echo", "messages": [{"role": "tool_result", "content": "x"}]}),
    ("POST", "/v1/sessions", {"model": "demo:echo", "approvals": {"x": "perhaps"}}),
    ("POST", "/v1/sessions", {"model": "demo:echo", "plugins": ["x"]}),
    ("POST", "/v1/sessions", {"model": "demo:echo", "providerOpts": {"delayMs": -1}}),
    ("PATCH", S, {"title": 7}),
    ("PATCH", S, {"title": "x" * 201}),
    ("PATCH", S, {"tools": ["nothing"]}),
    ("PATCH", S, {"groupId": "a b"}),
    ("POST", f"{S}/prompt", {}),
    ("POST", f"{S}/prompt", {"text": 7}),
    ("POST", f"{S}/prompt", {"text": "x", "whenBusy": "never"}),
    ("POST", f"{S}/prompt", {"text": "x", "attachments": [{"type": "image", "mediaType": "image/png"}]}),
    ("POST", f"{S}/prompt", {"text": "x", "attachments": [{"type": "image", "mediaType": "image/png", "data": "?"}]}),
    ("POST", f"{S}/prompt?wait=x", {"text": "x"}),
    ("POST", f"{S}/prompt?wait=61", {"text": "x"}),
    ("POST", f"{S}/abort", {"reason": 7}),
    ("POST", f"{S}/steer", {}),
    ("POST", f"{S}/switch_model", {}),
    ("POST", f"{S}/switch_model", {"model": "nobody-has-this"}),
    ("POST", f"{S}/approve", {}),
    ("POST", f"{S}/approve", {"approvalId": "apr_nobody"}),
    ("POST", f"{S}/reject", {"approvalId": "apr_nobody", "reason": []}),
    ("POST", f"{S}/respond", {"ref": "x"}),
    ("POST", f"{S}/respond", {"ref": "ask_nobody", "response": "x"}),
    ("POST", f"{S}/tool-results", {"callId": "call_nobody"}),
    ("POST", f"{S}/tool-results", {"callId": "call_nobody", "result": 1}),
    ("POST", f"{S}/tools", {}),
    ("POST", f"{S}/tools", {"name": "x", "callbackUrl": "ftp://example.com"}),
    ("POST", f"{S}/tools", {"name": "x", "parameters": {"type": "nothing"}}),
    ("POST", f"{S}/tools", {"name": "x", "timeoutMs": 1}),
    ("POST", f"{S}/tools", {"name": "x", "secret": "short"}),
    ("POST", f"{S}/tools", {"name": "ask_user"}),
    ("POST", f"{S}/tools/mine/test", {"args": 7}),
    ("POST", f"{S}/fork", {}),
    ("POST", "/v1/webhooks", {}),
    ("POST", "/v1/webhooks", {"url": "not an address", "events": ["agent_end"]}),
    ("POST", "/v1/webhooks", {"url": "https://example.com", "events": ["nothing"]}),
    ("POST", "/v1/webhooks", {"url": "https://example.com", "events": []}),
)

QUERIES = (
    "/v1/sessions?limit=few",
    "/v1/sessions?cursor=x",
    "/v1/sessions?state=asleep",
    "/v1/sessions?since=yesterday",
    f"{S}/messages?limit=x",
    f"{S}/messages?cursor=x",
    f"{S}/runs?cursor=x",
    "/v1/usage?groupBy=moon",
    "/v1/usage?from=yesterday",
    "/v1/nothing",
    "/nothing",
    "/v1/sessions/",
    "/v1/sessions/a%00b",
    "/v1/sessions?limit=%00",
)


def record(client: Client) -> None:
    """The section."""
    for method, path in ROUTES:
        client.transcript.title(f"{method} {path}")
        people(client, method, path)
        if method in ("POST", "PATCH"):
            bodies(client, method, path)
    client.transcript.title("fields")
    for method, path, body in BODIES:
        client.ask(method, path, body)
    client.transcript.title("queries and paths")
    for path in QUERIES:
        client.get(path)
    keys(client)
    limits(client)


def people(client: Client, method: str, path: str) -> None:
    """Callers without a right, and things that do not exist."""
    for who in (None, "colleague"):
        client.ask(method, path, who=who)
    client.ask("PUT", path, {})
    if path.startswith(S):
        client.ask(method, path, who="stranger")
        client.ask(method, path.replace(S, "/v1/sessions/nobody"))
    if path.startswith(HOOK):
        client.ask(method, path)


def bodies(client: Client, method: str, path: str) -> None:
    """Bodies that no route takes."""
    for raw in (b"{", b"[1]", b'"x"', b'{"x":NaN}', b"\xff", b"[" * 100):
        client.ask(method, path, raw=raw)
    client.ask(method, path, raw=b"x=1", headers={"Content-Type": "application/x-www-form-urlencoded"})
    client.ask(method, path, raw=b"{}", headers={"Content-Type": None})
    if "/prompt" not in path:
        client.ask(method, path, raw=b'{"x": "' + b"x" * 20_000 + b'"}')


def keys(client: Client) -> None:
    client.transcript.title("keys that are none")
    for key in ("nobody", "a b", "x" * 300, ""):
        client.get("/v1/sessions", who=None, headers={"X-API-Key": key})
    client.get("/v1/sessions", who=None, headers={"Authorization": "Basic b3duZXI6a2V5"})
    client.get("/v1/sessions", who="revoked")
    client.get("/v1/sessions?api_key=owner-key", who=None)


def limits(client: Client) -> None:
    client.transcript.title("limits")
    client.get("/v1/sessions?limit=1&state=closed&groupId=nowhere", who="limited")
    client.get("/v1/sessions?limit=1&state=closed&groupId=nowhere", who="limited")
    client.post("/v1/sessions/rest/prompt", {"text": "x"}, who="limited")
    client.get("/v1/sessions/rest/events", who="limited")
    client.post("/v1/sessions", {"sessionId": "one", "model": "demo:tour"}, who="small")
    client.post("/v1/sessions", {"sessionId": "two", "model": "demo:tour"}, who="small")
    client.quietly("POST", "/v1/sessions/one/prompt?wait=0", {"text": "please approve"}, who="small")
    client.waiting("one", who="small")
    client.post("/v1/sessions/one/prompt", {"text": "another"}, who="small")
    client.transcript.title("a budget that is spent")
    client.post("/v1/sessions", {"sessionId": "poor", "model": "scripted:hello"}, who="poor")
    client.post("/v1/sessions/poor/prompt?wait=60", {"text": "hello"}, who="poor")
