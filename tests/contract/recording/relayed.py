"""The model gateway before a scripted provider: its answers, whole and streamed, and its errors in every dialect."""

from __future__ import annotations

from typing import Any

from tests.contract.recording.client import Client

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
EMBEDDINGS, COUNT = "/v1/embeddings", "/v1/messages/count_tokens"
ANTHROPIC = {"anthropic-version": "2023-06-01"}
HI = [{"role": "user", "content": "Hi"}]
TOOL = {"type": "object", "properties": {"x": {"type": "integer"}}}
TOOLS: dict[str, list[dict[str, Any]]] = {
    CHAT: [{"type": "function", "function": {"name": "echo", "description": "Echoes.", "parameters": TOOL}}],
    MESSAGES: [{"name": "echo", "description": "Echoes.", "input_schema": TOOL}],
    RESPONSES: [{"type": "function", "name": "echo", "description": "Echoes.", "parameters": TOOL}],
}

FAILURES = (
    "scripted:status:400",
    "scripted:status:401",
    "scripted:status:403",
    "scripted:status:404",
    "scripted:status:429",
    "scripted:status:500",
    "scripted:status:503",
    "scripted:limited:60",
    "scripted:garbage",
    "scripted:no-answer:[]",
    "scripted:in-stream-error",
    "scripted:early-error",
    "scripted:no-such-scenario",
    "closed:hello",
    "locked",
    "nobody-has-this",
    "",
)


def body(path: str, model: str, **more: Any) -> dict[str, Any]:
    """A request of that path."""
    if path == RESPONSES:
        return {"model": model, "input": "Hi", **more}
    if path == EMBEDDINGS:
        return {"model": model, "input": "x", **more}
    return {"model": model, "messages": HI, **({"max_tokens": 50} if path == MESSAGES else {}), **more}


def record(client: Client) -> None:
    """The section."""
    unlimited(client)
    for path in (CHAT, MESSAGES, RESPONSES):
        answers(client, path)
        failures(client, path)
        refusals(client, path)
    embeddings(client)
    counts(client)
    models(client)
    stored(client)
    operators(client)


def answers(client: Client, path: str) -> None:
    client.transcript.title(f"answers of {path}")
    for provider in ("scripted", "messages", "everything"):
        for stream in (False, True):
            client.post(path, body(path, f"{provider}:hello", stream=stream))
            client.post(path, body(path, f"{provider}:tool", stream=stream, tools=TOOLS[path]))
            client.post(path, body(path, f"{provider}:reasoning", stream=stream))
    client.post(path, body(path, "hello"))
    client.post(path, body(path, "resilient"))
    client.post(path, body(path, "resilient", stream=True))
    client.post(path, body(path, "demo:echo"))
    client.post(path, body(path, "scripted:hello-nousage", stream=True))
    if path == CHAT:
        client.post(path, body(path, "hello", stream=True, stream_options={"include_usage": True}))
        client.post(path, body(path, "scripted:settings", temperature=0.5, user="ann", unheard_of={"a": 1}))


def failures(client: Client, path: str) -> None:
    client.transcript.title(f"failures of {path}")
    for model in FAILURES:
        for stream in (False, True):
            client.post(path, body(path, model, stream=stream))


def refusals(client: Client, path: str) -> None:
    client.transcript.title(f"refusals of {path}")
    for who in (None, "colleague", "poor"):
        client.post(path, body(path, "hello"), who=who)
    client.post(path, body(path, "hello"), who=None, headers={"X-API-Key": "nobody"})
    for method in ("GET", "PUT", "DELETE"):
        client.ask(method, path)
    for raw in (b"", b"{", b"[1]", b'{"model": 7}', b'{"x": NaN}', b"\xff"):
        client.post(path, raw=raw)
    client.post(path, raw=b"{}", headers={"Content-Type": "text/plain"})
    client.post(path, {"model": "hello"})
    client.post(path, body(path, "hello", stream="yes"))
    client.post(path, body(path, "messages:hello", tools=7))
    client.post(path, {**body(path, "messages:hello"), "messages": 7, "input": 7})
    client.post(f"{path}/nothing", {})
    client.post(f"{path}/", {})


def embeddings(client: Client) -> None:
    client.transcript.title("embeddings")
    client.post(EMBEDDINGS, {"model": "hello", "input": "x"})
    client.post(EMBEDDINGS, {"model": "second:hello", "input": ["x", "y"], "encoding_format": "base64"})
    for model in ("messages:hello", "demo:echo", "nobody-has-this", "scripted:garbage"):
        client.post(EMBEDDINGS, {"model": model, "input": "x"})
    refusals(client, EMBEDDINGS)


def counts(client: Client) -> None:
    client.transcript.title("counts of tokens")
    for model in ("messages:hello", "scripted:hello", "demo:echo", "nobody-has-this", "closed:hello"):
        client.post(COUNT, {"model": model, "messages": HI})
    client.post(COUNT, {"model": "messages:hello", "messages": HI, "system": "Be short.", "tools": TOOLS[MESSAGES]})
    for raw in (b"{", b"[1]", b"{}"):
        client.post(COUNT, raw=raw)
    for who in (None, "colleague"):
        client.post(COUNT, {"model": "messages:hello", "messages": HI}, who=who)
    client.get(COUNT)


def models(client: Client) -> None:
    client.transcript.title("models")
    for headers in ({}, ANTHROPIC):
        for path in ("", "/hello", "/scripted%3Aanything", "/scripted:hello", "/demo:tour", "/nobody-has-this"):
            client.get(f"/v1/models{path}", headers=headers)
        for who in (None, "colleague"):
            client.get("/v1/models", who=who, headers=headers)
        client.post("/v1/models", {}, headers=headers)


def stored(client: Client) -> None:
    client.transcript.title("responses that nobody stores")
    client.post(RESPONSES, body(RESPONSES, "hello", store=True))
    client.post(RESPONSES, body(RESPONSES, "hello", previous_response_id="resp_1"))
    client.post(RESPONSES, body(RESPONSES, "hello", background=True))
    client.post(RESPONSES, body(RESPONSES, "hello", conversation="conv_1"))
    for method, path in (
        ("GET", "/resp_1"),
        ("DELETE", "/resp_1"),
        ("POST", "/resp_1/cancel"),
        ("GET", "/resp_1/input_items"),
        ("PUT", "/resp_1"),
    ):
        client.ask(method, RESPONSES + path)


def operators(client: Client) -> None:
    client.transcript.title("the operator's pages")
    client.get("/model-gateway/health")
    client.get("/model-gateway/health/nobody")
    client.get("/model-gateway/health/keyless")
    client.get("/model-gateway/quota")
    client.get("/model-gateway/nothing")
    client.post("/model-gateway/health", {})
    for who in (None, "stranger", "colleague"):
        client.get("/model-gateway/stats", who=who)


def limits(client: Client) -> None:
    """A section of its own, and the first: what raises the limits for the others is in force when they are played."""
    for path in (CHAT, MESSAGES, RESPONSES, EMBEDDINGS):
        client.transcript.title(f"more requests than {path} may have")
        client.post(path, body(path, "hello"))
        client.post(path, body(path, "hello"))
    client.place.limits_raise()


def unlimited(client: Client) -> None:
    """Until no path is limited any more."""
    for path in (CHAT, MESSAGES, RESPONSES, EMBEDDINGS):
        client.place.until(lambda path=path: client.quietly("POST", path, body(path, "hello")).status == 200)  # type: ignore[misc]
